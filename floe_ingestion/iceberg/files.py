"""Staged files to their place in the warehouse, and back out again when a load did not land."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.typedef import Record

from floe_ingestion.staging import StagedFile

_UPLOAD_CHUNK = 8 * 1024 * 1024


def place(file: StagedFile, table: Table, name: str) -> str:
    """Move `file` to the table's data folder as `name`; its location there."""
    location = table.location_provider().new_data_location(name)
    local = local_path(location)
    if local is None:
        _upload(file.path, table.io, location)
        return location
    local.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.replace(file.path, local)
    except OSError:  # another file system: copy, then let it appear whole
        part = local.with_suffix(".part")
        shutil.copyfile(file.path, part)
        os.replace(part, local)
    return location


def remove(locations: Iterable[str], io: FileIO) -> None:
    """Delete files that no snapshot names; one that is gone already is no error."""
    for location in locations:
        try:
            io.delete(location)
        except FileNotFoundError:
            continue


def data_file(file: StagedFile, location: str, metadata: TableMetadata) -> DataFile:
    """The manifest entry of a placed file, from the footer that its writer kept: nothing is read again."""
    schema = metadata.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=file.metadata,
        stats_columns=compute_statistics_plan(schema, metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(schema),
    )
    made = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=location,
        file_format=FileFormat.PARQUET,
        partition=Record(*file.partition),
        file_size_in_bytes=file.bytes,
        sort_order_id=None,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )
    made.spec_id = metadata.default_spec_id
    return made


def local_path(location: str) -> Path | None:
    """The path of a local location; None for an object store."""
    parts = urlsplit(location)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    return Path(location) if parts.scheme == "" else None


def read_back(files: Iterable[StagedFile]) -> Iterable[pq.RecordBatch]:
    """The rows of staged files, in bounded memory."""
    for file in files:
        with pq.ParquetFile(file.path) as parquet:
            yield from parquet.iter_batches()


def _upload(path: Path, io: FileIO, location: str) -> None:
    with path.open("rb") as source, io.new_output(location).create(overwrite=True) as target:
        while chunk := source.read(_UPLOAD_CHUNK):
            target.write(chunk)
