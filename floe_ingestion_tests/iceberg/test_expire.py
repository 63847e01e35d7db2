"""Expiring snapshots: what goes, what stays whatever happens, and where the next load starts afterwards."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from floe_ingestion.errors import PermanentError
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg import expire as expiring
from floe_ingestion.iceberg.expire import expire
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers
from floe_ingestion_tests.lake import Lake

NAME = "raw.numbers"
APPEND = table_spec()
REPLACE = table_spec(write_disposition="replace")
MERGE = table_spec(write_disposition="merge")


def ids(table: Table) -> list[int]:
    """The snapshots of a table, oldest first."""
    return [snapshot.snapshot_id for snapshot in table.refresh().snapshots()]


def rows_at(table: Table, snapshot_id: int) -> list[int]:
    return sorted(table.scan(snapshot_id=snapshot_id).to_arrow()["id"].to_pylist())


def on_disk(lake: Lake) -> set[Path]:
    """Every data file, delete file, manifest and manifest list."""
    return {path for path in (lake.home / "warehouse").rglob("*") if path.suffix in (".parquet", ".avro")}


def named(table: Table) -> set[Path]:
    """What the snapshots of the table name, read without any of what is tested."""
    found = {snapshot.manifest_list for snapshot in table.snapshots()}
    for snapshot in table.snapshots():
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return {Path(location.removeprefix("file://")) for location in found}


def cursor_of(table: Table) -> dict[str, Any]:
    return cursors.describe(cursors.current(table.refresh()))


def test_the_files_of_an_expired_snapshot_go_and_no_others(lake: Lake) -> None:
    for value in range(4):
        load(lake, REPLACE, numbers([value]))
    load(lake, APPEND, numbers([4]))
    table = lake.table(NAME)
    kept = ids(table)[-2:]

    found = expire(table, keep_last=2)

    assert ids(table) == kept
    assert [rows_at(table, each) for each in kept] == [[3], [3, 4]]
    assert on_disk(lake) == named(table)
    assert (found.snapshots, found.snapshots_kept, found.data_files, found.not_deleted) == (3, 2, 3, 0)
    assert found.bytes > 0


def test_what_a_kept_snapshot_took_over_from_an_expired_one_stays(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_mode="copy-on-write", partition_by=["region"])
    for value in (1, 2):
        rows = [*numbers([value], region="eu"), *numbers([value + 10], region="us")]
        load(lake, spec, rows, key=["id"])
    load(lake, spec, numbers([1], region="eu", note="new"), key=["id"])
    table = lake.table(NAME)

    expire(table, keep_last=1)

    assert lake.values(NAME) == [1, 2, 11, 12]
    assert lake.duckdb_rows(NAME) == lake.rows(NAME)
    assert on_disk(lake) == named(table)


def test_rows_that_a_merge_replaced_go_with_their_delete_files(lake: Lake) -> None:
    load(lake, MERGE, numbers(range(100), note="old"), key=["id"])
    for note in ("new", "newer"):
        load(lake, MERGE, numbers([1, 2], note=note), key=["id"])
    load(lake, REPLACE, numbers([7], note="only"))
    table = lake.table(NAME)

    expire(table, keep_last=1)

    assert lake.rows(NAME) == [{"id": 7, "note": "only"}]
    assert on_disk(lake) == named(table)


def test_branches_and_tags_keep_what_they_name(lake: Lake) -> None:
    for value in range(4):
        load(lake, REPLACE, numbers([value]))
    table = lake.table(NAME)
    first, second, third, fourth = ids(table)
    table.manage_snapshots().create_tag(first, "audited").create_branch(second, "trial").commit()

    expire(table, keep_last=1)

    assert ids(table) == [first, second, fourth]
    assert [rows_at(table, each) for each in (first, second, fourth)] == [[0], [1], [3]]
    assert table.snapshot_by_id(third) is None
    assert on_disk(lake) == named(table)


def test_a_branch_that_asks_to_keep_more_keeps_more(lake: Lake) -> None:
    for value in range(4):
        load(lake, REPLACE, numbers([value]))
    table = lake.table(NAME)
    table.manage_snapshots().create_branch(ids(table)[2], "trial", min_snapshots_to_keep=2).commit()

    expire(table, keep_last=1)

    assert len(ids(table)) == 3
    assert rows_at(table, ids(table)[0]) == [1]


@pytest.mark.parametrize("keep_last", [0, 1])
def test_the_current_snapshot_never_expires(lake: Lake, keep_last: int) -> None:
    load(lake, APPEND, numbers([1]))
    table = lake.table(NAME)

    found = expire(table, keep_last, keep_days=0)

    assert found.snapshots == 0
    assert lake.values(NAME) == [1]


def test_what_is_younger_than_keep_days_stays(lake: Lake) -> None:
    for value in range(3):
        load(lake, REPLACE, numbers([value]))
    table = lake.table(NAME)
    old, *younger = ids(table)
    age = time.time() - table.snapshots()[1].timestamp_ms / 1000 + 0.001

    kept = expire(table, keep_last=1, keep_days=1)
    assert kept.snapshots == 0
    expire(table, keep_last=1, keep_days=(age + _until(table, old, age)) / 86400)

    assert ids(table) == younger


def _until(table: Table, snapshot_id: int, age: float) -> float:
    """Half of the time between a snapshot and the next, so that a slow test stays right."""
    snapshot = table.snapshot_by_id(snapshot_id)
    assert snapshot is not None
    return (time.time() - snapshot.timestamp_ms / 1000 - age) / 2


def test_a_dry_run_tells_what_would_go_and_changes_nothing(lake: Lake) -> None:
    for value in range(3):
        load(lake, REPLACE, numbers([value]))
    table = lake.table(NAME)
    before, location = on_disk(lake), table.metadata_location

    told = expire(table, keep_last=1, dry_run=True)

    assert on_disk(lake) == before
    assert lake.table(NAME).metadata_location == location
    done = expire(table, keep_last=1)
    assert (told.snapshots, told.data_files, told.metadata_files, told.bytes) == (
        done.snapshots,
        done.data_files,
        done.metadata_files,
        done.bytes,
    )
    assert told.dry_run
    assert not done.dry_run


def test_a_table_that_shares_its_files_keeps_them(lake: Lake) -> None:
    load(lake, APPEND, numbers([1]))
    table = lake.table(NAME)
    table.transaction().set_properties({"gc.enabled": "false"}).commit_transaction()

    with pytest.raises(PermanentError, match=r"gc\.enabled=false"):
        expire(table, keep_last=1)


def test_the_cursor_survives_the_snapshot_that_carried_it(lake: Lake) -> None:
    load(lake, APPEND, numbers([1]), cursor=1)
    for value in (2, 3):
        load(lake, APPEND, numbers([value]))
    table = lake.table(NAME)

    expire(table, keep_last=1)

    assert len(ids(table)) == 1
    assert cursor_of(table) == {"id": 1}


def test_after_a_rollback_the_cursor_that_survives_is_the_one_of_the_rows(lake: Lake) -> None:
    load(lake, APPEND, numbers([1]), cursor=1)
    load(lake, APPEND, numbers([2]))
    load(lake, APPEND, numbers([3]), cursor=3)
    table = lake.table(NAME)
    table.manage_snapshots().rollback_to_snapshot(ids(table)[1]).commit()

    expire(table, keep_last=1)

    assert lake.values(NAME) == [1, 2]
    assert cursor_of(table) == {"id": 1}
    assert cursors.describe(table.properties[cursors.CURSOR]) == {"id": 1}


def test_a_rollback_to_a_snapshot_whose_history_expired_rolls_the_cursor_back(lake: Lake) -> None:
    load(lake, APPEND, numbers([1]), cursor=1)
    load(lake, APPEND, numbers([2]))
    load(lake, APPEND, numbers([3]), cursor=3)
    table = lake.table(NAME)
    expire(table, keep_last=2)

    table.manage_snapshots().rollback_to_snapshot(ids(table)[0]).commit()

    assert lake.values(NAME) == [1, 2]
    assert cursor_of(table) == {"id": 1}


def test_a_rollback_to_before_the_first_cursor_leaves_none(lake: Lake) -> None:
    load(lake, APPEND, numbers([1]))
    load(lake, APPEND, numbers([2]), cursor=2)
    table = lake.table(NAME)

    table.manage_snapshots().rollback_to_snapshot(ids(table)[0]).commit()

    assert cursors.current(table.refresh()) is None


def test_a_rollback_to_before_the_first_cursor_leaves_none_after_an_expiry_either(lake: Lake) -> None:
    load(lake, APPEND, numbers([1]))
    load(lake, APPEND, numbers([2]))
    table = lake.table(NAME)
    expire(table, keep_last=1)
    load(lake, APPEND, numbers([3]), cursor=3)

    table.refresh().manage_snapshots().rollback_to_snapshot(ids(table)[0]).commit()

    assert lake.values(NAME) == [1, 2]
    assert cursors.current(table.refresh()) is None


def test_what_was_kept_for_an_expired_snapshot_is_kept_no_longer(lake: Lake) -> None:
    load(lake, APPEND, numbers([1]), cursor=1)
    load(lake, APPEND, numbers([2]))
    load(lake, APPEND, numbers([3]), cursor=3)
    table = lake.table(NAME)
    expire(table, keep_last=2)

    expire(table, keep_last=1)

    assert [name for name in table.properties if name.startswith("floe.")] == [cursors.CURSOR]
    assert cursor_of(table) == {"id": 3}


def test_the_cursor_survives_an_expiry_by_another_engine(lake: Lake) -> None:
    load(lake, APPEND, numbers([1]), cursor=1)
    for value in (2, 3):
        load(lake, APPEND, numbers([value]))
    table = lake.table(NAME)

    table.maintenance.expire_snapshots().by_ids(ids(table)[:2]).commit()

    assert cursor_of(table) == {"id": 1}


def test_a_snapshot_that_becomes_current_meanwhile_does_not_expire(lake: Lake) -> None:
    for value in range(3):
        load(lake, REPLACE, numbers([value]))
    as_planned, table = lake.table(NAME), lake.table(NAME)
    first = ids(table)[0]

    table.manage_snapshots().rollback_to_snapshot(first).commit()

    with pytest.raises(CommitFailedException):
        expiring._commit(as_planned, {first})
    assert lake.values(NAME) == [0]
