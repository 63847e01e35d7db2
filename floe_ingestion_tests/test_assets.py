"""One asset a table: what Dagster shows of it, what materialising it lands, and what a failure leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import dlt
import pyarrow as pa
import pytest

from floe_ingestion import build_definitions, dlt_asset
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.plugins import IngestionPlugin
from floe_ingestion.spec import IncrementalSpec, PartitionsSpec, RetrySpec
from floe_ingestion.staging import Window
from floe_ingestion_tests.dagster_fixtures import QUIET, Project, category, failure, materialize, metadata, retries
from floe_ingestion_tests.flaky import attempts, install_flaky

pytestmark = pytest.mark.dagster

AT_ONCE = RetrySpec(max_retries=3, delay_seconds=0, backoff="none", jitter=False)
SHOP = """
ingestion:
  sources:
    - name: shop
      type: sql_database
      description: What the shop sells, and to whom.
      owners: ["team:sales", "ann@example.com"]
      tags: {domain: sales}
      group: shopping
      config:
        connection_string: sqlite:///source.db
        tables: [{name: orders, incremental: {cursor_path: updated_at}}, customers]
      destination: {schema: bronze}
      retry: {max_retries: 2, delay_seconds: 0}
"""
ORDERS = "create table orders (id integer primary key, amount decimal(10, 2), updated_at timestamp)"
CUSTOMERS = "create table customers (id integer primary key, name text)"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def shop(project: Project) -> Project:
    project.write(SHOP)
    project.sql(
        ORDERS,
        CUSTOMERS,
        "insert into orders values (1, 9.50, '2024-01-01 08:00:00'), (2, 1.25, '2024-01-02 09:30:00')",
        "insert into customers values (1, 'Ann'), (2, 'Ben')",
    )
    return project


@pytest.fixture
def flaky(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    install_flaky(project.folder / "site")
    monkeypatch.syspath_prepend(project.folder / "site")
    return project


def assets_of(project: Project) -> dg.AssetsDefinition:
    (assets,) = [asset for asset in project.definitions().assets or () if isinstance(asset, dg.AssetsDefinition)]
    return assets


def spec_of(project: Project, key: str) -> dg.AssetSpec:
    (spec,) = [spec for spec in project.definitions().resolve_all_asset_specs() if spec.key.to_user_string() == key]
    return spec


# What Dagster shows before any run


def test_an_asset_shows_what_floe_yaml_says_of_its_source(shop: Project) -> None:
    spec = spec_of(shop, "bronze/orders")

    assert spec.kinds == {"dlt", "iceberg", "sql"}
    assert (spec.group_name, spec.description) == ("shopping", "What the shop sells, and to whom.")
    assert (set(spec.owners), spec.tags["domain"]) == ({"team:sales", "ann@example.com"}, "sales")
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["source/shop/orders"]
    assert {
        "dagster/table_name": "bronze.orders",
        "source": "shop",
        "write disposition": "append",
        "cursor": "updated_at",
    }.items() <= spec.metadata.items()


def test_the_source_of_a_table_is_an_external_asset(shop: Project) -> None:
    spec = spec_of(shop, "source/shop/orders")

    assert spec.key not in shop.definitions().resolve_asset_graph().executable_asset_keys
    assert (spec.group_name, spec.kinds, list(spec.deps)) == ("shopping", {"sql"}, [])


def test_nothing_that_only_dagster_dlt_reads_is_left_in_the_metadata(shop: Project) -> None:
    assert not [name for name in spec_of(shop, "bronze/orders").metadata if name.startswith("dagster_dlt")]


def test_an_asset_that_says_nothing_of_itself_is_shown_by_how_it_loads(project: Project) -> None:
    project.write("""
ingestion:
  sources:
    - name: shop
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [orders]}
      destination: {schema: bronze, write_disposition: merge, primary_key: id}
