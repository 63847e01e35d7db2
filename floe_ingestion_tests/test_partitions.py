"""Partitions as Dagster counts them, the window of a run, and backfills that may be repeated in any order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from floe_ingestion import dlt_asset
from floe_ingestion.partitions import partitions_definition
from floe_ingestion.spec import PartitionsSpec
from floe_ingestion.staging import Window
from floe_ingestion_tests.dagster_fixtures import Project, Span, category, materialize, metadata, retries

pytestmark = pytest.mark.dagster

NOW = datetime(2024, 3, 20, 12, tzinfo=timezone.utc)


def partitions(**settings: Any) -> PartitionsSpec:
    return PartitionsSpec.model_validate({"column": "at", **settings})


def keys(**settings: Any) -> list[str]:
    with dg.partition_loading_context(effective_dt=NOW):
        return list(partitions_definition(partitions(**settings)).get_partition_keys())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# What partitions there are


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"type": "hourly", "start": "2024-03-20T10:00:00", "end": "2024-03-20T12:00:00"},
            ["2024-03-20-10:00", "2024-03-20-11:00"],
        ),
        ({"type": "daily", "start": "2024-03-18"}, ["2024-03-18", "2024-03-19"]),
        ({"type": "monthly", "start": "2023-12-01"}, ["2023-12-01", "2024-01-01", "2024-02-01"]),
        ({"type": "static", "keys": ["eu", "us"]}, ["eu", "us"]),
    ],
)
def test_partitions_are_the_whole_ones_since_their_start(settings: dict[str, Any], expected: list[str]) -> None:
    assert keys(**settings) == expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("2024-03-03", ["2024-03-03", "2024-03-10"]),  # a Sunday
        ("2024-03-04", ["2024-03-04", "2024-03-11"]),  # a Monday
        ("2024-03-09", ["2024-03-09"]),  # a Saturday
    ],
)
def test_weeks_begin_on_the_weekday_of_their_start_so_that_no_day_is_left_out(start: str, expected: list[str]) -> None:
    assert keys(type="weekly", start=start) == expected


def test_the_end_is_exclusive() -> None:
    assert keys(type="daily", start="2024-03-01", end="2024-03-03") == ["2024-03-01", "2024-03-02"]


def test_days_are_those_of_their_time_zone() -> None:
    made = partitions_definition(partitions(type="daily", start="2024-03-30", timezone="Europe/Berlin"))
    assert isinstance(made, dg.TimeWindowPartitionsDefinition)

    summer_time_begins = made.time_window_for_partition_key("2024-03-31")

    utc = [moment.astimezone(timezone.utc) for moment in (summer_time_begins.start, summer_time_begins.end)]
    assert utc == [datetime(2024, 3, 30, 23, tzinfo=timezone.utc), datetime(2024, 3, 31, 22, tzinfo=timezone.utc)]


def test_a_start_with_an_offset_is_that_moment_and_not_its_digits() -> None:
    hours = keys(type="hourly", start="2024-03-20T10:00:00Z", end="2024-03-20T12:00:00Z", timezone="America/New_York")

    assert hours == ["2024-03-20-06:00", "2024-03-20-07:00"]


# Which rows a run is about


@pytest.mark.parametrize(
    ("settings", "partition", "span", "start", "end"),
    [
        (
            {"type": "hourly", "start": "2024-03-01"},
            "2024-03-20-10:00",
            None,
            "2024-03-20T10:00+00:00",
            "2024-03-20T11:00+00:00",
        ),
        (
            {"type": "daily", "start": "2024-03-01"},
            "2024-03-10",
            None,
            "2024-03-10T00:00+00:00",
            "2024-03-11T00:00+00:00",
        ),
        (
            {"type": "daily", "start": "2024-03-01", "timezone": "America/New_York"},
            "2024-03-10",
            None,
            "2024-03-10T00:00-05:00",
            "2024-03-11T00:00-04:00",
        ),
        (
            {"type": "weekly", "start": "2024-03-04"},
            "2024-03-11",
            None,
            "2024-03-11T00:00+00:00",
            "2024-03-18T00:00+00:00",
        ),
        (
            {"type": "monthly", "start": "2024-01-01"},
            "2024-02-01",
            None,
            "2024-02-01T00:00+00:00",
            "2024-03-01T00:00+00:00",
        ),
        (
            {"type": "daily", "start": "2024-03-01"},
            None,
            ("2024-03-02", "2024-03-05"),
            "2024-03-02T00:00+00:00",
            "2024-03-06T00:00+00:00",
        ),
        (
            {"type": "monthly", "start": "2023-12-01"},
            None,
            ("2023-12-01", "2024-02-01"),
            "2023-12-01T00:00+00:00",
            "2024-03-01T00:00+00:00",
        ),
    ],
)
def test_the_window_of_a_run_reaches_from_its_first_partition_to_the_end_of_its_last(
    project: Project, settings: dict[str, Any], partition: str | None, span: Span | None, start: str, end: str
) -> None:
    window = window_of_run(project, partitions(**settings), partition, span)

    assert (window.column, window.values) == ("at", ())
    assert (window.start, window.end) == (datetime.fromisoformat(start), datetime.fromisoformat(end))


@pytest.mark.parametrize(
    ("partition", "span", "values"),
    [("us", None, ("us",)), (None, ("eu", "us"), ("eu", "us")), (None, ("us", "us"), ("us",))],
)
def test_the_window_of_static_partitions_is_their_keys(
    project: Project, partition: str | None, span: Span | None, values: tuple[str, ...]
) -> None:
    window = window_of_run(project, partitions(type="static", keys=["eu", "us", "asia"]), partition, span)

    assert (window.start, window.end, window.values) == (None, None, values)


def window_of_run(project: Project, spec: PartitionsSpec, partition: str | None, span: Span | None) -> Window:
    asked: list[Window] = []

    @dlt_asset(table="bronze.visits", partitions=spec)
    def visits(window: Window) -> Iterator[dict[str, Any]]:
        asked.append(window)
        yield from ()

    materialize([visits], project.resources, partition=partition, span=span)
    (window,) = asked
    return window


# What backfills leave

VISITS = """
ingestion:
  sources:
    - name: site
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [visits]}
      destination: {schema: bronze, write_disposition: DISPOSITION, primary_key: id}
      partitions: {type: daily, column: at, start: 2024-03-01, end: 2024-03-11}
      retry: {max_retries: 0}
