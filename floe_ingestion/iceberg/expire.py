"""Old snapshots go, and with them the files that no other snapshot names.

The commit comes first and the files after it: whatever stops in between leaves files that nobody names,
which `orphans.py` finds, and never a snapshot without its files.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import ancestors_of
from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotsUpdate

from floe_ingestion.errors import CommitConflict
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg import reachable
from floe_ingestion.iceberg.placing import delete_all
from floe_ingestion.iceberg.tables import name_of

logger = logging.getLogger(__name__)

_ATTEMPTS = 10
_DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class Expired:
    """What expiring snapshots did, or would do in a dry run."""

    table: str
    dry_run: bool
    snapshots: int = 0
    """How many snapshots expired."""
    snapshots_kept: int = 0
    data_files: int = 0
    """Data and delete files that no snapshot names any more, and that were deleted."""
    metadata_files: int = 0
    """Manifests, manifest lists and statistics."""
    bytes: int = 0
    """Size of these files, without the manifest lists."""
    not_deleted: int = 0
    """Files that could not be deleted; they are orphans now."""


def expire(table: Table, keep_last: int, keep_days: float | None = None, dry_run: bool = False) -> Expired:
    """Expire the snapshots that are neither among a branch's newest `keep_last` nor younger than `keep_days`.

    The heads of branches and tags stay in any case, and so does the cursor of every snapshot that stays.
    Raises `CommitConflict` where others kept committing, and `PermanentError` where the table must keep its
    files.
    """
    reachable.require_own_files(table)
    for attempt in range(_ATTEMPTS):
        before = table.refresh().metadata
        expired = _too_old(before, keep_last, keep_days)
        try:
            if expired and not dry_run:
                _commit(table, expired)
        except CommitFailedException as error:
            logger.info("%s: planning the expiry again after attempt %s: %s", name_of(table), attempt + 1, error)
            time.sleep(min(0.05 * 2**attempt, 2.0) * random.uniform(0.5, 1.0))
        else:
            return _described(table, before, expired, dry_run)
    raise CommitConflict(name_of(table), _ATTEMPTS)


def _too_old(metadata: TableMetadata, keep_last: int, keep_days: float | None) -> set[int]:
    now = int(time.time() * 1000)
    young = now - keep_days * _DAY_MS if keep_days is not None else float("inf")
    kept = {snapshot.snapshot_id for snapshot in metadata.snapshots if snapshot.timestamp_ms >= young}
    for ref in metadata.refs.values():
        kept.add(ref.snapshot_id)
        if ref.snapshot_ref_type == SnapshotRefType.BRANCH:
            kept.update(_kept_of_branch(metadata, ref, keep_last, now))
    return {snapshot.snapshot_id for snapshot in metadata.snapshots} - kept


def _kept_of_branch(metadata: TableMetadata, ref: SnapshotRef, keep_last: int, now: int) -> set[int]:
    """The newest snapshots of a branch; one that asks to keep more keeps more."""
    count = max(keep_last, ref.min_snapshots_to_keep or 0)
    young = now - ref.max_snapshot_age_ms if ref.max_snapshot_age_ms is not None else float("inf")
    kept: set[int] = set()
    for snapshot in ancestors_of(metadata.snapshot_by_id(ref.snapshot_id), metadata):
        if len(kept) >= count and snapshot.timestamp_ms < young:
            break
        kept.add(snapshot.snapshot_id)
    return kept


def _commit(table: Table, expired: set[int]) -> None:
    properties, removed = cursors.cut_off(table.metadata, expired)
    transaction = table.transaction()
    if properties:
        transaction.set_properties(properties)
    if removed:
        transaction.remove_properties(*removed)
    # A branch that moves meanwhile may move onto one of them, and brings a newer cursor: plan again.
    unmoved = tuple(
        AssertRefSnapshotId.model_validate({"ref": name, "snapshot-id": ref.snapshot_id})
        for name, ref in table.metadata.refs.items()
    )
    removal = RemoveSnapshotsUpdate.model_validate({"snapshot-ids": sorted(expired)})
    transaction._stage((removal,), unmoved)
    transaction.commit_transaction()


def _described(table: Table, before: TableMetadata, expired: set[int], dry_run: bool) -> Expired:
    """Count the files that only expired snapshots name, and delete them unless this is a dry run."""
    files = unnamed(table, before, expired) if expired else Files({}, {})
    failed = [] if dry_run else delete_all([*files.data, *files.metadata], table.io)
    return Expired(
        table=name_of(table),
        dry_run=dry_run,
        snapshots=len(expired),
        snapshots_kept=len(before.snapshots) - len(expired),
        data_files=len(files.data),
        metadata_files=len(files.metadata),
        bytes=sum(files.data.values()) + sum(files.metadata.values()),
        not_deleted=len(failed),
    )


@dataclass(frozen=True)
class Files:
    """Sizes by location."""

    data: dict[str, int]
    metadata: dict[str, int]


def unnamed(table: Table, before: TableMetadata, expired: set[int]) -> Files:
    """The files of expired snapshots, which are gone from the table by now, that no other snapshot names."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return _named_by_none_of_the_others(table, before, expired)
        except FileNotFoundError:  # another expiry deletes at this moment
            table.refresh()
    return _named_by_none_of_the_others(table, before, expired)


def _named_by_none_of_the_others(table: Table, before: TableMetadata, expired: set[int]) -> Files:
    gone = [snapshot for snapshot in before.snapshots if snapshot.snapshot_id in expired]
    others = [snapshot for snapshot in table.metadata.snapshots if snapshot.snapshot_id not in expired]
    kept = reachable.manifests(others, table.io)
    found = reachable.manifests(gone, table.io, missing_ok=True)
    dropped = [manifest for path, manifest in found.items() if path not in kept]
    mentioned = reachable.files(dropped, table.io, removed_too=True, missing_ok=True)
    data = {file.file_path: file.file_size_in_bytes for file in mentioned}
    for file in reachable.files(kept.values(), table.io) if data else ():
        data.pop(file.file_path, None)
    metadata = {manifest.manifest_path: manifest.manifest_length for manifest in dropped}
    metadata |= {snapshot.manifest_list: 0 for snapshot in gone}
    metadata |= {
        file.statistics_path: file.file_size_in_bytes for file in before.statistics if file.snapshot_id in expired
    }
    return Files(data, metadata)
