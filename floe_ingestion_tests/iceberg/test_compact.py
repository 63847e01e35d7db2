"""Compaction: fewer and larger files, the same rows, whoever else writes meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, NestedField, StringType

from floe_ingestion.errors import CommitConflict, OutcomeUnknown, PermanentError
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.iceberg.compact import Compacted, compact
from floe_ingestion.iceberg.expire import expire
from floe_ingestion.iceberg.orphans import remove_orphans
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion.iceberg.report import live_rows
from floe_ingestion.staging import Provenance
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.foreign_deletes import delete_across_files
from floe_ingestion_tests.iceberg.loads import load, numbers, private_folder, staged
from floe_ingestion_tests.iceberg.overtaking import forgetful, overtaken
from floe_ingestion_tests.lake import Lake, Row, in_order

NAME = "raw.numbers"
APPEND = table_spec()
BY_REGION = table_spec(partition_by=["region"])
MERGE = table_spec(write_disposition="merge", merge_mode="merge-on-read")
MERGE_BY_REGION = table_spec(write_disposition="merge", merge_mode="merge-on-read", partition_by=["region"])
SMALL = Packing(target_file_bytes=1_000_000, min_files=3)
LOOSE = Packing(target_file_bytes=1_000_000, min_files=3, deleted_share=0.5)


def run(lake: Lake, packing: Packing = SMALL, *, table: Table | None = None, **options: Any) -> Compacted:
    """Compact the table of these tests."""
    return compact(table or lake.table(NAME), packing, private_folder(lake), **options)


def on_disk(lake: Lake) -> set[Path]:
    """Every data and delete file."""
    return set((lake.home / "warehouse").rglob("*.parquet"))


def named(lake: Lake) -> set[Path]:
    """What any snapshot names."""
    table, found = lake.table(NAME), set()
    for snapshot in table.snapshots():
        for manifest in snapshot.manifests(table.io):
            found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return {Path(location.removeprefix("file://")) for location in found}


def delete_files(lake: Lake) -> set[str]:
    tasks = lake.table(NAME).scan().plan_files()
    return {delete.file_path for task in tasks for delete in task.delete_files}


def summary(lake: Lake) -> dict[str, str]:
    snapshot = lake.table(NAME).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return {"operation": snapshot.summary.operation.value, **snapshot.summary.additional_properties}


def require_rows(lake: Lake, expected: list[Row]) -> None:
    """Every reader sees these rows, and the snapshot counts them."""
    snapshot = lake.table(NAME).current_snapshot()
    assert snapshot is not None
    assert lake.rows(NAME) == in_order(expected)
    assert lake.duckdb_rows(NAME) == in_order(expected)
    assert live_rows(lake.table(NAME), snapshot) == len(expected)


def test_small_files_become_one_and_the_rows_stay(lake: Lake) -> None:
    for value in range(5):
        load(lake, APPEND, numbers([value], text="x"))
    before = lake.table(NAME)

    done = run(lake)

    require_rows(lake, numbers(range(5), text="x"))
    assert len(lake.files_of(NAME)) == 1
    assert len(lake.table(NAME).snapshots()) == len(before.snapshots()) + 1
    assert (done.files_before, done.files_after, done.rows) == (5, 1, 5)
    assert done.bytes_after < done.bytes_before
    assert {"operation": "replace", "floe.operation": "compact"}.items() <= summary(lake).items()


def test_who_reads_an_older_snapshot_reads_what_was_there(lake: Lake) -> None:
    for value in range(5):
        load(lake, APPEND, numbers([value]))
    older = lake.table(NAME).snapshots()[2]

    run(lake)

    assert len(lake.table(NAME).scan(snapshot_id=older.snapshot_id).to_arrow()) == 3


def test_each_partition_is_compacted_for_itself(lake: Lake) -> None:
    for value in range(4):
        load(lake, BY_REGION, [*numbers([value], region="eu"), *(numbers([value], region="us") if value < 2 else [])])
    untouched = lake.files_of(NAME, "region = 'us'")

    run(lake)

    require_rows(lake, [*numbers(range(4), region="eu"), *numbers(range(2), region="us")])
    assert len(lake.files_of(NAME, "region = 'eu'")) == 1
    assert lake.files_of(NAME, "region = 'us'") == untouched
    assert len(untouched) == 2


def test_files_become_about_as_large_as_they_should(lake: Lake) -> None:
    spec = table_spec(properties={"write.parquet.row-group-limit": "500"})
    for value in range(9):
        load(lake, spec, numbers(range(value * 2000, value * 2000 + 2000)))
    size = max(task.file.file_size_in_bytes for task in lake.table(NAME).scan().plan_files())

    run(lake, Packing(target_file_bytes=int(size * 3.1), min_files=3))

    assert len(lake.files_of(NAME)) == 3
    assert lake.values(NAME) == list(range(18_000))


def test_what_is_large_enough_is_left_alone(lake: Lake) -> None:
    for value in range(5):
        load(lake, APPEND, numbers([value]))
    files = lake.files_of(NAME)

    done = run(lake, Packing(target_file_bytes=100, min_files=2))

    assert lake.files_of(NAME) == files
    assert done.snapshot_id is None


def test_a_file_that_is_nearly_large_enough_is_not_written_anew_for_a_small_one(lake: Lake) -> None:
    load(lake, APPEND, numbers(range(4000)))
    (large,) = lake.files_of(NAME)
    size = Path(large.removeprefix("file://")).stat().st_size
    for value in (4000, 4001):
        load(lake, APPEND, numbers([value]))

    run(lake, Packing(target_file_bytes=int(size * 1.3), min_files=2))

    assert large in lake.files_of(NAME)
    assert len(lake.files_of(NAME)) == 2


def test_a_second_compaction_finds_nothing_to_do(lake: Lake) -> None:
    for value in range(7):
        load(lake, MERGE, numbers([value, value + 1], note=str(value)), key=["id"])
    run(lake)
    location = lake.table(NAME).metadata_location

    done = run(lake)

    assert done == Compacted(NAME, dry_run=False)
    assert lake.table(NAME).metadata_location == location


def test_deleted_rows_are_folded_in(lake: Lake) -> None:
    load(lake, MERGE, numbers(range(100), note="old"), key=["id"])
    load(lake, MERGE, numbers(range(20), note="new"), key=["id"])
    assert delete_files(lake)

    done = run(lake)

    require_rows(lake, [*numbers(range(20), note="new"), *numbers(range(20, 100), note="old")])
    assert delete_files(lake) == set()
    assert summary(lake)["total-delete-files"] == "0"
    assert (done.delete_files_before, done.delete_files_after) == (1, 0)


def test_a_file_that_lost_few_rows_is_left_alone(lake: Lake) -> None:
    load(lake, MERGE, numbers(range(100), note="old"), key=["id"])
    load(lake, MERGE, numbers(range(20), note="new"), key=["id"])

    done = run(lake, LOOSE)

    assert done.snapshot_id is None


def test_a_file_all_of_whose_rows_are_deleted_goes(lake: Lake) -> None:
    load(lake, MERGE, numbers([1, 2], note="old"), key=["id"])
    (first,) = lake.files_of(NAME)
    load(lake, MERGE, numbers([1], note="new"), key=["id"])
    load(lake, MERGE, numbers([2], note="new"), key=["id"])

    run(lake, Packing(target_file_bytes=1_000_000, min_files=100))

    require_rows(lake, numbers([1, 2], note="new"))
    assert first not in lake.files_of(NAME)


def test_many_delete_files_of_one_file_become_one_and_the_file_stays(lake: Lake) -> None:
    load(lake, MERGE, numbers(range(100), note="old"), key=["id"])
    (large,) = lake.files_of(NAME)
    for value in range(3):
        load(lake, MERGE, numbers([value], note="new"), key=["id"])

    done = run(lake, Packing(target_file_bytes=100, min_files=3, deleted_share=0.5))

    require_rows(lake, [*numbers(range(3), note="new"), *numbers(range(3, 100), note="old")])
    assert large in lake.files_of(NAME)
    assert len(delete_files(lake)) == 1
    assert (done.files_before, done.delete_files_before, done.delete_files_after) == (0, 3, 1)


def test_a_delete_file_of_two_data_files_stays_until_both_are_rewritten(lake: Lake) -> None:
    load(lake, APPEND, numbers(range(10), text="a" * 200))
    load(lake, APPEND, numbers(range(10, 2000), text="b"))
    delete_across_files(lake.table(NAME), position=0)
    expected = [*numbers(range(1, 10), text="a" * 200), *numbers(range(11, 2000), text="b")]
    assert lake.rows(NAME) == in_order(expected)

    run(lake, Packing(target_file_bytes=2_000, min_files=5, deleted_share=0.09))
    assert lake.rows(NAME) == in_order(expected)
    assert len(delete_files(lake)) == 1
    run(lake, Packing(target_file_bytes=1_000_000, min_files=2, deleted_share=0.9))

    require_rows(lake, expected)
    assert delete_files(lake) == set()


def test_a_dry_run_tells_what_it_would_do_and_changes_nothing(lake: Lake) -> None:
    load(lake, MERGE, numbers(range(100), note="old"), key=["id"])
    for value in range(4):
        load(lake, MERGE, numbers(range(value * 20, value * 20 + 20), note="new"), key=["id"])
    files, location = on_disk(lake), lake.table(NAME).metadata_location

    told = run(lake, dry_run=True)

    assert on_disk(lake) == files
    assert lake.table(NAME).metadata_location == location
    done = run(lake)
    assert told.dry_run
    for count in ("files_before", "files_after", "delete_files_before", "delete_files_after", "rows", "bytes_before"):
        assert getattr(told, count) == getattr(done, count), count


def test_columns_that_came_later_or_grew_are_as_they_were(lake: Lake) -> None:
    load(lake, APPEND, pa.table({"id": pa.array([1], pa.int32())}))
    load(lake, APPEND, pa.table({"id": pa.array([2], pa.int64()), "note": ["two"]}))
    load(lake, APPEND, pa.table({"id": pa.array([3], pa.int64()), "tags": [["a", "b"]]}))
    rows = lake.rows(NAME)

    run(lake)

    require_rows(lake, rows)
    assert len(lake.files_of(NAME)) == 1


def test_names_of_columns_that_no_source_of_ours_would_have_keep_their_values(lake: Lake) -> None:
    lake.catalog.create_namespace("raw")
    schema = Schema(NestedField(1, "Customer ID", LongType()), NestedField(2, "_dlt_id", StringType()))
    table = lake.catalog.create_table(NAME, schema)
    for value in range(3):
        table.append(pa.table({"Customer ID": pa.array([value]), "_dlt_id": ["x"]}))

    run(lake)

    require_rows(lake, [{"Customer ID": value, "_dlt_id": "x"} for value in range(3)])


def test_files_of_an_older_partition_spec_are_written_in_the_new_one(lake: Lake) -> None:
    for value in range(3):
        load(lake, APPEND, [*numbers([value], region="eu"), *numbers([value], region="us")])
    with lake.table(NAME).update_spec() as update:
        update.add_field("region", IdentityTransform(), "region")

    run(lake)

    require_rows(lake, [*numbers(range(3), region="eu"), *numbers(range(3), region="us")])
    assert len(lake.files_of(NAME, "region = 'eu'")) == 1
    assert len(lake.files_of(NAME)) == 2


def test_a_table_of_format_3_is_refused(lake: Lake) -> None:
    load(lake, APPEND, numbers([1]))
    written = json.loads(Path(lake.table(NAME).metadata_location.removeprefix("file://")).read_text())
    newer = lake.home / "newer.metadata.json"
    newer.write_text(json.dumps({**written, "format-version": 3, "next-row-id": 0}))
    lake.catalog.drop_table(NAME)
    lake.catalog.register_table(NAME, f"file://{newer}")

    with pytest.raises(PermanentError, match="format 3"):
        run(lake)


def test_manifests_are_merged_too(lake: Lake) -> None:
    spec = table_spec(partition_by=["region"], properties={"commit.manifest.min-count-to-merge": "3"})
    for value in range(5):
        load(lake, spec, numbers([value], region="eu" if value < 2 else "us"))

    run(lake)

    require_rows(lake, [*numbers(range(2), region="eu"), *numbers(range(2, 5), region="us")])
    snapshot = lake.table(NAME).current_snapshot()
    assert snapshot is not None
    (manifest,) = snapshot.manifests(lake.table(NAME).io)
    assert (manifest.added_files_count, manifest.existing_files_count, manifest.deleted_files_count) == (1, 2, 3)
    assert remove_orphans(lake.table(NAME), older_than_days=-1).files == 0


def test_manifests_of_files_that_are_gone_are_not_carried_along(lake: Lake) -> None:
    spec = table_spec(write_disposition="replace")
    for value in range(6):
        load(lake, spec, numbers([value]))

    snapshot = lake.table(NAME).current_snapshot()

    assert snapshot is not None
    assert len(snapshot.manifests(lake.table(NAME).io)) == 2


def test_the_next_load_starts_where_the_last_one_ended(lake: Lake) -> None:
    for value in range(3):
        load(lake, APPEND, numbers([value]), cursor=value)

    run(lake)

    assert lake.cursor(NAME) == {"id": 2}
    expire(lake.table(NAME), keep_last=1)
    assert lake.cursor(NAME) == {"id": 2}
    load(lake, APPEND, numbers([3]), cursor=3)
    assert lake.values(NAME) == [0, 1, 2, 3]


def test_a_load_that_was_staged_before_a_compaction_lands_after_it(lake: Lake) -> None:
    for value in range(3):
        load(lake, APPEND, numbers([value]), cursor=value)
    ready = staged(lake, APPEND, numbers([3]), cursor=3)

    run(lake)
    lake.commit(ready)

    assert lake.values(NAME) == [0, 1, 2, 3]
    assert lake.cursor(NAME) == {"id": 3}


def test_a_load_that_appends_does_not_disturb_a_compaction(lake: Lake) -> None:
    for value in range(3):
        load(lake, APPEND, numbers([value]), cursor=value)
    catalog = overtaken(lake, lambda: load(lake, APPEND, numbers([3]), cursor=3))

    done = run(lake, table=catalog.load_table(NAME))

    require_rows(lake, numbers(range(4)))
    assert len(lake.files_of(NAME)) == 2
    assert (done.files_before, done.files_after) == (3, 1)
    assert on_disk(lake) == named(lake)
    assert lake.cursor(NAME) == {"id": 3}


def merge_of(lake: Lake, values: list[int], **columns: object) -> Callable[[], object]:
    spec = MERGE_BY_REGION if "region" in columns else MERGE
    return lambda: load(lake, spec, numbers(values, **columns), key=["id"])


@pytest.mark.parametrize("append_too", [False, True], ids=["a merge", "a merge and an append"])
def test_rows_that_a_merge_replaces_meanwhile_do_not_come_back(lake: Lake, append_too: bool) -> None:
    for value in range(3):
        load(lake, MERGE, numbers([value, value + 10], note="old"), key=["id"])

    def others() -> None:
        merge_of(lake, [1], note="new")()
        if append_too:
            load(lake, APPEND, numbers([5], note="five"))

    run(lake, table=overtaken(lake, others).load_table(NAME))

    expected = [*numbers([0, 2, 10, 11, 12], note="old"), *numbers([1], note="new")]
    require_rows(lake, [*expected, *(numbers([5], note="five") if append_too else [])])
    assert on_disk(lake) == named(lake)


def test_what_a_load_touches_is_planned_again_and_the_rest_kept(lake: Lake) -> None:
    for value in range(3):
        load(lake, BY_REGION, [*numbers([value], region="eu"), *numbers([value + 10], region="us")])
    written: set[Path] = set()

    def other() -> None:
        written.update(on_disk(lake))
        merge_of(lake, [11], region="us", note="new")()

    done = run(lake, table=overtaken(lake, other).load_table(NAME))

    expected = [*numbers(range(3), region="eu", note=None), *numbers([10, 12], region="us", note=None)]
    require_rows(lake, [*expected, *numbers([11], region="us", note="new")])
    (kept,) = lake.files_of(NAME, "region = 'eu'")
    (again,) = lake.files_of(NAME, "region = 'us'")
    assert Path(kept.removeprefix("file://")) in written
    assert Path(again.removeprefix("file://")) not in written
    assert done.rows == 6
    assert on_disk(lake) == named(lake)


def test_a_table_that_is_replaced_meanwhile_is_left_as_it_is(lake: Lake) -> None:
    for value in range(3):
        load(lake, APPEND, numbers([value]))
    replace = table_spec(write_disposition="replace")
    catalog = overtaken(lake, lambda: load(lake, replace, numbers([7])))

    done = run(lake, table=catalog.load_table(NAME))

    require_rows(lake, numbers([7]))
    assert done.snapshot_id is None
    assert on_disk(lake) == named(lake)


def test_a_partition_spec_that_changes_meanwhile_holds_for_what_is_written(lake: Lake) -> None:
    for value in range(3):
        load(lake, APPEND, [*numbers([value], region="eu"), *numbers([value], region="us")])

    def repartition() -> None:
        with lake.table(NAME).update_spec() as update:
            update.add_field("region", IdentityTransform(), "region")
        load(lake, APPEND, numbers([9], region="eu"))

    run(lake, table=overtaken(lake, repartition).load_table(NAME))

    require_rows(lake, [*numbers([0, 1, 2, 9], region="eu"), *numbers(range(3), region="us")])
    assert len(lake.files_of(NAME, "region = 'us'")) == 1
    assert on_disk(lake) == named(lake)


def test_a_partition_spec_that_changes_during_a_load_holds_for_its_rows(lake: Lake) -> None:
    load(lake, APPEND, numbers([1], region="eu"))
    ready = staged(lake, APPEND, [*numbers([2], region="eu"), *numbers([2], region="us")])

    def repartition() -> None:
        with lake.table(NAME).update_spec() as update:
            update.add_field("region", IdentityTransform(), "region")
        load(lake, APPEND, numbers([9], region="eu"))

    commit(overtaken(lake, repartition), ready, Provenance(), private_folder(lake))

    require_rows(lake, [*numbers([1, 2, 9], region="eu"), *numbers([2], region="us")])
    assert len(lake.files_of(NAME, "region = 'us'")) == 1


def test_a_merge_that_is_overtaken_by_a_compaction_is_planned_again(lake: Lake) -> None:
    for value in range(3):
        load(lake, MERGE, numbers([value], note="old"), key=["id"])
    ready = staged(lake, MERGE, numbers([1, 3], note="new"), key=["id"])

    commit(overtaken(lake, lambda: run(lake)), ready, Provenance(), private_folder(lake))

    require_rows(lake, [*numbers([0, 2], note="old"), *numbers([1, 3], note="new")])


def test_loads_that_never_stop_changing_the_same_files_are_told_of(lake: Lake) -> None:
    for value in range(3):
        load(lake, MERGE, numbers([value], note="old"), key=["id"])
    catalog = overtaken(lake, *(merge_of(lake, [each % 3], note=str(each)) for each in range(20)))

    with pytest.raises(CommitConflict):
        run(lake, table=catalog.load_table(NAME))

    assert lake.values(NAME) == [0, 1, 2]
    assert on_disk(lake) == named(lake)


def test_a_compaction_whose_answer_was_lost_has_landed(lake: Lake) -> None:
    for value in range(3):
        load(lake, APPEND, numbers([value]))

    done = run(lake, table=forgetful(lake, after=True).load_table(NAME))

    require_rows(lake, numbers(range(3)))
    assert done.snapshot_id == lake.table(NAME).snapshots()[-1].snapshot_id
    assert on_disk(lake) == named(lake)


def test_a_compaction_of_which_nobody_knows_keeps_its_files(lake: Lake) -> None:
    for value in range(3):
        load(lake, APPEND, numbers([value]))

    with pytest.raises(OutcomeUnknown):
        run(lake, table=forgetful(lake, after=False).load_table(NAME))

    assert lake.values(NAME) == [0, 1, 2]
    assert len(on_disk(lake) - named(lake)) == 1


def test_nothing_of_a_compaction_stays_behind_where_a_file_is_lost(lake: Lake) -> None:
    for value in range(3):
        load(lake, BY_REGION, [*numbers([value], region="eu"), *numbers([value], region="us")])
    lost = sorted(lake.files_of(NAME, "region = 'us'"))[0]
    Path(lost.removeprefix("file://")).unlink()

    with pytest.raises(FileNotFoundError, match=Path(lost).name):
        run(lake)

    assert on_disk(lake) == named(lake) - {Path(lost.removeprefix("file://"))}
    assert cursors.current(lake.table(NAME)) is None
