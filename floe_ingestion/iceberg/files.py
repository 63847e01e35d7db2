"""Staged files to their place in the warehouse, and back out again when a load did not land."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import (
    StatisticsCollector,
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.typedef import Record
from pyiceberg.types import DecimalType

from floe_ingestion.iceberg.upload import upload_all
from floe_ingestion.staging import StagedFile

logger = logging.getLogger(__name__)

_DELETES_AT_ONCE = 8


def place(file: StagedFile, table: Table, name: str) -> str:
    """Move `file` to the table's data folder as `name`; its location there."""
    return place_all([file], table, [name])[0]


def place_all(files: Sequence[StagedFile], table: Table, names: Sequence[str]) -> list[str]:
    """Move `files` to the table's data folder under these names, all or none; their locations there."""
    provider = table.location_provider()
    locations = [provider.new_data_location(name) for name in names]
    uploads: list[tuple[Path, str]] = []
    moved: list[str] = []
    for file, location in zip(files, locations, strict=True):
        if (local := local_path(location)) is None:
            uploads.append((file.path, location))
            continue
        try:
            _link(file.path, local)
        except BaseException:
            delete_all(moved, table.io)
            raise
        moved.append(location)
    upload_all(uploads, table.io, discard=lambda begun: delete_all(begun, table.io))
    return locations


def remove(locations: Iterable[str], io: FileIO) -> None:
    """Delete files that no snapshot names; one that is gone already is no error."""
    for location in locations:
        try:
            io.delete(location)
        except FileNotFoundError:
            continue


def delete_all(locations: Iterable[str], io: FileIO) -> list[str]:
    """Delete many files that no snapshot names, side by side; the locations where that failed."""

    def delete(location: str) -> str | None:
        try:
            remove([location], io)
        except Exception as error:  # whatever a storage raises: one file must not keep the others
            logger.warning("%s could not be deleted: %s", location, error)
            return location
        return None

    with ThreadPoolExecutor(max_workers=_DELETES_AT_ONCE) as workers:
        return [location for location in workers.map(delete, locations) if location is not None]


def data_file(file: StagedFile, location: str, metadata: TableMetadata) -> DataFile:
    """The manifest entry of a placed file, from the footer that its writer kept: nothing is read again."""
    schema = metadata.schema()
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=file.metadata,
        stats_columns=_statistics_plan(file, metadata),
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


def _statistics_plan(file: StagedFile, metadata: TableMetadata) -> dict[int, StatisticsCollector]:
    """What to collect; decimals as wide as in the file, which may be of before the load made their column wider."""
    schema, columns = metadata.schema(), file.metadata.schema
    plan, ids = compute_statistics_plan(schema, metadata.properties), parquet_path_to_id_mapping(schema)
    for column in map(columns.column, range(len(columns))):
        known = plan.get(ids.get(column.path, -1))
        if known is not None and column.logical_type.type == "DECIMAL":
            plan[known.field_id] = replace(known, iceberg_type=DecimalType(column.precision, column.scale))
    return plan


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


def _link(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        # A second name, not a move: a load that has to be planned again reads its rows from the staged one.
        os.link(path, to)
    except OSError:  # another file system, or one without links: copy, then let it appear whole
        part = to.with_suffix(".part")
        try:
            shutil.copyfile(path, part)
            os.replace(part, to)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
