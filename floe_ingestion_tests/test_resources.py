"""The ingestion plugin as the platform's contract has it: found by its name, and run without Dagster."""

from __future__ import annotations

import inspect
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from floe_ingestion import DltIngestionResource, lake
from floe_ingestion.errors import ConfigurationError, IngestionError, MissingVariable, PermanentError, PluginError
from floe_ingestion.plugins import IngestionPlugin, PluginRegistry, PluginType, StagingPlugin
from floe_ingestion.resources import IcebergLakeResource
from floe_ingestion_tests.dagster_fixtures import Project

pytestmark = pytest.mark.dagster

METHODS = {
    "list_available_sources": "(self) -> list[str]",
    "create_pipeline": "(self, source: str, destination: str, config: dict[str, Any]) -> {pipeline}",
    "run_pipeline": "(self, pipeline: Any) -> dict[str, Any]",
    "get_dagster_asset_config": "(self, source: str) -> dict[str, Any]",
}
SHOP = {"connection_string": "sqlite:///source.db", "tables": ["orders", "customers"]}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.sql(
        "create table orders (id integer primary key, at timestamp)",
        "insert into orders values (1, '2024-01-01 00:00:00'), (2, '2024-01-02 00:00:00')",
        "create table customers (id integer primary key)",
        "insert into customers values (7)",
    )
    return project


@pytest.fixture
def plugin(project: Project) -> DltIngestionResource:
    return DltIngestionResource(lake=project.lake, base_folder=str(project.folder))


# The contract


def test_the_registry_finds_the_plugin_by_its_name_and_needs_no_arguments() -> None:
    plugin = PluginRegistry().get(PluginType.INGESTION, "dlt")

    assert isinstance(plugin, IngestionPlugin)
    assert isinstance(plugin, StagingPlugin), "it lands through our commit"
    assert isinstance(plugin, DltIngestionResource)
    assert (plugin.name, plugin.floe_api_version) == ("dlt", "1.0")
    assert plugin.description
    assert not plugin.dependencies


@pytest.mark.parametrize("method", METHODS)
def test_the_four_methods_have_the_names_and_parameters_of_the_contract(method: str) -> None:
    ours, contract = inspect.signature(getattr(DltIngestionResource, method)), METHODS[method]

    assert str(ours).replace("'", "") == contract.format(pipeline="IngestionPipeline")
    assert str(inspect.signature(getattr(IngestionPlugin, method))).replace("'", "") == contract.format(pipeline="Any")
    assert method in IngestionPlugin.__abstractmethods__


def test_it_is_a_dagster_resource_of_which_dagster_shows_the_settings() -> None:
    plugin = DltIngestionResource(lake=IcebergLakeResource(home="/lake"))

    assert isinstance(plugin, dg.ConfigurableResource)
    assert plugin.lake.staging_folder == Path("/lake/staging")


def test_it_lists_the_types_of_source_that_it_takes() -> None:
    assert DltIngestionResource().list_available_sources() == [
        "filesystem",
        "github",
        "google_sheets",
        "rest_api",
        "sql_database",
        "stripe",
    ]


@pytest.mark.parametrize("source", ["filesystem", "github", "google_sheets", "rest_api", "sql_database", "stripe"])
def test_the_asset_of_a_type_starts_from_the_defaults_of_floe_yaml(source: str) -> None:
    config = DltIngestionResource().get_dagster_asset_config(source)

    assert (config["source_type"], config["write_disposition"], config["incremental_key"]) == (source, "append", None)
    assert config["kinds"][:2] == ["dlt", "iceberg"]
    assert len(config["kinds"]) <= 3
    assert "properties" in config["config_schema"]


def test_a_type_that_nobody_registers_is_told_with_those_that_there_are() -> None:
    plugin = DltIngestionResource()

    with pytest.raises(PluginError, match="filesystem, github, google_sheets, rest_api, sql_database, stripe"):
        plugin.get_dagster_asset_config("sql_databse")
    with pytest.raises(ConfigurationError, match=r"Did you mean 'sql_database'\? .*rest_api, sql_database, stripe"):
        plugin.create_pipeline("sql_databse", "bronze", {"tables": ["orders"]})


