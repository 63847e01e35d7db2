"""`merge_strategy: scd2`: a row that changes is closed, and its new version stands beside it.

The current version of a key is the one whose `valid_to` is null. A load that brings everything (no cursor, no
partition) also closes the rows that it no longer has; a load of no rows at all changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, IsNull
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg.data_files import read_raw
from floe_ingestion.iceberg.deletes import deleted_positions
from floe_ingestion.iceberg.keys import POSITION, StagedRows, all_but, rows_at
from floe_ingestion.iceberg.matches import Matches, key_range
from floe_ingestion.iceberg.plan import Merge
from floe_ingestion.iceberg.removal import remove
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.writer import WriteSettings, write_files
from floe_ingestion.staging import StagedFile, StagedTable

_NOTHING = pa.array([], pa.int64())


def merge_versions(table: Table, staged: StagedTable, rows: StagedRows, columns: list[str], folder: Path) -> Merge:
    """Close the versions that `staged` supersedes, and add its own; `columns` are compared, in this order."""
    valid_from, valid_to = staged.table.validity_columns
    whole = staged.table.incremental is None
    predicate = And(AlwaysTrue() if whole else key_range(rows), IsNull(valid_to))
    compared = [name for name in columns if name not in (valid_from, valid_to)]
    current = _Current(table, valid_to)
    found = Matches(table, rows, predicate, current.positions)
    present = {path: match[POSITION].combine_chunks() for path, match in found.matches.items()}
    unchanged = found.drop_unchanged(compared, _NOTHING)
    changed = sum(match.num_rows for match in found.matches.values())

    def superseded(task: FileScanTask) -> pa.Array:
        mine = found.positions(task)
        if not whole:
            return mine
        kept = present.get(task.file.file_path, _NOTHING)
        gone = current.positions(task)
        return pa.concat_arrays([mine, gone.filter(pc.invert(pc.is_in(gone, value_set=kept)))])

    tasks = list(table.scan(row_filter=predicate).plan_files())
    closing = {task.file.file_path: superseded(task) for task in tasks}
    removal = remove(table, predicate, lambda task: closing[task.file.file_path], staged.table.merge_mode, folder)
    moment = rows.column(valid_from)[0]
    closed = _closed(table, [(task, closing[task.file.file_path]) for task in tasks], valid_to, moment, folder)
    files = rows_at(staged.files, all_but(rows.count, unchanged), folder)
    return Merge(
        replace(removal, rewritten=(*removal.rewritten, *closed)),
        files,
        unchanged=sum(len(positions) for positions in unchanged),
        updated=changed,
        deleted=removal.rows - changed,
    )


class _Current:
    """The rows of a data file that are the current versions of their keys."""

    def __init__(self, table: Table, valid_to: str) -> None:
        self._table, self._valid_to = table, valid_to
        self._found: dict[str, pa.Array] = {}

    def positions(self, task: FileScanTask) -> pa.Array:
        path = task.file.file_path
        if path not in self._found:
            ends = read_raw(self._table, task, [self._valid_to])[self._valid_to].combine_chunks()
            current = pc.indices_nonzero(pc.is_null(ends)).cast(pa.int64())
            deleted = deleted_positions(task, self._table.io) if task.delete_files else _NOTHING
            self._found[path] = current.filter(pc.invert(pc.is_in(current, value_set=deleted)))
        return self._found[path]


def _closed(
    table: Table, closing: list[tuple[FileScanTask, pa.Array]], valid_to: str, moment: pa.Scalar, folder: Path
) -> tuple[StagedFile, ...]:
    """Copies of the superseded rows that end at `moment`."""
    names = [field.name for field in table.schema().fields]

    def batches() -> Iterator[pa.RecordBatch]:
        for task, positions in closing:
            if len(positions):
                rows = read_raw(table, task, names).take(positions)
                ends = pa.repeat(moment, rows.num_rows).cast(rows.schema.field(valid_to).type)
                yield from rows.set_column(names.index(valid_to), rows.schema.field(valid_to), ends).to_batches()

    if not any(len(positions) for _, positions in closing):
        return ()
    return write_files(folder, SchemaPlan.of_table(table), batches(), WriteSettings.of(table.properties))
