"""What a load changes in the table: the rows that leave go by metadata, by position, or by writing a file anew.

A file all of whose rows go leaves the table by metadata alone. Of a file that loses few rows these are
marked where they lie (merge-on-read); one that loses many is written anew without them (copy-on-write).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg.data_files import raw_batches, read_raw
from floe_ingestion.iceberg.deletes import live_positions, only_of, write_positions
from floe_ingestion.iceberg.partition import inside, window_filter
from floe_ingestion.iceberg.row_sets import RowSet, rows_of
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.writer import WriteSettings, write_files
from floe_ingestion.spec import MergeMode
from floe_ingestion.staging import StagedFile, Window

_MUCH_TOUCHED = 0.3
"""Share of a file's live rows beyond which it is written anew: reading around so many costs every reader."""

Doomed = Callable[[FileScanTask], RowSet | None]
"""Of one data file: the rows that go, deleted ones among them or not; None for every row."""


class DoomedRows:
    """Rows that go, by data file; found bit by bit."""

    def __init__(self) -> None:
        self._rows: dict[str, RowSet] = {}

    def add(self, found: Iterable[tuple[str, RowSet]]) -> None:
        for path, rows in found:
            self._rows[path] = self._rows.get(path, RowSet()) | rows

    def of(self, task: FileScanTask) -> RowSet:
        """Those of one data file."""
        return self._rows.get(task.file.file_path, RowSet())


@dataclass(frozen=True)
class Removal:
    """What leaves the table with a load."""

    predicate: BooleanExpression | None = None
    """Where a concurrent commit would conflict; None when nothing can be removed."""
    files: tuple[DataFile, ...] = ()
    """Data files that go whole."""
    delete_files: tuple[DataFile, ...] = ()
    """Delete files that speak only of these."""
    rewritten: tuple[StagedFile, ...] = ()
    """The rows of `files` that stay."""
    marked: tuple[tuple[DataFile, StagedFile], ...] = ()
    """Data files that stay, each with a new delete file."""
    rows: int = 0
    """Live rows that leave."""


@dataclass(frozen=True)
class Changes:
    """What a load does to the table as it is: which rows leave, which staged rows come, and the numbers of both."""

    removal: Removal = Removal()
    files: tuple[StagedFile, ...] = ()
    """The staged rows that are written."""
    unchanged: int = 0
    """Staged rows that the table holds already, value by value."""
    updated: int = 0
    """Rows of the table that staged ones take the place of."""
    deleted: int = 0
    """Rows that leave for good: by their `hard_delete` marker, or because a full load no longer has them."""
    markers: int = 0
    """Staged rows that only say that their key is gone; they are not written."""

    @property
    def written(self) -> tuple[StagedFile, ...]:
        """Every file that it needs in the warehouse."""
        return (*self.files, *self.removal.rewritten, *(file for _, file in self.removal.marked))


def removal_of_everything(table: Table) -> Removal:
    """For a full replace: every data file goes, none is read."""
    return remove(table, AlwaysTrue(), lambda task: None, "auto", Path())


def removal_of_window(table: Table, window: Window, mode: MergeMode, folder: Path) -> Removal:
    """For a partition: exactly the rows of its window, whichever files they lie in."""

    def doomed(task: FileScanTask) -> RowSet | None:
        if task.residual == AlwaysTrue():
            return None  # the partition says that every row lies in the window
        return RowSet.of(rows_of_window(table, window, task))

    return remove(table, window_filter(window, table.schema()), doomed, mode, folder)


def rows_of_window(table: Table, window: Window, task: FileScanTask) -> pa.Array:
    """The rows of a data file that a partitioned run is about: one file may hold rows of other windows too."""
    mask = inside(window, read_raw(table, task, window.columns), table.schema())
    return pc.indices_nonzero(pc.fill_null(mask, False)).cast(pa.int64())


def remove(table: Table, predicate: BooleanExpression, doomed: Doomed, mode: MergeMode, folder: Path) -> Removal:
    """Remove the doomed rows of every file that `predicate` does not rule out."""
    files: list[DataFile] = []
    delete_files: list[DataFile] = []
    marked: list[tuple[DataFile, StagedFile]] = []
    staying: list[tuple[FileScanTask, RowSet]] = []
    rows = 0
    if table.format_version < 2:
        mode = "copy-on-write"  # it knows no delete files
    for task in table.scan(row_filter=predicate).plan_files():
        live = live_positions(task, table.io)
        asked = doomed(task)
        staying_here = live - asked if asked is not None else RowSet()
        going = len(live) - len(staying_here)
        if going == 0 and len(live):
            continue
        rows += going
        if len(staying_here) and not _written_anew(mode, going, len(live)):
            marked.append((task.file, write_positions(folder, task, (live - staying_here).positions)))
            continue
        files.append(task.file)
        delete_files.extend(only_of(task.delete_files, task.file))
        if len(staying_here):
            staying.append((task, staying_here))
    rewritten: tuple[StagedFile, ...] = ()
    if staying:
        settings = WriteSettings.of(table.properties)
        rewritten = write_files(folder, SchemaPlan.of_table(table), _staying(table, staying), settings)
    return Removal(predicate, tuple(files), tuple(delete_files), rewritten, tuple(marked), rows)


def _written_anew(mode: MergeMode, going: int, live: int) -> bool:
    return mode == "copy-on-write" or (mode == "auto" and going > live * _MUCH_TOUCHED)


def _staying(table: Table, staying: list[tuple[FileScanTask, RowSet]]) -> Iterator[pa.RecordBatch]:
    for task, rows in staying:
        yield from rows_of(raw_batches(table, task), rows)