# Without Dagster


def test_a_pipeline_lands_rows_and_reports_what_was_measured(project: Project, plugin: DltIngestionResource) -> None:
    began = time.monotonic()
    report = plugin.run_pipeline(plugin.create_pipeline("sql_database", "bronze", SHOP))
    took = time.monotonic() - began

    assert (report["rows_loaded"], report["tables_loaded"]) == (3, 2)
    assert 0 < report["execution_time_s"] <= took
    assert project.rows("bronze.orders", "id") == [1, 2]
    assert project.rows("bronze.customers", "id") == [7]
    (orders,) = project.snapshots("bronze.orders")
    shown = report["tables"]["bronze.orders"]
    assert (shown["rows_added"], shown["rows_total"], shown["snapshot_id"]) == (2, 2, orders.snapshot_id)


def test_a_pipeline_with_a_cursor_goes_on_where_it_was_and_measures_zero(
    project: Project, plugin: DltIngestionResource
) -> None:
    entry = {
        "config": {"connection_string": "sqlite:///source.db", "tables": ["orders"]},
        "incremental": {"cursor_path": "at"},
    }
    pipeline = plugin.create_pipeline("sql_database", "bronze.sales", entry)
    loaded = [plugin.run_pipeline(pipeline)["rows_loaded"]]
    loaded.append(plugin.run_pipeline(pipeline)["rows_loaded"])
    project.sql("insert into orders values (3, '2024-01-03 00:00:00')")
    loaded.append(plugin.run_pipeline(plugin.create_pipeline("sql_database", "bronze.sales", entry))["rows_loaded"])

    assert loaded == [2, 0, 1]
    assert project.rows("bronze.sales", "id") == [1, 2, 3]


def test_rows_that_were_updated_count_as_loaded(project: Project, plugin: DltIngestionResource) -> None:
    entry = {
        "config": {"connection_string": "sqlite:///source.db", "tables": ["orders"]},
        "destination": {"write_disposition": "merge"},
    }
    pipeline = plugin.create_pipeline("sql_database", "bronze", entry)
    plugin.run_pipeline(pipeline)
    project.sql("update orders set at = '2025-01-01 00:00:00' where id = 1", "insert into orders values (3, null)")

    report = plugin.run_pipeline(pipeline)

    shown = report["tables"]["bronze.orders"]
    assert (report["rows_loaded"], shown["rows_added"], shown["rows_updated"]) == (2, 1, 1)


def test_creating_a_pipeline_touches_nothing(project: Project, plugin: DltIngestionResource) -> None:
    config = {**SHOP, "connection_string": "${SHOP_URL_THAT_IS_NOT_SET}"}

    pipeline = plugin.create_pipeline("sql_database", "bronze", config)

    assert not (project.folder / ".floe").exists()
    with pytest.raises(MissingVariable, match=r"create_pipeline\('sql_database'\).config.connection_string"):
        plugin.run_pipeline(pipeline)


@pytest.mark.parametrize("config", [{}, None])
def test_a_pipeline_without_a_configuration_is_refused(plugin: DltIngestionResource, config: Any) -> None:
    with pytest.raises(ConfigurationError, match="was given no configuration, so there is nothing to load"):
        plugin.create_pipeline("sql_database", "bronze", config)


def test_every_mistake_of_a_configuration_is_told_at_once(plugin: DltIngestionResource) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plugin.create_pipeline("sql_database", "bronze", {"conection_string": "x", "tables": [], "chunk_size": 0})

    assert {problem.path for problem in caught.value.problems} == {
        "config.conection_string",
        "config.tables",
        "config.chunk_size",
    }


def test_only_what_create_pipeline_made_can_be_run(plugin: DltIngestionResource) -> None:
    with pytest.raises(PermanentError, match="takes what create_pipeline returned, and was given a dict"):
        plugin.run_pipeline({"rows_loaded": 1})


