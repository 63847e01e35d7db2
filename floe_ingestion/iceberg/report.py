"""What a commit did, read from the summary of its own snapshot."""

from __future__ import annotations

from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from floe_ingestion.iceberg.deletes import live_rows_of
from floe_ingestion.iceberg.history import LOAD_ID, find_snapshot, recorded_rows, summary_of
from floe_ingestion.iceberg.removal import Changes
from floe_ingestion.staging import Landed, Provenance, StagedTable

ADDED, UPDATED, DELETED = "floe.rows-added", "floe.rows-updated", "floe.rows-deleted"
_OF_PARQUET_DELETES = 2
"""The format whose delete files are Parquet; later ones have a vector a data file, which goes with it."""


def landed(table: Table, staged: StagedTable, plan: Changes, before: Schema | None, duplicates: int) -> Landed:
    """What this load made: `table` is at its snapshot; `before` is the schema that it met, None for a new table."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return _described(table, snapshot, staged, plan, before, duplicates)


def numbers(staged: StagedTable, plan: Changes) -> dict[str, str]:
    """What the load changes, for the summary: Iceberg's own counts cannot tell an update from an insert."""
    rows = sum(file.rows for file in plan.files)
    deleted = plan.deleted if staged.table.write_disposition == "merge" else plan.removal.rows
    return {ADDED: str(rows - plan.updated), UPDATED: str(plan.updated), DELETED: str(deleted)}


def landed_before(table: Table | None, staged: StagedTable, provenance: Provenance) -> Landed | None:
    """What this load, or this very run, partition and asset, has landed already; None if nothing."""
    snapshot = find_snapshot(table, provenance, staged.load_id)
    if table is None or snapshot is None:
        return None
    return _described(table, snapshot, staged, already=True)


def live_rows(table: Table, snapshot: Snapshot) -> int:
    """Rows of the table at `snapshot`; its files are listed where delete files remove some.

    Of other engines' delete files, one may speak of several data files, of rows twice, or of files that are gone.
    """
    summary = summary_of(snapshot)
    unreadable = table.format_version > _OF_PARQUET_DELETES or summary.get("total-equality-deletes", "0") != "0"
    if summary.get("total-position-deletes", "0") == "0" or unreadable:
        return recorded_rows(snapshot)
    tasks = table.scan(snapshot_id=snapshot.snapshot_id).plan_files()
    return sum(live_rows_of(task, table.io) for task in tasks)


def unchanged(table: Table, staged: StagedTable, plan: Changes, duplicates: int) -> Landed:
    """For a load that brought nothing new: the table as it is."""
    snapshot = table.current_snapshot()
    return Landed(
        table=str(staged.table),
        snapshot_id=snapshot.snapshot_id if snapshot is not None else None,
        load_id=staged.load_id,
        rows_unchanged=plan.unchanged,
        rows_marking=plan.markers,
        rows_total=live_rows(table, snapshot) if snapshot is not None else 0,
        metadata_location=table.metadata_location,
        duplicates_dropped=duplicates,
    )


def _described(
    table: Table,
    snapshot: Snapshot,
    staged: StagedTable,
    plan: Changes | None = None,
    before: Schema | None = None,
    duplicates: int = 0,
    already: bool = False,
) -> Landed:
    summary = summary_of(snapshot)
    return Landed(
        table=str(staged.table),
        snapshot_id=snapshot.snapshot_id,
        load_id=summary.get(LOAD_ID, staged.load_id),
        rows_added=int(summary.get(ADDED, 0)),
        rows_updated=int(summary.get(UPDATED, 0)),
        rows_deleted=int(summary.get(DELETED, 0)),
        rows_unchanged=plan.unchanged if plan is not None else 0,
        rows_marking=plan.markers if plan is not None else 0,
        rows_total=live_rows(table, snapshot),
        files_added=int(summary.get("added-data-files", 0)),
        bytes_added=int(summary.get("added-files-size", 0)),
        metadata_location=table.metadata_location,
        columns_added=new_columns(before, table.schema()) if before is not None else (),
        columns_changed=changed_columns(before, table.schema()) if before is not None else (),
        already_landed=already,
        duplicates_dropped=duplicates,
    )


def new_columns(before: Schema, after: Schema) -> list[str]:
    """Columns that `before` had not."""
    known = set(before.column_names)
    return [name for name in after.column_names if name not in known]


def changed_columns(before: Schema, after: Schema) -> list[str]:
    """Columns of another type than in `before`, with both types."""
    known = {field.name: field.field_type for field in before.fields}
    return [
        f"{field.name}: {known[field.name]} → {field.field_type}"
        for field in after.fields
        if field.name in known and known[field.name] != field.field_type
    ]
