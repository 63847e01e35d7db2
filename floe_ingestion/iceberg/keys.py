"""The rows of a load by their key: which are there twice, and where a table has them already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from floe_ingestion.iceberg.types import cast
from floe_ingestion.iceberg.writer import rewrite
from floe_ingestion.naming import normalize_column
from floe_ingestion.staging import StagedFile, StagedTable

ROW = "__floe_row"
"""Position among all staged rows, counted through the files in order."""
POSITION = "__floe_position"
"""Position in one data file."""
FILE = "__floe_file"
_CURSOR, _KNOWN, _CAME = "__floe_cursor", "__floe_known", "__floe_came"


class StagedRows:
    """The rows of staged files, one column at a time."""

    def __init__(self, files: Sequence[StagedFile], key: Sequence[str]) -> None:
        self.files, self.key = tuple(files), tuple(key)
        self._keys: pa.Table | None = None

    @property
    def count(self) -> int:
        return sum(file.rows for file in self.files)

    @cached_property
    def schema(self) -> pa.Schema:
        """What the files hold together: later ones may have more columns and wider types; a uuid is its bytes."""
        schemas = [pq.read_schema(file.path) for file in self.files]
        together = pa.unify_schemas(schemas, promote_options="permissive") if schemas else pa.schema([])
        return pa.schema([field.with_type(_comparable(field.type)) for field in together])

    @property
    def columns(self) -> list[str]:
        """Names of all columns; none without files."""
        return list(self.schema.names)

    @property
    def keys(self) -> pa.Table:
        """The key columns, and `ROW`."""
        if self._keys is None:
            self._keys = numbered(self.read(self.key), ROW)
        return self._keys

    def column(self, name: str) -> pa.ChunkedArray:
        return self.read([name])[name]

    def read(self, names: Sequence[str]) -> pa.Table:
        wanted = pa.schema([self.schema.field(name) for name in names])
        return pa.concat_tables(_read(file.path, wanted) for file in self.files)

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


def _read(path: Path, wanted: pa.Schema) -> pa.Table:
    """The columns of one file as those of all files; null where it has none."""
    known = set(pq.read_schema(path).names)
    rows = pq.read_table(path, columns=[name for name in wanted.names if name in known], partitioning=None)
    columns = [
        cast(rows[field.name], field.type) if field.name in known else pa.nulls(rows.num_rows, field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)


def _comparable(type_: pa.DataType) -> pa.DataType:
    """A type that Arrow groups, joins and compares by: it does not know how to with its own uuid."""
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def numbered(rows: pa.Table, name: str) -> pa.Table:
    """`rows` with their position as a column."""
    return rows.append_column(name, pa.arange(0, rows.num_rows))


def without_duplicates(staged: StagedTable, folder: Path) -> tuple[tuple[StagedFile, ...], int]:
    """The staged files with one row a key, and how many rows that dropped: the last by cursor wins."""
    rows = StagedRows(staged.files, staged.key)
    key = list(staged.key)
    if rows.count == 0 or rows.keys.group_by(key).aggregate([]).num_rows == rows.count:
        return staged.files, 0
    incremental = staged.table.incremental
    cursor = normalize_column(incremental.cursor_path) if incremental is not None else None
    order = rows.column(cursor) if cursor in rows.columns else pa.nulls(rows.count, pa.int64())
    by_cursor = rows.keys.append_column(_CURSOR, order).append_column(_KNOWN, pc.is_valid(order))
    by_cursor = by_cursor.append_column(_CAME, _arrival(staged.files))
    # A row without a cursor value loses against one with it, wherever Arrow sorts nulls.
    sort_keys = [(_KNOWN, "ascending"), (_CURSOR, "ascending"), (_CAME, "ascending")]
    by_cursor = by_cursor.take(pc.sort_indices(by_cursor, sort_keys=sort_keys))
    last = by_cursor.group_by(key, use_threads=False).aggregate([(ROW, "last")])[f"{ROW}_last"]
    kept = last.combine_chunks().sort()
    return rows_at(staged.files, kept, folder), rows.count - len(kept)


def _arrival(files: Sequence[StagedFile]) -> pa.ChunkedArray:
    """When each staged row came, file by file."""
    start = 0
    came: list[pa.Array] = []
    for file in files:
        came.append(file.arrival if file.arrival is not None else pa.arange(start, start + file.rows))
        start += file.rows
    return pa.chunked_array(came)


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


def rows_at_positions(batches: Iterable[pa.RecordBatch], positions: pa.Array) -> Iterator[pa.RecordBatch]:
    """The rows of `batches` at `positions`, ascending and counted through all of them."""
    start = 0
    for batch in batches:
        mine = _between(positions, start, start + batch.num_rows)
        if len(mine):
            yield batch.take(mine)
        start += batch.num_rows


def _taken(file: StagedFile, positions: pa.Array) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file.path) as parquet:
        yield from rows_at_positions(parquet.iter_batches(), positions)


def _between(positions: pa.Array, start: int, stop: int) -> pa.Array:
    """Those of the ascending `positions` in [start, stop), counted from `start`."""
    inside = positions.filter(pc.and_(pc.greater_equal(positions, start), pc.less(positions, stop)))
    return pc.subtract(inside, start)


def all_but(count: int, dropped: Iterable[pa.Array]) -> pa.Array:
    """Positions from 0 to `count`, without those of `dropped`, ascending."""
    everything = pa.arange(0, count)
    gone = [positions for positions in dropped if len(positions)]
    return everything.filter(pc.invert(pc.is_in(everything, value_set=pa.concat_arrays(gone)))) if gone else everything
