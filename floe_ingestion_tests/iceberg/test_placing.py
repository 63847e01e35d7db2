"""Staged files find their place in the warehouse, and leave it again when their load did not land."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyiceberg.table import Table

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.iceberg.placing import data_file, delete_all, local_path, place
from floe_ingestion.iceberg.row_sets import read_back
from floe_ingestion.staging import StagedTable
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers, private_folder, staged
from floe_ingestion_tests.lake import Lake

SPEC = table_spec()


@pytest.fixture
def table(lake: Lake) -> Table:
    load(lake, SPEC, numbers([0], note="a"))
    return lake.table("raw.numbers")


@pytest.fixture
def load_(lake: Lake, table: Table) -> StagedTable:
    """Two files that are not committed."""
    return staged(lake, table_spec(), numbers([1, 2], note="b"), numbers([3], note="c", more=1))


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("file:///tmp/warehouse/a.parquet", "/tmp/warehouse/a.parquet"),
        ("file:/tmp/warehouse/a.parquet", "/tmp/warehouse/a.parquet"),
        ("/tmp/warehouse/a.parquet", "/tmp/warehouse/a.parquet"),
        ("relative/a.parquet", "relative/a.parquet"),
        ("s3://bucket/a.parquet", None),
        ("abfss://container@account.dfs.core.windows.net/a", None),
    ],
)
def test_a_location_is_a_path_on_this_machine_or_it_is_not(location: str, path: str | None) -> None:
    assert local_path(location) == (Path(path) if path else None)


def test_a_file_is_placed_in_the_tables_data_folder(table: Table, load_: StagedTable) -> None:
    (location,) = place(load_.files[:1], table, ["new.parquet"])

    assert location == f"{table.location()}/data/new.parquet"
    path = local_path(location)
    assert path is not None
    assert path.read_bytes() == load_.files[0].path.read_bytes()


def test_placing_does_not_copy_on_one_file_system(table: Table, load_: StagedTable) -> None:
    inode = load_.files[0].path.stat().st_ino

    (location,) = place(load_.files[:1], table, ["new.parquet"])

    path = local_path(location)
    assert path is not None
    assert path.stat().st_ino == inode


def test_files_are_placed_on_another_file_system_too(lake: Lake, load_: StagedTable) -> None:
    if not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == load_.files[0].path.stat().st_dev:
        pytest.skip("no second file system here")
    elsewhere = Path("/dev/shm") / lake.home.parent.name
    moved = lake.catalog.create_table(
        "raw.elsewhere", lake.table("raw.numbers").schema(), location=f"file://{elsewhere}"
    )
    try:
        (location,) = place(load_.files[:1], moved, ["new.parquet"])

        path = local_path(location)
        assert path is not None
        assert path.read_bytes() == load_.files[0].path.read_bytes()
        assert [found.name for found in path.parent.iterdir()] == ["new.parquet"]
    finally:
        for found in sorted(elsewhere.rglob("*"), reverse=True):
            found.rmdir() if found.is_dir() else found.unlink()
        elsewhere.rmdir()


def test_of_several_files_none_stays_where_one_cannot_be_placed(lake: Lake, table: Table, load_: StagedTable) -> None:
    before = lake.data_files()
    load_.files[1].path.unlink()

    with pytest.raises(FileNotFoundError):
        place(load_.files, table, ["one.parquet", "two.parquet"])

    assert lake.data_files() == before


def test_a_removed_file_may_be_gone_already(table: Table, load_: StagedTable) -> None:
    (location,) = place(load_.files[:1], table, ["new.parquet"])

    for _ in range(2):
        assert delete_all([location], table.io) == []

    path = local_path(location)
    assert path is not None
    assert not path.exists()


def test_a_file_that_cannot_be_deleted_does_not_keep_the_others(table: Table, load_: StagedTable) -> None:
    (location,) = place(load_.files[:1], table, ["new.parquet"])
    folder = f"{table.location()}/data"

    assert delete_all([folder, location], table.io) == [folder]

    path = local_path(location)
    assert path is not None
    assert not path.exists()


def test_the_manifest_entry_says_what_is_in_the_file(table: Table, load_: StagedTable) -> None:
    entry = data_file(load_.files[0], "file:///x.parquet", table.metadata)

    assert (entry.file_path, entry.record_count) == ("file:///x.parquet", 2)
    assert entry.file_size_in_bytes == load_.files[0].bytes
    assert (entry.value_counts, entry.null_value_counts) == ({1: 2, 2: 2}, {1: 0, 2: 0})
    assert (entry.lower_bounds[1], entry.upper_bounds[1]) == ((1).to_bytes(8, "little"), (2).to_bytes(8, "little"))


def test_staged_rows_can_be_read_back(load_: StagedTable) -> None:
    rows = [row for batch in read_back(load_.files) for row in batch.to_pylist()]

    assert rows == [*numbers([1, 2], note="b"), *numbers([3], note="c", more=1)]


def test_staged_files_lie_in_the_folder_that_they_were_given(lake: Lake) -> None:
    folder = private_folder(lake)

    assert folder.parent == lake.staging_folder
    assert all(lake.staging_folder in file.path.parents for file in staged(lake, SPEC, numbers([1])).files)


@pytest.mark.parametrize("folder", ["with space", "ünïcode 🧊", "100%", "plus+and&amp"])
def test_a_home_may_have_nearly_any_name(folder: str, tmp_path: Path) -> None:
    lake = Lake(tmp_path / folder)
    spec = table_spec(write_disposition="merge", partition_by=["note"])

    for value in (1, 2):
        load(lake, spec, [{"id": 1, "note": f"{value} / ü %"}], key=["id"])

    assert Lake(tmp_path / folder).rows("raw.numbers") == [{"id": 1, "note": "2 / ü %"}]
    assert all(tmp_path / folder in file.parents for file in lake.data_files())


@pytest.mark.parametrize("folder", ["a%20b", "hash#tag", "why?"])
def test_a_home_whose_files_could_not_be_found_again_is_refused(folder: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot hold tables.*Choose another folder"):
        Lake(tmp_path / folder).connect()

    assert not (tmp_path / folder).exists()
