"""Batches into Parquet files that are final: the table's types and field ids, one partition a file, zstd.

This is the only place that writes Parquet. It runs on a thread of its own, so that a source is read while
the last batch is compressed; a bounded queue and a bounded buffer keep memory independent of the table.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from floe_ingestion.errors import OutsideWindow
from floe_ingestion.formats import number_of
from floe_ingestion.iceberg.nested import filled
from floe_ingestion.iceberg.partition import inside, split
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.types import plain
from floe_ingestion.staging import StagedFile, Window

_ARRIVAL = "__floe_arrival"
_QUEUED_BATCHES = 2
_BUFFERED_BYTES = 64 * 1024 * 1024
"""Arrow bytes that wait over all open files; beyond it the largest buffer is written."""
_ROW_GROUP_BYTES, _COLUMN_BYTES = 16 * 1024 * 1024, 128 * 1024
"""Arrow bytes of a row group, and of each of its columns where there are many: a file must not become all footer."""
_SAMPLE_ROWS, _MOST_DISTINCT = 20_000, 0.2
"""Rows that are looked at, and the share of different values in them with which a dictionary pays."""


@dataclass(frozen=True)
class WriteSettings:
    """How Parquet is written; from the table's properties where it has them."""

    target_file_bytes: int = 512 * 1024 * 1024
    row_group_rows: int = 250_000
    compression: str = "zstd"
    compression_level: int | None = None

    @classmethod
    def of(cls, properties: dict[str, str]) -> WriteSettings:
        """Settings from Iceberg table properties; `write.target-file-size-bytes` counts bytes on disk."""
        level = properties.get("write.parquet.compression-level")
        codec = properties.get("write.parquet.compression-codec", cls.compression)
        return cls(
            target_file_bytes=int(properties.get("write.target-file-size-bytes", cls.target_file_bytes)),
            row_group_rows=int(properties.get("write.parquet.row-group-limit", cls.row_group_rows)),
            compression="none" if codec == "uncompressed" else codec,
            compression_level=int(level) if level else None,
        )


