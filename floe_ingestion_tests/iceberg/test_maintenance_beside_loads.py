"""Loads and maintenance of one table at the same time: every row is there once, and no file is missing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from floe_ingestion.errors import CommitConflict
from floe_ingestion.iceberg.compact import compact
from floe_ingestion.iceberg.expire import expire
from floe_ingestion.iceberg.orphans import remove_orphans
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion.spec import TableSpec
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers, private_folder
from floe_ingestion_tests.lake import Lake, in_order

NAME = "raw.numbers"
APPEND = table_spec()
MERGE = table_spec(write_disposition="merge", merge_mode="merge-on-read")
REWRITE = table_spec(write_disposition="merge", merge_mode="copy-on-write")
SMALL = Packing(target_file_bytes=1_000_000, min_files=3)


def in_threads(lake: Lake, *tasks: Callable[[Lake], object]) -> None:
    """Run all of `tasks` at once, each with a connection of its own; the first failure is raised."""
    failures: list[BaseException] = []

    def run(task: Callable[[Lake], object]) -> None:
        try:
            task(Lake(lake.home))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@contextmanager
def again_and_again(lake: Lake, *tasks: Callable[[Lake], object]) -> Iterator[None]:
    """Each of `tasks` in a thread of its own, over and over, until the block ends."""
    stop = threading.Event()

    def repeat(task: Callable[[Lake], object]) -> Callable[[Lake], None]:
        def run(own: Lake) -> None:
            while not stop.wait(0.05):
                task(own)

        return run

    failures: list[BaseException] = []

    def run_all() -> None:
        try:
            in_threads(lake, *map(repeat, tasks))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run_all)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def compaction(lake: Lake) -> None:
    """One that gives up where loads keep changing the same few files: the next one does its work."""
    with suppress(CommitConflict):
        compact(lake.table(NAME), SMALL, private_folder(lake))


def expiry(lake: Lake) -> None:
    expire(lake.table(NAME), keep_last=3)


def orphans(lake: Lake) -> None:
    remove_orphans(lake.table(NAME), older_than_days=1)


def appending(values: range) -> Callable[[Lake], None]:
    def run(lake: Lake) -> None:
        for value in values:
            load(lake, APPEND, numbers([value], note="new"))

    return run


def require_whole(lake: Lake) -> None:
    """Nothing that a snapshot names is missing, and nothing else is left behind."""
    expire(lake.table(NAME), keep_last=1)
    table, found = lake.table(NAME), set()
    (snapshot,) = table.snapshots()
    for manifest in snapshot.manifests(table.io):
        found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    assert {Path(each.removeprefix("file://")) for each in found} == lake.data_files()


def test_appenders_beside_maintenance_lose_no_row_and_land_none_twice(lake: Lake) -> None:
    load(lake, APPEND, numbers([-1], note="new"))

    with again_and_again(lake, compaction, expiry, orphans):
        in_threads(lake, *(appending(range(start, start + 6)) for start in (0, 6, 12)))
    compaction(lake)

    assert lake.values(NAME) == list(range(-1, 18))
    assert lake.duckdb_rows(NAME) == lake.rows(NAME)
    require_whole(lake)
    assert len(lake.files_of(NAME)) < SMALL.min_files


@pytest.mark.parametrize("spec", [MERGE, REWRITE], ids=["merge-on-read", "copy-on-write"])
def test_rows_that_are_merged_beside_maintenance_neither_come_back_nor_get_lost(lake: Lake, spec: TableSpec) -> None:
    load(lake, spec, numbers(range(30), note="first"), key=["id"])

    def merging(start: int) -> Callable[[Lake], None]:
        def run(own: Lake) -> None:
            for turn in range(4):
                load(own, spec, numbers([start, start + turn + 1, 100 + start], note=str(turn)), key=["id"])

        return run

    with again_and_again(lake, compaction, expiry):
        in_threads(lake, merging(0), merging(10))

    expected = dict.fromkeys(range(30), "first")
    for start in (0, 10):
        for turn in range(4):
            expected |= {key: str(turn) for key in (start, start + turn + 1, 100 + start)}
    rows = [{"id": key, "note": note} for key, note in expected.items()]
    assert lake.rows(NAME) == in_order(rows)
    assert lake.duckdb_rows(NAME) == in_order(rows)
    require_whole(lake)
