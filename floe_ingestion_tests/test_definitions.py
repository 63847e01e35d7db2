"""The code location: what a floe.yaml becomes, and that loading it touches nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster._serdes import serialize_value

from floe_ingestion import build_definitions, load_spec
from floe_ingestion.definitions import lake_of
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.running import run_sources
from floe_ingestion_tests.dagster_fixtures import Project

pytestmark = pytest.mark.dagster

ROOT = Path(__file__).resolve().parent.parent
SEED = Path(__file__).parent / "data" / "seed_floe.yaml"
SHOP = """
ingestion:
  sources:
    - name: shop
      type: sql_database
      config: {connection_string: "${SHOP_URL}", tables: [orders]}
      destination: {schema: bronze}
"""
# Python tells an audit hook of every file it opens, every folder it makes and every address it asks for.
LOAD_AND_TELL_WHAT_WAS_TOUCHED = """
import json, os, sys

TOUCHING = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.symlink", "os.link", "os.chmod",
            "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
            "sqlite3.connect", "subprocess.Popen", "os.posix_spawn", "os.fork", "os.system", "urllib.Request",
            "http.client.connect", "shutil.move", "shutil.copyfile", "shutil.rmtree"}
touched = []

def hook(event, arguments):
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if arguments[0] != os.devnull:
            touched.append([event, str(arguments)])
    # Python's own `platform`, which other libraries ask at import, runs `file`.
    elif event in TOUCHING and arguments[0] != "file":
        touched.append([event, str(arguments)])

sys.addaudithook(hook)
from floe_ingestion.definitions import defs
repository = defs().get_repository_def()
keys = sorted(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys())
by_loading = list(touched)
from floe_ingestion.definitions import lake_of
from floe_ingestion.loading import load_spec
lake_of(load_spec("floe.yaml")).connect()
by_connecting = touched[len(by_loading):]
print(json.dumps({"keys": keys, "by_loading": by_loading, "by_connecting": [event for event, _ in by_connecting]}))
"""


def python(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in an environment that has nothing but `environment`, and a home folder of its own."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    given = {"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env={**given, **environment}, capture_output=True, text=True
    )


def keys_of(definitions: dg.Definitions) -> set[str]:
    return {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}


def snapshot_of(definitions: dg.Definitions) -> str:
    """All that Dagster keeps and shows of a code location."""
    return serialize_value(RepositorySnap.from_def(definitions.get_repository_def()))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, SHOP)


# Loading touches nothing


def test_the_code_location_loads_without_a_variable_a_network_or_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "floe.yaml").write_bytes(SEED.read_bytes())

    done = python(LOAD_AND_TELL_WHAT_WAS_TOUCHED, tmp_path)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["by_loading"] == []
    assert told["keys"] == [
        "bronze/customers",
        "bronze/products",
        "bronze/raw_orders",
        "source/orders_api/orders",
        "source/postgres_customers/customers",
        "source/postgres_customers/products",
    ]
    assert {"os.mkdir", "sqlite3.connect"} <= set(told["by_connecting"]), "the guard sees what is touched"
    assert list((tmp_path / "home").iterdir()) == []


def test_no_value_of_a_variable_is_in_what_dagster_keeps(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", "postgresql://ann:tr0ub4dor@db/shop")
    monkeypatch.setenv("POLARIS_SECRET", "s3cr3t")
    project.write(SHOP + "plugins: {catalog: {type: sql, config: {uri: '${POLARIS_SECRET}'}}}\n")
    definitions = project.definitions()

    kept = snapshot_of(definitions)

    assert "tr0ub4dor" not in kept
    assert "s3cr3t" not in kept
    assert (definitions.resources or {})["ingestion"].lake.catalog_config == {"uri": "${POLARIS_SECRET}"}


# What a floe.yaml becomes


def test_the_upstream_of_each_table_is_an_external_asset_of_its_source() -> None:
    graph = build_definitions(SEED).resolve_asset_graph()
    upstream = {
        key.to_user_string(): [parent.to_user_string() for parent in graph.get(key).parent_keys]
        for key in graph.executable_asset_keys
    }

    assert upstream == {
        "bronze/raw_orders": ["source/orders_api/orders"],
        "bronze/customers": ["source/postgres_customers/customers"],
        "bronze/products": ["source/postgres_customers/products"],
    }


def test_a_source_that_is_disabled_is_absent(project: Project) -> None:
    project.write(
        SHOP
        + """
    - name: old_shop
      type: sql_database
      enabled: false
      config: {connection_string: "${OLD_URL}", tables: [old_orders]}
      destination: {schema: bronze}
      schedule: {cron: "@daily"}
