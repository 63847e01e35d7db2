"""The rows of a load by their key: which are there twice, and where a table has them already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from floe_ingestion.iceberg.types import cast
from floe_ingestion.spec import TableSpec
from floe_ingestion.staging import StagedFile

ROW = "__floe_row"
"""Position among all rows of a load, or of a part of it, counted through the files in order."""
POSITION = "__floe_position"
"""Position in one data file."""
FILE = "__floe_file"
_NUMBER = "__floe_number"


class StagedRows:
    """The rows of staged files, of which there is one at least, one column at a time."""

    def __init__(self, files: Sequence[StagedFile], key: Sequence[str], by: str | None = None) -> None:
        self.files, self.key = tuple(files), tuple(key)
        self.by = by or self.key[0]
        """The key column whose range says in which files of a table the keys can be."""

    @property
    def count(self) -> int:
        return sum(file.rows for file in self.files)

    @cached_property
    def schema(self) -> pa.Schema:
        """What the files hold together: later ones may have more columns and wider types; a uuid is its bytes."""
        schemas = [pq.read_schema(file.path) for file in self.files]
        together = pa.unify_schemas(schemas, promote_options="permissive")
        return pa.schema([field.with_type(_comparable(field.type)) for field in together])

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return list(self.schema.names)

    @property
    def beside_key(self) -> list[str]:
        """Names of the columns that are no part of the key."""
        return [name for name in self.columns if name not in self.key]

    @cached_property
    def keys(self) -> pa.Table:
        """The key columns, and `ROW`."""
        return self.read(self.key).append_column(ROW, pa.arange(0, self.count))

    @cached_property
    def index(self) -> KeyIndex:
        """The keys by number."""
        return KeyIndex(self.keys, self.key)

    @cached_property
    def first_rows(self) -> pa.Array | None:
        """For each key, by its number, the first `ROW` that has it; None where every row has a key of its own."""
        if self.index.count == self.count:
            return None
        rows = pa.table([self.index.numbers, self.keys[ROW]], names=[_NUMBER, ROW])
        return rows.group_by(_NUMBER).aggregate([(ROW, "min")]).sort_by(_NUMBER)[f"{ROW}_min"].combine_chunks()

    @property
    def arrival(self) -> pa.ChunkedArray:
        """When each row came."""
        start = 0
        came: list[pa.Array] = []
        for file in self.files:
            came.append(file.arrival if file.arrival is not None else pa.arange(start, start + file.rows))
            start += file.rows
        return pa.chunked_array(came)

    def numbers(self, rows: pa.Array) -> pa.Array:
        """Which rows of the whole load these are."""
        return rows

    def first(self, name: str) -> pa.Scalar:
        """The value of the first row."""
        return next(self.batches([name])).column(0)[0]

    def column(self, name: str) -> pa.ChunkedArray:
        return self.read([name])[name]

    def read(self, names: Sequence[str]) -> pa.Table:
        wanted = pa.schema([self.schema.field(name) for name in names])
        return pa.concat_tables(_read(file.path, wanted) for file in self.files)

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns, of which every file has one, in bounded memory."""
        wanted = pa.schema([self.schema.field(name) for name in names])
        for file in self.files:
            with pq.ParquetFile(file.path) as parquet:
                known = [name for name in wanted.names if name in parquet.schema_arrow.names]
                for batch in parquet.iter_batches(columns=known):
                    yield pa.record_batch(_columns(batch, wanted), schema=wanted)

    def matches(self, pieces: Sequence[tuple[int, pa.Table]]) -> pa.Table:
        """Which rows of a table have a staged key.

        `pieces` are rows of data files, each with the position that it begins at; they hold the key columns, in
        types that cast to the staged ones. Returns `FILE` (the piece's index), `POSITION` in its file, and the
        first `ROW` that brings the key.
        """
        schema = self.keys.select(self.key).schema
        rows = pa.concat_tables(
            piece.select(self.key)
            .cast(schema)
            .append_column(POSITION, pa.arange(start, start + piece.num_rows))
            .append_column(FILE, pa.repeat(pa.scalar(index, pa.int32()), piece.num_rows))
            for index, (start, piece) in enumerate(pieces)
        )
        found = self.index.found(rows, ROW).select([FILE, POSITION, ROW])
        first = self.first_rows
        row = found[ROW].cast(pa.int64()) if first is None else first.take(found[ROW])
        return found.set_column(2, ROW, row)