""")
    spec = spec_of(project, "bronze/orders")

    assert spec.description == "orders of shop (sql_database). Rows are merged by key."
    assert (spec.group_name, spec.metadata["primary key"]) == ("shop", "id")


def test_a_run_goes_through_the_retry_policy_and_the_pool_of_its_source(shop: Project) -> None:
    op = assets_of(shop).op

    assert op.retry_policy == dg.RetryPolicy(
        max_retries=2, delay=0, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
    )
    assert op.pool == "source_shop"


def test_a_pool_can_be_shared_by_sources(shop: Project) -> None:
    shop.write(SHOP + "      pool: the_database\n")

    assert assets_of(shop).op.pool == "the_database"


def test_what_an_engine_is_to_read_of_a_source_is_on_the_step_and_on_the_job(shop: Project) -> None:
    shop.write(
        SHOP + "      op_tags: {dagster-celery/queue: big, dagster-k8s/config: {container_config: {tty: true}}}\n"
    )
    told = {"dagster-celery/queue": "big", "dagster-k8s/config": '{"container_config": {"tty": true}}'}

    op, job = assets_of(shop).op, shop.definitions().resolve_job_def("ingest_shop")

    assert op.tags == told
    assert {**job.tags, **told} == job.tags


def test_a_partitioned_asset_is_backfilled_in_one_run(project: Project) -> None:
    project.write("""
ingestion:
  sources:
    - name: shop
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [orders]}
      destination: {schema: bronze}
      partitions: {type: daily, column: day, start: 2024-01-01}