"""
    )
    definitions = project.definitions()

    assert keys_of(definitions) == {"bronze/orders", "source/shop/orders"}
    assert not definitions.schedules
    assert [job.name for job in definitions.jobs or ()] == ["ingest_shop"]


def test_the_file_is_the_one_that_floe_spec_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from floe_ingestion.definitions import defs

    (tmp_path / "mine.yaml").write_text(SHOP)
    monkeypatch.setenv("FLOE_SPEC", str(tmp_path / "mine.yaml"))

    assert "bronze/orders" in keys_of(defs())


@pytest.mark.parametrize("variable", [None, "nowhere/floe.yaml"])
def test_a_file_that_is_not_there_is_told_with_the_variable_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    from floe_ingestion.definitions import defs

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOE_SPEC", raising=False)
    if variable:
        monkeypatch.setenv("FLOE_SPEC", variable)

    with pytest.raises(ConfigurationError, match=rf"(?s){variable or 'floe.yaml'} is not there.*FLOE_SPEC"):
        defs()


def test_the_lake_is_beside_the_file_or_where_floe_home_says(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOE_HOME", raising=False)
    spec = load_spec(project.path)

    assert lake_of(spec).home == str(project.folder / ".floe")
    monkeypatch.setenv("FLOE_HOME", "/lake")
    assert lake_of(spec).home == "/lake"
    assert lake_of(spec, "/other").home == "/other"


def test_two_ways_to_one_definition_are_alike(project: Project) -> None:
    assert keys_of(build_definitions(load_spec(project.path))) == keys_of(build_definitions(str(project.path)))


def test_it_merges_into_another_code_location(project: Project) -> None:
    @dg.asset(deps=[dg.AssetKey(["bronze", "orders"])])
    def report() -> None: ...

    theirs = dg.Definitions(assets=[report], resources={"mail": dg.ResourceDefinition.hardcoded_resource("smtp")})

    merged = dg.Definitions.merge(theirs, project.definitions())

    assert keys_of(merged) == {"report", "bronze/orders", "source/shop/orders"}
    dg.Definitions.validate_loadable(merged)


def test_a_thousand_tables_load(project: Project) -> None:
    names = ", ".join(f"table_{number}" for number in range(1000))
    project.write(SHOP.replace("[orders]", f"[{names}]"))

    definitions = project.definitions()

    dg.Definitions.validate_loadable(definitions)
    assert len(definitions.resolve_asset_graph().executable_asset_keys) == 1000


def test_dagster_finds_the_code_location_through_the_workspace_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", str(ROOT / "workspace.yaml")],
        cwd=tmp_path,
        env={**os.environ, "FLOE_SPEC": str(SEED), "PYTHONPATH": str(ROOT), "DAGSTER_HOME": ""},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation." in done.stderr + done.stdout


# Plugins


def test_a_setting_that_the_ingestion_plugin_does_not_take_is_refused(project: Project) -> None:
    project.write(SHOP + "plugins: {ingestion: {type: dlt, config: {workers: 4}}}\n")

    with pytest.raises(
        ConfigurationError, match=r"config\.workers: is no known key: the plugin 'dlt' takes no configuration"
    ):
        project.definitions()


TRUCK = '''
from floe_ingestion.plugins import IngestionPlugin

class Truck(IngestionPlugin):
    """Drives, and writes down what happened to it."""
    name, version, floe_api_version = "truck", "1.0.0", "1.0"
    log = []

    def configure(self, config): self.log.append(("configured", dict(config)))
    def startup(self): self.log.append("started")
    def shutdown(self): self.log.append("stopped")
    def list_available_sources(self): return ["sql_database"]
    def create_pipeline(self, source, destination, config): return destination
    def run_pipeline(self, pipeline):
        self.log.append(("ran", pipeline))
        return {"rows_loaded": 3, "tables_loaded": 1, "execution_time_s": 0.1}
    def get_dagster_asset_config(self, source): return {"source_type": source}
'''


@pytest.fixture
def truck(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An installed ingestion plugin that is not ours; what happens to it."""
    site = project.folder / "site"
    info = site / "acme_truck-1.0.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-truck\nVersion: 1.0.0\n")
    (info / "entry_points.txt").write_text("[floe.ingestion]\ntruck = acme_truck:Truck\n")
    (site / "acme_truck.py").write_text(TRUCK)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "acme_truck", raising=False)
    from acme_truck import Truck  # type: ignore[import-not-found]

    log: list[Any] = Truck.log
    return log


def test_another_ingestion_plugin_is_configured_started_run_and_stopped(
    project: Project, truck: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUCK_TOKEN", "s3cr3t")
    monkeypatch.setenv("SHOP_URL", "sqlite:///shop.db")
    project.write(SHOP + "plugins: {ingestion: {type: truck, config: {token: '${TRUCK_TOKEN}'}}}\n")
    definitions = project.definitions()
    assert truck == [], "definitions do not touch it"

    project.run()

    assert truck == [("configured", {"token": "s3cr3t"}), "started", ("ran", "bronze"), "stopped"]
    assert "s3cr3t" not in snapshot_of(definitions)
    assert not (project.folder / ".floe").exists()
    (result,) = run_sources(str(project.path), quiet=True)
    assert "materialised by the ingestion plugin, which reports 3 rows for all of its source" in result.lines()[0]


def test_a_variable_that_a_plugin_needs_is_named_with_its_place(project: Project, truck: list[Any]) -> None:
    project.write(SHOP + "plugins: {ingestion: {type: truck, config: {token: '${TRUCK_TOKEN}'}}}\n")
    definitions = project.definitions()

    with pytest.raises(dg.DagsterResourceFunctionError) as caught:
        dg.materialize(list(definitions.assets or ()), resources=definitions.resources)

    told = str(caught.value.__cause__)
    assert told.startswith(f"{project.path}: plugins.ingestion.config.token: the environment variable TRUCK_TOKEN")
    assert truck == []
