"""What a load changes in the table as it is, by its write disposition and its window."""

from __future__ import annotations

from pathlib import Path

from pyiceberg.table import Table

from floe_ingestion.iceberg.beside import of_loads, rows_of_loads
from floe_ingestion.iceberg.merge import merge
from floe_ingestion.iceberg.plan import Merge
from floe_ingestion.iceberg.removal import removal_of_everything, removal_of_window, remove
from floe_ingestion.staging import StagedTable


def changes(table: Table | None, staged: StagedTable, folder: Path) -> Merge:
    """What leaves the table, and which staged rows come; `folder` takes files that have to be rewritten."""
    spec, window = staged.table, staged.window
    present = table if table is not None and table.current_snapshot() is not None else None
    if spec.write_disposition == "merge":
        return merge(present, staged, folder)
    if present is None:
        return Merge(files=staged.files)
    if staged.given_up:
        gone = staged.given_up
        removal = remove(
            present, of_loads(gone), lambda task: rows_of_loads(present, gone, task), spec.merge_mode, folder
        )
        return Merge(removal, staged.files)
    if window is not None:
        return Merge(removal_of_window(present, window, spec.merge_mode, folder), staged.files)
    if spec.write_disposition == "replace":
        return Merge(removal_of_everything(present), staged.files)
    return Merge(files=staged.files)
