"""Partitioned assets that return rows: each run replaces its own, and an input gets the rows it is mapped to."""

# No `from __future__ import annotations` here: Dagster reads the annotations of an asset's function as they are.

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.pipeline import private_folder
from floe_ingestion.spec_stored import StoreSettings
from floe_ingestion.staging import Provenance
from floe_ingestion.storing import batches_of, stage_rows
from floe_ingestion.windows import columns_of, partitions_specs, windows_of
from floe_ingestion_tests.dagster_fixtures import Project, category, failure, metadata
from floe_ingestion_tests.dagster_fixtures import materialize_again as materialize

pytestmark = pytest.mark.dagster

DAYS = dg.DailyPartitionsDefinition("2024-03-01", end_offset=0, end_date="2024-03-06")
HOURS = dg.HourlyPartitionsDefinition("2024-03-01-00:00", end_date="2024-03-04-00:00")
QUARTERS = dg.TimeWindowPartitionsDefinition(
    start="2024-03-01-00:00", cron_schedule="*/15 * * * *", fmt="%Y-%m-%d-%H:%M", end="2024-03-02-00:00"
)
REGIONS = dg.StaticPartitionsDefinition(["eu", "us", "asia"])
BOTH = dg.MultiPartitionsDefinition({"day": DAYS, "region": REGIONS})
UTC = timezone.utc
EVERY_HOUR = [f"0{day}T{hour:02}" for day in (1, 2, 3) for hour in range(24)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def stored(
    rows: Callable[[dg.AssetExecutionContext], Any],
    partitions: dg.PartitionsDefinition,
    column: Any = None,
    **said: Any,
) -> dg.AssetsDefinition:
    """The partitioned asset `marts/visits`, which returns what `rows` gives for its run."""

    @dg.asset(
        key=["marts", "visits"],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="iceberg_io_manager",
        metadata={**({"floe/partition_column": column} if column else {}), **said},
    )
    def visits(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]
        return rows(context)

    return visits


def of_days(times: int = 1) -> dg.AssetsDefinition:
    """For each day of the run one row: the day, and its number `times` ten."""
    return stored(lambda context: [row(key, times) for key in context.partition_keys], DAYS, "day")


def row(day: str, times: int = 1) -> dict[str, Any]:
    return {"day": date.fromisoformat(day), "n": int(day[-2:]) * times}


def of_hours() -> dg.AssetsDefinition:
    """For each hour of the run one row, `at` half past; a Polars frame."""

    def rows(context: dg.AssetExecutionContext) -> pl.DataFrame:
        window = context.partition_time_window
        moments = [
            window.start + timedelta(hours=n) for n in range(int((window.end - window.start).total_seconds() / 3600))
        ]
        return pl.DataFrame({"at": [moment.astimezone(UTC) + timedelta(minutes=30) for moment in moments]})

    return stored(rows, HOURS, "at")


def of_both(n: int, column: Any = None) -> dg.AssetsDefinition:
    """For each day and region of the run one row, with the number `n`."""

    def rows(context: dg.AssetExecutionContext) -> list[dict[str, Any]]:
        parts = [BOTH.get_partition_key_from_str(key).keys_by_dimension for key in context.partition_keys]
        return [{"day": date.fromisoformat(part["day"]), "region": part["region"], "n": n} for part in parts]

    return stored(rows, BOTH, column)


def run(project: Project, asset: dg.AssetsDefinition, *keys: str, **settings: Any) -> dg.ExecuteInProcessResult:
    """One run of `asset`, over a partition or from one to another."""
    span = (keys[0], keys[-1]) if len(keys) > 1 else None
    return materialize([asset], project.resources, partition=None if span else keys[0], span=span, **settings)


# What a run replaces


def test_a_run_replaces_the_rows_of_its_partition_and_no_others(project: Project) -> None:
    run(project, of_days(), "2024-03-01", "2024-03-04")
    result = run(project, of_days(times=10), "2024-03-02")
    run(project, of_days(times=10), "2024-03-02")

    assert project.rows("marts.visits", "n") == [1, 3, 4, 20]
    shown = metadata(result, "marts/visits")
    assert (shown["rows added"], shown["rows deleted"], shown["dagster/partition_row_count"]) == (1, 1, 1)
    assert [str(field.transform) for field in project.table("marts.visits").spec().fields] == ["day"]


def test_a_range_is_one_run_and_one_commit(project: Project) -> None:
    run(project, of_days(), "2024-03-01", "2024-03-05")
    run(project, of_days(times=10), "2024-03-02", "2024-03-04")

    assert project.rows("marts.visits", "n") == [1, 5, 20, 30, 40]
    assert len(project.snapshots("marts.visits")) == 2


def test_an_append_of_a_partition_replaces_it_too_as_in_ingestion(project: Project) -> None:
    asset = stored(lambda context: [row(context.partition_key)], DAYS, "day", **{"floe/write_disposition": "append"})
    run(project, asset, "2024-03-01")
    run(project, asset, "2024-03-01")

    assert project.rows("marts.visits", "n") == [1]


def test_hours_of_a_time_with_a_zone_are_replaced(project: Project) -> None:
    run(project, of_hours(), "2024-03-01-00:00", "2024-03-01-05:00")
    run(project, of_hours(), "2024-03-01-03:00")

    assert [moment.hour for moment in project.rows("marts.visits", "at")] == [0, 1, 2, 3, 4, 5]
    assert [str(field.transform) for field in project.table("marts.visits").spec().fields] == ["hour"]


def test_days_of_another_zone_are_its_days(project: Project) -> None:
    berlin = dg.DailyPartitionsDefinition("2024-03-30", timezone="Europe/Berlin")  # clocks went forward on the 31st
    moments = [datetime(2024, 3, 30, 23, 30, tzinfo=UTC), datetime(2024, 3, 31, 21, 30, tzinfo=UTC)]
    asset = stored(lambda context: [{"at": moment} for moment in moments], berlin, "at")

    run(project, asset, "2024-03-31")
    result = run(project, asset, "2024-03-30", fails=True)

    assert project.rows("marts.visits", "at") == moments
    assert category(result) == "OutsideWindow"


@pytest.mark.parametrize(
    ("partitions", "key", "begins", "transform"),
    [
        (dg.DailyPartitionsDefinition("2024-03-01", hour_offset=6), "2024-03-02", "2024-03-02 06:00", "day"),
        (dg.MonthlyPartitionsDefinition("2024-01-05", day_offset=5), "2024-03-05", "2024-03-05 00:00", "month"),
        (dg.WeeklyPartitionsDefinition("2024-03-01"), "2024-03-03", "2024-03-03 00:00", "day"),
        (QUARTERS, "2024-03-01-00:15", "2024-03-01 00:15", "hour"),
    ],
    ids=["days from six", "months from the fifth", "weeks", "quarters of an hour"],
)
def test_partitions_may_begin_at_any_time(
    project: Project, partitions: dg.PartitionsDefinition, key: str, begins: str, transform: str
) -> None:
    moment = datetime.fromisoformat(begins).replace(tzinfo=UTC)
    run(project, stored(lambda context: [{"at": moment}], partitions, "at"), key)
    before = [{"at": moment - timedelta(seconds=1)}]

    assert category(run(project, stored(lambda context: before, partitions, "at"), key, fails=True)) == "OutsideWindow"
    assert project.rows("marts.visits", "at") == [moment]
    assert [str(field.transform) for field in project.table("marts.visits").spec().fields] == [transform]


@pytest.mark.parametrize("key", ["eu", "us"])
def test_a_static_partition_is_replaced(project: Project, key: str) -> None:
    def asset(n: int) -> dg.AssetsDefinition:
        return stored(lambda context: [{"region": key, "n": n} for key in context.partition_keys], REGIONS, "region")

    run(project, asset(1), "eu", "asia")
    run(project, asset(2), key)

    expected = {**dict.fromkeys(["eu", "us", "asia"], 1), key: 2}
    assert dict(project.rows("marts.visits", "region", "n")) == expected


def test_a_dynamic_partition_is_replaced(project: Project) -> None:
    customers = dg.DynamicPartitionsDefinition(name="customers")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("customers", ["ann", "bob"])
        for n, key in enumerate(["ann", "bob", "ann"]):
            asset = stored(lambda context, n=n: [{"who": context.partition_key, "n": n}], customers, "who")
            run(project, asset, key, instance=instance)

    assert project.rows("marts.visits", "who", "n") == [("ann", 2), ("bob", 1)]


@pytest.mark.parametrize("column", [None, {"region": "region"}], ids=["by name", "said"])
def test_a_partition_of_two_dimensions_is_replaced(project: Project, column: Any) -> None:
    for key in ("2024-03-01|eu", "2024-03-01|us", "2024-03-02|eu"):
        run(project, of_both(1, column), key)
    run(project, of_both(2, column), "2024-03-01|us")

    assert [(day.day, region, n) for day, region, n in project.rows("marts.visits", "day", "region", "n")] == [
        (1, "eu", 1),
        (1, "us", 2),
        (2, "eu", 1),
    ]
    assert [field.name for field in project.table("marts.visits").spec().fields] == ["day_day", "region"]


def test_a_range_of_two_dimensions_is_replaced(project: Project) -> None:
    run(project, of_both(1), "2024-03-01|eu", "2024-03-03|asia")
    run(project, of_both(2), "2024-03-01|us", "2024-03-02|asia")

    found = {(day.day, region): n for day, region, n in project.rows("marts.visits", "day", "region", "n")}
    assert len(found) == 9
    assert {key for key, n in found.items() if n == 2} == {(1, "us"), (1, "asia"), (2, "us"), (2, "asia")}
    assert len(project.snapshots("marts.visits")) == 2


def test_a_merge_touches_its_partition_only(project: Project) -> None:
    said = {"floe/write_disposition": "merge", "floe/primary_key": "id"}

    def asset(*rows: tuple[int, str]) -> dg.AssetsDefinition:
        return stored(
            lambda context: [{"id": n, "day": date.fromisoformat(context.partition_key), "v": v} for n, v in rows],
            DAYS,
            "day",
            **said,
        )

    run(project, asset((1, "a"), (2, "a")), "2024-03-01")
    run(project, asset((1, "b")), "2024-03-02")
    run(project, asset((2, "c"), (3, "c")), "2024-03-01")

    found = project.rows("marts.visits", "day", "id", "v")
    assert [(day.day, n, v) for day, n, v in found] == [(1, 1, "a"), (1, 2, "c"), (1, 3, "c"), (2, 1, "b")]


# What is refused


def test_rows_outside_the_partition_are_an_error_and_nothing_is_written(project: Project) -> None:
    run(project, of_days(), "2024-03-01")
    strays = [row("2024-03-02"), row("2024-03-03"), {"day": None, "n": 0}]
    result = run(project, stored(lambda context: strays, DAYS, "day"), "2024-03-02", fails=True)

    assert category(result) == "OutsideWindow"
    assert "the asset returned 1 row whose 'day' lies outside" in failure(result)
    assert "1 row without a value there" in failure(result)
    assert project.rows("marts.visits", "n") == [1]


def test_a_partitioned_asset_has_to_say_its_column(project: Project) -> None:
    result = run(project, stored(lambda context: [row("2024-03-01")], DAYS), "2024-03-01", fails=True)

    assert "marts/visits is partitioned, and nothing says which column tells the partition" in failure(result)
    assert "'floe/partition_column': 'day'" in failure(result)


def test_a_column_that_is_not_there_is_told_with_those_that_are(project: Project) -> None:
    result = run(project, stored(lambda context: [row("2024-03-01")], DAYS, "date"), "2024-03-01", fails=True)

    assert "no column 'date'" in failure(result)
    assert "day, n" in failure(result)


@pytest.mark.parametrize("said", [{"date": "day"}, "day"])
def test_dimensions_that_are_not_there_are_told(said: Any) -> None:
    with pytest.raises(ConfigurationError, match="is partitioned by day and region"):
        columns_of(BOTH, said, "marts/visits")


# Runs side by side


def test_partitions_that_are_stored_at_once_and_again_end_with_the_same_rows(project: Project) -> None:
    """Without Dagster around it: Python 3.11 cannot run several of its runs in threads of one process."""
    columns, home = {"": "day"}, project.lake.staging_folder

    def land(day: str) -> None:
        spec = StoreSettings().table_spec("visits", ("marts", "visits"), partitions_specs(DAYS, columns, [day]))
        (window,) = windows_of(DAYS, columns, [day])
        catalog, batches = project.lake.connect(), batches_of([row(day)])
        assert batches is not None
        with private_folder(home) as folder:
            commit(catalog, stage_rows(batches, spec, window, Provenance(), catalog, folder), Provenance(), home)

    project.lake.connect()  # the catalog; the table is made by whoever comes first
    with ThreadPoolExecutor(3) as workers:
        list(workers.map(land, ["2024-03-01", "2024-03-02", "2024-03-03", "2024-03-01", "2024-03-02"]))

    assert project.rows("marts.visits", "n") == [1, 2, 3]


# What an input gets


def reading(
    partitions: dg.PartitionsDefinition | None, seen: list[pa.Table], mapping: dg.PartitionMapping | None = None
) -> dg.AssetsDefinition:
    @dg.asset(
        ins={
            "visits": dg.AssetIn(["marts", "visits"], input_manager_key="iceberg_io_manager", partition_mapping=mapping)
        },
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="iceberg_io_manager",
    )
    def reader(visits: pa.Table) -> None:
        seen.append(visits)

    return reader


@pytest.mark.parametrize(
    ("partitions", "mapping", "keys", "expected"),
    [
        (HOURS, None, ["2024-03-02-05:00"], ["02T05"]),
        (HOURS, None, ["2024-03-02-05:00", "2024-03-02-06:00"], ["02T05", "02T06"]),
        (DAYS, None, ["2024-03-02"], [f"02T{hour:02}" for hour in range(24)]),
        (DAYS, dg.LastPartitionMapping(), ["2024-03-02"], ["03T23"]),
        (HOURS, dg.TimeWindowPartitionMapping(start_offset=-1), ["2024-03-02-05:00"], ["02T04", "02T05"]),
        (
            DAYS,
            dg.AllPartitionMapping(),
            ["2024-03-02"],
            EVERY_HOUR,
        ),
        (None, None, [], EVERY_HOUR),
        (None, dg.SpecificPartitionsPartitionMapping(["2024-03-01-07:00", "2024-03-03-02:00"]), [], ["01T07", "03T02"]),
        (None, dg.LastPartitionMapping(), [], ["03T23"]),
    ],
    ids=[
        "same",
        "range",
        "day of hours",
        "last",
        "with the hour before",
        "all",
        "unpartitioned",
        "two that lie apart",
        "last, unpartitioned",
    ],
)
def test_an_input_gets_the_rows_of_the_partitions_that_it_is_mapped_to(
    hours: Project, partitions: Any, mapping: Any, keys: Sequence[str], expected: list[str]
) -> None:
    seen: list[pa.Table] = []
    assets = [of_hours(), reading(partitions, seen, mapping)]

    span = (keys[0], keys[-1]) if len(keys) > 1 else None
    partition = keys[0] if len(keys) == 1 else None
    materialize(assets, hours.resources, "reader", partition=partition, span=span)

    (rows,) = seen
    assert sorted(f"{moment:%dT%H}" for moment in rows["at"].to_pylist()) == expected


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in whose table stands a row for each of three days' hours."""
    project = Project(tmp_path_factory.mktemp("hours"))
    run(project, of_hours(), "2024-03-01-00:00", "2024-03-03-23:00")
    return project


@pytest.mark.parametrize(
    ("partitions", "mapping", "key", "expected"),
    [
        (BOTH, None, "2024-03-02|us", [(2, "us")]),
        (DAYS, None, "2024-03-02", [(2, "eu"), (2, "us")]),
        (REGIONS, None, "us", [(1, "us"), (2, "us")]),
        (REGIONS, None, "asia", []),
        (None, dg.SpecificPartitionsPartitionMapping(["2024-03-01|us", "2024-03-02|eu"]), None, [(1, "us"), (2, "eu")]),
    ],
    ids=["both", "by day", "by region", "no rows", "two that lie apart"],
)
def test_an_input_of_two_dimensions_gets_the_rows_of_both(
    project: Project, partitions: Any, mapping: Any, key: str | None, expected: list[Any]
) -> None:
    run(project, of_both(1), "2024-03-01|eu", "2024-03-02|us")
    seen: list[pa.Table] = []

    materialize([of_both(1), reading(partitions, seen, mapping)], project.resources, "reader", partition=key)

    (found,) = seen
    assert sorted((row["day"].day, row["region"]) for row in found.to_pylist()) == expected


def test_an_input_of_partitions_without_a_column_is_refused(project: Project) -> None:
    upstream = dg.AssetSpec(["marts", "visits"], partitions_def=DAYS)
    run(project, of_days(), "2024-03-01", "2024-03-02")

    result = materialize([upstream, reading(DAYS, [])], project.resources, "reader", partition="2024-03-01", fails=True)

    assert "nothing says which column tells the partition" in failure(result)
