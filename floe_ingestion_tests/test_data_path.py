"""How rows travel from a SQLite table to an Iceberg table, and what holds on the way. Read this first.

Each test loads a shop's orders as a run of the asset would: it stages what the source has, then commits it.
`lake.load(pipeline)` does both; `lake.staged(pipeline)` stops in between, where a process may die.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from floe_ingestion.pipeline import IngestionPipeline
from floe_ingestion.staging import Window
from floe_ingestion_tests.fake_sources import Shop, pipeline_of_rows
from floe_ingestion_tests.lake import Lake, duckdb_rows

BY_CURSOR = {"cursor_path": "updated_at"}
DAILY = {"type": "daily", "start": "2024-01-01", "column": "updated_at"}
EVERY_KIND = pa.schema(
    {
        "id": pa.int32(),
        "whole": pa.int64(),
        "fraction": pa.float64(),
        "exact": pa.decimal128(18, 4),
        "yes": pa.bool_(),
        "day": pa.date32(),
        "wall_clock": pa.timestamp("us"),
        "moment": pa.timestamp("us", "UTC"),
        "raw": pa.binary(),
        "tags": pa.list_(pa.string()),
        "address": pa.struct({"street": pa.string(), "number": pa.int32()}),
    }
)


@pytest.fixture
def shop(shop: Shop) -> Shop:
    shop.sell(
        (1, "ann", "9.99", "2024-01-01 00:00:00"),
        (2, "bob", "0.10", "2024-01-01 12:30:00.250000"),
        (3, None, None, "2024-01-02 00:00:00.000000"),
        (4, "zoë 🧊", "-12345678.90", "2024-01-02 23:59:59.999999"),
    )
    return shop


@pytest.fixture
def by_cursor(shop: Shop) -> IngestionPipeline:
    """Each run appends the orders that have changed since the last one."""
    return shop.pipeline(incremental=BY_CURSOR)


def day(number: int) -> Window:
    """One day of January 2024."""
    return Window("updated_at", *(datetime(2024, 1, n, tzinfo=timezone.utc) for n in (number, number + 1)))


# There and nothing lost


def test_rows_arrive_as_the_source_has_them(shop: Shop, lake: Lake, by_cursor: IngestionPipeline) -> None:
    lake.load(by_cursor)

    assert lake.rows("raw.orders") == [
        {"id": 1, "customer": "ann", "amount": Decimal("9.99"), "updated_at": datetime(2024, 1, 1)},
        {"id": 2, "customer": "bob", "amount": Decimal("0.10"), "updated_at": datetime(2024, 1, 1, 12, 30, 0, 250000)},
        {"id": 3, "customer": None, "amount": None, "updated_at": datetime(2024, 1, 2)},
        {
            "id": 4,
            "customer": "zoë 🧊",
            "amount": Decimal("-12345678.90"),
            "updated_at": datetime(2024, 1, 2, 23, 59, 59, 999999),
        },
    ]


def test_duckdb_and_pyiceberg_read_what_the_source_has(shop: Shop, lake: Lake, by_cursor: IngestionPipeline) -> None:
    landed = lake.load(by_cursor)

    assert lake.rows("raw.orders") == shop.orders()
    assert duckdb_rows(landed.metadata_location) == shop.orders()


def test_a_second_run_brings_only_the_new_rows(shop: Shop, lake: Lake, by_cursor: IngestionPipeline) -> None:
    lake.load(by_cursor)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))

    landed = lake.load(by_cursor)

    assert landed.rows_added == 1
    assert lake.rows("raw.orders") == shop.orders()


def test_a_late_row_with_the_last_cursor_value_is_not_lost(
    shop: Shop, lake: Lake, by_cursor: IngestionPipeline
) -> None:
    lake.load(by_cursor)
    shop.sell((5, "late", "1.00", "2024-01-02 23:59:59.999999"))

    lake.load(by_cursor)

    assert lake.rows("raw.orders") == shop.orders()


def test_a_run_without_new_rows_makes_no_snapshot(lake: Lake, by_cursor: IngestionPipeline) -> None:
    first = lake.load(by_cursor)

    second = lake.load(by_cursor)

    assert (second.rows_added, second.snapshot_id) == (0, first.snapshot_id)
    assert len(lake.table("raw.orders").snapshots()) == 1


def test_parquet_is_written_once_and_nothing_stays_behind(lake: Lake, by_cursor: IngestionPipeline) -> None:
    with lake.staged(by_cursor) as staged:
        written = [(file.path.stat().st_ino, file.path.stat().st_size) for file in staged.files]
        lake.commit(staged)

    assert [(file.stat().st_ino, file.stat().st_size) for file in lake.data_files()] == written
    assert lake.left_behind() == []


# The cursor lives in the snapshot


def test_the_cursor_lands_in_the_snapshot_of_its_rows(lake: Lake, by_cursor: IngestionPipeline) -> None:
    lake.load(by_cursor)

    snapshot = lake.table("raw.orders").current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert "floe.cursor" in snapshot.summary.additional_properties
    assert lake.cursor("raw.orders") == {"updated_at": datetime(2024, 1, 2, 23, 59, 59, 999999)}


def test_another_machine_goes_on_where_the_table_stands(shop: Shop, lake: Lake, by_cursor: IngestionPipeline) -> None:
    lake.load(by_cursor)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))

    elsewhere = Lake(lake.home)
    with elsewhere.staged(shop.pipeline(incremental=BY_CURSOR)) as staged:
        rows = staged.rows
        elsewhere.commit(staged)

    assert rows == 1
    assert elsewhere.rows("raw.orders") == shop.orders()


def test_a_run_that_dies_before_its_commit_is_made_good_by_the_next(
    shop: Shop, lake: Lake, by_cursor: IngestionPipeline
) -> None:
    lake.load(by_cursor)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))
    with lake.staged(by_cursor) as staged:
        assert staged.rows == 1  # and here it dies

    lake.load(by_cursor)

    assert lake.rows("raw.orders") == shop.orders()


def test_a_first_run_that_dies_before_its_commit_is_made_good_by_the_next(
    shop: Shop, lake: Lake, by_cursor: IngestionPipeline
) -> None:
    with lake.staged(by_cursor) as staged:
        assert staged.rows == 4

    lake.load(by_cursor)

    assert lake.rows("raw.orders") == shop.orders()


@pytest.mark.parametrize("disposition", ["append", "replace", "merge"])
def test_a_run_that_dies_after_its_commit_writes_nothing_when_it_is_retried(
    disposition: str, shop: Shop, lake: Lake
) -> None:
    pipeline = shop.pipeline(destination={"write_disposition": disposition})
    first = lake.load(pipeline, run="run-1")  # and here it dies: Dagster never hears of it

    again = lake.load(pipeline, run="run-1")

    assert (again.already_landed, again.snapshot_id) == (True, first.snapshot_id)
    assert lake.rows("raw.orders") == shop.orders()


def test_a_retry_does_not_even_ask_the_source(shop: Shop, lake: Lake, by_cursor: IngestionPipeline) -> None:
    lake.load(by_cursor, run="run-1")
    shop.path.unlink()

    assert lake.load(by_cursor, run="run-1").already_landed


def test_a_load_that_was_committed_twice_is_in_the_table_once(
    shop: Shop, lake: Lake, by_cursor: IngestionPipeline
) -> None:
    with lake.staged(by_cursor) as staged:
        first = lake.commit(staged)
        again = lake.commit(staged)

    assert (again.already_landed, again.snapshot_id) == (True, first.snapshot_id)
    assert lake.rows("raw.orders") == shop.orders()


def test_rolling_a_table_back_brings_the_lost_rows_again(shop: Shop, lake: Lake, by_cursor: IngestionPipeline) -> None:
    first = lake.load(by_cursor)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))
    lake.load(by_cursor)
    assert first.snapshot_id is not None
    lake.table("raw.orders").manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    assert lake.values("raw.orders") == [1, 2, 3, 4]

    lake.load(by_cursor)

    assert lake.rows("raw.orders") == shop.orders()


def test_a_cursor_outlives_its_snapshot(shop: Shop, lake: Lake, by_cursor: IngestionPipeline) -> None:
    """Somebody else writes, then expires all older snapshots."""
    lake.load(by_cursor)
    table = lake.table("raw.orders")
    table.append(table.scan().to_arrow().slice(0, 1))
    old = [snapshot.snapshot_id for snapshot in table.snapshots()[:-1]]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))

    landed = lake.load(by_cursor)

    assert landed.rows_added == 1
    assert lake.values("raw.orders") == [1, 1, 2, 3, 4, 5]


# A partition is replaced as a whole, and nothing else


def test_a_partition_that_is_loaded_twice_has_its_rows_once(shop: Shop, lake: Lake) -> None:
    pipeline = shop.pipeline(partitions=DAILY)

    lake.load(pipeline, window=day(1))
    lake.load(pipeline, window=day(1))

    assert lake.values("raw.orders") == [1, 2]


def test_a_partition_that_is_loaded_again_takes_over_what_changed(shop: Shop, lake: Lake) -> None:
    pipeline = shop.pipeline(partitions=DAILY)
    for number in (1, 2):
        lake.load(pipeline, window=day(number))
    shop.execute("delete from orders where id = 1")
    shop.execute("update orders set customer = 'bert' where id = 2")
    shop.sell((9, "new", "2.00", "2024-01-01 08:00:00"))

    landed = lake.load(pipeline, window=day(1))

    assert (landed.rows_added, landed.rows_deleted, landed.rows_total) == (2, 2, 4)
    assert lake.rows("raw.orders") == shop.orders()


def test_the_files_of_other_partitions_are_not_touched(shop: Shop, lake: Lake) -> None:
    pipeline = shop.pipeline(partitions=DAILY)
    for number in (1, 2):
        lake.load(pipeline, window=day(number))
    untouched = lake.files_of("raw.orders", "updated_at >= '2024-01-02T00:00:00'")

    lake.load(pipeline, window=day(1))

    assert lake.files_of("raw.orders", "updated_at >= '2024-01-02T00:00:00'") == untouched


def test_a_partition_that_the_source_has_emptied_is_emptied(shop: Shop, lake: Lake) -> None:
    pipeline = shop.pipeline(partitions=DAILY)
    for number in (1, 2):
        lake.load(pipeline, window=day(number))
    shop.execute("delete from orders where updated_at < '2024-01-02'")

    lake.load(pipeline, window=day(1))

    assert lake.rows("raw.orders") == shop.orders()


def test_several_days_at_once_are_one_window(shop: Shop, lake: Lake) -> None:
    pipeline = shop.pipeline(partitions=DAILY)
    lake.load(pipeline, window=day(1))

    lake.load(pipeline, window=Window("updated_at", day(1).start, day(2).end))

    assert lake.rows("raw.orders") == shop.orders()


# The other ways to write


def test_replace_leaves_what_the_source_has_now(shop: Shop, lake: Lake) -> None:
    pipeline = shop.pipeline(destination={"write_disposition": "replace"})
    lake.load(pipeline)
    shop.execute("delete from orders where id < 4")
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))

    landed = lake.load(pipeline)

    assert (landed.rows_added, landed.rows_deleted, landed.rows_total) == (2, 4, 2)
    assert lake.rows("raw.orders") == shop.orders()


def test_merge_updates_the_rows_that_changed_and_adds_the_new_ones(shop: Shop, lake: Lake) -> None:
    """The key is the database's own primary key."""
    pipeline = shop.pipeline(incremental=BY_CURSOR, destination={"write_disposition": "merge"})
    lake.load(pipeline)
    shop.change(2, "2024-01-03 00:00:00", amount="7.77", customer=None)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:01"))

    landed = lake.load(pipeline)

    assert (landed.rows_added, landed.rows_updated, landed.rows_total) == (1, 1, 5)
    assert lake.rows("raw.orders") == shop.orders()
    assert lake.duckdb_rows("raw.orders") == shop.orders()


