"""Files that nothing names: which go, and what is never touched."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from floe_ingestion.errors import OutcomeUnknown, PermanentError
from floe_ingestion.iceberg.compact import compact
from floe_ingestion.iceberg.orphans import remove_abandoned_loads, remove_orphans
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers, private_folder
from floe_ingestion_tests.iceberg.overtaking import forgetful
from floe_ingestion_tests.lake import Lake

NAME = "raw.numbers"
APPEND = table_spec()
REPLACE = table_spec(write_disposition="replace")
WEEK = 7 * 24 * 60 * 60


def folder_of(table: Table) -> Path:
    return Path(table.location().removeprefix("file://"))


def leave(path: Path, text: str = "left behind", *, age: float = WEEK) -> Path:
    """A file of that age in seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - age,) * 2)
    return path


def grow_old(folder: Path) -> None:
    """Every file of the table was written a week ago."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - WEEK,) * 2)


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def table(lake: Lake) -> Table:
    """A table of three loads, all a week old."""
    for value in range(3):
        load(lake, APPEND, numbers([value]))
    table = lake.table(NAME)
    grow_old(folder_of(table))
    return table


def test_what_a_killed_load_left_goes_and_the_table_stays(lake: Lake, table: Table) -> None:
    folder = folder_of(table)
    before = everything(folder)
    leave(folder / "data" / "0123-00000.parquet", "x" * 100)
    leave(folder / "data" / "0123-00001.part", "x" * 10)
    leave(folder / "metadata" / "0123-m0.avro", "x")
    leave(folder / "metadata" / "00009-0123.metadata.json", "x")

    found = remove_orphans(table)

    assert everything(folder) == before
    assert (found.files, found.bytes, found.too_young, found.not_deleted) == (4, 112, 0, 0)
    assert lake.duckdb_rows(NAME) == lake.rows(NAME) == numbers(range(3))


def test_files_that_may_be_of_a_load_that_is_running_stay(table: Table) -> None:
    young = leave(folder_of(table) / "data" / "0123-00000.parquet", age=WEEK / 7 * 2.9)

    found = remove_orphans(table)

    assert young.exists()
    assert (found.files, found.too_young) == (0, 1)


def test_files_of_an_expiry_that_broke_off_go(lake: Lake) -> None:
    for value in range(3):
        load(lake, REPLACE, numbers([value]))
    table = lake.table(NAME)
    # pyiceberg's own expiry deletes no files, as one that was killed behind its commit.
    old = [snapshot.snapshot_id for snapshot in table.snapshots()][:2]
    table.maintenance.expire_snapshots().by_ids(old).commit()
    grow_old(folder_of(table))

    found = remove_orphans(table)

    assert found.files >= 2 + 2 + 2  # data files, manifests, manifest lists
    assert len(list(folder_of(table).rglob("*.parquet"))) == 1
    assert lake.values(NAME) == [2]


def test_files_of_branches_and_tags_and_of_a_rolled_back_load_stay(lake: Lake, table: Table) -> None:
    first, second, third = (snapshot.snapshot_id for snapshot in table.snapshots())
    table.manage_snapshots().create_tag(third, "kept").rollback_to_snapshot(second).commit()
    table.append(pa.table({"id": [9]}), branch="main")
    grow_old(folder_of(table))

    remove_orphans(table)

    rows = [table.scan(snapshot_id=each).to_arrow()["id"].to_pylist() for each in (first, second, third)]
    assert [sorted(each) for each in rows] == [[0], [0, 1], [0, 1, 2]]
    assert lake.values(NAME) == [0, 1, 9]


def test_a_dry_run_tells_and_deletes_nothing(table: Table) -> None:
    leave(folder_of(table) / "data" / "0123-00000.parquet")
    before = everything(folder_of(table))

    told = remove_orphans(table, dry_run=True)

    assert everything(folder_of(table)) == before
    assert (told.dry_run, told.files) == (True, 1)
    assert remove_orphans(table).files == 1


def test_files_of_other_kinds_are_nobodys_business(table: Table) -> None:
    kept = [leave(folder_of(table) / name) for name in ("README.md", "data/_SUCCESS", "metadata/version-hint.text")]

    remove_orphans(table)

    assert all(path.exists() for path in kept)


def test_a_table_below_another_loses_nothing(lake: Lake, table: Table) -> None:
    load(lake, table_spec("raw.inner"), numbers([7]))
    schema = lake.table("raw.inner").schema()
    inner = lake.catalog.create_table("raw.below", schema, location=f"{table.location()}/archive/below")
    inner.append(pa.table({"id": [1]}))
    grow_old(folder_of(table))

    found = remove_orphans(table)

    assert found.files == 0
    assert lake.values("raw.below") == [1]


def test_links_and_other_spellings_of_a_path_are_the_same_files(lake: Lake, table: Table, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder_of(table), target_is_directory=True)
    for value, data in ((3, f"file://{link}/data"), (4, f"{folder_of(table)}/data/"), (5, f"file:{link}/data")):
        table.transaction().set_properties({"write.data.path": data}).commit_transaction()
        table.append(pa.table({"id": [value]}))
    grow_old(folder_of(table))

    found = remove_orphans(table)

    assert found.files == 0
    assert lake.values(NAME) == [0, 1, 2, 3, 4, 5]


def test_a_table_whose_location_does_not_hold_its_metadata_is_not_touched(lake: Lake, tmp_path: Path) -> None:
    someones = leave(tmp_path / "elsewhere" / "data" / "someone.parquet")
    lake.catalog.create_namespace("raw")
    table = lake.catalog.create_table(
        NAME,
        pa.schema([("id", pa.int64())]),
        location=f"file://{tmp_path}/elsewhere",
        properties={"write.metadata.path": f"file://{tmp_path}/metadata"},
    )
    table.append(pa.table({"id": [1]}))

    with pytest.raises(PermanentError, match="Nothing was deleted"):
        remove_orphans(table, older_than_days=0)

    assert someones.exists()
    assert lake.values(NAME) == [1]


def test_a_table_that_shares_its_files_keeps_them(table: Table) -> None:
    orphan = leave(folder_of(table) / "data" / "0123-00000.parquet")
    table.transaction().set_properties({"gc.enabled": "false"}).commit_transaction()

    with pytest.raises(PermanentError, match=r"gc\.enabled=false"):
        remove_orphans(table)

    assert orphan.exists()


def test_files_of_a_compaction_whose_outcome_is_unknown_are_found(lake: Lake, table: Table) -> None:
    before = {path for path in everything(folder_of(table)) if path.suffix == ".parquet"}
    with pytest.raises(OutcomeUnknown):
        compact(forgetful(lake, after=False).load_table(NAME), Packing(1_000_000, min_files=2), private_folder(lake))
    grow_old(folder_of(table))

    remove_orphans(table)

    assert {path for path in everything(folder_of(table)) if path.suffix == ".parquet"} == before
    assert lake.values(NAME) == [0, 1, 2]


def test_the_same_holds_where_files_are_reached_by_fsspec(lake: Lake, table: Table) -> None:
    properties = {**lake.catalog.properties, "py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO"}
    catalog = SqlCatalog(lake.catalog.name, **properties)
    orphan = leave(folder_of(table) / "data" / "0123-00000.parquet")

    found = remove_orphans(catalog.load_table(NAME))

    assert found.files == 1
    assert not orphan.exists()
    assert lake.values(NAME) == [0, 1, 2]


def test_folders_of_loads_that_were_killed_go_and_those_of_running_ones_stay(tmp_path: Path) -> None:
    killed, running, other = (tmp_path / name for name in ("load-killed", "load-running", "notes"))
    for folder in (killed, running, other):
        leave(folder / "dlt" / "state.json")
        grow_old(folder)
        os.utime(folder, (time.time() - WEEK,) * 2)
    leave(running / "dlt" / "file.parquet", age=60)

    told = remove_abandoned_loads(tmp_path, dry_run=True)
    assert killed.exists()
    done = remove_abandoned_loads(tmp_path)

    assert told == done == [killed]
    assert {path.name for path in tmp_path.iterdir()} == {"load-running", "notes"}
