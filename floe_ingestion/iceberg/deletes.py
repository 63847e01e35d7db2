"""Rows marked as deleted where they lie: position delete files, one for each data file that they speak of.

Every reader applies them (stock pyiceberg cannot read equality deletes, so there are none), and Polars'
native one wants exactly one data file per delete file.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import FileScanTask

from floe_ingestion.errors import PermanentError
from floe_ingestion.iceberg.row_sets import RowSet
from floe_ingestion.staging import StagedFile

# Field ids that the Iceberg specification reserves for position delete files.
_PATH_ID, _POSITION_ID = 2147483546, 2147483545
_POSITIONS_AT_ONCE = 250_000
_SCHEMA = pa.schema(
    [
        pa.field("file_path", pa.string(), nullable=False, metadata={"PARQUET:field_id": str(_PATH_ID)}),
        pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": str(_POSITION_ID)}),
    ]
)


def deleted_positions(task: FileScanTask, io: FileIO) -> pa.Array:
    """Rows of the task's data file that delete files have removed already, in no order.

    Raises `PermanentError` for delete files that pyiceberg cannot read either.
    """
    found = [_positions_of(task.file, delete, io) for delete in task.delete_files]
    return pc.unique(pa.concat_arrays(found)) if found else pa.array([], pa.int64())


def live_positions(task: FileScanTask, io: FileIO) -> RowSet:
    """The rows of the task's data file that are left."""
    return RowSet.first(task.file.record_count) - RowSet.of(deleted_positions(task, io))


def live_rows_of(task: FileScanTask, io: FileIO) -> int:
    """How many rows of the task's data file are left; delete files are opened only where `told_by_one` is None."""
    rows: int = task.file.record_count
    if (told := told_by_one(task)) is not None:
        return rows - told
    return rows - len(deleted_positions(task, io))


def told_by_one(task: FileScanTask) -> int | None:
    """How many rows of the data file are gone, where manifests tell it; else None.

    Two delete files may name one row twice, and one that names several data files does not say how often which.
    """
    if len(task.delete_files) > 1:
        return None
    for delete in task.delete_files:
        marks = delete.content == DataFileContent.POSITION_DELETES and delete.file_format == FileFormat.PARQUET
        return delete.record_count if marks and only_of([delete], task.file) else None
    return 0


def write_positions(folder: Path, task: FileScanTask, positions: pa.Array) -> StagedFile:
    """A delete file for rows of one data file; `positions` ascending."""
    path = folder / f"{uuid4().hex}-deletes.parquet"
    collected: list[pq.FileMetaData] = []
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd", metadata_collector=collected) as writer:
        # Piece by piece: each row repeats the path.
        for start in range(0, len(positions), _POSITIONS_AT_ONCE):
            some = positions.slice(start, _POSITIONS_AT_ONCE).cast(pa.int64())
            writer.write_table(pa.table([pa.repeat(pa.scalar(task.file.file_path), len(some)), some], schema=_SCHEMA))
    return StagedFile(path, len(positions), path.stat().st_size, _values(task.file), collected[0])


def delete_file(staged: StagedFile, location: str, of: DataFile) -> DataFile:
    """The manifest entry of a placed delete file; its bounds say which data file it speaks of."""
    path = of.file_path.encode()
    made = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=of.partition,
        record_count=staged.rows,
        file_size_in_bytes=staged.bytes,
        column_sizes={},
        value_counts={_PATH_ID: staged.rows, _POSITION_ID: staged.rows},
        null_value_counts={_PATH_ID: 0, _POSITION_ID: 0},
        nan_value_counts={},
        lower_bounds={_PATH_ID: path},
        upper_bounds={_PATH_ID: path},
        key_metadata=None,
        split_offsets=None,
        equality_ids=None,
        sort_order_id=None,
    )
    made.spec_id = of.spec_id
    return made


def only_of(deletes: Iterable[DataFile], data_file: DataFile) -> list[DataFile]:
    """Those delete files that speak of `data_file` alone: they go when it goes."""
    path = data_file.file_path.encode()
    return [
        delete
        for delete in deletes
        if (delete.lower_bounds or {}).get(_PATH_ID) == path and (delete.upper_bounds or {}).get(_PATH_ID) == path
    ]


def _values(file: DataFile) -> tuple[Any, ...]:
    return tuple(file.partition[index] for index in range(len(file.partition)))


def _positions_of(file: DataFile, delete: DataFile, io: FileIO) -> pa.Array:
    if delete.content != DataFileContent.POSITION_DELETES or delete.file_format != FileFormat.PARQUET:
        raise PermanentError(
            f"{delete.file_path} removes rows in a way that pyiceberg cannot read ({delete.content}, "
            f"{delete.file_format}). Compact the table with the engine that wrote it, then load again."
        )
    with io.new_input(delete.file_path).open() as stream:
        if only_of([delete], file):  # as ours are: the path need not be read, which each row repeats
            return pq.read_table(stream, columns=["pos"])["pos"].combine_chunks()
        rows = pq.read_table(stream, columns=["file_path", "pos"])
    return rows.filter(pc.equal(rows["file_path"], file.file_path))["pos"].combine_chunks()
