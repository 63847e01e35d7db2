"""One snapshot for everything that a load changes: files that come and files that go, together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyiceberg.exceptions import ValidationException
from pyiceberg.expressions import BooleanExpression
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _OverwriteFiles


class LoadSnapshot(_OverwriteFiles):
    """An append, or an overwrite, whose retries check that the load still stands.

    pyiceberg replays a snapshot on a table that others have written to meanwhile. Two things must hold for
    that: `still_valid(table)` (the cursor is the one that the load started from), and, where files are
    removed, that nobody else has touched the rows of `predicate`. Else `ValidationException`: plan again.
    """

    def __init__(
        self,
        transaction: Transaction,
        properties: dict[str, str],
        added: Sequence[DataFile],
        removed: Sequence[DataFile] = (),
        predicate: BooleanExpression | None = None,
        still_valid: Callable[[Table], bool] = lambda table: True,
    ) -> None:
        self._replaces = predicate is not None
        self._still_valid = still_valid
        super().__init__(
            operation=Operation.OVERWRITE if removed else Operation.APPEND,
            transaction=transaction,
            io=transaction._table.io,
            snapshot_properties=properties,
        )
        for file in added:
            self.append_data_file(file)
        for file in removed:
            self.delete_data_file(file)
        if predicate is not None:
            self.delete_by_predicate(predicate)

    def _validate_concurrency(self) -> None:
        table = self._transaction._table
        if not self._still_valid(table):
            raise ValidationException(f"{'.'.join(table.name())}: the cursor moved")
        if self._replaces:
            super()._validate_concurrency()
