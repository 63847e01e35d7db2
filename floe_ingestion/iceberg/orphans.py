"""Files below a table's location that nothing names: of loads that were killed, and of expiries that broke off.

A load that is running has such files too, so that only old ones go. What is listed first and named
afterwards stays: no commit in between can lose a file.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata

from floe_ingestion.errors import PermanentError
from floe_ingestion.formats import number_of
from floe_ingestion.iceberg import reachable
from floe_ingestion.iceberg.listing import Listed, listed
from floe_ingestion.iceberg.placing import delete_all
from floe_ingestion.iceberg.tables import name_of

_DAY = 24 * 60 * 60
_WRITTEN_BY_TABLES = re.compile(r"\.(parquet|orc|avro|metadata\.json|puffin|stats|part|crc)\Z")
_METADATA_FILE = re.compile(r"(?P<table>.*)/metadata/[^/]*\.metadata\.json\Z")
_LOCATION = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)(?://[^/]*)?(?P<path>/.*)\Z")


@dataclass(frozen=True)
class Orphans:
    """What removing orphans did, or would do in a dry run."""

    table: str
    dry_run: bool
    files: int = 0
    bytes: int = 0
    too_young: int = 0
    """Files that nothing names, but that may be of a load that is running."""
    not_deleted: int = 0
    """Files that could not be deleted."""


def remove_orphans(table: Table, older_than_days: float = 3, dry_run: bool = False) -> Orphans:
    """Delete the files below the table's location that are older and that nothing names.

    Other tables below it are left alone, and so is every file that is not of a kind that tables are made of.
    Raises `PermanentError` where the listing cannot be compared with the table, or the table must keep its
    files.
    """
    reachable.require_own_files(table)
    table.refresh()
    landmarks = _landmarks(table.metadata, table.metadata_location)
    found = {_path(file.location): file for file in listed(table.io, table.location())}
    if landmarks.isdisjoint(found):
        raise PermanentError(
            f"{name_of(table)}: its own metadata is not among the {number_of(len(found), 'file')} of "
            f"{table.location()}, so that nothing can be said about the others. Nothing was deleted."
        )
    unnamed = _without_other_tables(found, _path(table.location()))
    for path in _named_paths(table):
        unnamed.pop(path, None)
    line = time.time() - older_than_days * _DAY
    old = [file for file in unnamed.values() if file.modified is not None and file.modified < line]
    failed = [] if dry_run else delete_all([file.location for file in old], table.io)
    return Orphans(
        table=name_of(table),
        dry_run=dry_run,
        files=len(old),
        bytes=sum(file.bytes for file in old),
        too_young=len(unnamed) - len(old),
        not_deleted=len(failed),
    )


def remove_abandoned_loads(home: Path, older_than_days: float = 3, dry_run: bool = False) -> list[Path]:
    """Delete the private folders of loads that were killed; `home` is where loads are staged."""
    line = time.time() - older_than_days * _DAY
    found = [folder for folder in home.glob("load-*") if folder.is_dir() and _newest(folder) < line]
    for folder in found if not dry_run else ():
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _named_paths(table: Table) -> set[str]:
    """The paths of everything that the table names, as it is now."""
    while True:
        location = table.refresh().metadata_location
        try:
            return {_path(named) for named in _named(table)}
        except FileNotFoundError:
            # An expiry deletes at this moment what it has taken out of the table; or a file is simply lost.
            if table.refresh().metadata_location == location:
                raise


def _named(table: Table) -> Iterator[str]:
    """Everything that the table's metadata names, directly or not."""
    metadata = table.metadata
    yield table.metadata_location
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from (file.statistics_path for file in [*metadata.statistics, *metadata.partition_statistics])
    yield from (snapshot.manifest_list for snapshot in metadata.snapshots)
    manifests = reachable.manifests(metadata.snapshots, table.io)
    yield from manifests
    yield from (file.file_path for file in reachable.files(manifests.values(), table.io))


def _landmarks(metadata: TableMetadata, metadata_location: str) -> set[str]:
    """Files that must be found, unless the table moves on at this very moment: one at least stays."""
    current = metadata.current_snapshot()
    return {_path(metadata_location), *([_path(current.manifest_list)] if current is not None else [])}


def _without_other_tables(found: dict[str, Listed], root: str) -> dict[str, Listed]:
    """The files that can be this table's own."""
    matches = (_METADATA_FILE.match(path) for path in found)
    others = {f"{match['table']}/" for match in matches if match is not None} - {f"{root}/"}
    return {
        path: file
        for path, file in found.items()
        if _WRITTEN_BY_TABLES.search(path) and not any(path.startswith(other) for other in others)
    }


def _path(location: str) -> str:
    """`location` without scheme and authority, which engines spell in several ways; links resolved where local."""
    match = _LOCATION.match(location)
    path = (match["path"] if match is not None else location).rstrip("/")
    return os.path.realpath(path) if match is None or location.startswith("file:") else path


def _newest(folder: Path) -> float:
    """When something in `folder` was last written."""
    return max(map(_modified, [folder, *folder.rglob("*")]))


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # a load that is running removes what it has written
        return time.time()
