"""The rows of a load by their key: which are there twice, and where a table has them already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from floe_ingestion.iceberg.writer import rewrite
from floe_ingestion.staging import StagedFile, StagedTable

ROW = "__floe_row"
"""Position among all staged rows, counted through the files in order."""
POSITION = "__floe_position"
"""Position in one data file."""
FILE = "__floe_file"
_CURSOR = "__floe_cursor"


class StagedRows:
    """The rows of staged files, one column at a time."""

    def __init__(self, files: Sequence[StagedFile], key: Sequence[str]) -> None:
        self.files, self.key = tuple(files), tuple(key)
        self._keys: pa.Table | None = None

    @property
    def count(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def columns(self) -> list[str]:
        """Names of all columns; none without files."""
        return list(pq.read_schema(self.files[0].path).names) if self.files else []

    @property
    def keys(self) -> pa.Table:
        """The key columns, and `ROW`."""
        if self._keys is None:
            self._keys = numbered(self.read(self.key), ROW)
        return self._keys

    def column(self, name: str) -> pa.ChunkedArray:
        return self.read([name])[name]

    def read(self, names: Sequence[str]) -> pa.Table:
        parts = [pq.read_table(file.path, columns=list(names), partitioning=None) for file in self.files]
        return pa.concat_tables(parts)

    def matches(self, files: Sequence[pa.Table]) -> pa.Table:
        """Which rows of `files` have a staged key: `FILE` (its index), `POSITION` in it, and the `ROW` that brings it.

        Each of `files` holds the key columns, in types that cast to the staged ones.
        """
        schema = self.keys.select(self.key).schema
        rows = pa.concat_tables(
            numbered(file.select(self.key).cast(schema), POSITION).append_column(
                FILE, pa.repeat(pa.scalar(index, pa.int32()), file.num_rows)
            )
            for index, file in enumerate(files)
        )
        # A set look-up is several times quicker than a join, and leaves few rows to be joined.
        for name in self.key:
            rows = rows.filter(pc.is_in(rows[name], value_set=self.keys[name].combine_chunks()))
        return rows.join(self.keys, keys=list(self.key), join_type="inner").select([FILE, POSITION, ROW])


def numbered(rows: pa.Table, name: str) -> pa.Table:
    """`rows` with their position as a column."""
    return rows.append_column(name, pa.arange(0, rows.num_rows))


def without_duplicates(staged: StagedTable, folder: Path) -> tuple[tuple[StagedFile, ...], int]:
    """The staged files with one row a key, and how many rows that dropped: the last by cursor wins."""
    rows = StagedRows(staged.files, staged.key)
    key = list(staged.key)
    if rows.count == 0 or rows.keys.group_by(key).aggregate([]).num_rows == rows.count:
        return staged.files, 0
    cursor = staged.table.incremental.cursor_path if staged.table.incremental else None
    order = rows.column(cursor) if cursor in rows.columns else rows.keys[ROW]
    by_cursor = rows.keys.append_column(_CURSOR, order)
    sort_keys = [(_CURSOR, "ascending"), (ROW, "ascending")]
    by_cursor = by_cursor.take(pc.sort_indices(by_cursor, sort_keys=sort_keys, null_placement="at_start"))
    last = by_cursor.group_by(key, use_threads=False).aggregate([(ROW, "last")])[f"{ROW}_last"]
    kept = last.combine_chunks().sort()
    return rows_at(staged.files, kept, folder), rows.count - len(kept)


def rows_at(files: Sequence[StagedFile], kept: pa.Array, folder: Path) -> tuple[StagedFile, ...]:
    """The staged rows that `kept` (ascending) names; a file that keeps all of its rows is not touched."""
    found: list[StagedFile] = []
    start = 0
    for file in files:
        mine = _between(kept, start, start + file.rows)
        if len(mine) == file.rows:
            found.append(file)
        elif len(mine):
            found.extend(rewrite(folder, file, _taken(file, mine)))
        start += file.rows
    return tuple(found)


def _taken(file: StagedFile, positions: pa.Array) -> Iterator[pa.RecordBatch]:
    start = 0
    with pq.ParquetFile(file.path) as parquet:
        for batch in parquet.iter_batches():
            mine = _between(positions, start, start + batch.num_rows)
            if len(mine):
                yield batch.take(mine)
            start += batch.num_rows


def _between(positions: pa.Array, start: int, stop: int) -> pa.Array:
    """Those of the ascending `positions` in [start, stop), counted from `start`."""
    inside = positions.filter(pc.and_(pc.greater_equal(positions, start), pc.less(positions, stop)))
    return pc.subtract(inside, start)


def all_but(count: int, dropped: Iterable[pa.Array]) -> pa.Array:
    """Positions from 0 to `count`, without those of `dropped`, ascending."""
    everything = pa.arange(0, count)
    gone = [positions for positions in dropped if len(positions)]
    return everything.filter(pc.invert(pc.is_in(everything, value_set=pa.concat_arrays(gone)))) if gone else everything
