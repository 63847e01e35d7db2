"""One load is one commit, whatever happens meanwhile: other writers, retries, broken connections."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType, StringType

from floe_ingestion.errors import (
    CatalogUnavailable,
    CommitConflict,
    IngestionError,
    OutcomeUnknown,
    PermanentError,
    StaleCursor,
    TransientError,
)
from floe_ingestion.iceberg import commit as commits
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.iceberg.expire import expire
from floe_ingestion.staging import Landed, Provenance, StagedTable, Window
from floe_ingestion_tests.catalogs import BreakingCatalog, ExpiringCatalog, OverwritingCatalog, RacingCatalog
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers, staged
from floe_ingestion_tests.lake import Lake

SPEC = table_spec()
MERGED = table_spec(write_disposition="merge")
DAILY = table_spec(partitions={"type": "daily", "column": "at", "start": "2024-01-01"})
UTC = timezone.utc


def day(number: int) -> Window:
    start = datetime(2024, 1, number, tzinfo=UTC)
    return Window("at", start, start + timedelta(days=1))


def hours(number: int, *ids: int) -> list[dict[str, Any]]:
    """Rows of a day of January 2024."""
    return [{"id": id_, "at": datetime(2024, 1, number, id_ % 24, tzinfo=UTC)} for id_ in ids]


def commit_in(catalog: Catalog, lake: Lake, load_: StagedTable, run: str = "") -> Landed:
    return commit(catalog, load_, lake.provenance(run), lake.staging_folder)


def at_once(lake: Lake, loads: Sequence[StagedTable]) -> list[Landed | IngestionError]:
    """Commit all `loads` in the same moment, each with a connection of its own."""
    start = threading.Barrier(len(loads))

    def one(load_: StagedTable) -> Landed | IngestionError:
        catalog = lake.connect()
        start.wait()
        try:
            return commit_in(catalog, lake, load_)
        except IngestionError as error:
            return error

    with ThreadPoolExecutor(len(loads)) as threads:
        return list(threads.map(one, loads))


# What a commit does, and says


def test_an_append_adds_its_rows(lake: Lake) -> None:
    load(lake, SPEC, numbers([1, 2]))

    landed = load(lake, SPEC, numbers([2, 3]))

    assert (landed.rows_added, landed.rows_total, landed.files_added) == (2, 4, 1)
    assert lake.values("raw.numbers") == [1, 2, 2, 3]


def test_a_replace_leaves_only_its_own_rows(lake: Lake) -> None:
    spec = table_spec(write_disposition="replace")
    load(lake, spec, numbers([1, 2]))

    landed = load(lake, spec, numbers([3]))

    assert (landed.rows_added, landed.rows_deleted, landed.rows_total) == (1, 2, 1)
    assert lake.values("raw.numbers") == [3]


def test_a_replace_by_nothing_empties_the_table(lake: Lake) -> None:
    spec = table_spec(write_disposition="replace")
    load(lake, spec, numbers([1, 2]))

    landed = load(lake, spec)

    assert (landed.rows_deleted, landed.rows_total) == (2, 0)
    assert lake.rows("raw.numbers") == []


@pytest.mark.parametrize("disposition", ["append", "replace"])
def test_a_partition_is_replaced_and_its_neighbours_are_not(disposition: str, lake: Lake) -> None:
    spec = DAILY.model_copy(update={"write_disposition": disposition})
    for number in (1, 2, 3):
        load(lake, spec, hours(number, number * 10, number * 10 + 1), window=day(number))

    landed = load(lake, spec, hours(2, 29), window=day(2))

    assert (landed.rows_added, landed.rows_deleted, landed.rows_total) == (1, 2, 5)
    assert lake.values("raw.numbers") == [10, 11, 29, 30, 31]


def test_a_merge_updates_and_adds_by_key(lake: Lake) -> None:
    load(lake, MERGED, numbers([1, 2], note="a"), key=["id"])

    landed = load(lake, MERGED, numbers([2, 3], note="b"), key=["id"])

    assert (landed.rows_added, landed.rows_updated, landed.rows_total) == (1, 1, 3)
    assert lake.rows("raw.numbers") == [*numbers([1], note="a"), *numbers([2, 3], note="b")]


@pytest.mark.parametrize("disposition", ["append", "replace", "merge"])
def test_everything_of_a_load_is_one_snapshot(disposition: str, lake: Lake) -> None:
    spec = table_spec(write_disposition=disposition)
    load(lake, spec, numbers([1, 2], note="a"), key=["id"], cursor=2)

    load(lake, spec, numbers([2, 3], note="b", more=1), key=["id"], cursor=3)

    assert len(lake.table("raw.numbers").snapshots()) == 2


def test_the_snapshot_says_who_made_it(lake: Lake) -> None:
    load_ = staged(lake, SPEC, numbers([1]))

    landed = commit(lake.catalog, load_, Provenance("run-1", "raw/numbers", "2024-01-01"), lake.staging_folder)

    assert landed.snapshot_id is not None
    snapshot = lake.table("raw.numbers").snapshot_by_id(landed.snapshot_id)
    assert snapshot is not None
    assert snapshot.summary is not None
    said = snapshot.summary.additional_properties
    assert said["floe.load-id"] == load_.load_id == landed.load_id
    assert said["dagster-run-id"] == "run-1"
    assert said["dagster-asset-key"] == "raw/numbers"
    assert said["dagster-partition-key"] == "2024-01-01"


def test_schema_changes_are_reported(lake: Lake) -> None:
    load(lake, SPEC, pa.table({"id": pa.array([1], pa.int32())}))

    landed = load(lake, SPEC, [{"id": 2**40, "note": "x", "address": {"street": "y"}}])

    assert sorted(landed.columns_added) == ["address", "address.street", "note"]
    assert list(landed.columns_changed) == ["id: int → long"]


def test_a_new_table_gets_its_properties_and_its_partitions(lake: Lake) -> None:
    load(lake, table_spec(partition_by=["note"], properties={"owner": "me"}), numbers([1], note="a"))

    table = lake.table("raw.numbers")
    assert table.properties["owner"] == "me"
    assert table.properties["write.metadata.delete-after-commit.enabled"] == "true"
    assert [field.name for field in table.spec().fields] == ["note"]


def test_readers_of_an_older_snapshot_still_find_their_rows(lake: Lake) -> None:
    load(lake, MERGED, numbers([1, 2], note="a"), key=["id"])
    reader = lake.table("raw.numbers")

    load(lake, MERGED, numbers([1, 2], note="b"), key=["id"])

    assert {row["note"] for row in reader.scan().to_arrow().to_pylist()} == {"a"}


# Loads of nothing


def test_no_rows_and_no_columns_make_no_table(lake: Lake) -> None:
    landed = load(lake, SPEC)

    assert (landed.snapshot_id, landed.rows_total) == (None, 0)
    assert not lake.catalog.table_exists("raw.numbers")


def test_columns_without_rows_make_an_empty_table(lake: Lake) -> None:
    landed = load(lake, SPEC, pa.table({"id": pa.array([], pa.int64()), "note": pa.array([], pa.string())}))

    assert landed.rows_total == 0
    assert lake.table("raw.numbers").schema().column_names == ["id", "note"]
    assert lake.rows("raw.numbers") == []


def test_the_first_rows_of_an_empty_table_arrive(lake: Lake) -> None:
    load(lake, SPEC, pa.table({"id": pa.array([], pa.int64())}))

    landed = load(lake, SPEC, numbers([1]))

    assert landed.rows_added == 1
    assert lake.values("raw.numbers") == [1]


@pytest.mark.parametrize("disposition", ["append", "merge"])
def test_a_load_without_rows_changes_nothing(disposition: str, lake: Lake) -> None:
    spec = table_spec(write_disposition=disposition)
    load(lake, spec, numbers([1]), key=["id"])
    before = lake.table("raw.numbers").metadata_location

    landed = load(lake, spec, key=["id"])

    assert (landed.rows_added, landed.rows_total) == (0, 1)
    assert lake.table("raw.numbers").metadata_location == before


def test_a_column_without_rows_is_added(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]))

    load(lake, SPEC, pa.table({"id": pa.array([], pa.int64()), "note": pa.array([], pa.string())}))

    assert lake.rows("raw.numbers") == [{"id": 1, "note": None}]


def test_a_partition_without_rows_is_emptied(lake: Lake) -> None:
    load(lake, DAILY, hours(1, 1), window=day(1))
    load(lake, DAILY, hours(2, 2), window=day(2))

    landed = load(lake, DAILY, window=day(1))

    assert (landed.rows_deleted, landed.rows_total) == (1, 1)
    assert lake.values("raw.numbers") == [2]


# Once and only once


@pytest.mark.parametrize("disposition", ["append", "replace", "merge"])
def test_a_load_lands_once_however_often_it_is_committed(disposition: str, lake: Lake) -> None:
    load_ = staged(lake, table_spec(write_disposition=disposition), numbers([1, 2]), key=["id"])

    first, again = lake.commit(load_), lake.commit(load_)

    assert (again.already_landed, again.snapshot_id) == (True, first.snapshot_id)
    assert (first.rows_total, again.rows_total) == (2, 2)
    assert lake.values("raw.numbers") == [1, 2]


def test_a_run_lands_once_though_its_retry_staged_anew(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), run="run-1")

    again = load(lake, SPEC, numbers([1]), run="run-1")

    assert again.already_landed
    assert lake.values("raw.numbers") == [1]


def test_a_run_is_known_behind_what_others_wrote_since(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), run="run-1")
    load(lake, SPEC, numbers([2]), run="run-2")

    assert load(lake, SPEC, numbers([1]), run="run-1").already_landed
    assert lake.values("raw.numbers") == [1, 2]


@pytest.mark.parametrize(
    "other", [Provenance("run-1", "a", "2024-01-02"), Provenance("run-1", "b"), Provenance("run-2", "a")]
)
def test_another_partition_asset_or_run_is_another_load(other: Provenance, lake: Lake) -> None:
    commit(lake.catalog, staged(lake, SPEC, numbers([1])), Provenance("run-1", "a"), lake.staging_folder)

    landed = commit(lake.catalog, staged(lake, SPEC, numbers([2])), other, lake.staging_folder)

    assert not landed.already_landed
    assert lake.values("raw.numbers") == [1, 2]


@pytest.mark.parametrize("continues", [(), ("run-2",)])
def test_a_run_that_was_rolled_back_has_not_landed(continues: tuple[str, ...], lake: Lake) -> None:
    """Somebody rolls the table back, corrects the source and executes the run again."""
    first = load(lake, SPEC, numbers([1]), run="run-1")
    load(lake, SPEC, numbers([-2]), run="run-2")
    assert first.snapshot_id is not None
    lake.table("raw.numbers").manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    again = replace(lake.provenance("run-3" if continues else "run-2"), continues=continues)

    landed = commit(lake.catalog, staged(lake, SPEC, numbers([2])), again, lake.staging_folder)

    assert not landed.already_landed
    assert lake.values("raw.numbers") == [1, 2]


def test_loads_outside_of_a_run_are_never_taken_for_each_other(lake: Lake) -> None:
    for _ in range(2):
        load(lake, SPEC, numbers([1]))

    assert lake.values("raw.numbers") == [1, 1]


# Others were quicker


def test_an_append_lands_behind_another_append(lake: Lake) -> None:
    load(lake, SPEC, numbers([0]))
    ours = staged(lake, SPEC, numbers([1]))
    racing = RacingCatalog(lake, partial(load, lake, SPEC, numbers([2, 3])))

    landed = commit_in(racing, lake, ours)

    assert (landed.rows_added, landed.rows_total) == (1, 4)
    assert lake.values("raw.numbers") == [0, 1, 2, 3]


def test_of_two_runs_from_the_same_cursor_the_second_is_told(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)
    ours, theirs = (staged(lake, SPEC, numbers([2]), cursor=2) for _ in range(2))
    lake.commit(theirs)

    with pytest.raises(StaleCursor):
        lake.commit(ours)

    assert lake.values("raw.numbers") == [1, 2]


def test_a_cursor_that_moves_in_the_very_moment_is_noticed(lake: Lake) -> None:
    """pyiceberg would repeat the append on top of the other one by itself."""
    load(lake, SPEC, numbers([1]), cursor=1)
    ours, theirs = (staged(lake, SPEC, numbers([2]), cursor=2) for _ in range(2))
    racing = RacingCatalog(lake, partial(lake.commit, theirs))

    with pytest.raises(StaleCursor):
        commit_in(racing, lake, ours)

    assert lake.values("raw.numbers") == [1, 2]


def test_of_two_first_runs_the_second_is_told(lake: Lake) -> None:
    ours, theirs = (staged(lake, SPEC, numbers([1]), cursor=1) for _ in range(2))
    racing = RacingCatalog(lake, partial(lake.commit, theirs))

    with pytest.raises(StaleCursor):
        commit_in(racing, lake, ours)

    assert lake.values("raw.numbers") == [1]


def test_the_attempt_after_a_stale_cursor_brings_what_is_new(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)
    late = staged(lake, SPEC, numbers([2]), cursor=2)
    load(lake, SPEC, numbers([2]), cursor=2)
    with pytest.raises(StaleCursor):
        lake.commit(late)

    load(lake, SPEC, numbers([3]), cursor=3)

    assert lake.values("raw.numbers") == [1, 2, 3]


def test_a_rollback_since_staging_makes_the_cursor_stale(lake: Lake) -> None:
    first = load(lake, SPEC, numbers([1]), cursor=1)
    load(lake, SPEC, numbers([2]), cursor=2)
    late = staged(lake, SPEC, numbers([3]), cursor=3)
    assert first.snapshot_id is not None
    lake.table("raw.numbers").manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()

    with pytest.raises(StaleCursor):
        lake.commit(late)

    assert lake.values("raw.numbers") == [1]


def test_the_files_of_a_load_with_a_stale_cursor_are_removed(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)
    ours, theirs = (staged(lake, SPEC, numbers([2]), cursor=2) for _ in range(2))
    racing = RacingCatalog(lake, partial(lake.commit, theirs))

    with pytest.raises(StaleCursor):
        commit_in(racing, lake, ours)

    assert named(lake.data_files()) == named(lake.files_of("raw.numbers"))


def test_a_merge_is_planned_again_when_another_merge_was_quicker(lake: Lake) -> None:
    load(lake, MERGED, numbers([1, 2], note="a"), key=["id"])
    ours = staged(lake, MERGED, numbers([2, 3], note="ours"), key=["id"])
    racing = RacingCatalog(lake, partial(load, lake, MERGED, numbers([2, 3, 4], note="theirs"), key=["id"]))

    commit_in(racing, lake, ours)

    assert lake.rows("raw.numbers") == [
        *numbers([1], note="a"),
        *numbers([2, 3], note="ours"),
        *numbers([4], note="theirs"),
    ]
    assert lake.duckdb_rows("raw.numbers") == lake.rows("raw.numbers")


def test_a_merge_of_other_keys_does_not_disturb(lake: Lake) -> None:
    load(lake, MERGED, numbers(range(10), note="a"), key=["id"])
    ours = staged(lake, MERGED, numbers([1], note="ours"), key=["id"])
    racing = RacingCatalog(lake, partial(load, lake, MERGED, numbers([8, 11], note="theirs"), key=["id"]))

    commit_in(racing, lake, ours)

    notes = {row["id"]: row["note"] for row in lake.rows("raw.numbers")}
    assert notes == {**dict.fromkeys(range(10), "a"), 1: "ours", 8: "theirs", 11: "theirs"}


@pytest.mark.parametrize("mode", ["merge-on-read", "copy-on-write"])
@pytest.mark.parametrize("deleted", [2, 7], ids=["a key of ours", "another key"])
@pytest.mark.parametrize("appended", [[], [50]], ids=["then nothing", "then an append"])
def test_a_row_that_somebody_else_deletes_meanwhile_stays_deleted(
    mode: str, deleted: int, appended: list[int], lake: Lake
) -> None:
    """Also where the delete is no longer the newest snapshot, which one check of pyiceberg 0.12 overlooks."""
    spec = table_spec(write_disposition="merge", merge_mode=mode, hard_delete="gone")
    load(lake, spec, numbers(range(10), note="a", gone=False), key=["id"])
    ours = staged(lake, spec, numbers([1, 2, 3], note="ours", gone=False), key=["id"])

    def theirs() -> None:
        marking = spec.model_copy(update={"merge_mode": "merge-on-read"})
        load(lake, marking, numbers([deleted], note="a", gone=True), key=["id"])
        if appended:
            load(lake, SPEC, numbers(appended, note="theirs", gone=False))

    landed = commit_in(RacingCatalog(lake, theirs), lake, ours)

    notes = {**dict.fromkeys(range(10), "a"), **dict.fromkeys(appended, "theirs")}
    del notes[deleted]
    assert {row["id"]: row["note"] for row in lake.rows("raw.numbers")} == {**notes, 1: "ours", 2: "ours", 3: "ours"}
    assert landed.rows_total == len(lake.values("raw.numbers"))


def test_a_first_load_over_which_another_one_creates_the_table_lands_beside_it(lake: Lake) -> None:
    """Not every catalog lets only one of two first writers create a table."""
    ours = staged(lake, SPEC, numbers([1]))
    catalog = OverwritingCatalog(lake, partial(load, lake, SPEC, numbers([2])))

    commit_in(catalog, lake, ours)

    assert lake.values("raw.numbers") == [1, 2]


def test_a_key_that_somebody_else_has_appended_since_is_not_doubled(lake: Lake) -> None:
    load(lake, MERGED, numbers([1], note="a"), key=["id"])
    ours = staged(lake, MERGED, numbers([1, 2], note="ours"), key=["id"])
    racing = RacingCatalog(lake, partial(load, lake, SPEC, numbers([2], note="appended")))

    commit_in(racing, lake, ours)

    assert lake.rows("raw.numbers") == numbers([1, 2], note="ours")


def test_an_insert_only_merge_sees_what_was_inserted_since(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_strategy="insert-only")
    load(lake, spec, numbers([1], note="a"), key=["id"])
    ours = staged(lake, spec, numbers([1, 2, 3], note="ours"), key=["id"])
    racing = RacingCatalog(lake, partial(load, lake, spec, numbers([2], note="theirs"), key=["id"]))

    commit_in(racing, lake, ours)

    assert {row["id"]: row["note"] for row in lake.rows("raw.numbers")} == {1: "a", 2: "theirs", 3: "ours"}
    assert lake.values("raw.numbers") == [1, 2, 3]


@pytest.mark.parametrize("ours_deletes", [False, True])
def test_a_row_that_a_load_of_nothing_but_deletions_takes_away_meanwhile_does_not_count_twice(
    ours_deletes: bool, lake: Lake
) -> None:
    """It writes no row at all: only marks, which what was planned before does not know."""
    spec = table_spec(write_disposition="merge", merge_mode="merge-on-read", hard_delete="gone")
    load(lake, spec, numbers(range(6), note="a", gone=False), key=["id"])
    ours = staged(lake, spec, numbers([1, 2], note="ours", gone=ours_deletes), key=["id"])
    racing = RacingCatalog(lake, partial(load, lake, spec, numbers([2, 4], note="theirs", gone=True), key=["id"]))

    landed = commit_in(racing, lake, ours)

    expected = [0, 3, 5] if ours_deletes else [0, 1, 2, 3, 5]
    assert lake.values("raw.numbers") == expected
    assert [row["id"] for row in lake.duckdb_rows("raw.numbers")] == expected
    assert (landed.rows_updated, landed.rows_added, landed.rows_deleted) == ((0, 0, 1) if ours_deletes else (1, 1, 0))
    assert landed.rows_total == len(expected)


@pytest.mark.parametrize("mode", ["merge-on-read", "copy-on-write"])
def test_a_load_of_nothing_but_deletions_takes_the_rows_that_others_have_just_written(mode: str, lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_mode=mode, hard_delete="gone")
    load(lake, spec, numbers(range(6), note="a", gone=False), key=["id"])
    ours = staged(lake, spec, numbers([2, 9], note="ours", gone=True), key=["id"])
    theirs = partial(load, lake, spec, numbers([2, 9], note="theirs", gone=False), key=["id"])

    landed = commit_in(RacingCatalog(lake, theirs), lake, ours)

    assert lake.values("raw.numbers") == [0, 1, 3, 4, 5]
    assert (landed.rows_deleted, landed.rows_total) == (2, 5)


def test_a_merge_survives_that_its_files_were_rewritten_by_a_compaction(lake: Lake) -> None:
    load(lake, MERGED, numbers(range(10), note="a"), key=["id"])
    ours = staged(lake, MERGED, numbers([1], note="ours"), key=["id"])

    def compact() -> None:
        table = lake.table("raw.numbers")
        table.overwrite(table.scan().to_arrow())

    commit_in(RacingCatalog(lake, compact), lake, ours)

    assert {row["id"]: row["note"] for row in lake.rows("raw.numbers")} == {**dict.fromkeys(range(10), "a"), 1: "ours"}


def test_a_partition_that_was_loaded_meanwhile_has_the_rows_of_the_last(lake: Lake) -> None:
    load(lake, DAILY, hours(1, 1), window=day(1))
    ours = staged(lake, DAILY, hours(1, 1, 2), window=day(1))
    racing = RacingCatalog(lake, partial(load, lake, DAILY, hours(1, 1, 2, 3), window=day(1)))

    commit_in(racing, lake, ours)

    assert lake.values("raw.numbers") == [1, 2]


def test_a_first_load_of_a_partition_finds_that_of_a_quicker_one(lake: Lake) -> None:
    load(lake, DAILY, hours(2, 9), window=day(2))
    ours = staged(lake, DAILY, hours(1, 1, 2), window=day(1))
    racing = RacingCatalog(lake, partial(load, lake, DAILY, hours(1, 1, 2), window=day(1)))

    commit_in(racing, lake, ours)

    assert lake.values("raw.numbers") == [1, 2, 9]


def test_a_replace_and_an_append_in_the_same_moment_leave_one_of_both_orders(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]))
    ours = staged(lake, table_spec(write_disposition="replace"), numbers([2]))
    racing = RacingCatalog(lake, partial(load, lake, SPEC, numbers([3])))

    landed = commit_in(racing, lake, ours)

    assert landed.rows_deleted == 2
    assert lake.values("raw.numbers") == [2]


def test_a_load_that_never_gets_through_leaves_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_ATTEMPTS", 3)
    monkeypatch.setattr(commits, "_LONGEST_WAIT", 0.01)
    load(lake, MERGED, numbers([1], note="a"), key=["id"])
    ours = staged(lake, MERGED, numbers([1], note="ours"), key=["id"])
    others = [partial(load, lake, MERGED, numbers([1], note=f"theirs {n}"), key=["id"]) for n in range(100)]

    with pytest.raises(CommitConflict, match="3 times in a row"):
        commit_in(RacingCatalog(lake, *others), lake, ours)

    assert [row["note"].split()[0] for row in lake.rows("raw.numbers")] == ["theirs"]
    assert ours.load_id not in " ".join(str(path) for path in lake.data_files())


def test_attempts_that_were_in_vain_leave_no_files(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_mode="copy-on-write")
    load(lake, spec, numbers(range(5), note="a"), key=["id"])
    ours = staged(lake, spec, numbers([1], note="ours"), key=["id"])
    racing = RacingCatalog(lake, partial(load, lake, spec, numbers([1], note="theirs"), key=["id"]))

    commit_in(racing, lake, ours)

    in_snapshots = {
        path for s in lake.table("raw.numbers").snapshots() for path in files_at(lake, "raw.numbers", s.snapshot_id)
    }
    assert named(lake.data_files()) == named(in_snapshots)


# Files expire


def replaced_and_expired(lake: Lake) -> None:
    """Every file of before is gone, the manifests too."""
    load(lake, table_spec(write_disposition="replace"), numbers([1, 2, 3], note="theirs"))
    expire(lake.table("raw.numbers"), keep_last=1, keep_days=0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"write_disposition": "append"}, [1, 2, 2, 3, 4]),
        ({"write_disposition": "replace"}, [2, 4]),
        ({"write_disposition": "merge", "merge_mode": "merge-on-read"}, [1, 2, 3, 4]),
        ({"write_disposition": "merge", "merge_mode": "copy-on-write"}, [1, 2, 3, 4]),
        ({"write_disposition": "merge", "merge_strategy": "insert-only"}, [1, 2, 3, 4]),
    ],
)
def test_a_load_whose_planned_files_expire_is_planned_again(
    settings: dict[str, Any], expected: list[int], lake: Lake
) -> None:
    load(lake, SPEC, numbers([1, 2], note="a"))
    load(lake, MERGED, numbers([2], note="b"), key=["id"])
    ours = staged(lake, table_spec(**settings), numbers([2, 4], note="ours"), key=["id"])

    landed = commit_in(ExpiringCatalog(lake, partial(replaced_and_expired, lake)), lake, ours)

    assert lake.values("raw.numbers") == expected
    assert landed.rows_total == len(expected)
    assert named(lake.data_files()) == {path for s in lake.table("raw.numbers").snapshots()
                                        for path in named(files_at(lake, "raw.numbers", s.snapshot_id))}  # fmt: skip


def test_a_window_whose_planned_files_expire_is_planned_again(lake: Lake) -> None:
    spec = table_spec(merge_mode="merge-on-read", partitions={"type": "daily", "column": "at", "start": "2024-01-01"})
    load(lake, table_spec(), hours(1, 1, 2) + hours(2, 9))
    ours = staged(lake, spec, hours(1, 3), window=day(1))

    def meanwhile() -> None:
        load(lake, table_spec(write_disposition="replace"), hours(1, 4, 5) + hours(2, 10))
        expire(lake.table("raw.numbers"), keep_last=1, keep_days=0)

    commit_in(ExpiringCatalog(lake, meanwhile), lake, ours)

    assert lake.values("raw.numbers") == [3, 10]


def test_a_commit_whose_base_expires_at_the_last_moment_is_planned_again(lake: Lake) -> None:
    load(lake, SPEC, numbers([1, 2], note="a"))
    ours = staged(lake, MERGED, numbers([2, 4], note="ours"), key=["id"])

    commit_in(RacingCatalog(lake, partial(replaced_and_expired, lake)), lake, ours)

    assert {row["id"]: row["note"] for row in lake.rows("raw.numbers")} == {1: "theirs", 2: "ours", 3: "theirs",
                                                                           4: "ours"}  # fmt: skip


def test_a_file_that_is_simply_lost_is_told_at_once(lake: Lake) -> None:
    load(lake, SPEC, numbers([1, 2], note="a"))
    (lost,) = lake.data_files()
    lost.unlink()

    with pytest.raises(PermanentError, match=lost.name):
        load(lake, MERGED, numbers([2], note="b"), key=["id"])

    assert lake.data_files() == set()


# Others changed the table's columns or partitions


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_column_that_somebody_added_first_does_not_get_our_values(when: str, lake: Lake) -> None:
    """Both columns were going to be number 2."""
    load(lake, SPEC, numbers([1]))
    ours = staged(lake, SPEC, numbers([2], ours="mine"))
    theirs = partial(load, lake, SPEC, numbers([3], theirs="not mine"))

    commit_at(when, lake, ours, theirs)

    assert lake.rows("raw.numbers") == [
        {"id": 1, "theirs": None, "ours": None},
        {"id": 2, "theirs": None, "ours": "mine"},
        {"id": 3, "theirs": "not mine", "ours": None},
    ]
    assert lake.duckdb_rows("raw.numbers") == lake.rows("raw.numbers")


@pytest.mark.parametrize("when", ["before", "during"])
def test_two_that_add_the_same_columns_in_another_order_agree(when: str, lake: Lake) -> None:
    load(lake, SPEC, numbers([1]))
    ours = staged(lake, SPEC, [{"id": 2, "a": "a2", "b": "b2"}])
    theirs = partial(load, lake, SPEC, [{"id": 3, "b": "b3", "a": "a3"}])

    commit_at(when, lake, ours, theirs)

    assert [(row["id"], row["a"], row["b"]) for row in lake.rows("raw.numbers")] == [
        (1, None, None),
        (2, "a2", "b2"),
        (3, "a3", "b3"),
    ]


@pytest.mark.parametrize("when", ["before", "during"])
def test_two_first_writers_with_other_columns_both_land(when: str, lake: Lake) -> None:
    ours = staged(lake, SPEC, [{"id": 1, "note": "ours", "address": {"street": "x"}}])
    theirs = partial(load, lake, SPEC, [{"note": "theirs", "size": 3, "id": 2}])

    commit_at(when, lake, ours, theirs)

    rows = {row["id"]: (row["note"], row["size"], row["address"]) for row in lake.rows("raw.numbers")}
    assert rows == {1: ("ours", None, {"street": "x"}), 2: ("theirs", 3, None)}


def test_rows_that_the_contract_keeps_out_of_a_table_made_meanwhile_are_not_lost(lake: Lake) -> None:
    spec = table_spec(schema_contract={"columns": "discard_row"})
    ours = staged(lake, spec, numbers([1, 2], surprise="!"), cursor=2)
    load(lake, spec, numbers([3]))

    with pytest.raises(TransientError, match="forbids column 'surprise'"):
        lake.commit(ours)

    assert lake.values("raw.numbers") == [3]
    assert lake.cursor("raw.numbers") == {}, "the next attempt reads them again"
    assert len(lake.data_files()) == 1


def test_a_column_that_was_renamed_since_is_added_again(lake: Lake) -> None:
    load(lake, SPEC, numbers([1], note="a"))
    ours = staged(lake, SPEC, numbers([2], note="b"))
    with lake.table("raw.numbers").update_schema() as update:
        update.rename_column("note", "remark")

    lake.commit(ours)

    assert lake.rows("raw.numbers") == [
        {"id": 1, "remark": "a", "note": None},
        {"id": 2, "remark": None, "note": "b"},
    ]


def test_a_column_that_was_dropped_and_made_anew_gets_the_values(lake: Lake) -> None:
    load(lake, SPEC, numbers([1], note="a"))
    ours = staged(lake, SPEC, numbers([2], note="b"))
    for change in ("drop", "add"):
        with lake.table("raw.numbers").update_schema() as update:
            if change == "drop":
                update.delete_column("note")
            else:
                update.add_column("note", StringType())

    lake.commit(ours)

    assert lake.rows("raw.numbers") == [{"id": 1, "note": None}, {"id": 2, "note": "b"}]


def test_a_column_that_has_widened_since_takes_the_values(lake: Lake) -> None:
    load(lake, SPEC, pa.table({"id": pa.array([1], pa.int32())}))
    ours = staged(lake, SPEC, pa.table({"id": pa.array([2], pa.int32())}))
    with lake.table("raw.numbers").update_schema() as update:
        update.update_column("id", LongType())

    lake.commit(ours)

    assert lake.values("raw.numbers") == [1, 2]


def test_a_table_that_is_partitioned_otherwise_since_gets_files_of_its_new_partitions(lake: Lake) -> None:
    load(lake, SPEC, numbers([1], note="a"))
    ours = staged(lake, SPEC, [{"id": 2, "note": "b"}, {"id": 3, "note": "c"}])
    with lake.table("raw.numbers").update_spec() as update:
        update.add_field("note", IdentityTransform())

    lake.commit(ours)

    partitions = [task.file.partition for task in lake.table("raw.numbers").scan("id > 1").plan_files()]
    assert sorted(partition[0] for partition in partitions) == ["b", "c"]
    assert lake.values("raw.numbers") == [1, 2, 3]


def test_a_table_that_was_dropped_since_is_made_again(lake: Lake) -> None:
    load(lake, SPEC, numbers([1], note="a"))
    ours = staged(lake, SPEC, numbers([2], note="b", size=1))
    lake.catalog.drop_table("raw.numbers")

    lake.commit(ours)

    assert lake.rows("raw.numbers") == [{"id": 2, "note": "b", "size": 1}]


# Many at once


def test_many_first_writers_make_one_table_with_all_rows(lake: Lake) -> None:
    loads = [staged(lake, table_spec("new.numbers"), numbers([n], **{f"only_{n % 3}": n})) for n in range(6)]

    outcomes = at_once(lake, loads)

    assert errors(outcomes) == []
    assert {(row["id"], row[f"only_{row['id'] % 3}"]) for row in lake.rows("new.numbers")} == {(n, n) for n in range(6)}


def test_many_runs_from_the_same_cursor_land_once(lake: Lake) -> None:
    load(lake, SPEC, numbers([1]), cursor=1)
    loads = [staged(lake, SPEC, numbers([2]), cursor=2) for _ in range(4)]

    outcomes = at_once(lake, loads)

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Landed", *["StaleCursor"] * 3]
    assert lake.values("raw.numbers") == [1, 2]
    assert named(lake.data_files()) == named(lake.files_of("raw.numbers"))


def test_the_same_partition_from_many_sides_has_its_rows_once(lake: Lake) -> None:
    load(lake, DAILY, hours(2, 9), window=day(2))
    loads = [staged(lake, DAILY, hours(1, 1, 2, 3), window=day(1)) for _ in range(4)]

    outcomes = at_once(lake, loads)

    assert errors(outcomes) == []
    assert lake.values("raw.numbers") == [1, 2, 3, 9]


def test_all_partitions_at_once_are_all_there(lake: Lake) -> None:
    loads = [staged(lake, DAILY, hours(number, number), window=day(number)) for number in range(1, 7)]

    outcomes = at_once(lake, loads)

    assert errors(outcomes) == []
    assert lake.values("raw.numbers") == [1, 2, 3, 4, 5, 6]


def test_merges_at_once_leave_every_key_once(lake: Lake) -> None:
    load(lake, MERGED, numbers(range(10), writer=-1), key=["id"])
    loads = [staged(lake, MERGED, numbers(range(n, n + 10), writer=n), key=["id"]) for n in range(4)]

    outcomes = at_once(lake, loads)

    assert errors(outcomes) == []
    assert lake.values("raw.numbers") == list(range(13))
    assert all(row["id"] - 10 < row["writer"] <= row["id"] for row in lake.rows("raw.numbers"))


def test_evolving_at_once_leaves_every_value_in_its_column(lake: Lake) -> None:
    load(lake, SPEC, numbers([0]))
    loads = [staged(lake, SPEC, numbers([n], **{f"column_{n}": f"value {n}"})) for n in range(1, 5)]

    outcomes = at_once(lake, loads)

    assert errors(outcomes) == []
    found = {
        row["id"]: {name: value for name, value in row.items() if value is not None} for row in lake.rows("raw.numbers")
    }
    assert found == {0: {"id": 0}, **{n: {"id": n, f"column_{n}": f"value {n}"} for n in range(1, 5)}}


def test_writers_that_begin_with_nothing_at_all_agree(home: Path) -> None:
    """No catalog, no namespace, no table: each of them makes what it does not find."""
    start = threading.Barrier(4)

    def one(number: int) -> Landed:
        start.wait()
        return load(Lake(home), table_spec("new.numbers"), numbers([number]))

    with ThreadPoolExecutor(4) as threads:
        landed = list(threads.map(one, range(4)))

    assert sorted(outcome.rows_total for outcome in landed) == [1, 2, 3, 4]
    assert Lake(home).values("new.numbers") == [0, 1, 2, 3]


# The connection breaks


@pytest.mark.parametrize("exists", [False, True])
def test_a_commit_whose_answer_was_lost_is_found(exists: bool, lake: Lake) -> None:
    if exists:
        load(lake, SPEC, numbers([0]))
    ours = staged(lake, SPEC, numbers([1], note="x"))

    landed = commit_in(BreakingCatalog(lake, made=True), lake, ours)

    assert (landed.rows_added, landed.already_landed) == (1, False)
    assert lake.values("raw.numbers")[-1] == 1


def test_a_commit_that_nobody_can_be_asked_about_is_unknown_and_keeps_its_files(lake: Lake) -> None:
    load(lake, SPEC, numbers([0]))
    ours = staged(lake, SPEC, numbers([1]))

    with pytest.raises(OutcomeUnknown, match="Its files were kept"):
        commit_in(BreakingCatalog(lake, made=True, back=False), lake, ours)

    assert lake.values("raw.numbers") == [0, 1]


def test_a_commit_that_broke_off_before_it_arrived_is_made_by_the_retry(lake: Lake) -> None:
    load(lake, SPEC, numbers([0]), cursor=0)
    with pytest.raises((OutcomeUnknown, CatalogUnavailable)):
        commit_in(BreakingCatalog(lake, made=False), lake, staged(lake, SPEC, numbers([1]), cursor=1), run="run-1")
    assert lake.values("raw.numbers") == [0]

    load(lake, SPEC, numbers([1]), cursor=1, run="run-1")

    assert lake.values("raw.numbers") == [0, 1]


def test_the_retry_of_an_unknown_outcome_writes_nothing_when_it_had_landed(lake: Lake) -> None:
    load(lake, SPEC, numbers([0]))
    with pytest.raises(OutcomeUnknown):
        commit_in(BreakingCatalog(lake, made=True, back=False), lake, staged(lake, SPEC, numbers([1])), run="run-1")

    again = load(lake, SPEC, numbers([1]), run="run-1")

    assert again.already_landed
    assert lake.values("raw.numbers") == [0, 1]


def test_rejected_rows_land_beside_the_table(lake: Lake) -> None:
    load_ = staged(lake, SPEC, numbers([1]))
    rejected = staged(lake, table_spec("raw.numbers__rejected"), [{"reason": "no"}])

    lake.commit(replace(load_, rejected=rejected), run="run-1")

    assert lake.rows("raw.numbers__rejected") == [{"reason": "no"}]
    assert lake.values("raw.numbers") == [1]


def commit_at(when: str, lake: Lake, ours: StagedTable, theirs: Callable[[], Any]) -> Landed:
    """Commit `ours` after `theirs`, which happens before it begins, or during it."""
    if when == "during":
        return commit_in(RacingCatalog(lake, theirs), lake, ours)
    theirs()
    return lake.commit(ours)


def errors(outcomes: Sequence[Landed | IngestionError]) -> list[str]:
    return [repr(outcome) for outcome in outcomes if not isinstance(outcome, Landed)]


def named(paths: Any) -> set[str]:
    return {str(path).removeprefix("file://") for path in paths}


def files_at(lake: Lake, name: str, snapshot_id: int) -> set[str]:
    """Data and delete files of one snapshot."""
    table = lake.table(name)
    snapshot = table.snapshot_by_id(snapshot_id)
    assert snapshot is not None
    return {
        entry.data_file.file_path
        for manifest in snapshot.manifests(table.io)
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    }


def test_a_merge_that_another_one_has_made_needless_leaves_nothing(lake: Lake) -> None:
    load(lake, MERGED, numbers([1, 2], note="a"), key=["id"])
    ours = staged(lake, MERGED, numbers([2, 3], note="b"), key=["id"])
    racing = RacingCatalog(lake, partial(load, lake, MERGED, numbers([2, 3], note="b"), key=["id"]))

    landed = commit_in(racing, lake, ours)

    assert (landed.rows_added, landed.rows_unchanged) == (0, 2)
    assert not [path for path in lake.data_files() if ours.load_id in path.name]