"""
DAYS = [f"2024-03-{day:02d}" for day in range(1, 11)]


@pytest.fixture(params=["append", "merge"])
def visits(project: Project, request: pytest.FixtureRequest) -> Project:
    """Visits every six hours: four on each day, the first at midnight."""
    project.write(VISITS.replace("DISPOSITION", request.param))
    project.sql(
        "create table visits (id integer primary key, at timestamp, page text)",
        *(
            f"insert into visits values ({number}, '{datetime(2024, 3, 1) + timedelta(hours=6 * number)}', 'home')"
            for number in range(40)
        ),
    )
    return project


def in_source(project: Project) -> list[tuple[int, datetime, str]]:
    with closing(sqlite3.connect(project.database)) as connection:
        found = connection.execute("select id, at, page from visits order by id").fetchall()
    return [(number, datetime.fromisoformat(at), page) for number, at, page in found]


def test_a_partition_lands_its_own_rows_and_no_others(visits: Project) -> None:
    shown = metadata(visits.run(partition="2024-03-05"), "bronze/visits")

    assert visits.rows("bronze.visits", "id") == [16, 17, 18, 19]
    assert (shown["dagster/partition_row_count"], shown["dagster/row_count"]) == (4, 4)


def test_a_repeated_partition_ends_with_the_same_rows(visits: Project) -> None:
    visits.run(partition="2024-03-04")
    for _ in range(3):
        shown = metadata(visits.run(partition="2024-03-05"), "bronze/visits")

    assert visits.rows("bronze.visits", "id") == [12, 13, 14, 15, 16, 17, 18, 19]
    assert shown["dagster/row_count"] == 8


def test_a_partition_that_is_loaded_again_has_what_the_source_says_now(visits: Project) -> None:
    visits.run(span=("2024-03-04", "2024-03-06"))
    visits.sql("update visits set page = 'shop' where id in (16, 20)")
    visits.run(partition="2024-03-05")

    pages = dict(visits.rows("bronze.visits", "id", "page"))
    assert (pages[16], pages[20]) == ("shop", "home"), "the 6th was not loaded again"


def test_repeated_and_overlapping_backfills_end_with_the_rows_of_the_source(visits: Project) -> None:
    spans = [
        ("2024-03-03", "2024-03-07"),
        ("2024-03-01", "2024-03-04"),
        ("2024-03-06", "2024-03-10"),
        ("2024-03-06", "2024-03-06"),
        ("2024-03-03", "2024-03-07"),
    ]
    for span in spans:
        visits.run(span=span)

    assert visits.rows("bronze.visits", "id", "at", "page") == in_source(visits)


def test_a_range_is_one_run_and_one_snapshot_that_names_it(visits: Project) -> None:
    result = visits.run(span=("2024-03-02", "2024-03-04"))

    (snapshot,) = visits.snapshots("bronze.visits")
    assert (snapshot.partition, snapshot.rows_added) == ("2024-03-02...2024-03-04", 12)
    assert snapshot.run_id == result.run_id


def test_a_range_marks_each_of_its_partitions_as_materialised(visits: Project) -> None:
    with dg.instance_for_test(temp_dir=str(visits.folder)) as instance:
        result = visits.run(span=("2024-03-02", "2024-03-04"), instance=instance)
        done = instance.get_materialized_partitions(dg.AssetKey(["bronze", "visits"]))

    assert done == {"2024-03-02", "2024-03-03", "2024-03-04"}
    shown = metadata(result, "bronze/visits")
    assert shown["rows added"] == 12
    assert "dagster/partition_row_count" not in shown, "12 rows belong to three partitions"


def test_a_partition_that_is_empty_now_is_emptied(project: Project) -> None:
    project.write(VISITS.replace("DISPOSITION", "replace"))
    project.sql(
        "create table visits (id integer primary key, at timestamp, page text)",
        "insert into visits values (1, '2024-03-04 00:00:00', 'a'), (2, '2024-03-05 00:00:00', 'b')",
    )
    project.run(span=("2024-03-04", "2024-03-05"))
    project.sql("delete from visits where id = 2")
    shown = metadata(project.run(partition="2024-03-05"), "bronze/visits")

    assert project.rows("bronze.visits", "id") == [1]
    assert (shown["rows deleted"], shown["dagster/partition_row_count"]) == (1, 0)


def test_days_of_a_time_zone_meet_without_a_gap_and_without_an_overlap(project: Project) -> None:
    """On 2024-03-10 New York's day has 23 hours, of which 02:00 to 03:00 does not exist."""
    hours = [datetime(2024, 3, 9, tzinfo=timezone.utc) + timedelta(hours=hour) for hour in range(72)]

    @dlt_asset(
        table="bronze.hours", partitions=partitions(type="daily", start="2024-03-01", timezone="America/New_York")
    )
    def every_hour() -> Iterator[dict[str, Any]]:
        yield from ({"at": hour} for hour in hours)

    added = [
        metadata(materialize([every_hour], project.resources, partition=day), "bronze/hours")["rows added"]
        for day in ("2024-03-11", "2024-03-09", "2024-03-10", "2024-03-09")
    ]

    assert added == [20, 24, 23, 24], "the 11th is cut off by where the hours end"
    assert project.rows("bronze.hours", "at") == hours[5:]


