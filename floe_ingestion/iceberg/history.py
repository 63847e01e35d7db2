"""What happened to a table: its snapshots, what they say of themselves, and the table as it was at one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.staging import Provenance

LOAD_ID = "floe.load-id"
RUN_ID = "dagster-run-id"
PARTITION = "dagster-partition-key"
ASSET = "dagster-asset-key"
OPERATION = "floe.operation"
"""What a snapshot is that no load made: a compaction, or a cursor that was set by hand."""


@dataclass(frozen=True)
class SnapshotRow:
    """One snapshot of the main branch."""

    snapshot_id: int
    committed_at: str
    """ISO 8601, UTC."""
    operation: str
    run_id: str
    partition: str
    load_id: str
    rows_added: int
    rows_deleted: int
    rows_total: int
    """As its summary has it: too few where a delete file of another engine names data files that have left."""
    files_added: int
    cursor: dict[str, str]
    """The last value of each cursor path."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Moment:
    """A table behind a load, and before it."""

    table: Table | None
    """None for a table that no load has made yet."""
    before: Table | None = None
    """None for the first load, and where the snapshot has expired."""
    expired: bool = False
    """There was something before, and it cannot be looked at any more."""

    @property
    def snapshot_id(self) -> int | None:
        return self.table.metadata.current_snapshot_id if self.table is not None else None


def history_of(table: Table | None) -> Iterator[Snapshot]:
    """The snapshots of the main branch, newest first; none without a table."""
    if table is not None:
        yield from ancestors_of(table.current_snapshot(), table.metadata)


def summary_of(snapshot: Snapshot) -> Mapping[str, str]:
    """What a snapshot says of itself, beside its operation."""
    return snapshot.summary.additional_properties if snapshot.summary is not None else {}


def committed_at(snapshot: Snapshot) -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, timezone.utc).isoformat()


def recorded_rows(snapshot: Snapshot) -> int:
    """What the summary of `snapshot` says of it: `total-records` does not subtract what delete files remove."""
    summary = summary_of(snapshot)
    return int(summary.get("total-records", 0)) - int(summary.get("total-position-deletes", 0))


def find_snapshot(table: Table | None, provenance: Provenance, load_id: str | None = None) -> Snapshot | None:
    """The snapshot that names this load, or this run (or one that it goes on from), partition and asset.

    Of the main branch as it is: what was rolled back has not landed.
    """
    for snapshot in history_of(table):
        summary = summary_of(snapshot)
        if (load_id is not None and summary.get(LOAD_ID) == load_id) or made_by(summary, provenance):
            return snapshot
    return None


def made_by(summary: Mapping[str, str], provenance: Provenance) -> bool:
    """Whether a snapshot that says so is of this run (or one that it goes on from), partition and asset."""
    runs = {run for run in (provenance.run_id, *provenance.continues) if run}
    says = (summary.get(PARTITION, ""), summary.get(ASSET, ""))
    return summary.get(RUN_ID) in runs and says == (provenance.partition, provenance.asset_key)


def has_landed(table: Table | None, load_id: str) -> bool:
    """Whether this load is in the main branch as it is."""
    return find_snapshot(table, Provenance(), load_id) is not None


def snapshots(table: Table) -> list[SnapshotRow]:
    """The main branch, newest first."""
    found: list[SnapshotRow] = []
    for snapshot in history_of(table):
        summary = summary_of(snapshot)
        cursor = cursors.describe(summary.get(cursors.CURSOR))
        found.append(
            SnapshotRow(
                snapshot_id=snapshot.snapshot_id,
                committed_at=committed_at(snapshot),
                operation=summary.get(OPERATION) or (snapshot.summary.operation.value if snapshot.summary else ""),
                run_id=summary.get(RUN_ID, ""),
                partition=summary.get(PARTITION, ""),
                load_id=summary.get(LOAD_ID, ""),
                rows_added=int(summary.get("added-records", 0)),
                rows_deleted=int(summary.get("deleted-records", 0)),
                rows_total=recorded_rows(snapshot),
                files_added=int(summary.get("added-data-files", 0)),
                cursor={path: str(value) for path, value in cursor.items()},
            )
        )
    return found


def pinned(table: Table, snapshot_id: int) -> Table | None:
    """`table` as it was at a snapshot, with the columns of then; None where the snapshot has expired."""
    snapshot = table.metadata.snapshot_by_id(snapshot_id)
    if snapshot is None:
        return None
    known = {schema.schema_id for schema in table.metadata.schemas}
    schema_id = snapshot.schema_id if snapshot.schema_id in known else table.metadata.current_schema_id
    then = {"current_snapshot_id": snapshot_id, "current_schema_id": schema_id}
    metadata = table.metadata.model_copy(update=then)
    return Table(table.name(), metadata, table.metadata_location, table.io, table.catalog, table.config)


def with_columns_of(table: Table, transaction: Transaction) -> Table:
    """`table` as it is, but for its columns, which are those that `transaction` gives it."""
    metadata = transaction.table_metadata
    return Table(table.name(), metadata, table.metadata_location, table.io, table.catalog, table.config)


def moment_of_load(table: Table | None, snapshot_id: int | None, load_id: str) -> Moment:
    """The table behind and before the load; a load that had nothing to write is behind and before itself."""
    snapshot = table.snapshot_by_id(snapshot_id) if table is not None and snapshot_id is not None else None
    if table is None or snapshot is None:
        return Moment(None)
    if summary_of(snapshot).get(LOAD_ID) == load_id:
        return _moment(table, snapshot, snapshot)
    then = pinned(table, snapshot.snapshot_id)
    return Moment(then, then)


def newest_partition(table: Table | None) -> str:
    """The partition, or the range of them, that the newest load was about; empty for none."""
    for snapshot in history_of(table):
        if LOAD_ID in (summary := summary_of(snapshot)):
            return summary.get(PARTITION, "")
    return ""


def moment_of_now(table: Table | None, partition: str = "") -> Moment:
    """The table as it is, and as it was before its newest load (of `partition`, where there is one)."""
    current = table.current_snapshot() if table is not None else None
    if table is None or current is None:
        return Moment(None)
    for snapshot in history_of(table):
        summary = summary_of(snapshot)
        if LOAD_ID in summary and partition in ("", summary.get(PARTITION, "")):
            return _moment(table, current, snapshot)
    return Moment(pinned(table, current.snapshot_id), expired=True)


def _moment(table: Table, behind: Snapshot, load: Snapshot) -> Moment:
    parent = load.parent_snapshot_id
    before = pinned(table, parent) if parent is not None else None
    return Moment(pinned(table, behind.snapshot_id), before, expired=parent is not None and before is None)
