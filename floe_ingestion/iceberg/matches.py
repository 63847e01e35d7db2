"""The rows of a table that a load brings again: found by their key, and told from those that stay the same.

Only key columns are read, of the data files whose key range can match; then, of the rows that match, one
column after the other until each is known to have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg.data_files import read_raw
from floe_ingestion.iceberg.deletes import deleted_positions
from floe_ingestion.iceberg.keys import FILE, POSITION, ROW, StagedRows

_KEYS_AT_ONCE = 4_000_000
_READERS = 4


class Matches:
    """The live rows of the table that have a staged key, file by file.

    `among` names the positions of a data file that count; None for all of them.
    """

    def __init__(
        self,
        table: Table,
        rows: StagedRows,
        predicate: BooleanExpression,
        among: Callable[[FileScanTask], pa.Array] | None = None,
    ) -> None:
        self.table, self.rows, self._among = table, rows, among
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
            if self._among is not None:
                match = match.filter(pc.is_in(match[POSITION], value_set=self._among(task)))
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


def key_range(rows: StagedRows) -> BooleanExpression:
    """The range of the first key column: lets file statistics rule most files out."""
    first = rows.key[0]
    if pa.types.is_fixed_size_binary(rows.schema.field(first).type):
        return AlwaysTrue()  # a uuid perhaps, whose order in file statistics no two engines agree on
    bounds = pc.min_max(rows.keys[first])
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    try:
        return And(GreaterThanOrEqual(first, low), LessThanOrEqual(first, high))
    except (TypeError, ValueError):  # a type that has no literal, such as uuid: look at every file
        return AlwaysTrue()
