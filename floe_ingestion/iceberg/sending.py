"""A planned transaction on its way to the catalog; where nobody knows whether it landed, the load is looked up."""

from __future__ import annotations

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    BadRequestError,
    CommitFailedException,
    ForbiddenError,
    OAuthError,
    TableAlreadyExistsError,
    TooManyRequestsError,
    UnauthorizedError,
    ValidationException,
)
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update import AssertCurrentSchemaId

from floe_ingestion.errors import OutcomeUnknown
from floe_ingestion.iceberg import audit
from floe_ingestion.iceberg.history import has_landed
from floe_ingestion.iceberg.tables import load_table
from floe_ingestion.staging import StagedTable
from floe_ingestion.store_errors import disk_hint, verdict_on

CONFLICTS = (CommitFailedException, ValidationException, TableAlreadyExistsError)
"""Somebody else was first: plan again."""
_REFUSED_BY_CATALOG = (
    AuthorizationExpiredError,
    BadRequestError,
    ForbiddenError,
    OAuthError,
    TooManyRequestsError,
    UnauthorizedError,
)


def look_again(catalog: Catalog, staged: StagedTable, cause: Exception | None = None) -> Table | None:
    """The table behind an attempt that ended with `cause`; raises `OutcomeUnknown` where even that cannot be had."""
    try:
        return load_table(catalog, staged.table.identifier)
    except Exception as error:
        raise OutcomeUnknown(str(staged.table), staged.load_id, cause or error) from error


class Sender:
    """Sends one load: to the main branch, or with `on_branch` to an audit branch of its own."""

    def __init__(self, catalog: Catalog, staged: StagedTable, on_branch: bool) -> None:
        self._catalog, self._staged = catalog, staged
        self._branch = audit.branch_of(staged.load_id) if on_branch else None

    def send(self, transaction: Transaction, creates: bool) -> None:
        """Commit; `creates` says that the table appears with it.

        Raises `CONFLICTS`, `OutcomeUnknown`, or else what the catalog refused the commit with.
        """
        if self._branch is not None:
            audit.redirect(transaction, self._branch, creates)
            _without_replays(transaction)  # which would go to main
        elif any(isinstance(each, AssertCurrentSchemaId) for each in transaction._requirements):
            _without_replays(transaction)  # which fail after somebody else's change, for half a minute in all
        try:
            transaction.commit_transaction()
        except CONFLICTS:
            raise
        except Exception as error:
            table = look_again(self._catalog, self._staged, error)
            if table is None or not self._has_landed(table):
                if was_refused(error):
                    raise
                # It is not in the catalog, but a request may still be on its way: keep the files.
                raise OutcomeUnknown(str(self._staged.table), self._staged.load_id, error) from error
            transaction._table.metadata = table.metadata
            transaction._table.metadata_location = table.metadata_location
        if creates:
            self._require_created()

    def _require_created(self) -> None:
        """Not every catalog lets only one of two first writers create a table: the later may undo the earlier."""
        table = look_again(self._catalog, self._staged)
        if table is None or not self._has_landed(table):
            raise CommitFailedException(f"{self._staged.table}: another writer created the table over this one")

    def _has_landed(self, table: Table) -> bool:
        if self._branch is not None:
            return self._branch in table.metadata.refs
        return has_landed(table, self._staged.load_id)


def was_refused(error: BaseException) -> bool:
    """Whether the catalog, or the storage that its metadata was to be written to, has said no.

    So has a disk that takes nothing more, and a manifest to build upon that has expired meanwhile.
    """
    if isinstance(error, (*_REFUSED_BY_CATALOG, PermissionError, FileNotFoundError)):
        return True
    if any(disk_hint(link) is not None for link in (error, error.__cause__) if link is not None):
        return True
    verdict = verdict_on(error)
    return verdict is not None and not verdict.transient


def _without_replays(transaction: Transaction) -> None:
    """Let a conflict end the commit, so that it is planned again."""
    table = transaction._table
    properties = {**table.metadata.properties, "commit.retry.num-retries": "0"}
    table.metadata = table.metadata.model_copy(update={"properties": properties})
