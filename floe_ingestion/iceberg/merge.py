"""Rows merged by key: what a load changes in the table, and what of it is news."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg.data_files import read_raw
from floe_ingestion.iceberg.keys import ROW, StagedRows, all_but, rows_at
from floe_ingestion.iceberg.matches import Matches, key_range
from floe_ingestion.iceberg.partition import positions_inside, window_filter
from floe_ingestion.iceberg.plan import Merge
from floe_ingestion.iceberg.removal import Removal, remove
from floe_ingestion.iceberg.versions import merge_versions
from floe_ingestion.staging import StagedTable, Window


def merge(table: Table | None, staged: StagedTable, folder: Path) -> Merge:
    """Plan the merge of `staged` into the table as it is, None for one without rows.

    Every staged key is there once, unless the strategy is `delete-insert`.
    """
    rows = StagedRows(staged.files, staged.key)
    if rows.count == 0:
        return Merge(Removal(), ())
    if table is None:
        marked = _marked_rows(rows, staged.table.hard_delete)
        files = rows_at(staged.files, all_but(rows.count, [marked]), folder)
        return Merge(Removal(), files, markers=len(marked))
    strategy = staged.table.merge_strategy
    if strategy == "scd2":
        return merge_versions(table, staged, rows, _by_telling(staged, rows), folder)
    predicate = key_range(rows)
    if staged.window is not None:
        predicate = And(predicate, window_filter(staged.window, table.schema()))
    found = Matches(table, rows, predicate, _rows_of_window(table, staged.window))
    if strategy == "insert-only":
        kept = all_but(rows.count, [match[ROW].combine_chunks() for match in found.matches.values()])
        return Merge(Removal(predicate), rows_at(staged.files, kept, folder), rows.count - len(kept))
    marked = _marked_rows(rows, staged.table.hard_delete)
    unchanged = found.drop_unchanged(_by_telling(staged, rows), marked) if strategy == "upsert" else []
    removal = remove(table, predicate, found.positions, staged.table.merge_mode, folder)
    files = rows_at(staged.files, all_but(rows.count, [*unchanged, marked]), folder)
    same = sum(len(positions) for positions in unchanged)
    deleted = found.count_of(marked)
    return Merge(removal, files, same, removal.rows - deleted, deleted, len(marked))


def _rows_of_window(table: Table, window: Window | None) -> Callable[[FileScanTask], pa.Array] | None:
    """The rows of a data file that a partitioned run is about: one file may hold rows of other windows too."""
    if window is None:
        return None
    schema = table.schema()
    return lambda task: positions_inside(window, read_raw(table, task, window.columns), schema)


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
