"""The cursor in the table: what it holds, and which one counts after rollbacks, expiries and other writers."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pyiceberg.table import Table

from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.staging import Window
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers, staged
from floe_ingestion_tests.lake import Lake

SPEC = table_spec()


def stands_at(table: Table) -> int | None:
    """Last value of the cursor that the next run would start from."""
    found: int | None = cursors.describe(cursors.current(table)).get("id")
    return found


def roll_back(lake: Lake, snapshot_id: int | None) -> None:
    assert snapshot_id is not None
    lake.table("raw.numbers").manage_snapshots().rollback_to_snapshot(snapshot_id).commit()


def expire(lake: Lake, *snapshot_ids: int | None) -> None:
    """As any other tool would: it knows nothing of cursors."""
    gone = [snapshot_id for snapshot_id in snapshot_ids if snapshot_id is not None]
    lake.table("raw.numbers").maintenance.expire_snapshots().by_ids(gone).commit()


# What it holds


@pytest.mark.parametrize(
    "value",
    [
        7,
        2**63 - 1,
        1.5,
        "2024-01-01",
        "ü" * 10_000,
        Decimal("1.230"),
        date(2024, 2, 29),
        datetime(2024, 2, 29, 12, 0, 0, 123456),
        datetime(2024, 2, 29, 12, tzinfo=timezone.utc),
        datetime(2024, 2, 29, 12, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        b"\x00\xff",
        None,
        [1, "a", None],
    ],
    ids=repr,
)
def test_a_cursor_comes_out_as_it_went_in(value: Any) -> None:
    state = {"resources": {"numbers": {"incremental": {"id": {"last_value": value, "unique_hashes": ["x"]}}}}}

    text = cursors.encode(state)

    assert text is not None
    decoded = cursors.decode(text)
    assert decoded == state
    assert type(decoded["resources"]["numbers"]["incremental"]["id"]["last_value"]) is type(value)


def test_a_long_state_is_short_in_the_table() -> None:
    hashes = [f"{number:032x}" for number in range(1_000)]

    text = cursors.encode({"resources": {"numbers": {"incremental": {"id": {"unique_hashes": hashes}}}}})

    assert text is not None
    assert len(text) < 10_000
    assert text.isascii()


def test_no_state_is_no_cursor() -> None:
    assert cursors.encode({}) is None
    assert cursors.describe(None) == {}
    assert cursors.current(None) is None


def test_every_cursor_of_a_source_is_described() -> None:
    state = {
        "resources": {
            "orders": {"incremental": {"updated_at": {"last_value": 3}}},
            "customers": {"incremental": {"id": {"last_value": 4}}, "own": {"page": 5}},
            "stateless": {},
        }
    }

    assert cursors.describe(cursors.encode(state)) == {"updated_at": 3, "id": 4}


# Which one counts


def test_a_table_without_a_cursor_has_none(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]))

    assert cursors.current(lake.table("raw.numbers")) is None


def test_the_newest_cursor_counts(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)
    load(lake, SPEC, numbers([2]), cursor=2)

    assert stands_at(lake.table("raw.numbers")) == 2


def test_a_cursor_moves_though_no_row_came(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)
    landed = load(lake, SPEC, cursor=2)

    assert landed.rows_added == 0
    assert stands_at(lake.table("raw.numbers")) == 2


def test_writers_that_know_nothing_of_cursors_leave_it_where_it_is(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)
    table = lake.table("raw.numbers")
    table.append(table.scan().to_arrow())
    table.delete("id = 1")

    assert stands_at(lake.table("raw.numbers")) == 1


def test_a_backfill_of_a_partition_does_not_move_it(lake: Lake) -> None:
    load(lake, SPEC, numbers([1], at="2024-01-01"), cursor=1)
    day = Window("at", datetime(2024, 1, 1, tzinfo=timezone.utc), datetime(2024, 1, 2, tzinfo=timezone.utc))

    load(lake, SPEC, numbers([9], at="2024-01-01"), window=day)

    assert lake.values("raw.numbers") == [9]
    assert stands_at(lake.table("raw.numbers")) == 1


def test_a_rollback_takes_the_cursor_back(lake: Lake) -> None:
    first = load(lake, SPEC, numbers([1]), cursor=1)
    load(lake, SPEC, numbers([2]), cursor=2)

    roll_back(lake, first.snapshot_id)

    assert stands_at(lake.table("raw.numbers")) == 1


@pytest.mark.parametrize("format_", ["1", "2"])
def test_a_rollback_to_before_the_first_cursor_takes_it_away(format_: str, lake: Lake) -> None:
    spec = table_spec(properties={"format-version": format_})
    first = load(lake, spec, numbers([1]))
    load(lake, spec, numbers([2]), cursor=2)
    assert lake.table("raw.numbers").format_version == int(format_)

    roll_back(lake, first.snapshot_id)

    assert cursors.current(lake.table("raw.numbers")) is None


def test_rows_that_were_rolled_back_may_be_loaded_again(lake: Lake) -> None:
    first = load(lake, SPEC, numbers([1]), cursor=1)
    load(lake, SPEC, numbers([2]), cursor=2)
    roll_back(lake, first.snapshot_id)

    load(lake, SPEC, numbers([2]), cursor=2)

    assert lake.values("raw.numbers") == [1, 2]
    assert stands_at(lake.table("raw.numbers")) == 2


def test_a_branch_does_not_move_the_cursor_of_main(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)
    table = lake.table("raw.numbers")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    table.manage_snapshots().create_branch(snapshot.snapshot_id, "try").commit()
    table.append(table.scan().to_arrow(), snapshot_properties={cursors.CURSOR: "of the branch"}, branch="try")

    assert stands_at(lake.table("raw.numbers")) == 1


def test_the_cursor_outlives_the_snapshots_that_somebody_expires(lake: Lake) -> None:
    first = load(lake, SPEC, numbers([1]), cursor=1)
    second = load(lake, SPEC, numbers([2]), cursor=2)
    table = lake.table("raw.numbers")
    table.append(table.scan().to_arrow().slice(0, 1))

    expire(lake, first.snapshot_id, second.snapshot_id)

    assert stands_at(lake.table("raw.numbers")) == 2


def test_the_cursor_is_found_behind_what_others_wrote_though_the_history_is_cut(lake: Lake) -> None:
    first = load(lake, SPEC, numbers([1]), cursor=1)
    second = load(lake, SPEC, numbers([2]), cursor=2)
    third = load(lake, SPEC, numbers([3]), cursor=3)

    expire(lake, first.snapshot_id)
    roll_back(lake, second.snapshot_id)

    assert stands_at(lake.table("raw.numbers")) == 2
    assert third.snapshot_id is not None


def test_a_cursor_that_was_reset_is_none(lake: Lake) -> None:
    """An empty property says so; the rows come again from the start."""
    load(lake, SPEC, numbers([1]), cursor=1)
    table = lake.table("raw.numbers")
    table.append(table.scan().to_arrow().slice(0, 0), snapshot_properties={cursors.CURSOR: ""})

    assert cursors.current(lake.table("raw.numbers")) is None


def test_a_load_says_where_it_began_and_where_it_ended(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)

    load_ = staged(lake, SPEC, numbers([2]), cursor=2)

    assert (cursors.describe(load_.cursor_before), cursors.describe(load_.cursor)) == ({"id": 1}, {"id": 2})
