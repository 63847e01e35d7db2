"""What the history of a table tells of each snapshot."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from floe_ingestion.iceberg.commit import commit
from floe_ingestion.iceberg.history import snapshots
from floe_ingestion.staging import Provenance
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers, staged
from floe_ingestion_tests.lake import Lake

SPEC = table_spec()
MERGED = table_spec(write_disposition="merge")


def test_a_table_without_snapshots_has_no_history(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]))
    table = lake.catalog.create_table("raw.empty", lake.table("raw.numbers").schema())

    assert snapshots(table) == []


def test_history_is_newest_first(lake: Lake) -> None:
    made = [load(lake, SPEC, numbers([number])).snapshot_id for number in range(3)]

    assert [row.snapshot_id for row in snapshots(lake.table("raw.numbers"))] == made[::-1]


def test_a_load_is_told_with_its_run_partition_and_cursor(lake: Lake) -> None:
    before = datetime.now(timezone.utc)
    load_ = staged(lake, SPEC, numbers([1, 2]), cursor=2)
    landed = commit(lake.catalog, load_, Provenance("run-1", "raw/numbers", "2024-01-01"), lake.staging_folder)

    (row,) = snapshots(lake.table("raw.numbers"))

    assert (row.run_id, row.partition, row.load_id) == ("run-1", "2024-01-01", landed.load_id)
    assert (row.operation, row.rows_added, row.rows_deleted, row.rows_total, row.files_added) == ("append", 2, 0, 2, 1)
    assert row.cursor == {"id": "2"}
    age = datetime.fromisoformat(row.committed_at) - before
    assert -1 < age.total_seconds() < 60


def test_what_others_wrote_is_told_without_a_run(lake: Lake) -> None:
    load(lake, SPEC, numbers([1, 2]), run="run-1")
    table = lake.table("raw.numbers")
    table.append(table.scan("id = 1").to_arrow())
    table.delete("id = 2")

    rows = snapshots(lake.table("raw.numbers"))

    assert [(row.run_id, row.rows_total, row.cursor) for row in rows] == [("", 2, {}), ("", 3, {}), ("run-1", 2, {})]


def test_rows_that_were_deleted_by_position_are_not_counted_as_there(lake: Lake) -> None:
    load(lake, MERGED, numbers(range(100), note="a"), key=["id"])
    load(lake, MERGED, numbers([1, 2, 200], note="b"), key=["id"])

    assert [row.rows_total for row in snapshots(lake.table("raw.numbers"))] == [101, 100]


def test_what_was_rolled_back_is_no_part_of_the_history(lake: Lake) -> None:
    first = load(lake, SPEC, numbers([1]))
    load(lake, SPEC, numbers([2]))
    assert first.snapshot_id is not None
    lake.table("raw.numbers").manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()

    assert [row.snapshot_id for row in snapshots(lake.table("raw.numbers"))] == [first.snapshot_id]


def test_history_goes_as_far_back_as_snapshots_do(lake: Lake) -> None:
    first, second = (load(lake, SPEC, numbers([number])).snapshot_id for number in (1, 2))
    assert first is not None
    lake.table("raw.numbers").maintenance.expire_snapshots().by_ids([first]).commit()

    assert [row.snapshot_id for row in snapshots(lake.table("raw.numbers"))] == [second]


def test_history_is_json(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)

    (row,) = snapshots(lake.table("raw.numbers"))

    assert json.loads(json.dumps(row.as_dict()))["cursor"] == {"id": "1"}
