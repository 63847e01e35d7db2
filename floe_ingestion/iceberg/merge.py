"""What a load changes in the table, by its write disposition; of rows merged by key, which are news."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression
from pyiceberg.table import Table

from floe_ingestion.iceberg.keys import ROW, StagedRows, marked_rows
from floe_ingestion.iceberg.matches import KeyRange, Matches, key_range
from floe_ingestion.iceberg.partition import window_filter
from floe_ingestion.iceberg.parts import parts
from floe_ingestion.iceberg.rejects import removal_of_loads
from floe_ingestion.iceberg.removal import (
    Changes,
    DoomedRows,
    Removal,
    removal_of_everything,
    removal_of_window,
    remove,
    rows_of_window,
)
from floe_ingestion.iceberg.row_sets import RowSet, staged_rows_of
from floe_ingestion.iceberg.versions import merge_versions
from floe_ingestion.staging import StagedFile, StagedTable

_KEY, _CURSOR, _KNOWN, _CAME = "key", "cursor", "known", "came"


def changes(table: Table | None, staged: StagedTable, folder: Path) -> Changes:
    """What leaves the table, and which staged rows come; `folder` takes files that have to be rewritten."""
    present = table if table is not None and table.current_snapshot() is not None else None
    if staged.table.write_disposition == "merge":
        return merge(present, staged, folder)
    return Changes(_leaving(present, staged, folder) if present is not None else Removal(), staged.files)


def _leaving(table: Table, staged: StagedTable, folder: Path) -> Removal:
    mode = staged.table.merge_mode
    if staged.given_up:
        return removal_of_loads(table, staged.given_up, mode, folder)
    if staged.window is not None:
        return removal_of_window(table, staged.window, mode, folder)
    return removal_of_everything(table) if staged.table.write_disposition == "replace" else Removal()


def without_duplicates(staged: StagedTable, folder: Path) -> tuple[tuple[StagedFile, ...], int]:
    """The staged files with one row a key, the last by cursor, and how many rows that dropped."""
    rows = StagedRows(staged.files, staged.key)
    if rows.count == 0:
        return staged.files, 0
    cursor = staged.cursor_column if staged.cursor_column in rows.columns else None
    dropped = RowSet()
    for part in parts(rows, folder, [cursor] if cursor is not None else []):
        dropped |= RowSet.of(part.numbers(_superseded(part, cursor)))
    return staged_rows_of(staged.files, RowSet.first(rows.count) - dropped, folder), len(dropped)


def _superseded(rows: StagedRows, cursor: str | None) -> pa.Array:
    """The rows whose key another row has, too, that wins."""
    if rows.index.count == rows.count:
        return pa.array([], pa.int64())
    order = rows.column(cursor) if cursor is not None else pa.nulls(rows.count, pa.int64())
    columns = [rows.index.numbers, rows.keys[ROW], order, pc.is_valid(order), rows.arrival]
    by_cursor = pa.table(columns, names=[_KEY, ROW, _CURSOR, _KNOWN, _CAME])
    # A row without a cursor value loses against one with it, wherever Arrow sorts nulls.
    sort_keys = [(_KNOWN, "ascending"), (_CURSOR, "ascending"), (_CAME, "ascending")]
    by_cursor = by_cursor.take(pc.sort_indices(by_cursor, sort_keys=sort_keys))
    last = by_cursor.group_by(_KEY, use_threads=False).aggregate([(ROW, "last")])[f"{ROW}_last"]
    return (RowSet.first(rows.count) - RowSet.of(last)).positions


def merge(table: Table | None, staged: StagedTable, folder: Path) -> Changes:
    """Plan the merge of `staged` into the table as it is, None for one without rows.

    Every staged key is there once, unless the strategy is `delete-insert`.
    """
    rows = StagedRows(staged.files, staged.key)
    if rows.count == 0:
        return Changes()
    if table is None:
        marked = RowSet.of(marked_rows(rows, staged.table))
        kept = RowSet.first(rows.count) - marked
        return Changes(files=staged_rows_of(staged.files, kept, folder), markers=len(marked))
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
        window = staged.window
        self._among = partial(rows_of_window, table, window) if window is not None else None
        self._range = KeyRange(rows.key[0])
        self._unchanged, self._marked, self._doomed = RowSet(), RowSet(), DoomedRows()
        self._updated = 0

    def take(self, part: StagedRows) -> None:
        """Find out what this part of the load changes."""
        self._range.include(part)
        found = Matches(self._table, part, self._in_window(key_range(part)), self._among)
        marked = marked_rows(part, self._staged.table)
        self._marked |= RowSet.of(part.numbers(marked))
        if self._strategy == "insert-only":
            self._unchanged |= RowSet.of(part.numbers(found.rows_matched.combine_chunks()))
            return
        if self._strategy == "upsert":
            same = found.drop_unchanged(self._columns, self._staged.cursor_column, marked)
            self._unchanged |= RowSet.of(part.numbers(same))
        self._doomed.add(found.positions())
        self._updated += found.replaced(marked)

    def planned(self, folder: Path) -> Changes:
        """What all parts together change."""
        unchanged = self._unchanged - self._marked
        kept = RowSet.first(self._count) - unchanged - self._marked
        files = staged_rows_of(self._staged.files, kept, folder)
        predicate = self._in_window(self._range.predicate)
        if self._strategy == "insert-only":
            return Changes(Removal(predicate), files, len(unchanged), markers=len(self._marked))
        mode = self._staged.table.merge_mode
        removal = remove(self._table, predicate, self._doomed.of, mode, folder)
        deleted = removal.rows - self._updated
        return Changes(removal, files, len(unchanged), self._updated, deleted, len(self._marked))

    def _in_window(self, predicate: BooleanExpression) -> BooleanExpression:
        return And(predicate, window_filter(self._staged.window, self._table.schema()))
