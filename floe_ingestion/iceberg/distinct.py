"""Which keys of a table are there twice, and which values are none of the accepted ones.

Only the columns that are asked about are read, file by file. Keys are counted in pieces; where a table has more
of them than fit into memory, the counts are spilled into shards by hash, so that one shard is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import BooleanType, DoubleType, FloatType, IcebergType, LongType, NestedField

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.iceberg.inspection import Inspection
from floe_ingestion.iceberg.types import cast, plain

_COUNT = "__floe_count"
_IN_MEMORY = 1_000_000
"""Keys that are counted at once."""
_MOST_SHARDS = 256
_FEW = 5
"""Examples that are shown."""


@dataclass(frozen=True)
class Repeated:
    """The rows of a table by their key."""

    rows: int
    """Rows whose key has no null in it."""
    surplus: int
    """Rows beyond the first of each key."""
    keys: int
    """Keys that are there more than once."""
    examples: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Strangers:
    """Values that are none of the accepted ones."""

    rows: int
    examples: tuple[Any, ...]


def repeated(inspection: Inspection, key: Sequence[NestedField], folder: Path, in_memory: int = _IN_MEMORY) -> Repeated:
    """The keys that are there more than once; `folder` takes what does not fit into memory."""
    names = [field.name for field in key]
    shards = min(-(-inspection.most_rows // in_memory), _MOST_SHARDS)
    pieces = _counted(inspection, names, in_memory)
    if shards > 1:
        pieces = _sharded(pieces, key, shards, folder)
    elif together := list(pieces):
        pieces = iter([pa.concat_tables(together)])
    rows = surplus = keys = 0
    examples: list[tuple[Any, ...]] = []
    for piece in pieces:
        counts = piece.group_by(names).aggregate([(_COUNT, "sum")]).rename_columns([*names, _COUNT])
        more = counts.filter(pc.greater(counts[_COUNT], 1))
        rows += pc.sum(counts[_COUNT]).as_py() or 0
        surplus += (pc.sum(more[_COUNT]).as_py() or 0) - more.num_rows
        keys += more.num_rows
        shown = more.slice(0, _FEW - len(examples)).select(names).to_pylist()
        examples += [tuple(row[name] for name in names) for row in shown]
    return Repeated(rows, surplus, keys, tuple(examples))


def strangers(inspection: Inspection, field: NestedField, accepted: Sequence[Any]) -> Strangers:
    """The rows whose value in the column is neither null nor one of `accepted`."""
    rows = 0
    examples: list[Any] = []
    known: pa.Array | None = None
    for task in inspection.view.tasks:
        for batch in inspection.batches(task, [field.name]):
            values = plain(batch.column(0))
            known = _values(accepted, values.type, field) if known is None else known
            strange = values.filter(pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=known))))
            rows += len(strange)
            if len(examples) < _FEW and len(strange):
                new = (value for value in pc.unique(strange).to_pylist() if value not in examples)
                examples += [value for value, _ in zip(new, range(_FEW - len(examples)), strict=False)]
    return Strangers(rows, tuple(examples))


def _counted(inspection: Inspection, names: list[str], at_once: int) -> Iterator[pa.Table]:
    """Keys with how often they are in a piece of the table."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for task in inspection.view.tasks:
        for batch in inspection.batches(task, names):
            whole = _without_nulls(batch, names)
            waiting.append(whole)
            size += whole.num_rows
            if size >= at_once:
                yield _count(waiting, names)
                waiting, size = [], 0
    if waiting:
        yield _count(waiting, names)


def _count(batches: Sequence[pa.RecordBatch], names: list[str]) -> pa.Table:
    counted = pa.Table.from_batches(batches).group_by(names).aggregate([([], "count_all")])
    return counted.select([*names, "count_all"]).rename_columns([*names, _COUNT])


def _without_nulls(batch: pa.RecordBatch, names: list[str]) -> pa.RecordBatch:
    columns = [plain(batch.column(name)) for name in names]
    whole = reduce(pc.and_, [pc.is_valid(column) for column in columns])
    return pa.RecordBatch.from_arrays(columns, names=names).filter(whole)


def _sharded(pieces: Iterator[pa.Table], key: Sequence[NestedField], shards: int, folder: Path) -> Iterator[pa.Table]:
    """What `pieces` count, put together by key: one shard after the other, each from a file of its own."""
    paths = [folder / f"shard-{number:03d}.arrow" for number in range(shards)]
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    with ExitStack() as open_files:
        for piece in pieces:
            numbers = _shard_of(piece, key, shards)
            for number in pc.unique(numbers).to_pylist():
                if number not in writers:
                    writer = pa.ipc.new_stream(str(paths[number]), piece.schema)
                    writers[number] = open_files.enter_context(writer)
                writers[number].write_table(piece.filter(pc.equal(numbers, number)))
    for number in sorted(writers):
        with pa.OSFile(str(paths[number])) as file, pa.ipc.open_stream(file) as reader:
            yield reader.read_all()
        paths[number].unlink()


def _shard_of(piece: pa.Table, key: Sequence[NestedField], shards: int) -> pa.Array:
    """The same number for the same key."""
    numbers = pa.repeat(pa.scalar(0, pa.int64()), piece.num_rows)
    for field in key:
        hashed = _hash(plain(piece[field.name]), field.field_type, shards)
        numbers = pc.add(pc.multiply(numbers, 31), hashed)
        numbers = pc.subtract(numbers, pc.multiply(pc.divide(numbers, shards), shards))
    return numbers


def _hash(values: pa.Array, type_: IcebergType, shards: int) -> pa.Array:
    """Iceberg's own bucket, which is the same for equal values; it has none for fractions and for true or false."""
    if isinstance(type_, BooleanType):
        return values.cast(pa.int64())
    if isinstance(type_, (FloatType, DoubleType)):
        values, type_ = pc.floor(values).cast(pa.int64(), safe=False), LongType()
    bucket = BucketTransform(num_buckets=shards)
    if not bucket.can_transform(type_):
        raise ConfigurationError(f"a {type_} cannot be part of a unique key. Name columns of plain values")
    return plain(bucket.pyarrow_transform(type_)(values)).cast(pa.int64())


def _values(accepted: Sequence[Any], type_: pa.DataType, field: NestedField) -> pa.Array:
    """The accepted values in the type of their column."""
    found: list[pa.Array] = []
    for value in accepted:
        try:
            found.append(cast(pa.array([value]), type_))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise ConfigurationError(
                f"the accepted value {value!r} of column {field.name!r} is no {field.field_type}. "
                f"Write values of the column's type"
            ) from error
    return pa.concat_arrays(found)