class KeyIndex:
    """The distinct keys among rows, numbered in the order in which they first come.

    Look-ups in sets of values take a third of the time and of the memory of a join, or of grouping by key.
    """

    def __init__(self, keys: pa.Table, names: Sequence[str]) -> None:
        """`names` are the key's columns in `keys`; no key is null."""
        self._names = tuple(names)
        self._known: list[pa.Array] = []
        """For each column its values; behind each but the first the pairs of what was numbered before and its own."""
        self.numbers = self._numbered(keys)
        """The number of each row's key."""
        self.count = len(self._known[-1])
        """How many keys there are."""

    def found(self, rows: pa.Table, name: str) -> pa.Table:
        """Those of `rows` whose key is known, with its number as the column `name`."""
        known = iter(self._known)
        rows = _known_only(rows, pc.index_in(rows[self._names[0]], value_set=next(known)))
        for column in self._names[1:]:
            values = next(known)
            rows = _known_only(rows, _paired(rows[_NUMBER], pc.index_in(rows[column], value_set=values), len(values)))
            rows = _known_only(rows, pc.index_in(rows[_NUMBER], value_set=next(known)))
        return rows.rename_columns([*rows.column_names[:-1], name])

    def _numbered(self, keys: pa.Table) -> pa.ChunkedArray:
        numbers = self._learned(keys[self._names[0]])
        for name in self._names[1:]:
            own = self._learned(keys[name])
            numbers = self._learned(_paired(numbers, own, len(self._known[-1])))
        return numbers

    def _learned(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        self._known.append(pc.unique(values))
        return pc.index_in(values, value_set=self._known[-1])


def _paired(numbers: pa.ChunkedArray, others: pa.ChunkedArray, count: int) -> pa.ChunkedArray:
    """One number for two, of which the second is below `count`."""
    return pc.add(pc.multiply(numbers.cast(pa.int64()), count), others.cast(pa.int64()))


def _known_only(rows: pa.Table, numbers: pa.ChunkedArray) -> pa.Table:
    if _NUMBER in rows.column_names:
        rows = rows.drop_columns([_NUMBER])
    return rows.append_column(_NUMBER, numbers).filter(pc.is_valid(numbers))


def _read(path: Path, wanted: pa.Schema) -> pa.Table:
    """The columns of one file as those of all files; null where it has none."""
    known = set(pq.read_schema(path).names)
    rows = pq.read_table(path, columns=[name for name in wanted.names if name in known], partitioning=None)
    return pa.table(_columns(rows, wanted), schema=wanted)


def _columns(rows: pa.Table | pa.RecordBatch, wanted: pa.Schema) -> list[Any]:
    known = set(rows.schema.names)
    return [
        cast(rows.column(field.name), field.type) if field.name in known else pa.nulls(rows.num_rows, field.type)
        for field in wanted
    ]


def _comparable(type_: pa.DataType) -> pa.DataType:
    """A type that Arrow groups, joins and compares by: it does not know how to with its own uuid."""
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_


def marked_rows(rows: StagedRows, spec: TableSpec) -> pa.Array:
    """The staged rows that say that their key is gone."""
    marker = spec.column(spec.hard_delete) if spec.hard_delete is not None else None
    if marker is None or marker not in rows.columns:
        return pa.array([], pa.int64())
    values = rows.column(marker).combine_chunks()
    gone = pc.fill_null(values, False) if pa.types.is_boolean(values.type) else pc.is_valid(values)
    return pc.indices_nonzero(gone).cast(pa.int64())
