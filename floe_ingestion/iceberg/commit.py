"""One load, one table, one commit: schema, removal, files, cursor and provenance, all or nothing.

A commit ends in one of four ways. It landed: `Landed` tells what its own snapshot holds. Somebody else was
first: it is planned again on the table as it now is. It failed for good: the files that it placed are
removed. Or it broke off and nobody knows: the load is looked up by its id, and if even that cannot be done
its files stay, and the next attempt looks again before it writes.
"""

from __future__ import annotations

import logging
import random
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.table import Table, Transaction

from floe_ingestion.classify import lake_errors
from floe_ingestion.errors import CommitConflict, OutcomeUnknown, StaleCursor, TransientError
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg import history, placing, report
from floe_ingestion.iceberg.deletes import delete_file
from floe_ingestion.iceberg.merge import changes, without_duplicates
from floe_ingestion.iceberg.publishing import Gate, release
from floe_ingestion.iceberg.rejects import land_with_rejected, rejected_table
from floe_ingestion.iceberg.removal import Changes
from floe_ingestion.iceberg.row_sets import read_back
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.sending import CONFLICTS, Sender
from floe_ingestion.iceberg.snapshot import FileChanges, LoadSnapshot
from floe_ingestion.iceberg.tables import ensure_namespace, load_table, properties_of
from floe_ingestion.iceberg.writer import WriteSettings, write_files
from floe_ingestion.staging import Landed, Provenance, StagedFile, StagedTable

logger = logging.getLogger(__name__)

_ATTEMPTS = 10
_LONGEST_WAIT = 5.0


def commit(
    catalog: Catalog, staged: StagedTable, provenance: Provenance, folder: Path, gate: Gate | None = None
) -> Landed:
    """Land `staged` in one commit and tell what it made; below `folder` files are written that have to be rewritten.

    With a `gate` it is committed on a branch, and published by a second commit where the gate lets it pass.

    Raises `StaleCursor` where another run landed the same rows, `CommitConflict` where others kept winning,
    and `OutcomeUnknown` where the catalog went away in the middle; what else the catalog or its storage
    raises, as `CatalogUnavailable` or `PermanentError`.
    """
    with lake_errors(str(staged.table)):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="load-", dir=folder, ignore_cleanup_errors=True) as own:

            def land(load: StagedTable, by: Provenance) -> Landed:
                # Rejected rows are not audited: they say what is wrong with a load.
                return _land(catalog, load, by, Path(own), gate if load.given_up is None else None)

            if staged.rejected is None:
                return land(staged, provenance)
            return land_with_rejected(catalog, staged, provenance, land)


