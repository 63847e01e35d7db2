"""Connectors are found by their entry points, whoever's they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from floe_ingestion.errors import PluginError
from floe_ingestion.sources.registry import (
    ConnectorConflict,
    ConnectorNotFound,
    ConnectorUnusable,
    connector_class,
    connector_names,
)
from floe_ingestion_tests.parcels import ENTRY_POINT, ParcelsConnector, install

BUILT_IN = ("filesystem", "github", "google_sheets", "rest_api", "sql_database", "stripe")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def test_an_installed_package_adds_a_connector(site: Path) -> None:
    install(site, "acme-parcels", ENTRY_POINT)

    assert connector_class("parcels") is ParcelsConnector
    assert connector_names() == tuple(sorted([*BUILT_IN, "parcels"]))


def test_a_checkout_without_metadata_knows_its_connectors() -> None:
    """In a Python that sees no installed distribution of ours, nor any other."""
    root = Path(__file__).parents[2]
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    code = f"""
import sys
sys.path[:0] = [{str(root)!r}]
sys.path += {libraries!r}
import importlib.metadata
importlib.metadata.MetadataPathFinder.find_distributions = classmethod(lambda *_: iter(()))
from floe_ingestion.sources.registry import connector_class, connector_names
assert not importlib.metadata.entry_points()
print(connector_names(), connector_class("sql_database").__name__)
"""
    run = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)

    assert (run.stdout.strip(), run.stderr) == (f"{BUILT_IN} SqlDatabaseConnector", "")


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_connectors_can_be_had(name: str) -> None:
    assert connector_class(name).kind == name


def test_names_are_known_without_importing_a_connector(site: Path) -> None:
    install(site, "acme-broken", "broken = acme_module_that_does_not_exist:Connector")

    assert "broken" in connector_names()


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConnectorNotFound) as caught:
        connector_class("rest_apo")

    assert str(caught.value).startswith(
        f"'rest_apo' is no source connector. Did you mean 'rest_api'? Write one of {', '.join(caught.value.known)};"
    )


@pytest.mark.parametrize(
    ("name", "reader"), [("postgres", "sql_database"), ("CSV", "filesystem"), ("http", "rest_api")]
)
def test_what_people_call_a_source_leads_to_what_reads_it(name: str, reader: str) -> None:
    with pytest.raises(ConnectorNotFound, match=f"{name!r} is no source connector. Did you mean {reader!r}?"):
        connector_class(name)


def test_a_package_that_takes_a_built_in_name_is_named_and_in_no_other_connectors_way(site: Path) -> None:
    install(site, "acme-parcels", ENTRY_POINT.replace("parcels =", "rest_api ="), ENTRY_POINT)

    with pytest.raises(ConnectorConflict) as caught:
        connector_class("rest_api")

    assert "floe-ingestion, built in (floe_ingestion.sources.rest_api:RestApiConnector)" in str(caught.value)
    assert "acme-parcels (floe_ingestion_tests.parcels:ParcelsConnector)" in str(caught.value)
    assert connector_class("parcels") is ParcelsConnector


def test_two_packages_that_claim_one_name_are_both_named(site: Path) -> None:
    install(site, "acme-parcels", ENTRY_POINT)
    install(site, "beta-parcels", "parcels = beta:Connector")

    with pytest.raises(ConnectorConflict, match=r"acme-parcels \(.*\) and by beta-parcels \(beta:Connector\)"):
        connector_class("parcels")


def test_the_same_connector_found_twice_is_no_conflict(site: Path) -> None:
    install(site, "acme-parcels", ENTRY_POINT)
    install(site, "acme-parcels-dev", ENTRY_POINT)
    install(site, "floe-ingestion-dev", "rest_api = floe_ingestion.sources.rest_api:RestApiConnector")

    assert connector_class("parcels") is ParcelsConnector
    assert connector_class("rest_api").kind == "rest_api"


@pytest.mark.parametrize(
    ("module", "value", "message"),
    [
        ("", "acme_absent:Connector", "does not import (ModuleNotFoundError: No module named 'acme_absent')"),
        (
            "import acme_sdk_absent",
            "acme_one:Connector",
            "(ModuleNotFoundError: No module named 'acme_sdk_absent')",
        ),
        (
            "raise RuntimeError('no licence')",
            "acme_two:Connector",
            "does not import (RuntimeError: no licence)",
        ),
        ("", "acme_three:Connector", "is absent, or no subclass of SourceConnector"),
        ("Connector = dict", "acme_four:Connector", "is absent, or no subclass of SourceConnector"),
        ("Connector = 5", "acme_five:Connector", "is absent, or no subclass of SourceConnector"),
        ("", "acme_six", "is absent, or no subclass of SourceConnector"),
    ],
)
def test_a_connector_that_cannot_be_used_says_why_and_whose_it_is(
    site: Path, module: str, value: str, message: str
) -> None:
    install(site, "acme-parcels", f"broken = {value}")
    if "absent:" not in value:
        (site / f"{value.partition(':')[0]}.py").write_text(module)

    with pytest.raises(ConnectorUnusable) as caught:
        connector_class("broken")

    assert f"'broken' of acme-parcels ({value})" in str(caught.value)
    assert message in str(caught.value)
    assert isinstance(caught.value, PluginError)