class ParquetSink:
    """Takes batches from any thread and leaves Parquet files in `folder`.

    Rows outside `window` are left out and counted in `discarded`. An error of the writing thread is raised
    by the next `write`, or by `close`.
    """

    def __init__(
        self,
        folder: Path,
        plan: SchemaPlan,
        settings: WriteSettings | None = None,
        window: Window | None = None,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.plan = plan
        self.discarded: dict[str, int] = plan.discarded
        self._writer = PartitionedWriter(folder, settings or WriteSettings())
        self._window, self._progress = window, progress
        self._rows = 0
        self._queue: queue.Queue[pa.Table | None] = queue.Queue(_QUEUED_BATCHES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._drain, name="floe-parquet", daemon=True)
        self._thread.start()

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Queue rows; blocks while the writer is behind."""
        self._raise_error()
        self._queue.put(rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows]))

    def close(self) -> tuple[StagedFile, ...]:
        """Write what waits, finish every file, and say what there is."""
        self._queue.put(None)
        self._thread.join()
        self._raise_error()
        return tuple(self._writer.close())

    def abort(self) -> None:
        """Stop without finishing the files."""
        self._error = self._error or RuntimeError("the load was given up")
        self._queue.put(None)
        self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _drain(self) -> None:
        while (rows := self._queue.get()) is not None:
            if self._error is not None:
                continue  # keep taking, so that whoever writes does not block for ever
            try:
                for batch in rows.to_batches() or [_no_rows(rows.schema)]:
                    self._write(batch)
            except BaseException as error:  # handed to the thread that writes, whatever it is
                self._error = error

    def _write(self, batch: pa.RecordBatch) -> None:
        batch = self._inside_window(self.plan.conform(batch))
        assert self.plan.schema is not None
        assert self.plan.partition_spec is not None
        spec, schema = self.plan.partition_spec, self.plan.schema
        if self.plan.key and not spec.is_unpartitioned():
            # Of rows with one key the last counts, and rows of several partitions leave the order they came in.
            came = pa.arange(self._rows, self._rows + batch.num_rows)
            for partition, rows in split(batch.append_column(_ARRIVAL, came), spec, schema):
                self._writer.write(partition, rows.drop_columns([_ARRIVAL]), rows.column(_ARRIVAL))
        else:
            for partition, rows in split(batch, spec, schema):
                self._writer.write(partition, rows)
        self._rows += batch.num_rows
        self._progress(batch.num_rows)

    def _inside_window(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._window is None:
            return batch
        assert self.plan.schema is not None
        mask = inside(self._window, batch, self.plan.schema)
        self._discard("no partition", mask.null_count)
        kept = batch.filter(mask)
        outside = batch.num_rows - mask.null_count - kept.num_rows
        if outside and self._window.strict:
            raise OutsideWindow(
                f"{self.plan.spec}: the source sent {number_of(outside, 'row')} whose {self._window.column!r} lies "
                f"outside the partition being loaded. Nothing was written. Correct it, or set `outside_window: drop`."
            )
        self._discard("outside window", outside)
        return kept

    def _discard(self, reason: str, rows: int) -> None:
        if rows:
            self.discarded[reason] = self.discarded.get(reason, 0) + rows


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    """Columns all the same, of types that Arrow makes no other arrays of."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


class PartitionedWriter:
    """One open Parquet file a partition, and the rows that wait for their row group."""

    def __init__(self, folder: Path, settings: WriteSettings) -> None:
        self._folder, self._settings = folder, settings
        self._open: dict[tuple[Any, ...], _PartitionFile] = {}
        self._buffered = 0
        self._finished: list[StagedFile] = []

    def write(self, partition: tuple[Any, ...], rows: pa.RecordBatch, arrival: pa.Array | None = None) -> None:
        if rows.num_rows == 0:
            return
        file = self._open.get(partition)
        if file is not None and not file.schema.equals(rows.schema, check_metadata=True):
            self._finish(partition)  # the table grew a column: the file before it is complete as it is
            file = None
        if file is None:
            file = self._open[partition] = _PartitionFile(self._folder, partition, rows.schema, self._settings)
        self._buffered += file.buffer(rows, arrival)
        if file.full_row_group:
            self._flush(partition)
        while self._buffered > _BUFFERED_BYTES:
            self._flush(max(self._open, key=lambda key: self._open[key].buffered))

    def close(self) -> list[StagedFile]:
        for partition in list(self._open):
            self._finish(partition)
        return self._finished

    def _flush(self, partition: tuple[Any, ...]) -> None:
        file = self._open[partition]
        self._buffered -= file.flush()
        if file.size >= self._settings.target_file_bytes:
            self._finish(partition)

    def _finish(self, partition: tuple[Any, ...]) -> None:
        file = self._open.pop(partition)
        self._buffered -= file.buffered
        self._finished.append(file.finish())


class _PartitionFile:
    """One Parquet file being written."""

    def __init__(self, folder: Path, partition: tuple[Any, ...], schema: pa.Schema, settings: WriteSettings) -> None:
        self.schema, self.buffered = schema, 0
        self._path = folder / f"{uuid4().hex}.parquet"
        self._partition, self._settings = partition, settings
        self._metadata: list[pq.FileMetaData] = []
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._rows = 0
        self._arrival: list[pa.Array] = []
        self._row_group_bytes = max(_ROW_GROUP_BYTES, len(schema) * _COLUMN_BYTES)
        self._sink = pa.OSFile(str(self._path), "wb")
        self._writer: pq.ParquetWriter | None = None

    @property
    def full_row_group(self) -> bool:
        return self._waiting_rows >= self._settings.row_group_rows or self.buffered >= self._row_group_bytes

    @property
    def size(self) -> int:
        """Bytes on disk so far."""
        return int(self._sink.tell())

    def buffer(self, rows: pa.RecordBatch, arrival: pa.Array | None) -> int:
        """Keep `rows` for the next row group; their size in bytes."""
        size = int(rows.nbytes)
        if arrival is not None:
            self._arrival.append(arrival)
        self._waiting.append(filled(rows))
        self._waiting_rows += rows.num_rows
        self.buffered += size
        return size

    def flush(self) -> int:
        """Write what waits as one row group; the bytes that it freed."""
        freed = self.buffered
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, schema=self.schema)
            self._writer = self._writer or self._begin(table)
            self._writer.write_table(table, row_group_size=table.num_rows)
            self._rows += table.num_rows
        self._waiting, self._waiting_rows, self.buffered = [], 0, 0
        return freed

    def _begin(self, first: pa.Table) -> pq.ParquetWriter:
        return pq.ParquetWriter(
            self._sink,
            self.schema,
            compression=self._settings.compression,
            compression_level=self._settings.compression_level,
            use_dictionary=_repeating(first),
            store_decimal_as_integer=True,
            metadata_collector=self._metadata,
        )

    def finish(self) -> StagedFile:
        self.flush()
        assert self._writer is not None, "a file is opened for rows"
        self._writer.close()
        self._sink.close()
        return StagedFile(
            path=self._path,
            rows=self._rows,
            bytes=self._path.stat().st_size,
            partition=self._partition,
            metadata=self._metadata[0],
            arrival=pa.concat_arrays(self._arrival) if self._arrival else None,
        )


def _repeating(rows: pa.Table) -> list[str] | bool:
    """The columns whose values repeat. Of others Parquet would begin a dictionary, give it up, and be larger for it."""
    if any(pa.types.is_nested(field.type) for field in rows.schema):
        return True
    sample = rows.slice(0, _SAMPLE_ROWS).combine_chunks().to_batches()[0]
    most = sample.num_rows * _MOST_DISTINCT
    return [name for name, array in zip(sample.schema.names, sample, strict=True) if len(plain(array).unique()) <= most]


def write_files(
    folder: Path, plan: SchemaPlan, batches: Iterable[pa.RecordBatch], settings: WriteSettings
) -> tuple[StagedFile, ...]:
    """All of `batches` as Parquet files."""
    sink = ParquetSink(folder, plan, settings)
    try:
        for batch in batches:
            sink.write(batch)
    except BaseException:
        sink.abort()
        raise
    return sink.close()