def _land(catalog: Catalog, staged: StagedTable, provenance: Provenance, folder: Path, gate: Gate | None) -> Landed:
    # Of rejected rows another attempt of the same run may bring more: only this very load has landed before.
    known_as = provenance if staged.given_up is None else Provenance()
    load = _Load(catalog, staged, provenance, folder, gate)
    for attempt in range(_ATTEMPTS):
        table = load_table(catalog, staged.table.identifier)
        planned_on = table.metadata_location if table is not None else None  # the commit renews the table object
        if (landed := report.landed_before(table, staged, known_as)) is not None:
            return landed
        load.require_fresh_cursor(table)
        try:
            return load.attempt(table)
        except (*CONFLICTS, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and load.table_is_still(planned_on):
                raise  # not expired since it was planned, but lost
            logger.info("%s: planning again after attempt %s: %s", staged.table, attempt + 1, error)
            time.sleep(min(0.1 * 2**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1.0))
    load.remove_placed()
    raise CommitConflict(str(staged.table), _ATTEMPTS)


class _Load:
    """One load on its way in; keeps across attempts what has been placed already."""

    def __init__(
        self, catalog: Catalog, staged: StagedTable, provenance: Provenance, folder: Path, gate: Gate | None
    ) -> None:
        self._gate, self._sender = gate, Sender(catalog, staged, on_branch=gate is not None)
        self.catalog, self.staged, self.provenance, self.folder = catalog, staged, provenance, folder
        self.duplicates = 0
        self._placed: dict[Path, str] = {}
        self._numbers = count()
        self._io: FileIO | None = None
        one_row_a_key = staged.table.merge_strategy != "delete-insert"
        if staged.table.write_disposition == "merge" and staged.key and one_row_a_key:
            files, self.duplicates = without_duplicates(staged, folder)
            self.staged = replace(staged, files=files)

    def require_fresh_cursor(self, table: Table | None) -> None:
        """The rows continue from `cursor_before`; where the table has moved on, they may be in it already."""
        if not self._cursor_holds(table):
            self.remove_placed()
            raise StaleCursor(str(self.staged.table))

    def attempt(self, table: Table | None) -> Landed:
        if table is None and self.staged.schema is None:
            return Landed(str(self.staged.table), None, self.staged.load_id)  # no rows, no columns, no table
        if table is not None and self.staged.landed_before:
            return report.unchanged(table, self.staged, Changes(), 0)
        before = table.schema() if table is not None else None
        transaction = table.transaction() if table is not None else self._creation()
        try:
            files = self._conforming(transaction)
            # With the columns that the load brings: its key, window or validity may be among them.
            grown = history.with_columns_of(table, transaction) if table is not None else None
            plan = changes(grown, replace(self.staged, files=files), self.folder)
            if table is not None and not self._changes_anything(transaction, plan):
                self.remove_placed()
                return report.unchanged(table, self.staged, plan, self.duplicates)
            snapshot_id = self._stage(transaction, plan)
        except CONFLICTS:
            raise
        except BaseException:
            self._withdraw(transaction)  # nothing was sent
            raise
        self._send(transaction, creates=table is None)
        self.remove_placed(but=plan.written)
        # On a branch, the columns of the load are not yet those of the table.
        made = history.pinned(transaction._table, snapshot_id)
        assert made is not None
        landed = report.landed(made, self.staged, plan, before, self.duplicates)
        if self._gate is None:
            return landed
        return release(self.catalog, self.staged, landed, self._gate, self._placed.values())

    def remove_placed(self, but: Iterable[StagedFile] = ()) -> None:
        """What this load put into the warehouse goes again, where that can be done: all of it, or what is not used."""
        used = {file.path for file in but}
        unused = [path for path in self._placed if path not in used]
        gone = [self._placed.pop(path) for path in unused]
        if gone and self._io is not None:
            placing.delete_all(gone, self._io)

    def _withdraw(self, transaction: Transaction) -> None:
        """Remove the manifests of a commit that was not made, and what the load placed."""
        for snapshot in transaction._snapshot_producers:
            assert isinstance(snapshot, LoadSnapshot)
            placing.delete_all(snapshot.written, transaction._table.io)
        self.remove_placed()

    def table_is_still(self, metadata_location: str | None) -> bool:
        """Whether nobody has committed since the table was at `metadata_location`."""
        now = load_table(self.catalog, self.staged.table.identifier)
        return (now.metadata_location if now is not None else None) == metadata_location

    def _cursor_holds(self, table: Table | None) -> bool:
        return self.staged.cursor is None or cursors.current(table) == self.staged.cursor_before

    def _creation(self) -> Transaction:
        assert self.staged.schema is not None
        spec = self.staged.table
        ensure_namespace(self.catalog, spec.namespace)
        return self.catalog.create_table_transaction(
            spec.identifier,
            schema=self.staged.schema,
            partition_spec=self.staged.partition_spec or UNPARTITIONED_PARTITION_SPEC,
            properties=properties_of(None, spec),
        )

    def _conforming(self, transaction: Transaction) -> tuple[StagedFile, ...]:
        """Evolve the schema, and write files anew whose field ids mean other columns in the table as it now is."""
        staged = self.staged
        if staged.schema is None:
            return staged.files
        arrow = schema_to_pyarrow(staged.schema)
        plan = SchemaPlan(staged.table.model_copy(update={"columns": {}}), transaction, staged.key)
        plan.on_reject = self._refuse
        plan.absorb(arrow)
        metadata = transaction.table_metadata
        if plan.arrow.equals(arrow, check_metadata=True) and _same_spec(metadata.spec(), staged.partition_spec):
            return staged.files
        if not staged.files:
            return ()
        logger.info("%s: the table changed while this load was staged; its files are written anew", staged.table)
        return write_files(self.folder, plan, read_back(staged.files), WriteSettings.of(metadata.properties))

    def _refuse(self, rows: pa.RecordBatch, reason: str) -> None:
        """Rows that nobody keeps any more: their table of rejected rows is committed before."""
        raise TransientError(
            f"{self.staged.table}: its columns have changed since this load was staged, and {reason}. Nothing was "
            f"written; the next attempt keeps these rows in {rejected_table(self.staged.table)}."
        )

    def _changes_anything(self, transaction: Transaction, plan: Changes) -> bool:
        moved = self.staged.cursor is not None and self.staged.cursor != self.staged.cursor_before
        evolved = transaction.table_metadata.current_schema_id != transaction._table.metadata.current_schema_id
        return bool(plan.written or plan.removal.files) or moved or evolved

    def _stage(self, transaction: Transaction, plan: Changes) -> int:
        """Put everything into the transaction; the id of the snapshot that it will make."""
        table, removal = transaction._table, plan.removal
        if self.staged.cursor is not None:
            transaction.set_properties({cursors.CURSOR: self.staged.cursor})
        metadata = transaction.table_metadata
        self._place(plan.written, table)
        coming = (*plan.files, *removal.rewritten)
        added = [placing.data_file(file, self._placed[file.path], metadata) for file in coming]
        marks = [delete_file(file, self._placed[file.path], of) for of, file in removal.marked]
        files = FileChanges(added, removal.files, marks, removal.delete_files, removal.predicate)
        snapshot = LoadSnapshot(transaction, self._summary(plan), files, still_valid=self._cursor_holds)
        snapshot.commit()
        return snapshot.snapshot_id

    def _send(self, transaction: Transaction, creates: bool) -> None:
        try:
            self._sender.send(transaction, creates)
        except (*CONFLICTS, OutcomeUnknown):
            raise
        except Exception:
            self._withdraw(transaction)  # it was refused
            raise

    def _place(self, files: Iterable[StagedFile], table: Table) -> None:
        """Put what is not there yet into the table's data folder."""
        new = [file for file in files if file.path not in self._placed]
        names = [f"{self.staged.load_id}-{next(self._numbers):05d}.parquet" for _ in new]
        self._io = table.io
        self._placed.update(zip((file.path for file in new), placing.place(new, table, names), strict=True))

    def _summary(self, plan: Changes) -> dict[str, str]:
        found = {
            **self.staged.says,
            **report.numbers(self.staged, plan),
            history.LOAD_ID: self.staged.load_id,
            history.RUN_ID: self.provenance.run_id,
            history.PARTITION: self.provenance.partition,
            history.ASSET: self.provenance.asset_key,
            cursors.CURSOR: self.staged.cursor or "",
        }
        return {key: value for key, value in found.items() if value}


def _same_spec(spec: PartitionSpec, staged: PartitionSpec | None) -> bool:
    return staged is not None and spec.fields == staged.fields
