"""Partitions that Dagster's instance keeps, backfills that become several runs, and how many of these run at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._cli.asset import asset_cli

from floe_ingestion import dlt_asset
from floe_ingestion.cli import main
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.loading import load_spec
from floe_ingestion.pools import apply, pools
from floe_ingestion.spec import PartitionsSpec
from floe_ingestion_tests.dagster_fixtures import Project, materialize, metadata

pytestmark = pytest.mark.dagster

STOCK = """
ingestion:
  sources:
    - name: stock
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [stock]}
      destination: {schema: bronze, write_disposition: replace}
      partitions: {type: dynamic, name: regions, column: region}
      schedule: {cron: "0 6 * * *"}
"""
DAILY = "type: daily, column: at, start: 2024-03-01, end: 2024-03-11"
STOCK_KEY = dg.AssetKey(["bronze", "stock"])


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


@pytest.fixture
def stock(tmp_path: Path) -> Project:
    project = Project(tmp_path, STOCK)
    project.sql(
        "create table stock (id integer primary key, region text, pieces integer)",
        "insert into stock values (1, 'eu', 1), (2, 'us', 2), (3, 'us', 3), (4, 'asia', 4)",
    )
    return project


# Dynamic partitions


def test_a_dynamic_partition_lands_the_rows_that_hold_its_key(stock: Project, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("regions", ["us", "eu", "asia"])
    for key in ("us", "eu"):
        shown = metadata(stock.run(partition=key, instance=instance), "bronze/stock")

    assert stock.rows("bronze.stock", "id", "region") == [(1, "eu"), (2, "us"), (3, "us")]
    assert shown["dagster/partition_row_count"] == 1
    assert instance.get_materialized_partitions(STOCK_KEY) == {"us", "eu"}


def test_a_dynamic_partition_that_is_loaded_again_has_what_the_source_says_now(
    stock: Project, instance: dg.DagsterInstance
) -> None:
    instance.add_dynamic_partitions("regions", ["eu", "us"])
    stock.run(span=("eu", "us"), instance=instance)
    stock.sql("update stock set pieces = pieces + 10", "insert into stock values (5, 'us', 5)")
    stock.run(partition="us", instance=instance)

    assert stock.rows("bronze.stock", "id", "pieces") == [(1, 1), (2, 12), (3, 13), (5, 5)]


def test_a_schedule_loads_every_dynamic_partition_that_there_is(stock: Project, instance: dg.DagsterInstance) -> None:
    definitions = stock.definitions()
    schedule = definitions.resolve_schedule_def("stock_schedule")

    def tick() -> dg.ScheduleEvaluationContext:
        return dg.build_schedule_context(
            instance, datetime(2024, 1, 1, tzinfo=timezone.utc), repository_def=definitions.get_repository_def()
        )

    skipped = schedule.evaluate_tick(tick()).skip_message or ""
    instance.add_dynamic_partitions("regions", ["eu", "us"])
    asked = schedule.evaluate_tick(tick()).run_requests or ()

    assert "Nobody has added a partition of stock yet (name: regions)" in skipped
    assert [request.partition_key for request in asked] == ["eu", "us"]


def test_the_command_line_loads_a_dynamic_partition_and_adds_it_where_it_is_new(
    stock: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)

    done = CliRunner().invoke(main, ["run", "stock", "--partition", "us", "--spec", str(stock.path)])

    assert done.exit_code == 0, done.output
    assert stock.rows("bronze.stock", "id") == [2, 3]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"type": "dynamic"}, "need a `name`, under which Dagster keeps their keys"),
        ({"type": "dynamic", "name": "r", "keys": ["eu"]}, "`keys` belong to static partitions"),
        ({"type": "dynamic", "name": "r", "start": "2024-01-01"}, "dynamic ones follow from their keys"),
        ({"type": "static", "keys": ["eu"], "name": "r"}, "`name` belongs to dynamic partitions"),
        ({"type": "static", "keys": ["eu"], "max_partitions_per_run": 0}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_a_mistake(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        PartitionsSpec.model_validate({"column": "region", **settings})


# A bound inside a partition


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"type": "daily", "start": "2024-01-01T06:00:00"}, "Write start: 2024-01-01 or start: 2024-01-02"),
        ({"type": "monthly", "start": "2024-12-15"}, "Write start: 2024-12-01 or start: 2025-01-01"),
        ({"type": "weekly", "start": "2024-01-03T12:00:00"}, "Write start: 2024-01-03 or start: 2024-01-04"),
        (
            {"type": "hourly", "start": "2024-01-01T06:30:00"},
            "Write start: 2024-01-01T06:00:00 or start: 2024-01-01T07:00:00",
        ),
        (
            {"type": "daily", "start": "2024-01-01T00:00:00Z", "timezone": "Europe/Berlin"},
            "not where a day begins in Europe/Berlin",
        ),
        ({"type": "monthly", "start": "2024-01-01", "end": "2024-03-20"}, "Write end: 2024-03-01 or end: 2024-04-01"),
    ],
)
def test_a_bound_inside_a_partition_is_a_mistake_and_not_the_next_whole_one(
    settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        PartitionsSpec.model_validate({"column": "at", **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "monthly", "start": "2024-02-01", "end": "2024-04-01"},
        {"type": "weekly", "start": "2024-01-03"},
        {"type": "hourly", "start": "2024-01-01T06:00:00Z", "timezone": "Europe/Berlin"},
        {"type": "daily", "start": "2024-03-30T23:00:00Z", "timezone": "Europe/Berlin"},
    ],
)
def test_a_bound_where_a_partition_begins_is_none(settings: dict[str, Any]) -> None:
    assert PartitionsSpec.model_validate({"column": "at", **settings}).start is not None


# How a backfill becomes runs


@pytest.mark.parametrize(
    ("limit", "policy"), [(None, dg.BackfillPolicy.single_run()), (7, dg.BackfillPolicy.multi_run(7))]
)
def test_a_backfill_is_one_run_unless_its_runs_are_limited(limit: int | None, policy: dg.BackfillPolicy) -> None:
    spec = PartitionsSpec(type="static", column="region", keys=("eu",), max_partitions_per_run=limit)

    @dlt_asset(table="bronze.stock", partitions=spec)
    def stock() -> None: ...

    assert stock.backfill_policy == policy


def test_a_range_shows_what_is_long_once_and_its_numbers_at_each_partition(
    stock: Project, instance: dg.DagsterInstance
) -> None:
    instance.add_dynamic_partitions("regions", ["eu", "us", "asia"])
    result = stock.run(span=("eu", "asia"), instance=instance)
    *others, last = [
        event.step_materialization_data.materialization for event in result.get_asset_materialization_events()
    ]

    assert {each.partition for each in (*others, last)} == {"eu", "us", "asia"}
    assert {"preview", "how to read", "dagster/column_schema", "dagster/column_lineage"} <= last.metadata.keys()
    for each in others:
        assert {"rows added", "snapshot id", "partitions loaded"} <= each.metadata.keys()
        assert not {"preview", "how to read", "dagster/column_schema"} & each.metadata.keys()


def test_dagsters_command_line_backfills_a_range_and_overlapping_ones_end_with_the_same_rows(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path, STOCK.replace("type: dynamic, name: regions, column: region", DAILY))
    days = [(day, f"2024-03-{day:02d} 12:00:00") for day in range(1, 6)]
    project.sql(
        "create table stock (id integer primary key, at timestamp)",
        *(f"insert into stock values ({day}, '{at}')" for day, at in days),
    )
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("FLOE_SPEC", str(project.path))
    config = '{"execution": {"config": {"in_process": {}}}, "loggers": {"console": {"config": {"log_level": "ERROR"}}}}'
    for span in ("2024-03-01...2024-03-03", "2024-03-02...2024-03-04"):
        arguments = ["materialize", "--select", "bronze/stock", "--partition-range", span, "--config-json", config]
        done = CliRunner().invoke(asset_cli, [*arguments, "-m", "floe_ingestion.definitions"])
        assert done.exit_code == 0, done.output

    assert project.rows("bronze.stock", "id") == [1, 2, 3, 4]
    assert instance.get_materialized_partitions(STOCK_KEY) == {f"2024-03-0{day}" for day in range(1, 5)}


# Pools; integration/test_dagster_dev.py runs two partitions side by side


def test_a_step_holds_its_place_in_the_pool_as_long_as_it_loads(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("the_shop", 1)
    while_it_loads: list[bool] = []

    def another_may_begin() -> bool:
        claimed = storage.claim_concurrency_slot("the_shop", "another run", "its step").is_claimed
        storage.free_concurrency_slots_for_run("another run")
        return bool(claimed)

    @dlt_asset(table="bronze.cats", pool="the_shop")
    def cats() -> Iterator[dict[str, Any]]:
        while_it_loads.append(another_may_begin())
        yield {"name": "Tom"}

    materialize([cats], Project(tmp_path).resources, instance=instance)

    assert (while_it_loads, another_may_begin()) == ([False], True)


POOLS = """
ingestion:
  sources:
    - name: orders
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [orders]}
      destination: {schema: bronze}
      pool: the_shop
      concurrency: 2
    - name: stock
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [stock]}
      destination: {schema: bronze}
      pool: the_shop
    - name: pages
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [pages]}
      destination: {schema: bronze}