def test_a_column_that_the_source_adds_is_added(shop: Shop, lake: Lake) -> None:
    pipeline = shop.pipeline(destination={"write_disposition": "merge"})
    lake.load(pipeline)
    shop.execute("alter table orders add column note text")
    shop.execute("update orders set note = 'gift' where id = 1")

    landed = lake.load(pipeline)

    assert landed.columns_added == ["note"]
    assert [row["note"] for row in lake.rows("raw.orders")] == ["gift", None, None, None]


# Readers agree, whatever the type


def test_readers_agree_on_every_kind_of_value(lake: Lake) -> None:
    rows: list[dict[str, Any]] = [
        {
            "id": 1,
            "whole": 2**40,
            "fraction": 0.1,
            "exact": Decimal("123.4500"),
            "yes": True,
            "day": date(2024, 2, 29),
            "wall_clock": datetime(2024, 3, 31, 2, 30),
            "moment": datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=timezone.utc),
            "raw": b"\x00\xff",
            "tags": ["a", None],
            "address": {"street": "Rue ½", "number": None},
        },
        {
            "id": 2,
            "whole": -1,
            "fraction": None,
            "exact": Decimal("-0.0001"),
            "yes": False,
            "day": date(1969, 12, 31),
            "wall_clock": datetime(1, 1, 1),
            "moment": datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=timezone.utc),
            "raw": b"",
            "tags": [],
            "address": None,
        },
    ]
    pipeline = pipeline_of_rows([pa.Table.from_pylist(rows, schema=EVERY_KIND)], "raw.kinds")

    lake.load(pipeline)

    assert lake.rows("raw.kinds") == rows
    assert lake.duckdb_rows("raw.kinds") == rows


def test_the_source_is_read_and_not_touched(shop: Shop, lake: Lake, by_cursor: IngestionPipeline) -> None:
    before = shop.path.read_bytes()

    lake.load(by_cursor)

    with closing(sqlite3.connect(shop.path)) as connection:
        assert connection.execute("select count(*) from sqlite_master").fetchone() == (1,)
    assert shop.path.read_bytes() == before
