"""`merge_strategy: scd2`: a row that changes is closed, and its new version stands beside it.

The current version of a key is the one whose `valid_to` is null. A load that brings everything, of the table or of
its partition, also closes the rows that it no longer has; a load of no rows at all changes nothing. A load that
began before another that has landed meanwhile is given up: its versions would end before they begin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThan, IsNull, LessThanOrEqual, Or
from pyiceberg.table import DataScan, FileScanTask, Table

from floe_ingestion.errors import PermanentError, TransientError
from floe_ingestion.iceberg.data_files import raw_batches, read_raw
from floe_ingestion.iceberg.deletes import deleted_positions
from floe_ingestion.iceberg.keys import StagedRows, marked_rows
from floe_ingestion.iceberg.matches import KeyRange, Matches, key_range
from floe_ingestion.iceberg.partition import window_filter
from floe_ingestion.iceberg.parts import parts
from floe_ingestion.iceberg.removal import Changes, DoomedRows, remove, rows_of_window
from floe_ingestion.iceberg.row_sets import RowSet, rows_of, staged_rows_of
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.writer import WriteSettings, write_files
from floe_ingestion.staging import StagedFile, StagedTable, Window

_CLOCKS_DIFFER = timedelta(minutes=5)
"""How far ahead of ours another machine's clock may run for the retries to come behind it."""


def merge_versions(table: Table, staged: StagedTable, rows: StagedRows, folder: Path) -> Changes:
    """Close the versions that `staged` supersedes, and add its own."""
    valid_from, valid_to = staged.table.validity_columns
    moment = rows.first(valid_from)
    _require_newest(table, staged, moment)
    whole = staged.table.incremental is None
    compared = [name for name in rows.beside_key if name not in (valid_from, valid_to)]
    current = _Current(table, valid_to, staged.window)
    range_, present, changed = KeyRange(rows.key[0]), DoomedRows(), DoomedRows()
    unchanged, marked, updated = RowSet(), RowSet(), 0
    for part in parts(rows, folder):
        range_.include(part)
        found = Matches(table, part, And(key_range(part), current.predicate), current.positions)
        present.add(found.positions())
        gone = marked_rows(part, staged.table)
        unchanged |= RowSet.of(part.numbers(found.drop_unchanged(compared, staged.cursor_column, gone)))
        changed.add(found.positions())
        marked |= RowSet.of(part.numbers(gone))
        updated += found.replaced(gone)
    predicate = And(AlwaysTrue() if whole else range_.predicate, current.predicate)
    tasks = list(table.scan(row_filter=predicate).plan_files())
    closing = changed
    if whole:
        closing = DoomedRows()
        for task in tasks:
            missing = RowSet.of(current.positions(task)) - present.of(task)
            closing.add([(task.file.file_path, changed.of(task) | missing)])
    removal = remove(table, predicate, closing.of, staged.table.merge_mode, folder)
    closed = _closed(table, [(task, closing.of(task)) for task in tasks], valid_to, moment, folder)
    return Changes(
        replace(removal, rewritten=(*removal.rewritten, *closed)),
        staged_rows_of(staged.files, RowSet.first(rows.count) - unchanged - marked, folder),
        unchanged=len(unchanged),
        updated=updated,
        deleted=removal.rows - updated,
        markers=len(marked),
    )


def _require_newest(table: Table, staged: StagedTable, moment: pa.Scalar) -> None:
    """Raises where a version begins or ended after `moment`, at which those of this load begin."""
    valid_from, valid_to = staged.table.validity_columns
    now = pa.scalar(datetime.now(timezone.utc)).cast(moment.type)
    began, until = moment.as_py().isoformat(), now.as_py().isoformat()
    # Times to come are no load's: others write an open end as the year 9999.
    ended = And(GreaterThan(valid_to, began), LessThanOrEqual(valid_to, until))
    later: BooleanExpression = And(
        Or(GreaterThan(valid_from, began), ended), window_filter(staged.window, table.schema())
    )
    if not (found := table.scan(row_filter=later, selected_fields=(valid_from, valid_to))).count():
        return
    newest = _newest(found, staged.table.validity_columns, now, moment)
    if newest.as_py() <= now.as_py():
        raise TransientError(
            f"{staged.table}: a version that begins or ends at {newest.as_py()}, after this load began at "
            f"{moment.as_py()}, is in the table already, so that another run has read the source later. Nothing was "
            f"written; the next attempt reads it again."
        )
    passes = newest.as_py() - now.as_py() <= _CLOCKS_DIFFER
    raise (TransientError if passes else PermanentError)(
        f"{staged.table}: a version in the table begins at {newest.as_py()}, and here it is {now.as_py()}: this load's "
        f"would end before they begin. Nothing was written. Set the clocks of the machines that load it, and wait "
        f"until then, roll the table back to before that version, or correct its {valid_from!r}."
    )


def _newest(found: DataScan, names: Sequence[str], now: pa.Scalar, moment: pa.Scalar) -> pa.Scalar:
    """When the last of these versions begins or, of those that have ended, ends."""
    newest = moment
    for batch in found.to_arrow_batch_reader():
        begin, end = (batch.column(name).cast(moment.type) for name in names)
        for times in (begin, end.filter(pc.less_equal(end, now))):
            newest = pc.max(pa.array([newest.as_py(), pc.max(times).as_py()], moment.type))
    return newest


class _Current:
    """The rows of a data file that are the current versions of their keys, in a window where there is one."""

    def __init__(self, table: Table, valid_to: str, window: Window | None) -> None:
        self._table, self._valid_to, self._window = table, valid_to, window
        self.predicate = And(IsNull(valid_to), window_filter(window, table.schema()))
        self._found: dict[str, pa.Array] = {}

    def positions(self, task: FileScanTask) -> pa.Array:
        path = task.file.file_path
        if path not in self._found:
            ends = read_raw(self._table, task, [self._valid_to])[self._valid_to].combine_chunks()
            current = pc.indices_nonzero(pc.is_null(ends)).cast(pa.int64())
            if self._window is not None:
                in_window = rows_of_window(self._table, self._window, task)
                current = current.filter(pc.is_in(current, value_set=in_window))
            deleted = deleted_positions(task, self._table.io)
            self._found[path] = current.filter(pc.invert(pc.is_in(current, value_set=deleted)))
        return self._found[path]


def _closed(
    table: Table, closing: list[tuple[FileScanTask, RowSet]], valid_to: str, moment: pa.Scalar, folder: Path
) -> tuple[StagedFile, ...]:
    """Copies of the superseded rows that end at `moment`."""

    def batches() -> Iterator[pa.RecordBatch]:
        for task, rows in closing:
            for batch in rows_of(raw_batches(table, task), rows) if len(rows) else ():
                index = batch.schema.get_field_index(valid_to)
                field = batch.schema.field(index)
                yield batch.set_column(index, field, pa.repeat(moment, batch.num_rows).cast(field.type))

    if not any(len(rows) for _, rows in closing):
        return ()
    return write_files(folder, SchemaPlan.of_table(table), batches(), WriteSettings.of(table.properties))
