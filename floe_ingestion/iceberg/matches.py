"""The rows of a table that a load brings again: found by their key, and told from those that stay the same.

Only key columns are read, of the data files whose key range can match; then, of the rows that match, one
column after the other until each is known to have changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg.data_files import in_groups, raw_batches, raw_pieces, raw_values, read_raw
from floe_ingestion.iceberg.deletes import deleted_positions
from floe_ingestion.iceberg.keys import FILE, POSITION, ROW, StagedRows
from floe_ingestion.iceberg.row_sets import RowSet

_KEYS_AT_ONCE = 1_000_000
_READERS = 4
_NESTED_AT_ONCE = 10_000
_FEW_COLUMNS = 3
"""Of fewer, all are as soon compared."""
_SAMPLE_ROWS = 10_000
_KEY, _COMING = "key", "coming"


class Matches:
    """The live rows of the table that have a staged key, file by file.

    `among` names the positions of a data file that count; None for all of them.
    """

    def __init__(
        self,
        table: Table,
        rows: StagedRows,
        predicate: BooleanExpression,
        among: Callable[[FileScanTask], pa.Array] | None,
    ) -> None:
        self.table, self.rows, self._among = table, rows, among
        self.matches: dict[str, pa.Table] = {}
        """By data file: `POSITION` in it, ascending, and the first `ROW` that brings the key again."""
        self.tasks: dict[str, FileScanTask] = {}
        # Of several files at once: enough for one look-up to pay, few enough to fit in memory.
        tasks = table.scan(row_filter=predicate).plan_files()
        for group in in_groups(tasks, lambda task: task.file.record_count, _KEYS_AT_ONCE):
            self._match(group)

    @property
    def rows_matched(self) -> pa.ChunkedArray:
        """The `ROW` of every match."""
        return pa.chunked_array([chunk for match in self.matches.values() for chunk in match[ROW].chunks], pa.int64())

    def replaced(self, marked: pa.Array) -> int:
        """How many rows of the table staged ones that are not `marked` take the place of; the other matches just go."""
        there = pa.table([self.rows_matched], names=[ROW]).group_by(ROW).aggregate([([], "count_all")])
        if there.num_rows == 0:
            return 0
        comes = pc.invert(pc.is_in(self.rows.keys[ROW], value_set=marked)).cast(pa.int64())
        matched = there[ROW]
        if self.rows.first_rows is not None:  # of a key with several rows, the first one stands for all
            by_key = pa.table([self.rows.index.numbers, comes], names=[_KEY, _COMING]).group_by(_KEY)
            comes = by_key.aggregate([(_COMING, "sum")]).sort_by(_KEY)[f"{_COMING}_sum"]
            matched = pc.index_in(matched, value_set=self.rows.first_rows)
        return int(pc.sum(pc.min_element_wise(there["count_all"], comes.take(matched))).as_py() or 0)

    def positions(self) -> Iterator[tuple[str, RowSet]]:
        """By data file, the rows that the load replaces or deletes."""
        for path, match in self.matches.items():
            yield path, RowSet.of(match[POSITION])

    def drop_unchanged(self, columns: list[str], cursor: str | None, marked: pa.Array) -> pa.Array:
        """Forget the matches whose row has the same in `columns`; the staged rows that bring nothing new.

        Those `marked` say that their row goes, and are none of them. `cursor`, if it is one of the columns, tells
        most changed rows.
        """
        news = pa.concat_arrays([marked, self._rows_of_many()])
        same = {path: _without(match, news) for path, match in self.matches.items()}
        others = [name for name in columns if name != cursor]
        same = self._agreeing(same, [name for name in columns if name == cursor])
        same = self._agreeing(same, self._by_telling(others, same))
        unchanged = [match[ROW].combine_chunks() for match in same.values()]
        for (path, _), rows in zip(same.items(), unchanged, strict=True):
            self.matches[path] = _without(self.matches[path], rows)
        return pa.concat_arrays(unchanged) if unchanged else pa.array([], pa.int64())

    def _rows_of_many(self) -> pa.Array:
        """The staged rows whose key the table has several times: they take the place of all these, like one or not."""
        counted = pc.value_counts(self.rows_matched.combine_chunks())
        return counted.field("values").filter(pc.greater(counted.field("counts"), 1))

    def _agreeing(self, found: dict[str, pa.Table], columns: list[str]) -> dict[str, pa.Table]:
        """Those of the matches whose row has the same values in `columns`."""
        for name in columns:
            found = {path: match for path, match in found.items() if match.num_rows}
            if not found:
                break
            staged = self.rows.column(name)
            found = {path: match.filter(self._equal(path, name, match, staged)) for path, match in found.items()}
        return found

    def _by_telling(self, columns: list[str], same: dict[str, pa.Table]) -> list[str]:
        """`columns`, those first that tell most of a file's first rows from the staged ones."""
        path, match = max(same.items(), key=lambda item: item[1].num_rows, default=("", None))
        if match is None or match.num_rows == 0 or len(columns) < _FEW_COLUMNS:
            return columns
        sample = next(raw_batches(self.table, self.tasks[path], columns, _SAMPLE_ROWS))
        match = match.filter(pc.less(match[POSITION], sample.num_rows))
        positions, rows = match[POSITION].combine_chunks(), match[ROW].combine_chunks()
        told: dict[str, int] = {}
        for name in columns:
            new = self.rows.column(name).take(rows).combine_chunks()
            told[name] = pc.sum(pc.invert(_same(sample.column(name).take(positions), new))).as_py() or 0
        return sorted(columns, key=lambda name: -told[name])

    def _match(self, group: list[FileScanTask]) -> None:
        found: dict[int, list[pa.Table]] = defaultdict(list)
        for pieces in self._pieces(group):
            matches = self.rows.matches(pieces)
            for index in pc.unique(matches[FILE]).to_pylist():
                found[index].append(matches.filter(pc.equal(matches[FILE], index)).select([POSITION, ROW]))
        for index, tables in found.items():
            self._keep(group[index], pa.concat_tables(tables).sort_by(POSITION))

    def _pieces(self, group: list[FileScanTask]) -> Iterator[list[tuple[int, pa.Table]]]:
        """The keys of some files at once; of one large file piece by piece."""
        if len(group) > 1:
            with ThreadPoolExecutor(max_workers=_READERS) as readers:
                keys = readers.map(lambda task: read_raw(self.table, task, self.rows.key), group)
                yield [(0, piece) for piece in keys]
            return
        start = 0
        for piece in raw_pieces(self.table, group[0], self.rows.key, _KEYS_AT_ONCE):
            yield [(start, piece)]
            start += piece.num_rows

    def _keep(self, task: FileScanTask, match: pa.Table) -> None:
        if task.delete_files:
            deleted = deleted_positions(task, self.table.io)
            match = match.filter(pc.invert(pc.is_in(match[POSITION], value_set=deleted)))
        if self._among is not None:
            match = match.filter(pc.is_in(match[POSITION], value_set=self._among(task)))
        if match.num_rows:
            self.tasks[task.file.file_path] = task
            self.matches[task.file.file_path] = match

    def _equal(self, path: str, name: str, match: pa.Table, staged: pa.ChunkedArray) -> pa.Array:
        new = staged.take(match[ROW]).combine_chunks()
        return _same(raw_values(self.table, self.tasks[path], name, match[POSITION].combine_chunks()), new)


