"""Rows merged by key: what a load changes in the table, and what of it is news.

The key columns of the data files that can match are read, nothing else; then, of the rows that match, one
column after the other until each is known to have changed. So a merge costs what it touches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg.deletes import deleted_positions
from floe_ingestion.iceberg.keys import FILE, POSITION, ROW, StagedRows, all_but, rows_at
from floe_ingestion.iceberg.partition import window_filter
from floe_ingestion.iceberg.removal import Removal, read_raw, remove
from floe_ingestion.staging import StagedFile, StagedTable

_KEYS_AT_ONCE = 4_000_000
_READERS = 4


@dataclass(frozen=True)
class Merge:
    """What a merge does to the table."""

    removal: Removal
    files: tuple[StagedFile, ...]
    """The staged rows that are written."""
    unchanged: int = 0
    """Staged rows that the table holds already, value by value."""
    deleted: int = 0
    """Rows that leave for good, by their `hard_delete` marker."""


def merge(table: Table, staged: StagedTable, folder: Path) -> Merge:
    """Plan the merge of `staged` into the table as it is; every staged key is there once."""
    rows = StagedRows(staged.files, staged.key)
    if rows.count == 0:
        return Merge(Removal(), ())
    strategy = staged.table.merge_strategy
    predicate = _key_range(rows)
    if staged.window is not None:
        predicate = And(predicate, window_filter(staged.window, table.schema()))
    found = _Found(table, rows, predicate)
    if strategy == "insert-only":
        kept = all_but(rows.count, [match[ROW].combine_chunks() for match in found.matches.values()])
        return Merge(Removal(predicate), rows_at(staged.files, kept, folder), rows.count - len(kept))
    marked = _marked_rows(rows, staged.table.hard_delete)
    unchanged = found.drop_unchanged(_by_telling(staged, rows), marked) if strategy == "upsert" else []
    removal = remove(table, predicate, found.positions, staged.table.merge_mode, folder)
    files = rows_at(staged.files, all_but(rows.count, [*unchanged, marked]), folder)
    same = sum(len(positions) for positions in unchanged)
    return Merge(removal, files, same, found.count_of(marked))


class _Found:
    """The live rows of the table that have a staged key, file by file."""

    def __init__(self, table: Table, rows: StagedRows, predicate: BooleanExpression) -> None:
        self.table, self.rows = table, rows
        self.matches: dict[str, pa.Table] = {}
        """By data file: `POSITION` in it, and the `ROW` that brings the key again."""
        self.tasks: dict[str, FileScanTask] = {}
        for group in _groups(table.scan(row_filter=predicate).plan_files()):
            self._match(group)

    def positions(self, task: FileScanTask) -> pa.Array:
        """The rows of one file that the load replaces or deletes."""
        match = self.matches.get(task.file.file_path)
        # A key of several staged rows (delete-insert) finds the same row for each of them.
        return pc.unique(match[POSITION].combine_chunks()) if match is not None else pa.array([], pa.int64())

    def drop_unchanged(self, columns: list[str], marked: pa.Array) -> list[pa.Array]:
        """Forget the matches whose row would stay as it is; the staged rows that bring nothing new."""
        unchanged: list[pa.Array] = []
        staged: dict[str, pa.ChunkedArray] = {}
        for path, match in self.matches.items():
            same = match.filter(pc.invert(pc.is_in(match[ROW], value_set=marked)))
            for name in columns:
                if same.num_rows == 0:
                    break
                if name not in staged:
                    staged[name] = self.rows.column(name)
                same = same.filter(self._equal(self.tasks[path], name, same, staged[name]))
            if same.num_rows:
                unchanged.append(same[ROW].combine_chunks())
                self.matches[path] = match.filter(pc.invert(pc.is_in(match[ROW], value_set=unchanged[-1])))
        return unchanged

    def count_of(self, rows: pa.Array) -> int:
        """How many rows of the table the staged `rows` match."""
        if len(rows) == 0:
            return 0
        return sum(pc.sum(pc.is_in(match[ROW], value_set=rows)).as_py() or 0 for match in self.matches.values())

    def _match(self, group: list[FileScanTask]) -> None:
        with ThreadPoolExecutor(max_workers=_READERS) as readers:
            keys = list(readers.map(lambda task: read_raw(self.table, task, self.rows.key), group))
        found = self.rows.matches(keys)
        for index in pc.unique(found[FILE]).to_pylist():
            task = group[index]
            match = found.filter(pc.equal(found[FILE], index)).select([POSITION, ROW])
            if task.delete_files:
                deleted = deleted_positions(task, self.table.io)
                match = match.filter(pc.invert(pc.is_in(match[POSITION], value_set=deleted)))
            if match.num_rows:
                self.tasks[task.file.file_path] = task
                self.matches[task.file.file_path] = match

    def _equal(self, task: FileScanTask, name: str, match: pa.Table, staged: pa.ChunkedArray) -> pa.Array:
        new = staged.take(match[ROW]).combine_chunks()
        if name not in self.table.schema().column_names:
            return pc.is_null(new)  # a column that this load brings: where it is empty, nothing changed
        old = read_raw(self.table, task, [name])[name].take(match[POSITION]).combine_chunks()
        return _same(old, new)


def _groups(tasks: Iterable[FileScanTask]) -> Iterator[list[FileScanTask]]:
    """Files whose keys are looked up together: enough for one look-up to pay, few enough to fit in memory."""
    group: list[FileScanTask] = []
    rows = 0
    for task in tasks:
        if group and rows + task.file.record_count > _KEYS_AT_ONCE:
            yield group
            group, rows = [], 0
        group.append(task)
        rows += task.file.record_count
    if group:
        yield group


def _same(old: pa.Array, new: pa.Array) -> pa.Array:
    """Where two arrays hold the same, null like null and NaN like NaN."""
    if pa.types.is_nested(new.type):
        return pa.array([a == b for a, b in zip(old.to_pylist(), new.to_pylist(), strict=True)], pa.bool_())
    old = old.cast(new.type)
    equal = pc.fill_null(pc.equal(old, new), False)
    equal = pc.or_(equal, pc.and_(pc.is_null(old), pc.is_null(new)))
    if pa.types.is_floating(new.type):
        equal = pc.or_(equal, pc.fill_null(pc.and_(pc.is_nan(old), pc.is_nan(new)), False))
    return equal


def _by_telling(staged: StagedTable, rows: StagedRows) -> list[str]:
    """Columns in the order in which they are likeliest to tell a changed row: its cursor first."""
    cursor = staged.table.incremental.cursor_path if staged.table.incremental else None
    others = [name for name in rows.columns if name not in rows.key]
    return sorted(others, key=lambda name: name != cursor)


def _marked_rows(rows: StagedRows, marker: str | None) -> pa.Array:
    """The staged rows that say that their key is gone."""
    if marker is None or marker not in rows.columns:
        return pa.array([], pa.int64())
    values = rows.column(marker).combine_chunks()
    gone = pc.fill_null(values, False) if pa.types.is_boolean(values.type) else pc.is_valid(values)
    return pc.indices_nonzero(gone).cast(pa.int64())


def _key_range(rows: StagedRows) -> BooleanExpression:
    """The range of the first key column: lets file statistics rule most files out."""
    first = rows.key[0]
    bounds = pc.min_max(rows.keys[first])
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    try:
        return And(GreaterThanOrEqual(first, low), LessThanOrEqual(first, high))
    except (TypeError, ValueError):  # a type that has no literal, such as uuid: look at every file
        return AlwaysTrue()
