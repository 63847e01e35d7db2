"""Which files of a table its snapshots name: manifest lists, manifests, data and delete files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from floe_ingestion.errors import PermanentError
from floe_ingestion.iceberg.tables import name_of

_AT_ONCE = 16
"""Manifests that are read side by side, and so are in memory together."""


def manifests(snapshots: Iterable[Snapshot], io: FileIO, *, missing_ok: bool = False) -> dict[str, ManifestFile]:
    """The manifests of these snapshots, by location; a manifest list that is gone is an error, or names none."""
    found: dict[str, ManifestFile] = {}
    for snapshot in snapshots:
        with suppress(*_missing(missing_ok)):
            found |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(io)}
    return found


def files(
    of: Iterable[ManifestFile], io: FileIO, *, removed_too: bool = False, missing_ok: bool = False
) -> Iterator[DataFile]:
    """Data and delete files that these manifests name as being there, or `removed_too` also as removed."""

    def entries(manifest: ManifestFile) -> list[ManifestEntry]:
        with suppress(*_missing(missing_ok)):
            return manifest.fetch_manifest_entry(io, discard_deleted=not removed_too)
        return []

    remaining = iter(of)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as readers:
        while some := list(islice(remaining, _AT_ONCE)):
            for found in readers.map(entries, some):
                yield from (entry.data_file for entry in found)


def require_own_files(table: Table) -> None:
    """Raise where the table must not lose files, because other tables may use them too (`gc.enabled`)."""
    if table.properties.get("gc.enabled", "true").lower() == "false":
        raise PermanentError(
            f"{name_of(table)} has gc.enabled=false: other tables may use its files, so that none may be "
            f"deleted. Set the table property gc.enabled to true if that is no longer so."
        )


def _missing(ok: bool) -> tuple[type[Exception], ...]:
    return (FileNotFoundError,) if ok else ()