""")
    assets = assets_of(project)

    assert assets.partitions_def == dg.DailyPartitionsDefinition(start_date="2024-01-01", timezone="UTC")
    assert assets.backfill_policy == dg.BackfillPolicy.single_run()
    assert spec_of(project, "bronze/orders").metadata["floe/partition_column"] == "day"


def test_an_unpartitioned_asset_has_no_backfill_policy(shop: Project) -> None:
    assets = assets_of(shop)

    assert (assets.partitions_def, assets.backfill_policy) == (None, None)


def test_an_asset_in_python_shows_what_its_decorator_says() -> None:
    @dlt_asset(
        table="bronze.cats",
        write_disposition="merge",
        primary_key=["name", "born"],
        group="pets",
        owners=["team:pets"],
        tags={"domain": "pets"},
        kinds=["python", "cat", "dog"],
        retry=RetrySpec(max_retries=0),
        op_tags={"dagster/priority": 3},
    )
    def cats() -> None:
        """Every cat that is known."""

    (spec,) = cats.specs

    assert spec.key == dg.AssetKey(["bronze", "cats"])
    assert spec.kinds == {"dlt", "iceberg", "python"}, "Dagster shows at most three"
    assert (spec.description, spec.group_name, list(spec.owners)) == ("Every cat that is known.", "pets", ["team:pets"])
    assert (spec.tags["domain"], spec.metadata["primary key"]) == ("pets", "name, born")
    assert [dep.asset_key.to_user_string() for dep in spec.deps] == ["source/cats/cats"]
    assert (cats.op.retry_policy, cats.op.pool, cats.op.tags) == (None, "source_cats", {"dagster/priority": "3"})


# What materialising lands, and shows


def test_materialising_lands_every_table_of_a_source(shop: Project) -> None:
    shop.run()

    assert shop.rows("bronze.orders") == [
        (1, Decimal("9.50"), datetime(2024, 1, 1, 8)),
        (2, Decimal("1.25"), datetime(2024, 1, 2, 9, 30)),
    ]
    assert shop.rows("bronze.customers") == [(1, "Ann"), (2, "Ben")]


def test_a_materialisation_shows_what_its_commit_holds(shop: Project) -> None:
    result = shop.run("bronze/orders")
    shown = metadata(result, "bronze/orders")
    (snapshot,) = shop.snapshots("bronze.orders")

    assert (shown["rows added"], shown["rows updated"], shown["rows deleted"]) == (2, 0, 0)
    assert (shown["dagster/row_count"], shown["files added"]) == (2, 1)
    assert (shown["snapshot id"], shown["load id"]) == (str(snapshot.snapshot_id), snapshot.load_id)
    assert (shown["dagster/table_name"], shown["dagster/uri"]) == (
        "bronze.orders",
        shop.table("bronze.orders").location(),
    )
    assert shown["preview"].splitlines() == [
        "| id | amount | updated_at |",
        "| --- | --- | --- |",
        "| 1 | 9.50 | 2024-01-01 08:00:00 |",
        "| 2 | 1.25 | 2024-01-02 09:30:00 |",
    ]
    assert snapshot.run_id == result.run_id


def test_the_committed_schema_is_shown_as_columns(shop: Project) -> None:
    schema = metadata(shop.run("bronze/orders"), "bronze/orders")["dagster/column_schema"]

    assert [(column.name, column.type) for column in schema.columns] == [
        ("id", "long"),
        ("amount", "decimal(10, 2)"),
        ("updated_at", "timestamp"),
    ]


def test_a_key_is_shown_at_its_columns(project: Project) -> None:
    @dlt_asset(table="bronze.cats", write_disposition="merge", primary_key="name", columns={"lives": "int"})
    def cats() -> Iterator[dict[str, Any]]:
        yield {"name": "Tom", "lives": 9}

    schema = metadata(materialize([cats], project.resources), "bronze/cats")["dagster/column_schema"]
    shown = {
        column.name: (column.type, column.constraints.nullable, column.constraints.other) for column in schema.columns
    }

    assert shown == {"name": ("string", False, ["identifies a row"]), "lives": ("int", True, [])}


def test_numbers_are_numbers_so_that_dagster_plots_them(shop: Project) -> None:
    (event, *_) = shop.run("bronze/orders").get_asset_materialization_events()
    values = event.step_materialization_data.materialization.metadata
    whole = ["rows added", "rows updated", "rows deleted", "files added", "bytes added", "dagster/row_count"]

    assert {type(values[name]) for name in whole} == {dg.IntMetadataValue}
    assert isinstance(values["seconds"], dg.FloatMetadataValue)


def test_the_cursor_is_shown_before_and_after(shop: Project) -> None:
    first = metadata(shop.run("bronze/orders"), "bronze/orders")
    shop.sql("insert into orders values (3, 2, '2024-01-03 10:00:00')")
    second = metadata(shop.run("bronze/orders"), "bronze/orders")

    assert "cursor before" not in first
    assert first["cursor after"] == second["cursor before"] == {"updated_at": "2024-01-02 09:30:00"}
    assert second["cursor after"] == {"updated_at": "2024-01-03 10:00:00"}
    assert (second["rows added"], second["dagster/row_count"]) == (1, 3)


def test_a_run_that_finds_nothing_new_says_so_and_leaves_no_snapshot(shop: Project) -> None:
    shop.run("bronze/orders")
    shown = metadata(shop.run("bronze/orders"), "bronze/orders")

    assert (shown["rows added"], shown["dagster/row_count"]) == (0, 2)
    assert len(shop.snapshots("bronze.orders")) == 1


def test_a_source_that_fell_behind_the_cursor_is_reported(shop: Project) -> None:
    """Such as a database that was restored from a backup: its new rows would be passed over in silence."""
    shop.run("bronze/orders")
    shop.sql("delete from orders where id = 2", "insert into orders values (3, 2, '2024-01-01 12:00:00')")

    shown = metadata(shop.run("bronze/orders"), "bronze/orders")

    assert shown["rows added"] == 0
    assert "2024-01-01 12:00:00" in shown["warnings"]


def test_a_new_column_is_shown_as_a_change_of_the_schema(shop: Project) -> None:
    shop.run("bronze/orders")
    shop.sql("alter table orders add column note text", "insert into orders values (3, 2, '2024-01-03', 'gift')")
    shown = metadata(shop.run("bronze/orders"), "bronze/orders")

    assert shown["schema changes"] == "- new column `note`"


def test_only_the_selected_tables_of_a_source_are_read(flaky: Project) -> None:
    flaky.write("""
ingestion:
  sources:
    - name: sales
      type: flaky
      config: {resources: [{name: orders, rows: [{id: 1}]}, {name: customers, rows: [{id: 1}]}]}
      destination: {schema: bronze}
