"""Staged files to their place in the warehouse, linked or uploaded; and out of it when a load did not land."""

from __future__ import annotations

import logging
import os
import random
import shutil
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

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

from floe_ingestion.classify import classify
from floe_ingestion.errors import CatalogUnavailable, TransientError
from floe_ingestion.staging import StagedFile

logger = logging.getLogger(__name__)

_FILES_AT_ONCE = 4
"""An object goes up in parts, which Arrow's client and s3fs send side by side as well."""
_DELETES_AT_ONCE = 8
_CHUNK = 8 * 1024 * 1024
_ATTEMPTS = 4
_LONGEST_WAIT = 8.0
"""Of an upload; seconds between two of them."""


def place(files: Sequence[StagedFile], table: Table, names: Sequence[str]) -> list[str]:
    """Put `files` into the table's data folder under these names, all or none; their locations there.

    A file appears there when it is whole, so a process that is killed leaves none half written.
    """
    provider = table.location_provider()
    locations = [provider.new_data_location(name) for name in names]
    with ThreadPoolExecutor(max_workers=_FILES_AT_ONCE) as workers:
        running = {
            workers.submit(_put, file.path, table.io, location): location
            for file, location in zip(files, locations, strict=True)
        }
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            begun = [location for future, location in running.items() if not future.cancel()]
            wait(running)
            delete_all(begun, table.io)
            raise
    return locations


def delete_all(locations: Iterable[str], io: FileIO) -> list[str]:
    """Delete files that no snapshot names, side by side; the locations where that failed. One may be gone already."""

    def delete(location: str) -> str | None:
        try:
            io.delete(location)
        except FileNotFoundError:
            return None
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


def _put(path: Path, io: FileIO, location: str) -> None:
    if (local := local_path(location)) is not None:
        _link(path, local)
    else:
        _upload(path, io, location)


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


def _upload(path: Path, io: FileIO, location: str) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _send(path, io, location)
        except Exception as error:
            if attempt == _ATTEMPTS or not isinstance(classify(error, location), TransientError):
                raise
            logger.info("%s: uploading again after attempt %s: %s", location, attempt, error)
            time.sleep(min(0.5 * 2**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1.0))


def _send(path: Path, io: FileIO, location: str) -> None:
    target = io.new_output(location).create(overwrite=True)
    try:
        with path.open("rb") as source:
            shutil.copyfileobj(source, target, _CHUNK)
    except BaseException:
        # fsspec can drop what was sent; Arrow cannot, and what closing may let appear is discarded by the caller.
        with suppress(Exception):
            getattr(target, "discard", target.close)()
        raise
    target.close()
    sent, arrived = path.stat().st_size, len(io.new_input(location))
    if arrived != sent:
        raise CatalogUnavailable(f"{location}: {sent} bytes were sent and {arrived} have arrived.")
