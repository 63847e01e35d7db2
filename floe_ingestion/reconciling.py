"""Whether the numbers of a load agree: what its source gave, what was staged, and what the table gained."""

from __future__ import annotations

from typing import Any

from floe_ingestion.formats import number_of
from floe_ingestion.staging import Landed, StagedTable


def unreconciled(
    staged: StagedTable, landed: Landed, before: int | None, after: int, expired: bool
) -> tuple[dict[str, Any], list[str]]:
    """The numbers that were compared, and a sentence for each that does not agree.

    Rows read = staged + left out. Staged = added + updated + unchanged + left out as duplicates or markers. Before
    + added - deleted = after, of the partition where the load is about one; `before` is None for a first load.
    """
    facts: dict[str, Any] = {"rows staged": staged.rows}
    faults: list[str] = []
    if staged.landed_before or landed.already_landed:
        # An earlier attempt of this run read and staged them, and took its numbers with it.
        facts = {}
    else:
        left_out = sum(staged.discarded.values())
        if staged.rows_read is not None:
            facts["rows read"] = staged.rows_read
            if staged.rows_read != staged.rows + left_out:
                faults.append(
                    f"the source gave {number_of(staged.rows_read, 'row')}, expected {staged.rows + left_out:,} "
                    f"({staged.rows:,} staged and {left_out:,} left out)"
                )
        landed_rows = landed.rows_added + landed.rows_updated + landed.rows_unchanged
        landed_rows += landed.duplicates_dropped + landed.rows_marking
        facts["rows landed"] = landed.rows_added + landed.rows_updated
        if landed_rows != staged.rows:
            faults.append(f"staged {number_of(staged.rows, 'row')}, and the commit accounts for {landed_rows:,}")
    if not expired and landed.snapshot_id is not None and (expected := _after(staged, landed, before or 0)) != after:
        faults.append(f"{number_of(after, 'row')} behind the load, expected {expected:,} ({before or 0:,} before)")
    return facts, faults


def _after(staged: StagedTable, landed: Landed, before: int) -> int:
    if staged.table.keeps_versions:
        return before + landed.rows_added + landed.rows_updated  # a closed version stays beside the new one
    return before + landed.rows_added - landed.rows_deleted
