"""From the audit branch of a load to main: judged on the branch, published where it holds, kept where it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from floe_ingestion.errors import GateFailed, OutcomeUnknown, TransientError
from floe_ingestion.iceberg import audit
from floe_ingestion.iceberg.history import has_landed
from floe_ingestion.iceberg.sending import look_again, was_refused
from floe_ingestion.iceberg.tables import load_table, name_of
from floe_ingestion.staging import Landed, StagedTable

logger = logging.getLogger(__name__)

Gate = Callable[[Table, Landed], None]
"""Looks at a load on its branch, and raises where it must not be published."""


def release(catalog: Catalog, staged: StagedTable, landed: Landed, gate: Gate, placed: Collection[str]) -> Landed:
    """Judge the branch of this load, and let main move to it; `placed` are files that a next attempt uses again.

    Raises `GateFailed` and keeps the branch; `CommitFailedException` where main has moved, so that the load
    has to be planned again; `OutcomeUnknown`; `TransientError` where somebody has dropped the branch; and what the
    gate raises where it could not look.
    """
    branch = audit.branch_of(staged.load_id)
    table = load_table(catalog, staged.table.identifier)
    if table is not None and has_landed(table, staged.load_id):
        return replace(landed, metadata_location=table.metadata_location)  # published by hand
    table = _require_branch(table, branch, staged)
    try:
        gate(table, landed)
    except GateFailed:
        raise
    except BaseException:
        _withdraw(table, branch)
        raise
    return replace(landed, metadata_location=_published(catalog, table, branch, staged, placed))


def _published(catalog: Catalog, table: Table, branch: str, staged: StagedTable, placed: Collection[str]) -> str:
    try:
        audit.publish(table, branch)
    except Exception as error:
        now = look_again(catalog, staged, error)
        if now is None:
            raise
        if has_landed(now, staged.load_id):
            return now.metadata_location
        if isinstance(error, CommitFailedException):
            _withdraw(_require_branch(now, branch, staged), branch, placed)
            raise
        if was_refused(error):
            _withdraw(now, branch)
            raise
        raise OutcomeUnknown(str(staged.table), staged.load_id, error) from error
    return table.metadata_location


def _require_branch(table: Table | None, branch: str, staged: StagedTable) -> Table:
    """Who drops a branch deletes its files: then there is nothing that a next attempt could use again."""
    if table is None or branch not in table.metadata.refs:
        raise TransientError(
            f"{staged.table}: {branch} was dropped while it was judged. Nothing was published; the next attempt loads "
            f"its rows again."
        )
    return table


def _withdraw(table: Table, branch: str, keep: Collection[str] = ()) -> None:
    """Remove a branch that nobody will look at; one that cannot be removed is seen by `audit list`."""
    try:
        if branch in table.refresh().metadata.refs:
            audit.drop(table, branch, keep)
    except Exception as error:  # what led here is what has to be told
        logger.warning("%s: %s could not be removed: %s", name_of(table), branch, error)