def test_static_partitions_replace_the_rows_of_their_keys(project: Project) -> None:
    stock = [("eu", 1), ("us", 2), ("asia", 3), (None, 4)]

    @dlt_asset(table="bronze.stock", partitions=partitions(type="static", keys=["eu", "us", "asia"], column="region"))
    def stock_of() -> Iterator[dict[str, Any]]:
        yield from ({"region": region, "pieces": pieces} for region, pieces in stock)

    materialize([stock_of], project.resources, span=("eu", "us"))
    stock[:] = [("eu", 10), ("us", 20), ("asia", 30), (None, 40)]
    shown = metadata(materialize([stock_of], project.resources, partition="us"), "bronze/stock")

    assert project.rows("bronze.stock", "region", "pieces") == [("eu", 1), ("us", 20)]
    assert (shown["rows left out: outside window"], shown["rows left out: no partition"]) == (2, 1)
    assert "warnings" not in shown

    stock[:] = [(None, 1), ("us", 2)]
    shown = metadata(materialize([stock_of], project.resources, partition="eu"), "bronze/stock")
    assert "no row landed, 1 row without a value in 'region' that tells the partition (one of its" in shown["warnings"]


def test_rows_outside_the_window_fail_the_run_where_that_is_asked_for(project: Project) -> None:
    @dlt_asset(table="bronze.visits", partitions=partitions(type="daily", start="2024-03-01", outside_window="error"))
    def visits_of() -> Iterator[dict[str, Any]]:
        yield from ({"at": datetime(2024, 3, day, tzinfo=timezone.utc)} for day in (5, 6))

    result = materialize([visits_of], project.resources, partition="2024-03-05", fails=True)

    assert (category(result), retries(result)) == ("OutsideWindow", 0)
    assert project.catalog.list_namespaces() == []


@pytest.mark.parametrize("disposition", ["append", "merge"])
def test_a_backfill_moves_no_cursor(project: Project, disposition: Any) -> None:
    @dlt_asset(
        table="bronze.visits",
        write_disposition=disposition,
        primary_key="at",
        partitions=partitions(type="daily", start="2024-03-01"),
    )
    def visits_of() -> Iterator[dict[str, Any]]:
        yield {"at": datetime(2024, 3, 5, tzinfo=timezone.utc)}

    shown = metadata(materialize([visits_of], project.resources, partition="2024-03-05"), "bronze/visits")

    assert not {"cursor before", "cursor after"} & set(shown)
    assert "floe.cursor" not in project.table("bronze.visits").properties
