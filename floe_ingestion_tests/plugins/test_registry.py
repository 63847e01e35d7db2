"""The registry against real distributions: dist-info folders on sys.path, modules that import or fail."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from floe_ingestion.errors import PermanentError
from floe_ingestion.plugins import (
    CatalogPlugin,
    IngestionPlugin,
    PluginAttributeMissing,
    PluginConflict,
    PluginError,
    PluginImportFailed,
    PluginIncompatible,
    PluginMetadata,
    PluginMistyped,
    PluginModuleMissing,
    PluginNotConstructible,
    PluginNotFound,
    PluginRegistry,
    PluginType,
    PluginUnusable,
    StoragePlugin,
)
from floe_ingestion_tests.plugins.dummy_distributions import install, plugin_source

GROUPS = {
    PluginType.COMPUTE: "floe.computes",
    PluginType.ORCHESTRATOR: "floe.orchestrators",
    PluginType.CATALOG: "floe.catalogs",
    PluginType.STORAGE: "floe.storage",
    PluginType.TELEMETRY_BACKEND: "floe.telemetry_backends",
    PluginType.LINEAGE_BACKEND: "floe.lineage_backends",
    PluginType.DBT: "floe.dbt",
    PluginType.SEMANTIC_LAYER: "floe.semantic_layers",
    PluginType.INGESTION: "floe.ingestion",
    PluginType.SECRETS: "floe.secrets",
    PluginType.IDENTITY: "floe.identity",
}
CONTRACTS = {
    PluginType.INGESTION: IngestionPlugin,
    PluginType.CATALOG: CatalogPlugin,
    PluginType.STORAGE: StoragePlugin,
}
EVERY_TYPE = pytest.mark.parametrize("plugin_type", PluginType, ids=lambda member: member.name)
SECRETS = PluginType.SECRETS


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A site-packages folder of the test's own; what was imported from it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)  # pyright: ignore[reportUnknownMemberType]
    before = set(sys.modules)
    yield folder
    for module in set(sys.modules) - before:
        if module.startswith("dummy"):
            del sys.modules[module]


def install_dummy(site: Path, plugin_type: PluginType, source: str | None = None) -> str:
    """One distribution with one plugin, `dummy`, of this type; gives the name of its module."""
    module = f"dummy_{plugin_type.name.lower()}"
    modules = {f"{module}.py": plugin_source(plugin_type) if source is None else source}
    install(site, f"floe-{module}".replace("_", "-"), {plugin_type: f"dummy = {module}:Dummy"}, modules)
    return module


def test_the_groups_are_the_eleven_of_the_platform():
    assert {plugin_type: plugin_type.group for plugin_type in PluginType} == GROUPS


@EVERY_TYPE
def test_a_distribution_can_bring_a_plugin_of_each_type(site: Path, plugin_type: PluginType):
    install_dummy(site, plugin_type)

    plugin = PluginRegistry().get(plugin_type, "dummy")

    assert isinstance(plugin, CONTRACTS.get(plugin_type, PluginMetadata))
    assert (plugin.name, plugin.version, plugin.floe_api_version) == ("dummy", "1.2.3", "1.0")


def test_all_types_are_discovered_without_importing_a_plugin(site: Path):
    modules = {install_dummy(site, plugin_type) for plugin_type in PluginType}

    found = PluginRegistry().discover()

    assert set(found) == set(PluginType)
    assert all("dummy" in names for names in found.values())
    assert not modules & set(sys.modules)


def test_discovery_survives_plugins_that_do_not_import(site: Path):
    install_dummy(site, SECRETS, "raise SystemExit('imported')")

    assert "dummy" in PluginRegistry().discover()[SECRETS]


def test_names_are_sorted_and_come_from_all_distributions(site: Path):
    install(site, "floe-one", {SECRETS: "zeta = dummy_a:A\nalpha = dummy_a:B"})
    install(site, "floe-two", {SECRETS: "mid = dummy_b:A"})

    assert PluginRegistry().names(SECRETS) == ("alpha", "mid", "zeta")
    assert PluginRegistry().discover()[SECRETS] == ("alpha", "mid", "zeta")


def test_getting_one_plugin_imports_no_other(site: Path):
    wanted = install_dummy(site, PluginType.CATALOG)
    other = install_dummy(site, PluginType.STORAGE)
    install(site, "floe-third", {PluginType.CATALOG: "third = dummy_third:Dummy"}, {"dummy_third.py": ""})

    PluginRegistry().get(PluginType.CATALOG, "dummy")

    assert wanted in sys.modules
    assert not {other, "dummy_third"} & set(sys.modules)


def test_a_plugin_is_made_once_for_each_registry(site: Path):
    install_dummy(site, SECRETS)
    registry = PluginRegistry()

    assert registry.get(SECRETS, "dummy") is registry.get(SECRETS, "dummy")
    assert registry.get(SECRETS, "dummy") is not PluginRegistry().get(SECRETS, "dummy")


def test_a_plugin_is_made_once_when_threads_ask_together(site: Path):
    install_dummy(site, SECRETS, plugin_source(SECRETS, body=COUNTS_ITSELF))
    registry, start, made = PluginRegistry(), threading.Barrier(8), list[PluginMetadata]()

    def ask() -> None:
        start.wait()
        made.append(registry.get(SECRETS, "dummy"))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [type(plugin).made for plugin in made] == [1] * 8  # pyright: ignore


COUNTS_ITSELF = """\
floe_api_version = "1.0"
made = 0
def __init__(self):
    import time
    time.sleep(0.01)  # lets the other threads in, were there no lock
    type(self).made += 1