""")
    result = flaky.run("bronze/customers")

    assert [event.asset_key.to_user_string() for event in result.get_asset_materialization_events()] == [
        "bronze/customers"
    ]
    assert [name for _, name in flaky.catalog.list_tables("bronze")] == ["customers"]
    assert attempts(flaky.folder, "orders") == 0


# What Dagster adds


def test_an_asset_in_python_takes_a_condition_and_a_policy_of_dagsters(project: Project) -> None:
    @dlt_asset(table="bronze.cats")
    def cats() -> Iterator[dict[str, Any]]:
        yield {"name": "Tom"}

    condition, policy = dg.AutomationCondition.eager(), dg.FreshnessPolicy.time_window(timedelta(days=1))
    watched = cats.map_asset_specs(
        lambda spec: spec.replace_attributes(automation_condition=condition, freshness_policy=policy)
    )
    (spec,) = watched.specs

    assert (spec.automation_condition, spec.freshness_policy) == (condition, policy)
    assert materialize([watched], project.resources).success
    assert project.rows("bronze.cats", "name") == ["Tom"]


# What a failure leaves


def test_a_transient_failure_is_tried_again_by_the_policy_and_lands_once(project: Project) -> None:
    calls = project.folder / "calls"

    @dlt_asset(table="bronze.cats", retry=AT_ONCE)
    def cats() -> Iterator[dict[str, Any]]:
        with calls.open("a") as file:
            file.write("called\n")
        yield {"name": "Tom"}
        if len(calls.read_text().splitlines()) < 3:
            raise ConnectionError("the cat ran away")
        yield {"name": "Kitty"}

    result = materialize([cats], project.resources)

    assert retries(result) == 2
    assert project.rows("bronze.cats", "name") == ["Kitty", "Tom"]
    assert len(project.snapshots("bronze.cats")) == 1


def test_a_permanent_failure_is_not_tried_again(project: Project) -> None:
    calls = project.folder / "calls"

    @dlt_asset(table="bronze.cats", retry=AT_ONCE)
    def cats() -> Iterator[dict[str, Any]]:
        with calls.open("a") as file:
            file.write("called\n")
        yield {"name": "Tom"}
        raise ValueError("a dog")

    result = materialize([cats], project.resources, fails=True)

    assert calls.read_text().splitlines() == ["called"]
    assert (retries(result), category(result)) == (0, "PermanentError")
    assert failure(result) == "cats.cats: ValueError: a dog"


def test_retries_that_are_used_up_fail_the_run_and_land_nothing(project: Project) -> None:
    @dlt_asset(table="bronze.cats", retry=AT_ONCE)
    def cats() -> Iterator[dict[str, Any]]:
        yield {"name": "Tom"}
        raise ConnectionError("the cat ran away")

    result = materialize([cats], project.resources, fails=True)

    assert (retries(result), category(result)) == (3, "SourceUnavailable")
    assert project.catalog.list_namespaces() == []


FLAKY = """
ingestion:
  sources:
    - name: sales
      type: flaky
      config:
        resources:
          - {name: orders, rows: [{id: 1}, {id: 2}]}
          - {name: customers, rows: [{id: 1}, {id: 2}], failures: 1}
          - {name: returns, rows: [{id: 1}]}
      destination: {schema: bronze}
      retry: {max_retries: RETRIES, delay_seconds: 0}
"""
TOKEN = """config:
        token: ${SALES_TOKEN}"""


def test_a_step_that_is_tried_again_does_not_land_its_first_table_twice(flaky: Project) -> None:
    flaky.write(FLAKY.replace("RETRIES", "2"))

    result = flaky.run()

    assert retries(result) == 1
    assert flaky.rows("bronze.orders", "id") == flaky.rows("bronze.customers", "id") == [1, 2]
    assert len(flaky.snapshots("bronze.orders")) == 1
    assert (attempts(flaky.folder, "orders"), attempts(flaky.folder, "customers")) == (1, 2)
    assert metadata(result, "bronze/orders")["rows added"] == 2, "the retry shows what the run had landed"


def test_a_table_that_fails_leaves_the_ones_before_it_landed(flaky: Project) -> None:
    flaky.write(FLAKY.replace("RETRIES", "0"))

    result = flaky.run(fails=True)

    assert flaky.rows("bronze.orders", "id") == [1, 2]
    assert [name for _, name in flaky.catalog.list_tables("bronze")] == ["orders"]
    assert [event.asset_key.to_user_string() for event in result.get_asset_materialization_events()] == [
        "bronze/orders"
    ]
    assert "sales.customers" in failure(result)


def sales_job() -> dg.JobDefinition:
    """The job of FLAKY, as another process would find it."""
    return build_definitions(os.environ["FLOE_SPEC"]).resolve_job_def("ingest_sales")


def test_a_run_that_goes_on_from_one_that_failed_does_not_land_its_tables_twice(
    flaky: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What "Re-execute from failure" does, and Dagster's retries of whole runs after a lost worker."""
    flaky.write(FLAKY.replace("RETRIES", "0"))
    monkeypatch.setenv("FLOE_SPEC", str(flaky.path))
    job, config = dg.reconstructable(sales_job), {"execution": {"config": {"in_process": {}}}, **QUIET}
    with dg.instance_for_test(temp_dir=str(flaky.folder)) as instance:
        failed = dg.execute_job(job, instance, run_config=config)
        options = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
        went_on = dg.execute_job(job, instance, run_config=config, reexecution_options=options)

    assert (failed.success, went_on.success) == (False, True)
    assert flaky.rows("bronze.customers", "id") == [1, 2]
    assert flaky.rows("bronze.orders", "id") == [1, 2]


