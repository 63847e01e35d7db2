"""A load in parts that fit in memory: by ranges of its key, each part in files of its own for as long as it is used.

All rows of one key are in one part, so that what is done by key can be done part by part; and a part has
to do only with the files of the table whose keys lie in its range.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from floe_ingestion.iceberg.keys import StagedRows
from floe_ingestion.iceberg.writer import PartitionedWriter, WriteSettings
from floe_ingestion.staging import StagedFile

ROWS_AT_ONCE = 500_000
"""Rows of a load whose keys are looked up together; a load of no more is one part, as it is."""
_SAMPLE = 20_000
_NUMBER, _ARRIVAL = "__floe_number", "__floe_arrival"


class _Part(StagedRows):
    """Some of the rows of a load."""

    def numbers(self, rows: pa.Array) -> pa.Array:
        return self.column(_NUMBER).take(rows).combine_chunks()

    @property
    def arrival(self) -> pa.ChunkedArray:
        return self.column(_ARRIVAL if _ARRIVAL in self.columns else _NUMBER)


def parts(rows: StagedRows, folder: Path, columns: Sequence[str] | None = None) -> Iterator[StagedRows]:
    """`rows` in parts, with `columns` beside the key, or all; what a part reads must be read before the next."""
    count = -(-rows.count // ROWS_AT_ONCE)
    if count <= 1:
        yield rows
        return
    with tempfile.TemporaryDirectory(prefix="parts-", dir=folder) as scratch:
        by, cuts = _cuts(rows, count)
        names = list(dict.fromkeys([*rows.key, *columns])) if columns is not None else rows.columns
        for files in _split(rows, names, by, cuts, Path(scratch)):
            yield _Part(files, rows.key, by)
            pa.default_memory_pool().release_unused()


def _cuts(rows: StagedRows, count: int) -> tuple[str, list[pa.Scalar]]:
    """The key column with the most values, and where to cut it so that about as many rows lie in each part."""
    step = max(1, rows.count // _SAMPLE)
    taken = []
    start = 0
    for batch in rows.batches(rows.key):
        first = -start % step
        if first < batch.num_rows:
            taken.append(batch.take(pa.arange(first, batch.num_rows, step)))
        start += batch.num_rows
    sample = pa.Table.from_batches(taken)
    by = max(rows.key, key=lambda name: len(pc.unique(sample[name])))
    values = _ordered(sample[by].combine_chunks())
    values = values.take(pc.sort_indices(values))
    at = pa.array(sorted({len(values) * number // count for number in range(1, count)}))
    return by, list(pc.unique(values.take(at)))


def _split(
    rows: StagedRows, names: Sequence[str], by: str, cuts: Sequence[pa.Scalar], folder: Path
) -> list[list[StagedFile]]:
    writer = PartitionedWriter(folder, WriteSettings(compression="lz4"))
    arrival = rows.arrival if any(file.arrival is not None for file in rows.files) else None
    start = 0
    for batch in rows.batches(names):
        numbers = pa.arange(start, start + batch.num_rows)
        numbered = batch.append_column(_NUMBER, numbers)
        if arrival is not None:
            came = arrival.slice(start, batch.num_rows).combine_chunks()
            numbered = numbered.append_column(_ARRIVAL, came)
        values = _ordered(batch.column(by))
        part = pa.repeat(pa.scalar(0), batch.num_rows)
        for cut in cuts:
            part = pc.add(part, pc.fill_null(pc.greater_equal(values, cut), False).cast(pa.int64()))
        for number in pc.unique(part).to_pylist():
            writer.write((number,), numbered.filter(pc.equal(part, number)))
        start += batch.num_rows
    found: dict[int, list[StagedFile]] = defaultdict(list)
    for file in writer.close():
        found[file.partition[0]].append(file)
    return [found[number] for number in sorted(found)]


def _ordered(values: pa.Array) -> pa.Array:
    """Values that Arrow compares: it does not know how to with bytes of a fixed length."""
    return values.cast(pa.binary()) if pa.types.is_fixed_size_binary(values.type) else values
