"""What happened to a table: its snapshots with run, partition, rows and cursor."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pyiceberg.table import Table

from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg.report import (
    LOAD_ID,
    OPERATION,
    PARTITION,
    RUN_ID,
    committed_at,
    history_of,
    recorded_rows,
    summary_of,
)


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