def test_a_run_leaves_nothing_in_the_staging_folder(flaky: Project) -> None:
    flaky.write(FLAKY.replace("RETRIES", "0"))
    flaky.run(fails=True)
    flaky.run()

    assert list((flaky.folder / ".floe" / "staging").iterdir()) == []


def test_a_variable_that_is_not_set_fails_the_run_that_needs_it_and_names_its_place(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_URL", raising=False)
    project.write(SHOP.replace("sqlite:///source.db", "${SHOP_URL}"))

    result = project.run(fails=True)

    assert (category(result), retries(result)) == ("MissingVariable", 0)
    assert "ingestion.sources[0].config.connection_string" in failure(result)
    assert "SHOP_URL is not set" in failure(result)


def test_a_secret_appears_nowhere_in_a_failed_run(
    flaky: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SALES_TOKEN", "tr0ub4dor")
    flaky.write(FLAKY.replace("RETRIES", "1").replace("failures: 1", "failures: 9").replace("config:", TOKEN))

    definitions = flaky.definitions()
    result = dg.materialize(list(definitions.assets or ()), resources=definitions.resources, raise_on_error=False)

    assert failure(result).endswith("customers broke off at its attempt 2 with the token ********")
    assert "tr0ub4dor" not in capfd.readouterr().err
    assert "tr0ub4dor" not in str(result.all_events)


# Functions in Python


def test_a_function_may_yield_rows_arrow_or_return_a_dlt_resource_or_source(project: Project) -> None:
    @dlt_asset(table="bronze.by_row")
    def by_row() -> Iterator[dict[str, Any]]:
        yield {"id": 1, "name": "Tom"}
        yield {"id": 2, "name": "Kitty"}

    @dlt_asset(table="bronze.as_list")
    def as_list() -> list[dict[str, Any]]:
        return [{"id": 1, "name": "Tom"}, {"id": 2, "name": "Kitty"}]

    @dlt_asset(table="bronze.as_arrow")
    def as_arrow() -> Iterator[pa.Table]:
        yield pa.table({"id": [1, 2], "name": ["Tom", "Kitty"]})

    @dlt_asset(table="bronze.as_resource")
    def as_resource() -> Any:
        return dlt.resource([{"id": 1, "name": "Tom"}, {"id": 2, "name": "Kitty"}], name="anything")

    @dlt_asset(table="bronze.as_source")
    def as_source() -> Any:
        return dlt.source(lambda: as_resource_of("cats"), name="pets")()

    def as_resource_of(name: str) -> Any:
        return dlt.resource([{"id": 1, "name": "Tom"}, {"id": 2, "name": "Kitty"}], name=name)

    materialize([by_row, as_list, as_arrow, as_resource, as_source], project.resources)

    for table in ("by_row", "as_list", "as_arrow", "as_resource", "as_source"):
        assert project.rows(f"bronze.{table}", "id", "name") == [(1, "Tom"), (2, "Kitty")], table


def test_a_function_is_given_the_window_of_its_partition(project: Project) -> None:
    asked: list[Window | None] = []

    @dlt_asset(table="bronze.visits", partitions=PartitionsSpec(type="daily", column="at", start="2024-01-01"))
    def visits(window: Window | None) -> Iterator[dict[str, Any]]:
        asked.append(window)
        yield {"at": datetime(2024, 1, 2, 12, tzinfo=timezone.utc)}
        yield {"at": datetime(2024, 1, 3, 0, tzinfo=timezone.utc)}

    shown = metadata(materialize([visits], project.resources, partition="2024-01-02"), "bronze/visits")

    day = datetime(2024, 1, 2, tzinfo=timezone.utc), datetime(2024, 1, 3, tzinfo=timezone.utc)
    (window,) = asked
    assert window is not None
    assert (window.column, window.start, window.end) == ("at", *day)
    assert project.rows("bronze.visits", "at") == [datetime(2024, 1, 2, 12, tzinfo=timezone.utc)]
    assert shown["rows left out: outside window"] == 1


def test_a_function_without_partitions_is_given_no_window(project: Project) -> None:
    asked: list[Window | None] = []

    @dlt_asset(table="bronze.visits")
    def visits(window: Window | None) -> Iterator[dict[str, Any]]:
        asked.append(window)
        yield {"id": 1}

    materialize([visits], project.resources)

    assert asked == [None]


@pytest.mark.parametrize("owner", ["the decorator", "the resource"])
def test_a_function_with_a_cursor_brings_only_what_is_new(project: Project, owner: str) -> None:
    known = [{"id": 1}, {"id": 2}]
    of_resource = owner == "the resource"

    @dlt_asset(table="bronze.cats", incremental=None if of_resource else IncrementalSpec(cursor_path="id"))
    def cats() -> Any:
        hints = {"incremental": dlt.sources.incremental("id")} if of_resource else {}
        return dlt.resource(list(known), name="cats", **hints)

    materialize([cats], project.resources)
    known.append({"id": 3})
    shown = metadata(materialize([cats], project.resources), "bronze/cats")

    assert shown["rows added"] == 1
    assert (shown["cursor before"], shown["cursor after"]) == ({"id": "2"}, {"id": "3"})
    assert project.rows("bronze.cats", "id") == [1, 2, 3]


def test_a_table_name_becomes_what_floe_yaml_would_make_of_it(project: Project) -> None:
    @dlt_asset(table="bronze.WildCats")
    def cats() -> Iterator[dict[str, Any]]:
        yield {"id": 1}

    materialize([cats], project.resources)

    assert cats.key == dg.AssetKey(["bronze", "wild_cats"])
    assert project.rows("bronze.wild_cats", "id") == [1]


def test_a_source_with_several_resources_is_told_to_choose_one(project: Project) -> None:
    def of(name: str) -> Any:
        return dlt.resource([{"id": 1}], name=name)

    @dlt_asset(table="bronze.cats", retry=AT_ONCE)
    def cats() -> Any:
        return dlt.source(lambda: [of("tabbies"), of("tigers")], name="pets")()

    result = materialize([cats], project.resources, fails=True)

    assert "2 resources (tabbies, tigers)" in failure(result)
    assert "source.resources[…]" in failure(result)
    assert retries(result) == 0


# Nothing falls back in silence


def test_a_function_that_forgets_to_return_its_rows_fails(project: Project) -> None:
    @dlt_asset(table="bronze.cats", retry=AT_ONCE)
    def cats() -> None:
        [{"id": 1}]  # noqa: B018  (what was forgotten is `return`)

    result = materialize([cats], project.resources, fails=True)

    assert failure(result) == "cats returned nothing. Yield rows or Arrow tables, or return a list or a dlt resource."
    assert retries(result) == 0


def test_a_source_without_rows_lands_a_measured_zero(project: Project) -> None:
    @dlt_asset(table="bronze.cats")
    def cats() -> Iterator[dict[str, Any]]:
        yield from ()

    shown = metadata(materialize([cats], project.resources), "bronze/cats")

    assert (shown["rows added"], shown["dagster/row_count"]) == (0, 0)


def test_assets_without_a_plugin_to_run_them_cannot_be_materialised(shop: Project) -> None:
    assets = [asset for asset in shop.definitions().assets or () if isinstance(asset, dg.AssetsDefinition)]

    others = {key: resource for key, resource in shop.resources.items() if key != "ingestion"}

    with pytest.raises(dg.DagsterInvalidDefinitionError, match="'ingestion'"):
        dg.materialize(assets, resources=others)


def test_a_partitioned_asset_is_not_loaded_without_a_partition(project: Project) -> None:
    @dlt_asset(
        table="bronze.visits", partitions=PartitionsSpec(type="daily", column="at", start="2024-01-01"), retry=AT_ONCE
    )
    def visits() -> Iterator[dict[str, Any]]:
        yield {"at": "2024-01-01T00:00:00Z"}

    result = materialize([visits], project.resources, fails=True)

    assert "visits is partitioned (daily), and this run names no partition" in failure(result)
    assert retries(result) == 0
    assert project.catalog.list_namespaces() == []


def test_a_decorator_says_every_mistake_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:

        @dlt_asset(
            table="cats",
            write_disposition="update",  # type: ignore[arg-type]
            schema_contract="strict",
            partition_by=[""],
        )
        def cats() -> None: ...

    assert [problem.path for problem in caught.value.problems] == [
        "partition_by[0]",
        "schema_contract",
        "table",
        "write_disposition",
    ]
    assert "dlt_asset('cats') has 4 mistakes" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"write_disposition": "replace"}, "beside `write_disposition: replace`"),
        ({"partitions": PartitionsSpec(type="daily", column="at", start="2024-01-01")}, "beside `partitions`"),
    ],
)
def test_a_cursor_is_refused_where_it_would_lose_rows(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):

        @dlt_asset(table="bronze.cats", incremental=IncrementalSpec(cursor_path="at"), **settings)
        def cats() -> None: ...


