"""Which files a load removes, and what it puts in their place.

Copy-on-write by file: only data files that can hold a row to be removed are read, first their key or window
columns alone, and a file is rewritten without those rows only if it holds one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg.partition import window_filter, window_mask
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.writer import WriteSettings, rewrite, write_files
from floe_ingestion.staging import StagedFile, StagedTable

_ROW = "__floe_row"

Kept = Callable[[FileScanTask], pa.Array | None]
"""Of one data file: the positions of the rows that stay, or None if all do."""


@dataclass(frozen=True)
class Removal:
    """What leaves the table with a load."""

    predicate: BooleanExpression | None = None
    """Where a concurrent commit would conflict; None when nothing is removed by design."""
    files: tuple[DataFile, ...] = ()
    rewritten: tuple[StagedFile, ...] = ()
    """The rows of `files` that stay, written anew."""
    rows: int = 0
    """Rows that leave."""


@dataclass(frozen=True)
class KeySet:
    """The keys of a load, as a table of just the key columns."""

    columns: tuple[str, ...]
    keys: pa.Table = field(repr=False)

    def positions_not_in(self, rows: pa.Table) -> pa.Array:
        """Positions of the rows whose key is none of these, ascending."""
        numbered = (
            rows.select(self.columns)
            .cast(self.keys.schema)
            .append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))
        )
        left = numbered.join(self.keys, keys=list(self.columns), join_type="left anti")
        return left[_ROW].combine_chunks().sort()


def removal_of_everything(table: Table) -> Removal:
    """For a full replace: every data file goes, none is read."""
    files = [task.file for task in table.scan().plan_files()]
    return Removal(AlwaysTrue(), tuple(files), rows=sum(file.record_count for file in files))


def removal_of_window(table: Table, staged: StagedTable, folder: Path) -> Removal:
    """For a partition: exactly the rows of its window, whichever files they lie in."""
    assert staged.window is not None
    window, schema = staged.window, table.schema()
    predicate = window_filter(window, schema)
    type_ = schema.find_field(window.column).field_type

    def kept(task: FileScanTask) -> pa.Array | None:
        if task.residual == AlwaysTrue():
            return pa.array([], pa.int64())  # the partition says that every row lies in the window
        inside = pc.fill_null(window_mask(window, _column(table, task, window.column), type_), False)
        return pc.indices_nonzero(pc.invert(inside)).cast(pa.int64()) if pc.any(inside).as_py() else None

    return _rewritten(table, predicate, kept, folder)


def removal_of_keys(table: Table, staged: StagedTable, folder: Path) -> Removal:
    """For an upsert: the rows whose key the load brings again; in a partitioned run, only of its window."""
    keys = keys_of(staged.files, staged.key)
    if keys.keys.num_rows == 0:
        return Removal()
    predicate = _key_range(keys)
    if staged.window is not None:
        predicate = And(predicate, window_filter(staged.window, table.schema()))

    def kept(task: FileScanTask) -> pa.Array | None:
        rows = _read(table, task, keys.columns)
        positions = keys.positions_not_in(rows)
        return positions if len(positions) < rows.num_rows else None

    return _rewritten(table, predicate, kept, folder)


def without_known_keys(table: Table, staged: StagedTable, folder: Path) -> tuple[StagedFile, ...]:
    """For an insert-only merge: the staged rows whose key the table does not have."""
    keys = keys_of(staged.files, staged.key)
    tasks = table.scan(row_filter=_key_range(keys)).plan_files() if keys.keys.num_rows else []
    known = [_read(table, task, keys.columns) for task in tasks]
    if not known:
        return staged.files
    present = KeySet(keys.columns, pa.concat_tables(known).cast(keys.keys.schema).combine_chunks())
    return _rows_at(staged.files, present.positions_not_in(keys.keys), folder)


def without_duplicates(staged: StagedTable, folder: Path) -> tuple[tuple[StagedFile, ...], int]:
    """The staged files with one row a key, and how many rows that dropped: the last by cursor wins."""
    keys = keys_of(staged.files, staged.key).keys
    total = keys.num_rows
    if total == 0 or keys.group_by(list(staged.key)).aggregate([]).num_rows == total:
        return staged.files, 0
    numbered = _numbered(keys)
    order = [("__floe_cursor", "ascending"), (_ROW, "ascending")]
    cursor = staged.table.incremental.cursor_path if staged.table.incremental else None
    values = _staged_column(staged, cursor) if cursor else None
    numbered = numbered.append_column("__floe_cursor", values if values is not None else numbered[_ROW])
    numbered = numbered.take(pc.sort_indices(numbered, sort_keys=order, null_placement="at_start"))
    winners = numbered.group_by(list(staged.key), use_threads=False).aggregate([(_ROW, "last")])[f"{_ROW}_last"]
    wanted = winners.combine_chunks().sort()
    return _rows_at(staged.files, wanted, folder), total - len(wanted)


def keys_of(files: Sequence[StagedFile], columns: Sequence[str]) -> KeySet:
    """The key columns of staged files."""
    parts = [pq.read_table(file.path, columns=list(columns), partitioning=None) for file in files]
    return KeySet(tuple(columns), pa.concat_tables(parts).combine_chunks() if parts else pa.table({}))


def _numbered(rows: pa.Table) -> pa.Table:
    return rows.append_column(_ROW, pa.array(range(rows.num_rows), pa.int64()))


def _rewritten(table: Table, predicate: BooleanExpression, kept: Kept, folder: Path) -> Removal:
    gone: list[DataFile] = []
    remaining: list[tuple[FileScanTask, pa.Array]] = []
    rows = 0
    for task in table.scan(row_filter=predicate).plan_files():
        positions = kept(task)
        if positions is None:
            continue
        gone.append(task.file)
        rows += task.file.record_count - len(positions)
        if len(positions):
            remaining.append((task, positions))
    batches = _remaining_rows(table, remaining)
    files = write_files(folder, SchemaPlan.of_table(table), batches, WriteSettings.of(table.properties))
    return Removal(predicate, tuple(gone), files, rows)


def _remaining_rows(table: Table, remaining: list[tuple[FileScanTask, pa.Array]]) -> Iterator[pa.RecordBatch]:
    for task, positions in remaining:
        yield from _read(table, task, table.schema().column_names).take(positions).to_batches()


def _read(table: Table, task: FileScanTask, columns: Sequence[str]) -> pa.Table:
    """Columns of one data file, without the rows that delete files remove."""
    scan = ArrowScan(table.metadata, table.io, table.schema().select(*columns), AlwaysTrue())
    return scan.to_table([task])


def _column(table: Table, task: FileScanTask, name: str) -> pa.Array:
    return _read(table, task, [name])[name].combine_chunks()


def _key_range(keys: KeySet) -> BooleanExpression:
    """The range of the first key column: lets file statistics rule most files out."""
    first = keys.columns[0]
    bounds = pc.min_max(keys.keys[first])
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    try:
        return And(GreaterThanOrEqual(first, low), LessThanOrEqual(first, high))
    except (TypeError, ValueError):  # a type that has no literal, such as uuid or binary: look at every file
        return AlwaysTrue()


def _rows_at(files: Sequence[StagedFile], wanted: pa.Array, folder: Path) -> tuple[StagedFile, ...]:
    """The rows of staged files, counted through all of them, that `wanted` (ascending) names."""
    kept: list[StagedFile] = []
    start = 0
    for file in files:
        mine = pc.filter(wanted, pc.and_(pc.greater_equal(wanted, start), pc.less(wanted, start + file.rows)))
        if len(mine) == file.rows:
            kept.append(file)
        else:
            rows = pq.read_table(file.path, partitioning=None).take(pc.subtract(mine, start))
            kept.extend(rewrite(folder, file, rows.to_batches()))
        start += file.rows
    return tuple(kept)


def _staged_column(staged: StagedTable, name: str) -> pa.ChunkedArray | None:
    assert staged.schema is not None
    if name not in schema_to_pyarrow(staged.schema).names:
        return None
    return pa.concat_tables(pq.read_table(f.path, columns=[name], partitioning=None) for f in staged.files)[name]