def _without(match: pa.Table, rows: pa.Array) -> pa.Table:
    return match.filter(pc.invert(pc.is_in(match[ROW], value_set=rows))) if len(rows) else match


def _same(old: pa.Array, new: pa.Array) -> pa.Array:
    """Where two arrays hold the same, null like null and NaN like NaN."""
    if pa.types.is_nested(new.type):
        return pa.concat_arrays(_same_nested(old, new))
    old = old.cast(new.type)
    equal = pc.fill_null(pc.equal(old, new), False)
    equal = pc.or_(equal, pc.and_(pc.is_null(old), pc.is_null(new)))
    if pa.types.is_floating(new.type):
        equal = pc.or_(equal, pc.fill_null(pc.and_(pc.is_nan(old), pc.is_nan(new)), False))
    return equal


def _same_nested(old: pa.Array, new: pa.Array) -> list[pa.Array]:
    """Piece by piece: as Python objects values take many times their room."""
    found = [pa.array([], pa.bool_())]
    for start in range(0, len(new), _NESTED_AT_ONCE):
        pairs = zip(
            old.slice(start, _NESTED_AT_ONCE).to_pylist(), new.slice(start, _NESTED_AT_ONCE).to_pylist(), strict=True
        )
        found.append(pa.array([a == b for a, b in pairs], pa.bool_()))
    return found


class KeyRange:
    """The least and the greatest value of a key column: lets file statistics rule most files out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._type: pa.DataType | None = None
        self._values: list[Any] = []

    def include(self, rows: StagedRows) -> None:
        """Make it hold all of these."""
        bounds = pc.min_max(rows.keys[self.name])
        self._type = rows.keys[self.name].type
        values = [*self._values, bounds["min"].as_py(), bounds["max"].as_py()]
        self._values = [min(values), max(values)]

    @property
    def predicate(self) -> BooleanExpression:
        """Of rows in it."""
        if self._type is None or pa.types.is_fixed_size_binary(self._type) or pa.types.is_floating(self._type):
            # A uuid perhaps, whose order in file statistics no two engines agree on; or NaN, which lies in no range.
            return AlwaysTrue()
        least, greatest = self._values
        return And(GreaterThanOrEqual(self.name, least), LessThanOrEqual(self.name, greatest))


def key_range(rows: StagedRows) -> BooleanExpression:
    """The range of one part of a load."""
    found = KeyRange(rows.by)
    found.include(rows)
    return found.predicate