"""


def test_a_class_can_be_had_without_constructing_it(site: Path):
    install_dummy(site, SECRETS, plugin_source(SECRETS, body=COUNTS_ITSELF))

    plugin_class = PluginRegistry().get_class(SECRETS, "dummy")

    assert issubclass(plugin_class, PluginMetadata)
    assert plugin_class.made == 0  # pyright: ignore


def test_a_failure_is_not_kept(site: Path):
    module = install_dummy(site, SECRETS, "raise RuntimeError('not yet')")
    registry = PluginRegistry()
    with pytest.raises(PluginImportFailed):
        registry.get(SECRETS, "dummy")

    (site / f"{module}.py").write_text(plugin_source(SECRETS))

    assert registry.get(SECRETS, "dummy").name == "dummy"


def test_an_unknown_name_lists_the_known_ones_and_guesses(site: Path):
    install(site, "floe-vaults", {SECRETS: "vault = dummy_a:A\ninfisical = dummy_a:B"})

    with pytest.raises(PluginNotFound) as met:
        PluginRegistry().get(SECRETS, "vualt")

    assert met.value.known == {"infisical": "floe-vaults", "vault": "floe-vaults"}
    assert (met.value.plugin_type, met.value.name) == (SECRETS, "vualt")
    assert str(met.value) == (
        "No secrets plugin is named 'vualt'. Did you mean 'vault'? Installed are 'infisical' (floe-vaults), "
        "'vault' (floe-vaults); another needs an entry point in floe.secrets."
    )


def test_an_unknown_name_where_none_is_installed_says_where_to_register(site: Path):
    with pytest.raises(PluginNotFound, match=r"None is installed: .* in floe\.telemetry_backends\.$"):
        PluginRegistry().get(PluginType.TELEMETRY_BACKEND, "otlp")


def unusable(plugin_type: PluginType = SECRETS) -> PluginUnusable:
    """The error of getting `dummy`; whatever its kind, it says whose plugin it is and is permanent."""
    with pytest.raises(PluginUnusable) as met:
        PluginRegistry().get(plugin_type, "dummy")
    error = met.value
    assert (error.plugin_type, error.name) == (plugin_type, "dummy")
    assert error.distribution == f"floe-dummy-{plugin_type.name.lower().replace('_', '-')}"
    assert error.distribution in str(error)
    assert error.value in str(error)
    assert str(error).endswith(".")
    assert isinstance(error, PluginError)
    assert isinstance(error, PermanentError)
    return error


@pytest.mark.parametrize(
    ("value", "missing"),
    [
        ("dummy_absent:Dummy", "dummy_absent"),
        ("dummy_absent.deep.er:Dummy", "dummy_absent"),
        ("dummy_package.absent:Dummy", "dummy_package.absent"),
    ],
)
def test_a_missing_module_is_named_with_its_distribution(site: Path, value: str, missing: str):
    install(site, "floe-dummy-secrets", {SECRETS: f"dummy = {value}"}, {"dummy_package/__init__.py": ""})

    error = unusable()

    assert isinstance(error, PluginModuleMissing)
    assert error.missing == missing
    assert isinstance(error.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import dummy_dependency_that_is_absent", ModuleNotFoundError),
        ("import dummy_secrets_extra", ModuleNotFoundError),
        ("from floe_ingestion.plugins import NoSuchThing", ImportError),
        ("raise AttributeError('while importing')", AttributeError),
        ("1 / 0", ZeroDivisionError),
        ("class Dummy(:", SyntaxError),
    ],
)
def test_a_failing_import_carries_its_cause(site: Path, source: str, cause: type[Exception]):
    install_dummy(site, SECRETS, source)

    error = unusable()

    assert isinstance(error, PluginImportFailed)
    assert isinstance(error.__cause__, cause)
    assert cause.__name__ in str(error)


def test_a_value_that_is_no_entry_point_is_a_plugin_error(site: Path):
    install(site, "floe-dummy-secrets", {SECRETS: "dummy = !not a value!"})

    assert unusable().__cause__ is not None


def test_a_missing_attribute_is_named_with_its_distribution(site: Path):
    install_dummy(site, SECRETS, "Dumy = None")

    error = unusable()

    assert isinstance(error, PluginAttributeMissing)
    assert isinstance(error.__cause__, AttributeError)
    assert "'dummy_secrets' has no 'Dummy'" in str(error)


@EVERY_TYPE
def test_a_class_that_is_no_plugin_of_that_type_is_refused(site: Path, plugin_type: PluginType):
    # For the three types with a contract, a plugin of another type; for the others, no plugin at all.
    other = plugin_source(SECRETS) if plugin_type in CONTRACTS else "class Dummy: pass"
    install_dummy(site, plugin_type, other)

    error = unusable(plugin_type)

    assert isinstance(error, PluginMistyped)
    assert error.expected is CONTRACTS.get(plugin_type, PluginMetadata)
    assert "is the class Dummy." in str(error)
    assert error.expected.__name__ in str(error)


@pytest.mark.parametrize("source", ["def Dummy(): ...", "Dummy = 3", "Dummy = list[int]"])
def test_what_is_no_class_is_refused(site: Path, source: str):
    install_dummy(site, SECRETS, source)

    error = unusable()

    assert isinstance(error, PluginMistyped)
    assert "no class" in str(error)


def test_a_module_in_place_of_a_class_is_refused(site: Path):
    install(site, "floe-dummy-secrets", {SECRETS: "dummy = dummy_secrets"}, {"dummy_secrets.py": ""})

    assert isinstance(unusable(), PluginMistyped)


AS_ATTRIBUTE = "floe_api_version = {version!r}\ndef __init__(self): raise RuntimeError('constructed')"
AS_PROPERTY = "@property\ndef floe_api_version(self): return {version!r}"


@pytest.mark.parametrize("body", [AS_ATTRIBUTE, AS_PROPERTY], ids=["attribute", "property"])
@pytest.mark.parametrize("version", ["2.0", "0.0", "1.1", "1", "1.0.0", "one", ""])
def test_another_api_version_is_refused(site: Path, body: str, version: str):
    install_dummy(site, SECRETS, plugin_source(SECRETS, body=body.format(version=version)))

    error = unusable()

    assert isinstance(error, PluginIncompatible)
    assert (error.met, error.expected) == (version, "1.0")
    assert f"floe_api_version {version!r}" in str(error)
    assert "speaks '1.0'" in str(error)


def test_another_api_version_is_refused_for_the_class_too(site: Path):
    install_dummy(site, SECRETS, plugin_source(SECRETS, body='floe_api_version = "2.0"'))

    with pytest.raises(PluginIncompatible):
        PluginRegistry().get_class(SECRETS, "dummy")


def test_an_api_version_that_is_no_text_is_refused(site: Path):
    install_dummy(site, SECRETS, plugin_source(SECRETS, body="floe_api_version = 1.0"))

    error = unusable()

    assert isinstance(error, PluginIncompatible)
    assert error.met == 1.0


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ('floe_api_version = "1.0"\ndef __init__(self, url): ...', TypeError),
        ("# floe_api_version stays abstract", TypeError),
        ('floe_api_version = "1.0"\ndef __init__(self): raise OSError("no disk")', OSError),
        ("@property\ndef floe_api_version(self): return {}['version']", KeyError),
    ],
)
def test_a_class_that_cannot_be_constructed_carries_its_cause(site: Path, body: str, cause: type[Exception]):
    install_dummy(site, SECRETS, plugin_source(SECRETS, body=body))

    error = unusable()

    assert isinstance(error, PluginNotConstructible)
    assert isinstance(error.__cause__, cause)
    assert str(error.__cause__) in str(error)


def claim_twice(site: Path) -> None:
    for owner in ("beta", "alpha"):
        source = {f"dummy_{owner}.py": plugin_source(SECRETS)}
        install(site, f"floe-{owner}", {SECRETS: f"dummy = dummy_{owner}:Dummy"}, source)


@pytest.mark.parametrize("ask", [PluginRegistry.get, PluginRegistry.get_class], ids=["get", "get_class"])
def test_two_distributions_that_claim_one_name_are_both_named(site: Path, ask: Callable[..., object]):
    claim_twice(site)

    with pytest.raises(PluginConflict) as met:
        ask(PluginRegistry(), SECRETS, "dummy")

    assert met.value.distributions == ("floe-alpha", "floe-beta")
    assert "floe-alpha (dummy_alpha:Dummy) and by floe-beta (dummy_beta:Dummy)" in str(met.value)
    assert not {"dummy_alpha", "dummy_beta"} & set(sys.modules)


def test_one_target_claimed_by_two_distributions_is_a_conflict_too(site: Path):
    install(site, "floe-alpha", {SECRETS: "dummy = dummy_both:Dummy"})
    install(site, "floe-beta", {SECRETS: "dummy = dummy_both:Dummy"})

    with pytest.raises(PluginConflict):
        PluginRegistry().get(SECRETS, "dummy")


def test_a_conflict_leaves_discovery_and_other_plugins_alone(site: Path):
    claim_twice(site)
    install_dummy(site, PluginType.IDENTITY)
    fine = {"dummy_fine.py": plugin_source(SECRETS)}
    install(site, "floe-fine", {SECRETS: "fine = dummy_fine:Dummy"}, fine)
    registry = PluginRegistry()

    assert registry.discover()[SECRETS] == ("dummy", "fine")
    assert registry.get(SECRETS, "fine")
    assert registry.get(PluginType.IDENTITY, "dummy")


def test_one_name_in_two_groups_is_no_conflict(site: Path):
    install_dummy(site, SECRETS)
    install_dummy(site, PluginType.IDENTITY)

    assert type(PluginRegistry().get(SECRETS, "dummy")).__module__ == "dummy_secrets"


@pytest.mark.parametrize("spelling", ["floe-dummy-secrets", "Floe_Dummy.Secrets"])
def test_one_distribution_found_twice_is_no_conflict(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
):
    install_dummy(site, SECRETS)
    install(tmp_path / "again", spelling, {SECRETS: "dummy = dummy_secrets:Dummy"})
    monkeypatch.syspath_prepend(tmp_path / "again")  # pyright: ignore[reportUnknownMemberType]

    assert PluginRegistry().names(SECRETS) == ("dummy",)
    assert PluginRegistry().get(SECRETS, "dummy").name == "dummy"


def test_a_working_copy_beside_its_install_is_no_conflict(site: Path):
    install_dummy(site, SECRETS)
    copy = site / "floe_dummy_secrets.egg-info"
    shutil.copytree(site / "floe_dummy_secrets-1.2.3.dist-info", copy)
    (copy / "METADATA").rename(copy / "PKG-INFO")

    assert PluginRegistry().get(SECRETS, "dummy").name == "dummy"


def test_one_entry_point_written_twice_is_no_conflict(site: Path):
    line = "dummy = dummy_secrets:Dummy\n"
    install(site, "floe-dummy-secrets", {SECRETS: line * 2}, {"dummy_secrets.py": plugin_source(SECRETS)})

    assert PluginRegistry().get(SECRETS, "dummy").name == "dummy"


def test_one_distribution_with_two_targets_for_one_name_is_a_conflict(site: Path):
    install(site, "floe-alpha", {SECRETS: "dummy = dummy_one:Dummy\ndummy = dummy_two:Dummy"})

    with pytest.raises(PluginConflict, match=r"\(dummy_one:Dummy\) and by floe-alpha \(dummy_two:Dummy\)"):
        PluginRegistry().get(SECRETS, "dummy")