"""


def test_the_limits_that_floe_yaml_asks_for_are_given_to_the_instance(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    sources = load_spec(Project(tmp_path, POOLS).path).sources

    before = pools(sources, instance)
    for pool in before:
        apply(pool, instance)

    assert [(pool.name, pool.sources, pool.asked, pool.limit) for pool in before] == [
        ("source_pages", ("pages",), None, None),
        ("the_shop", ("orders", "stock"), 2, None),
    ]
    assert [(pool.limit, pool.differs) for pool in pools(sources, instance)] == [(None, False), (2, False)]


def test_the_command_shows_pools_and_gives_their_limits(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = str(Project(tmp_path, POOLS).path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    shown, applied, again = (
        CliRunner().invoke(main, ["pools", "--spec", spec, *more]) for more in ([], ["--apply"], ["--apply"])
    )

    assert "none (differs)" in shown.output
    assert (applied.output, again.output) == ("the_shop: at most 2 at once now\n", "")
    assert instance.event_log_storage.get_concurrency_info("the_shop").slot_count == 2


def test_without_an_instance_the_command_says_where_limits_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)

    done = CliRunner().invoke(main, ["pools", "--spec", str(Project(tmp_path, POOLS).path)])

    assert (done.exit_code, "DAGSTER_HOME is not set" in done.output) == (2, True)


def test_two_limits_of_one_pool_are_a_mistake(tmp_path: Path) -> None:
    stock = "tables: [stock]}\n      destination: {schema: bronze}\n"
    project = Project(tmp_path, POOLS.replace(stock, f"{stock}      concurrency: 3\n"))

    with pytest.raises(ConfigurationError, match=r"sources\[1\].concurrency: is 3, and 'orders' \(line 9\)"):
        load_spec(project.path)
