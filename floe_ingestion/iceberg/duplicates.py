"""Keys that come several times in one load: the last row by cursor wins."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from floe_ingestion.iceberg.keys import ROW, StagedRows
from floe_ingestion.iceberg.parts import parts
from floe_ingestion.iceberg.row_sets import RowSet, staged_rows_of
from floe_ingestion.naming import normalize_column
from floe_ingestion.staging import StagedFile, StagedTable

_KEY, _CURSOR, _KNOWN, _CAME = "key", "cursor", "known", "came"


def without_duplicates(staged: StagedTable, folder: Path) -> tuple[tuple[StagedFile, ...], int]:
    """The staged files with one row a key, and how many rows that dropped."""
    rows = StagedRows(staged.files, staged.key)
    if rows.count == 0:
        return staged.files, 0
    incremental = staged.table.incremental
    named = normalize_column(incremental.cursor_path) if incremental is not None else None
    cursor = named if named in rows.columns else None
    dropped = RowSet()
    for part in parts(rows, folder, [*rows.key, *([cursor] if cursor else [])]):
        dropped |= RowSet.of(part.numbers(_superseded(part, cursor)))
    if not len(dropped):
        return staged.files, 0
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
