"""Where a load starts: the boundary value, a lag, a first value, rows without one, and a source that went back."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pytest

from floe_ingestion.errors import SourceRejected, StaleCursor
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg.compact import compact
from floe_ingestion.iceberg.cursor_change import reset, set_value
from floe_ingestion.iceberg.expire import expire
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion.pipeline import IngestionPipeline
from floe_ingestion_tests.fake_sources import Shop, pipeline_from
from floe_ingestion_tests.iceberg.loads import private_folder
from floe_ingestion_tests.iceberg.overtaking import overtaken
from floe_ingestion_tests.lake import Lake

NAME = "raw.orders"
FIRST, SECOND, THIRD = "2024-01-01 00:00:00", "2024-01-02 00:00:00", "2024-01-03 00:00:00"


def pipeline(shop: Shop, **incremental: Any) -> IngestionPipeline:
    return shop.pipeline(NAME, incremental={"cursor_path": "updated_at", **incremental})


def warnings(lake: Lake, of: IngestionPipeline) -> tuple[str, ...]:
    """Load, and return what somebody should look at."""
    with lake.staged(of) as staged:
        lake.commit(staged)
        return staged.warnings


@pytest.fixture
def orders(shop: Shop) -> Shop:
    shop.sell((1, "ann", "1.00", FIRST), (2, "bob", "2.00", SECOND), (3, "eve", "3.00", THIRD))
    return shop


# Where it starts


def test_rows_with_the_last_value_that_come_late_are_loaded_once(orders: Shop, lake: Lake) -> None:
    lake.load(pipeline(orders))
    for number in (4, 5):
        orders.sell((number, "late", None, THIRD))
        lake.load(pipeline(orders))
    lake.load(pipeline(orders))

    assert lake.values(NAME) == [1, 2, 3, 4, 5]


def test_a_lag_looks_back_behind_the_last_value(orders: Shop, lake: Lake) -> None:
    merged = orders.pipeline(
        NAME, incremental={"cursor_path": "updated_at", "lag": 86400}, destination={"write_disposition": "merge"}
    )
    lake.load(merged)
    orders.sell((4, "late", None, "2024-01-02 12:00:00"), (5, "too late", None, "2024-01-01 12:00:00"))

    lake.load(merged)

    assert lake.values(NAME) == [1, 2, 3, 4]
    assert lake.cursor(NAME) == {"updated_at": datetime.fromisoformat(THIRD)}


@pytest.mark.parametrize(
    "start",
    [SECOND, "2024-01-02", "2024-01-02T01:00:00+01:00", date(2024, 1, 2), datetime(2024, 1, 2)],
    ids=["text", "text of a date", "text with an offset", "a date", "a time"],
)
def test_the_first_load_starts_at_the_initial_value(orders: Shop, lake: Lake, start: Any) -> None:
    lake.load(pipeline(orders, initial_value=start))
    orders.sell((4, "old", None, FIRST), (5, "new", None, "2024-01-04 00:00:00"))
    lake.load(pipeline(orders, initial_value=start))

    assert lake.values(NAME) == [2, 3, 5]


def test_a_cursor_that_is_no_column_is_told_with_those_that_are(orders: Shop, lake: Lake) -> None:
    wrong = orders.pipeline(NAME, incremental={"cursor_path": "changed", "initial_value": SECOND})

    with pytest.raises(SourceRejected, match=r"no column 'changed' to load by.*: id, customer, amount, updated_at"):
        lake.load(wrong)


@pytest.mark.parametrize(("what", "expected"), [("include", [1, 2, 3, 4]), ("exclude", [1, 2, 3])])
def test_rows_without_a_value_are_in_or_out_as_it_is_said(
    orders: Shop, lake: Lake, what: str, expected: list[int]
) -> None:
    orders.sell((4, "never", None, None))

    lake.load(pipeline(orders, on_cursor_value_missing=what))

    assert lake.values(NAME) == expected
    assert lake.cursor(NAME) == {"updated_at": datetime.fromisoformat(THIRD)}


def test_rows_without_a_value_are_an_error_where_nothing_is_said(orders: Shop, lake: Lake) -> None:
    orders.sell((4, "never", None, None))

    with pytest.raises(Exception, match="updated_at"):
        lake.load(pipeline(orders))

    assert lake.data_files() == set()


# What it survives


def test_it_goes_on_after_a_compaction_and_an_expiry(orders: Shop, lake: Lake) -> None:
    for number in (4, 5, 6):
        lake.load(pipeline(orders))
        orders.sell((number, "new", None, f"2024-02-0{number} 00:00:00"))
    table = lake.table(NAME)

    compact(table, Packing(1_000_000, min_files=2), private_folder(lake))
    expire(table, keep_last=1)
    landed = lake.load(pipeline(orders))

    assert landed.rows_added == 1
    assert lake.values(NAME) == [1, 2, 3, 4, 5, 6]


def test_it_goes_on_after_another_engine_has_rewritten_the_table(orders: Shop, lake: Lake) -> None:
    lake.load(pipeline(orders))
    table = lake.table(NAME)
    rows = table.scan().to_arrow()

    table.overwrite(rows)  # as a compaction by somebody else: a snapshot that knows nothing of cursors
    table.maintenance.expire_snapshots().by_ids([table.snapshots()[0].snapshot_id]).commit()
    orders.sell((4, "new", None, "2024-02-01 00:00:00"))
    landed = lake.load(pipeline(orders))

    assert landed.rows_added == 1
    assert lake.values(NAME) == [1, 2, 3, 4]


def test_a_rollback_rolls_it_back_and_a_compaction_in_between_does_not_matter(orders: Shop, lake: Lake) -> None:
    lake.load(pipeline(orders))
    orders.sell((4, "new", None, "2024-02-01 00:00:00"))
    lake.load(pipeline(orders))
    table = lake.table(NAME)
    compact(table, Packing(1_000_000, min_files=2), private_folder(lake))
    first = table.snapshots()[0].snapshot_id

    table.manage_snapshots().rollback_to_snapshot(first).commit()
    landed = lake.load(pipeline(orders))

    assert landed.rows_added == 1
    assert lake.values(NAME) == [1, 2, 3, 4]


# A source that went back


def test_a_source_that_was_restored_from_a_backup_is_told_of(orders: Shop, lake: Lake) -> None:
    lake.load(pipeline(orders))
    orders.execute("delete from orders where id = 3")
    orders.sell((4, "after the backup", None, "2024-01-02 06:00:00"))

    (warning,) = warnings(lake, pipeline(orders))

    assert "2024-01-02 06:00:00" in warning
    assert THIRD in warning
    assert "floe-ingestion cursor set raw.orders updated_at '2024-01-02 06:00:00'" in warning
    assert lake.cursor(NAME) == {"updated_at": datetime.fromisoformat(THIRD)}
    assert lake.values(NAME) == [1, 2, 3]


def test_what_the_warning_advises_brings_the_rows(orders: Shop, lake: Lake) -> None:
    lake.load(pipeline(orders))
    orders.execute("delete from orders where id = 3")
    orders.sell((4, "after the backup", None, "2024-01-02 06:00:00"))

    set_value(lake.table(NAME), "updated_at", "2024-01-02 06:00:00")
    landed = lake.load(pipeline(orders))

    assert landed.rows_added == 1
    assert lake.values(NAME) == [1, 2, 3, 4]


def test_numbers_that_start_again_are_told_of(shop: Shop, lake: Lake) -> None:
    shop.sell((100, "ann", None, FIRST))
    by_id = shop.pipeline(NAME, incremental={"cursor_path": "id"})
    lake.load(by_id)
    shop.execute("delete from orders")
    shop.sell((1, "bob", None, SECOND))

    (warning,) = warnings(lake, by_id)

    assert "is 1, and the cursor is at 100" in warning


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "delete from orders",
        "delete from orders where id < 3",
        "update orders set customer = 'x' where id = 3",
    ],
)
def test_a_source_that_did_not_go_back_is_not_told_of(orders: Shop, lake: Lake, sql: str) -> None:
    lake.load(pipeline(orders))
    orders.execute(sql)

    assert warnings(lake, pipeline(orders)) == ()


def test_rows_that_a_condition_leaves_out_do_not_count(orders: Shop, lake: Lake) -> None:
    tables = {"tables": [{"name": "orders", "where": "customer <> 'eve'"}]}
    some = orders.pipeline(NAME, incremental={"cursor_path": "updated_at"}, config=tables)
    lake.load(some)
    orders.execute("delete from orders where id = 2")

    (warning,) = warnings(lake, some)

    assert f"is {FIRST}, and the cursor is at {SECOND}" in warning


def test_a_load_without_a_cursor_is_not_asked(orders: Shop, lake: Lake) -> None:
    everything = orders.pipeline(NAME, destination={"write_disposition": "replace"})
    lake.load(everything)
    orders.execute("delete from orders")

    assert warnings(lake, everything) == ()


def test_a_source_that_cannot_tell_where_it_ends_is_not_asked(lake: Lake) -> None:
    rows: list[Any] = [{"id": 3}]
    numbers = pipeline_from(lambda: iter(rows), NAME, incremental={"cursor_path": "id"})
    lake.load(numbers)
    rows[:] = [{"id": 1}]

    assert warnings(lake, numbers) == ()


# Changes by hand


def test_a_load_that_was_extracted_before_a_reset_does_not_land(orders: Shop, lake: Lake) -> None:
    lake.load(pipeline(orders))
    orders.sell((4, "new", None, "2024-02-01 00:00:00"))
    with lake.staged(pipeline(orders)) as staged:
        reset(lake.table(NAME))
        with pytest.raises(StaleCursor):
            lake.commit(staged)

    assert lake.load(pipeline(orders)).rows_added == 4


def test_a_reset_survives_an_expiry_and_a_rollback_behind_it_undoes_it(orders: Shop, lake: Lake) -> None:
    lake.load(pipeline(orders))
    table = lake.table(NAME)
    reset(table)
    table.append(pa.Table.from_pylist([], schema=table.scan().to_arrow().schema))
    first = table.snapshots()[0].snapshot_id
    table.manage_snapshots().create_tag(first, "before").commit()

    expire(table, keep_last=1)
    assert cursors.current(table.refresh()) is None
    table.manage_snapshots().set_current_snapshot(ref_name="before").commit()

    assert lake.cursor(NAME) == {"updated_at": datetime.fromisoformat(THIRD)}


def test_a_change_by_hand_that_is_overtaken_by_a_load_keeps_its_rows(orders: Shop, lake: Lake) -> None:
    lake.load(pipeline(orders))
    orders.sell((4, "new", None, "2024-02-01 00:00:00"))
    catalog = overtaken(lake, lambda: lake.load(pipeline(orders)))

    change = set_value(catalog.load_table(NAME), "updated_at", SECOND)

    assert str(change.before["updated_at"]).startswith("2024-02-01")
    assert lake.values(NAME) == [1, 2, 3, 4]
    assert lake.cursor(NAME) == {"updated_at": datetime.fromisoformat(SECOND)}
