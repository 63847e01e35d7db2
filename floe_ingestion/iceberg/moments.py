"""A table as it was at one of its snapshots, and which snapshot came before."""

from __future__ import annotations

from dataclasses import dataclass

from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot

from floe_ingestion.iceberg.report import LOAD_ID, PARTITION, history_of, summary_of


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
