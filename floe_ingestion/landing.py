"""A staged load into its table: at once, or on a branch of its own until its gates have been judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from floe_ingestion.classify import lake_errors
from floe_ingestion.errors import GateFailed
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.iceberg.history import moment_of_load
from floe_ingestion.judging import judge
from floe_ingestion.pipeline import private_folder
from floe_ingestion.staging import Landed, Provenance, StagedTable
from floe_ingestion.verdict import Subject

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


def land(catalog: Catalog, staged: StagedTable, provenance: Provenance, staging: Path) -> Landed:
    """Commit `staged`; `staging` is the folder where loads are staged.

    Raises what `commit` raises, and `GateFailed` where the load stays on its branch.
    """
    if staged.table.publish == "direct":
        return commit(catalog, staged, provenance, staging)

    def gate(table: Any, landed: Landed) -> None:
        _judge_gates(staged, landed, table, staging)

    return commit(catalog, staged, provenance, staging, gate)


def subject_of_load(staged: StagedTable, landed: Landed, table: Any) -> Subject:
    """What the checks of a load are about: the snapshot that it made, wherever that lies."""
    return Subject(
        name=str(staged.table),
        moment=moment_of_load(table, landed.snapshot_id, landed.load_id),
        spec=staged.table,
        key=staged.key or staged.table.primary_key,
        window=staged.window,
        partition=staged.provenance.partition,
        staged=staged,
        landed=landed,
    )


def _judge_gates(staged: StagedTable, landed: Landed, table: Any, staging: Path) -> None:
    from floe_ingestion.iceberg.audit import branch_of

    subject = subject_of_load(staged, landed, table)
    staged.receipt.verdicts.clear()  # those of an attempt that main has overtaken
    for check in staged.table.checks:
        if check.gate:
            # A file that is not there is no sign that the table has moved: the branch keeps its files.
            with lake_errors(str(staged.table)), private_folder(staging) as folder:
                staged.receipt.verdicts[check.key] = judge(check, subject, folder)
    failed = {name: each.sentence for name, each in staged.receipt.verdicts.items() if not each.passed}
    if failed:
        raise GateFailed(str(staged.table), branch_of(staged.load_id), failed)
