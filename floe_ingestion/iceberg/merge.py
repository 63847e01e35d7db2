"""Rows merged by key: what a load changes in the table, and what of it is news."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg.data_files import read_raw
from floe_ingestion.iceberg.keys import ROW, StagedRows
from floe_ingestion.iceberg.matches import KeyRange, Matches, key_range
from floe_ingestion.iceberg.partition import positions_inside, window_filter
from floe_ingestion.iceberg.parts import parts
from floe_ingestion.iceberg.plan import Merge
from floe_ingestion.iceberg.removal import DoomedRows, Removal, remove
from floe_ingestion.iceberg.row_sets import RowSet, staged_rows_of
from floe_ingestion.iceberg.versions import merge_versions
from floe_ingestion.staging import StagedTable, Window

_KEY, _COMING = "key", "coming"


def merge(table: Table | None, staged: StagedTable, folder: Path) -> Merge:
    """Plan the merge of `staged` into the table as it is, None for one without rows.

    Every staged key is there once, unless the strategy is `delete-insert`.
    """
    rows = StagedRows(staged.files, staged.key)
    if rows.count == 0:
        return Merge()
    if table is None:
        marked = RowSet.of(_marked_rows(rows, staged.table.hard_delete))
        kept = RowSet.first(rows.count) - marked
        return Merge(files=staged_rows_of(staged.files, kept, folder), markers=len(marked))
    if staged.table.merge_strategy == "scd2":
        return merge_versions(table, staged, rows, folder)
    merging = _Merging(table, staged, rows)
    for part in parts(rows, folder):
        merging.take(part)
    return merging.planned(folder)


class _Merging:
    """A merge as it is planned, part by part."""

    def __init__(self, table: Table, staged: StagedTable, rows: StagedRows) -> None:
        self._table, self._staged, self._count = table, staged, rows.count
        self._strategy, self._columns = staged.table.merge_strategy, rows.beside_key
        self._range = KeyRange(rows.key[0])
        self._unchanged, self._marked, self._doomed = RowSet(), RowSet(), DoomedRows()
        self._updated = 0

    def take(self, part: StagedRows) -> None:
        """Find out what this part of the load changes."""
        self._range.include(part)
        among = _rows_of_window(self._table, self._staged.window)
        found = Matches(self._table, part, self._in_window(key_range(part)), among)
        if self._strategy == "insert-only":
            self._unchanged |= RowSet.of(part.numbers(found.rows_matched.combine_chunks()))
            return
        marked = _marked_rows(part, self._staged.table.hard_delete)
        if self._strategy == "upsert":
            self._unchanged |= RowSet.of(
                part.numbers(found.drop_unchanged(self._columns, self._staged.cursor_column, marked))
            )
        self._marked |= RowSet.of(part.numbers(marked))
        self._doomed.add(found.positions())
        self._updated += _replaced(part, found, marked)

    def planned(self, folder: Path) -> Merge:
        """What all parts together change."""
        kept = RowSet.first(self._count) - self._unchanged - self._marked
        files = staged_rows_of(self._staged.files, kept, folder)
        predicate = self._in_window(self._range.predicate)
        if self._strategy == "insert-only":
            return Merge(Removal(predicate), files, len(self._unchanged))
        mode = self._staged.table.merge_mode
        removal = remove(self._table, predicate, self._doomed.of, mode, folder)
        deleted = removal.rows - self._updated
        return Merge(removal, files, len(self._unchanged), self._updated, deleted, len(self._marked))

    def _in_window(self, predicate: BooleanExpression) -> BooleanExpression:
        window = self._staged.window
        return And(predicate, window_filter(window, self._table.schema())) if window is not None else predicate


def _replaced(part: StagedRows, found: Matches, marked: pa.Array) -> int:
    """How many rows of the table others of their key take the place of; the rest of those that match goes."""
    there = pa.table([found.rows_matched], names=[ROW]).group_by(ROW).aggregate([([], "count_all")])
    if there.num_rows == 0:
        return 0
    comes = pc.invert(pc.is_in(part.keys[ROW], value_set=marked)).cast(pa.int64())
    if part.first_rows is not None:  # of a key with several rows, the first one stands for all
        by_key = pa.table([part.index.numbers, comes], names=[_KEY, _COMING]).group_by(_KEY)
        comes = by_key.aggregate([(_COMING, "sum")]).sort_by(_KEY)[f"{_COMING}_sum"]
        rows = pc.index_in(there[ROW], value_set=part.first_rows)
    else:
        rows = there[ROW]
    return int(pc.sum(pc.min_element_wise(there["count_all"], comes.take(rows))).as_py() or 0)


def _rows_of_window(table: Table, window: Window | None) -> Callable[[FileScanTask], pa.Array] | None:
    """The rows of a data file that a partitioned run is about: one file may hold rows of other windows too."""
    if window is None:
        return None
    schema = table.schema()
    return lambda task: positions_inside(window, read_raw(table, task, window.columns), schema)


def _marked_rows(rows: StagedRows, marker: str | None) -> pa.Array:
    """The staged rows that say that their key is gone."""
    if marker is None or marker not in rows.columns:
        return pa.array([], pa.int64())
    values = rows.column(marker).combine_chunks()
    gone = pc.fill_null(values, False) if pa.types.is_boolean(values.type) else pc.is_valid(values)
    return pc.indices_nonzero(gone).cast(pa.int64())
