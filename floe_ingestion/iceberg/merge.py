"""Rows merged by key: what a load changes in the table, and what of it is news."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyiceberg.expressions import And, BooleanExpression
from pyiceberg.table import Table

from floe_ingestion.iceberg.coming import marked_rows, replaced, rows_of_many
from floe_ingestion.iceberg.keys import StagedRows
from floe_ingestion.iceberg.matches import KeyRange, Matches, key_range
from floe_ingestion.iceberg.partition import window_filter
from floe_ingestion.iceberg.parts import parts
from floe_ingestion.iceberg.plan import Merge
from floe_ingestion.iceberg.removal import DoomedRows, Removal, remove, rows_of_window
from floe_ingestion.iceberg.row_sets import RowSet, staged_rows_of
from floe_ingestion.iceberg.versions import merge_versions
from floe_ingestion.staging import StagedTable


def merge(table: Table | None, staged: StagedTable, folder: Path) -> Merge:
    """Plan the merge of `staged` into the table as it is, None for one without rows.

    Every staged key is there once, unless the strategy is `delete-insert`.
    """
    rows = StagedRows(staged.files, staged.key)
    if rows.count == 0:
        return Merge()
    if table is None:
        marked = RowSet.of(marked_rows(rows, staged.table))
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
        among = rows_of_window(self._table, self._staged.window)
        found = Matches(self._table, part, self._in_window(key_range(part)), among)
        marked = marked_rows(part, self._staged.table)
        self._marked |= RowSet.of(part.numbers(marked))
        if self._strategy == "insert-only":
            self._unchanged |= RowSet.of(part.numbers(found.rows_matched.combine_chunks()))
            return
        if self._strategy == "upsert":
            news = pa.concat_arrays([marked, rows_of_many(found)])
            same = found.drop_unchanged(self._columns, self._staged.cursor_column, news)
            self._unchanged |= RowSet.of(part.numbers(same))
        self._doomed.add(found.positions())
        self._updated += replaced(part, found, marked)

    def planned(self, folder: Path) -> Merge:
        """What all parts together change."""
        unchanged = self._unchanged - self._marked
        kept = RowSet.first(self._count) - unchanged - self._marked
        files = staged_rows_of(self._staged.files, kept, folder)
        predicate = self._in_window(self._range.predicate)
        if self._strategy == "insert-only":
            return Merge(Removal(predicate), files, len(unchanged), markers=len(self._marked))
        mode = self._staged.table.merge_mode
        removal = remove(self._table, predicate, self._doomed.of, mode, folder)
        deleted = removal.rows - self._updated
        return Merge(removal, files, len(unchanged), self._updated, deleted, len(self._marked))

    def _in_window(self, predicate: BooleanExpression) -> BooleanExpression:
        window = self._staged.window
        return And(predicate, window_filter(window, self._table.schema())) if window is not None else predicate
