"""A load on a branch of its own, until it is known to be good: then main moves to it, in one commit.

The branch starts at main's head and holds the snapshot of the load. What belongs to the table and not to a
branch, its columns and its cursor, changes with main and not before: whoever reads main sees nothing of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pyiceberg.exceptions import CommitFailedException, ResolveError
from pyiceberg.schema import Schema, promote
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import (
    AssertCurrentSchemaId,
    AssertRefSnapshotId,
    RemoveSnapshotRefUpdate,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.types import NestedField

from floe_ingestion.errors import ConfigurationError, PermanentError
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg.expire import unnamed
from floe_ingestion.iceberg.history import LOAD_ID, PARTITION, RUN_ID, committed_at, summary_of
from floe_ingestion.iceberg.placing import delete_all
from floe_ingestion.iceberg.tables import name_of

PREFIX = "audit-"
_RETENTION = {"max_ref_age_ms", "max_snapshot_age_ms", "min_snapshots_to_keep"}


@dataclass(frozen=True)
class AuditBranch:
    """A load that has not been published."""

    branch: str
    snapshot_id: int
    committed_at: str
    """ISO 8601, UTC."""
    run_id: str
    partition: str
    rows_added: int
    rows_deleted: int
    can_be_published: bool
    """Whether main still is where the load started from."""


def branch_of(load_id: str) -> str:
    """The branch that a load is committed on."""
    return f"{PREFIX}{load_id}"


def redirect(transaction: Transaction, branch: str, creates: bool) -> None:
    """Let what was staged for main go to `branch`; that main is as it was stays required.

    A table that appears with the load has its columns from the beginning.
    """
    later = () if creates else (SetCurrentSchemaUpdate,)
    transaction._updates = tuple(
        _redirected(update, branch)
        for update in transaction._updates
        if not isinstance(update, later) and not _is_cursor(update)
    )


def publish(table: Table, branch: str) -> None:
    """Move main to the head of `branch`, with its columns and its cursor, and remove the branch.

    Raises `CommitFailedException` where main, or the table's columns, have changed since the load.
    """
    metadata, snapshot = table.metadata, _head(table, branch)
    main = metadata.refs.get(MAIN_BRANCH)
    if not _starts_from_main(table, snapshot):
        raise CommitFailedException(f"{name_of(table)}: main has moved since {branch} was written")
    kept = {} if main is None else main.model_dump(by_alias=True, include=_RETENTION)
    moved = {**kept, "ref-name": MAIN_BRANCH, "type": "branch", "snapshot-id": snapshot.snapshot_id}
    updates: list[TableUpdate] = [SetSnapshotRefUpdate.model_validate(moved), _removal(branch)]
    requirements: list[TableRequirement] = [
        _at(MAIN_BRANCH, main.snapshot_id if main is not None else None),
        _at(branch, snapshot.snapshot_id),
    ]
    if snapshot.schema_id is not None and snapshot.schema_id != metadata.current_schema_id:
        _require_wider(table, snapshot.schema_id)
        updates.insert(0, SetCurrentSchemaUpdate.model_validate({"schema-id": snapshot.schema_id}))
        requirements.append(AssertCurrentSchemaId.model_validate({"current-schema-id": metadata.current_schema_id}))
    if (cursor := cursors.carried(snapshot)) is not None:
        updates.append(SetPropertiesUpdate(updates={cursors.CURSOR: cursor}))
    table._do_commit(tuple(updates), tuple(requirements))


def publish_by_hand(table: Table, branch: str) -> None:
    """`publish`, whatever the gates have said. Raises `PermanentError` where that would undo what came later."""
    name = name_of(table)
    try:
        publish(table, branch)
    except CommitFailedException as error:
        raise PermanentError(
            f"{name}: main has moved, or its columns have changed, since {branch} was written, so that publishing it "
            f"would undo what came later. Its rows come again with the next load, since the cursor has not moved by "
            f"them. Drop it: floe-ingestion audit drop {name} {branch}"
        ) from error


def drop(table: Table, branch: str, keep: Collection[str] = ()) -> int:
    """Remove `branch`, and its snapshot and files where nothing else names them, but for those in `keep`; how many."""
    before, snapshot = table.metadata, _head(table, branch)
    updates: list[TableUpdate] = [_removal(branch)]
    gone: set[int] = set()
    if not _is_held_elsewhere(before, branch, snapshot):
        gone.add(snapshot.snapshot_id)
        updates.append(RemoveSnapshotsUpdate.model_validate({"snapshot-ids": [snapshot.snapshot_id]}))
    table._do_commit(tuple(updates), (_at(branch, snapshot.snapshot_id),))
    files = unnamed(table, before, gone)
    locations = [*(location for location in files.data if location not in keep), *files.metadata]
    return len(locations) - len(delete_all(locations, table.io))


def branches(table: Table) -> list[AuditBranch]:
    """The loads that have not been published, newest first."""
    return sorted(_found(table), key=lambda each: each.committed_at, reverse=True)


def one_branch(table: Table, branch: str | None) -> str:
    """`branch`, or the only one that there is. Raises `ConfigurationError` where that is none, or one of several."""
    known = [each.branch for each in branches(table)]
    name = name_of(table)
    if not known:
        raise ConfigurationError(f"{name} has no load that waits to be published.")
    if branch is None and len(known) > 1:
        raise ConfigurationError(f"{name} has {len(known)} loads that wait. Name one: {', '.join(known)}.")
    if branch is not None and branch not in known:
        raise ConfigurationError(f"{name} has no audit branch {branch!r}. Its audit branches: {', '.join(known)}.")
    return branch or known[0]


def _found(table: Table) -> Iterator[AuditBranch]:
    for name in table.metadata.refs:
        if not name.startswith(PREFIX):
            continue
        snapshot = _head(table, name)
        summary = summary_of(snapshot)
        yield AuditBranch(
            branch=name,
            snapshot_id=snapshot.snapshot_id,
            committed_at=committed_at(snapshot),
            run_id=summary.get(RUN_ID, ""),
            partition=summary.get(PARTITION, ""),
            rows_added=int(summary.get("added-records", 0)),
            rows_deleted=int(summary.get("deleted-records", 0)),
            can_be_published=_starts_from_main(table, snapshot) and LOAD_ID in summary,
        )


def _head(table: Table, branch: str) -> Snapshot:
    snapshot = table.metadata.snapshot_by_id(table.metadata.refs[branch].snapshot_id)
    assert snapshot is not None
    return snapshot


def _is_held_elsewhere(metadata: TableMetadata, branch: str, snapshot: Snapshot) -> bool:
    """Whether main (which another engine may have moved there), a tag or another branch has the snapshot, too."""
    others = [ref.snapshot_id for name, ref in metadata.refs.items() if name != branch]
    return any(snapshot in ancestors_of(metadata.snapshot_by_id(other), metadata) for other in others)


def _starts_from_main(table: Table, snapshot: Snapshot) -> bool:
    return snapshot.parent_snapshot_id == table.metadata.current_snapshot_id


def _redirected(update: TableUpdate, branch: str) -> TableUpdate:
    if isinstance(update, SetSnapshotRefUpdate) and update.ref_name == MAIN_BRANCH:
        return update.model_copy(update={"ref_name": branch})
    return update


def _is_cursor(update: TableUpdate) -> bool:
    return isinstance(update, SetPropertiesUpdate) and set(update.updates) == {cursors.CURSOR}


def _require_wider(table: Table, schema_id: int) -> None:
    """Another writer may have added or widened columns of which the load knows nothing: these must stay."""
    (coming,) = [schema for schema in table.metadata.schemas if schema.schema_id == schema_id]
    if not all(_holds(coming, field) for field in table.schema().fields):
        raise CommitFailedException(f"{name_of(table)}: the columns have changed since the load")


def _holds(coming: Schema, field: NestedField) -> bool:
    """Whether the column is there, of its type or a wider one, with everything that is in it."""
    if field.field_id not in coming.field_ids:
        return False
    now, then = field.field_type, coming.find_type(field.field_id)
    if not now.is_primitive:
        return Schema(field).field_ids <= coming.field_ids
    try:
        return now == then or bool(promote(now, then))
    except ResolveError:
        return False


def _removal(branch: str) -> RemoveSnapshotRefUpdate:
    return RemoveSnapshotRefUpdate.model_validate({"ref-name": branch})


def _at(ref: str, snapshot_id: int | None) -> AssertRefSnapshotId:
    return AssertRefSnapshotId.model_validate({"ref": ref, "snapshot-id": snapshot_id})