# Plugins that write by themselves


class Courier(IngestionPlugin):
    """Brings the rows itself, somewhere, and tells how many."""

    name = "courier"
    version = "1.0.0"
    floe_api_version = "1.0"

    def __init__(self) -> None:
        self.ordered: list[tuple[str, str, dict[str, Any]]] = []

    def list_available_sources(self) -> list[str]:
        return ["sql_database"]

    def create_pipeline(self, source: str, destination: str, config: dict[str, Any]) -> Any:
        self.ordered.append((source, destination, config))
        return "the van"

    def run_pipeline(self, pipeline: Any) -> dict[str, Any]:
        assert pipeline == "the van"
        return {"rows_loaded": 7, "tables_loaded": 2, "execution_time_s": 1.5}

    def get_dagster_asset_config(self, source: str) -> dict[str, Any]:
        return {"source_type": source}


def test_a_plugin_that_writes_by_itself_is_given_the_values_of_variables(
    shop: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write(shop.path.read_text().replace("sqlite:///source.db", "${SHOP_URL}"))
    monkeypatch.setenv("SHOP_URL", "sqlite:///source.db")
    courier = Courier()
    definitions = shop.definitions()

    materialize(list(definitions.assets or ()), {**(definitions.resources or {}), "ingestion": courier})

    ((_, _, config),) = courier.ordered
    assert config["config"]["connection_string"] == "sqlite:///source.db"


def test_a_plugin_that_writes_by_itself_is_run_once_and_only_reported(shop: Project) -> None:
    courier = Courier()
    definitions = shop.definitions()

    result = materialize(list(definitions.assets or ()), {**(definitions.resources or {}), "ingestion": courier})

    ((source, destination, config),) = courier.ordered
    assert (source, destination, config["name"]) == ("sql_database", "bronze", "shop")
    assert config["config"]["connection_string"] == "sqlite:///source.db"
    for key in ("bronze/orders", "bronze/customers"):
        assert metadata(result, key) == {"rows_loaded": 7, "tables_loaded": 2, "execution_time_s": 1.5}
    assert not (shop.folder / ".floe").exists(), "nothing was landed by us"


def test_what_a_plugin_writes_by_itself_cannot_be_audited(shop: Project) -> None:
    gate = "      checks: [{type: row_count, min: 1, gate: true}]\n"
    shop.write(shop.path.read_text().replace("{schema: bronze}", "{schema: bronze, publish: audit}") + gate)
    courier, definitions = Courier(), shop.definitions()

    result = materialize(
        list(definitions.assets or ()), {**(definitions.resources or {}), "ingestion": courier}, fails=True
    )

    assert "is published by audit, and the ingestion plugin 'courier' writes by itself" in failure(result)
    assert courier.ordered == []


def test_a_python_function_needs_a_plugin_that_stages(project: Project) -> None:
    @dlt_asset(table="bronze.cats", retry=AT_ONCE)
    def cats() -> Iterator[dict[str, Any]]:
        yield {"id": 1}

    result = materialize([cats], {**project.resources, "ingestion": Courier()}, fails=True)

    assert "'courier' does not stage rows" in failure(result)
    assert retries(result) == 0
