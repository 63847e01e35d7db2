"""Which rows of a file, or of a load: sets of row numbers that take a bit a row at most."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyroaring import BitMap

from floe_ingestion.iceberg.writer import PartitionedWriter, WriteSettings
from floe_ingestion.staging import StagedFile


class RowSet:
    """Row numbers, ascending and each once."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._bits = BitMap(numbers)

    @classmethod
    def of(cls, positions: pa.Array | pa.ChunkedArray) -> RowSet:
        """The rows at `positions`, in any order."""
        numbers = array("I")
        chunks = positions.chunks if isinstance(positions, pa.ChunkedArray) else [positions]
        for chunk in filter(len, chunks):
            values = chunk.cast(pa.uint32())
            start = values.offset * numbers.itemsize
            numbers.frombytes(memoryview(values.buffers()[1])[start : start + len(values) * numbers.itemsize])
        return cls(numbers)

    @classmethod
    def first(cls, count: int) -> RowSet:
        """The rows from 0 to `count`."""
        return cls(range(count))

    def __len__(self) -> int:
        return len(self._bits)

    def __or__(self, other: RowSet) -> RowSet:
        return RowSet(self._bits | other._bits)

    def __sub__(self, other: RowSet) -> RowSet:
        return RowSet(self._bits - other._bits)

    def between(self, start: int, stop: int) -> RowSet:
        """Those from `start` to `stop`, counted from `start`."""
        return RowSet((self._bits & BitMap(range(start, stop))).shift(-start))

    @property
    def positions(self) -> pa.Array:
        """Their numbers as Arrow."""
        numbers = self._bits.to_array()
        found = pa.Array.from_buffers(pa.uint32(), len(numbers), [None, pa.py_buffer(numbers)])
        return found.cast(pa.int64())


def rows_of(batches: Iterable[pa.RecordBatch], kept: RowSet) -> Iterator[pa.RecordBatch]:
    """The rows of `batches` that `kept` names, counted through all of them."""
    start = 0
    for batch in batches:
        mine = kept.between(start, start + batch.num_rows)
        if len(mine):
            yield batch if len(mine) == batch.num_rows else batch.take(mine.positions)
        start += batch.num_rows


def staged_rows_of(files: Sequence[StagedFile], kept: RowSet, folder: Path) -> tuple[StagedFile, ...]:
    """The staged rows that `kept` names; a file that keeps all of its rows is not touched."""
    found: list[StagedFile] = []
    start = 0
    for file in files:
        mine = kept.between(start, start + file.rows)
        if len(mine) == file.rows:
            found.append(file)
        elif len(mine):
            found.extend(_rewritten(file, rows_of(read_back([file]), mine), folder))
        start += file.rows
    return tuple(found)


def read_back(files: Iterable[StagedFile]) -> Iterator[pa.RecordBatch]:
    """The rows of staged files, in bounded memory."""
    for file in files:
        with pq.ParquetFile(file.path) as parquet:
            yield from parquet.iter_batches()


def _rewritten(file: StagedFile, batches: Iterable[pa.RecordBatch], folder: Path) -> list[StagedFile]:
    """Files like `file`, holding `batches` instead; none for no rows."""
    writer = PartitionedWriter(folder, WriteSettings())
    for batch in batches:
        writer.write(file.partition, batch)
    return writer.close()