def test_a_partitioned_pipeline_is_not_run_without_a_partition(project: Project, plugin: DltIngestionResource) -> None:
    """Its window would be everything, and a second run would append every row again."""
    partitions = {"type": "daily", "column": "at", "start": "2024-01-01"}
    pipeline = plugin.create_pipeline("sql_database", "bronze", {"config": SHOP, "partitions": partitions})

    with pytest.raises(PermanentError, match="is partitioned, and run_pipeline has no partition to load"):
        plugin.run_pipeline(pipeline)
    assert not (project.folder / ".floe").exists()


def test_a_table_that_fails_leaves_the_ones_before_it_landed(project: Project, plugin: DltIngestionResource) -> None:
    pipeline = plugin.create_pipeline("sql_database", "bronze", {**SHOP, "tables": ["orders", "nowhere"]})

    with pytest.raises(PermanentError, match="nowhere"):
        plugin.run_pipeline(pipeline)

    assert project.rows("bronze.orders", "id") == [1, 2]


# Health


def test_a_catalog_that_answers_is_healthy(plugin: DltIngestionResource) -> None:
    status = plugin.health_check(timeout=60)

    assert (status.healthy, status.message) == (True, "the sql catalog answers")
    assert 0 < status.seconds < 60


def plugin_at(project: Project, uri: str) -> DltIngestionResource:
    return DltIngestionResource(lake=IcebergLakeResource(home=str(project.folder), catalog_config={"uri": uri}))


def test_a_catalog_that_refuses_is_unhealthy_and_its_password_is_not_told(project: Project) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]  # closed again, so that nobody listens

    status = plugin_at(project, f"postgresql+psycopg://ann:tr0ub4dor@127.0.0.1:{port}/lake").health_check(timeout=60)

    assert status.state == "unhealthy"
    assert "CatalogUnavailable" in status.message
    assert "refused" in status.message
    assert "tr0ub4dor" not in f"{status.message} {status.details}"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_a_catalog_that_does_not_answer_is_unhealthy_in_time(project: Project, silent_port: int) -> None:
    plugin = plugin_at(project, f"postgresql+psycopg://ann:tr0ub4dor@127.0.0.1:{silent_port}/lake?connect_timeout=30")
    plugin_at(project, f"sqlite:///{project.folder}/catalog.db").health_check(60)  # what is imported is not measured

    began = time.monotonic()
    status = plugin.health_check(timeout=0.5)

    assert (status.state, status.message) == ("unhealthy", "No answer within 0.5 seconds.")
    assert time.monotonic() - began < 5


# The lake


def test_without_configuration_the_lake_is_sqlite_and_a_folder(tmp_path: Path) -> None:
    catalog = IcebergLakeResource(home=str(tmp_path / "home")).connect()
    catalog.create_namespace("bronze")

    assert catalog.properties["warehouse"] == (tmp_path / "home" / "warehouse").as_uri()
    assert (tmp_path / "home" / "catalog.db").exists()


def test_a_plugin_that_is_not_installed_is_told_when_a_run_connects(tmp_path: Path) -> None:
    there = IcebergLakeResource(home=str(tmp_path), catalog="polars")

    with pytest.raises(PluginError, match="No catalog plugin is named 'polars'"):
        there.connect()


@pytest.mark.parametrize("part", ["catalog", "storage"])
def test_a_variable_that_a_plugin_needs_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.delenv("LAKE_SECRET", raising=False)
    settings: dict[str, Any] = {f"{part}_config": {"secret": ["${LAKE_SECRET}"]}}
    there = IcebergLakeResource(home=str(tmp_path), place="floe.yaml: plugins", **settings)

    with pytest.raises(MissingVariable, match=rf"^floe.yaml: plugins.{part}.config.secret\[0\]: .* LAKE_SECRET "):
        there.connect()


def test_a_catalog_that_cannot_be_opened_keeps_its_cause(tmp_path: Path) -> None:
    """An error that is its own cause would be shown without one, and some would follow it for ever."""
    config = {"uri": f"sqlite:///{tmp_path}/no/such/folder/catalog.db"}
    with pytest.raises(IngestionError, match="unable to open database file") as caught:
        lake.connect("sql", config, "local", {}, tmp_path)

    assert type(caught.value.__cause__).__name__ == "OperationalError"
