"""Small files into large ones, and deleted rows out of them: the rows of the table stay what they are.

It runs beside loads. A load that appends changes none of the files that are written anew. One that removes
or marks rows of some of them takes these away from the compaction, which plans them again.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any
from uuid import uuid4

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask, Table, Transaction

from floe_ingestion.errors import CommitConflict, OutcomeUnknown, PermanentError
from floe_ingestion.formats import number_of
from floe_ingestion.iceberg import placing
from floe_ingestion.iceberg.data_files import raw_batches
from floe_ingestion.iceberg.deletes import delete_file, deleted_positions, live_positions, write_positions
from floe_ingestion.iceberg.history import OPERATION
from floe_ingestion.iceberg.packing import Packing, Step, deletes_by_file, steps
from floe_ingestion.iceberg.row_sets import rows_of
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.snapshot import FileChanges, RewriteSnapshot
from floe_ingestion.iceberg.tables import name_of
from floe_ingestion.iceberg.writer import WriteSettings, write_files
from floe_ingestion.staging import StagedFile

logger = logging.getLogger(__name__)

_ATTEMPTS = 10
_NEWEST_FORMAT = 2


@dataclass(frozen=True)
class Compacted:
    """What a compaction did, or would do in a dry run, where what comes is an estimate."""

    table: str
    dry_run: bool
    files_before: int = 0
    """Data files that were written anew."""
    files_after: int = 0
    """Data files that took their place."""
    delete_files_before: int = 0
    """Delete files that are gone."""
    delete_files_after: int = 0
    rows: int = 0
    """Rows that were written; the table has as many as before."""
    bytes_before: int = 0
    bytes_after: int = 0
    """Both of data files."""
    snapshot_id: int | None = None
    """None where there was nothing to do."""


def compact(
    table: Table,
    packing: Packing,
    folder: Path,
    properties: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> Compacted:
    """Write the small and the much deleted files of `table` anew, in one commit.

    `folder` is a private one for files on their way; `properties` go into the summary of the snapshot. Raises
    `CommitConflict` where loads kept changing these files, and `OutcomeUnknown` where the catalog went away in
    the middle.
    """
    if table.format_version > _NEWEST_FORMAT:
        raise PermanentError(
            f"{name_of(table)} is of Iceberg format {table.format_version}, which can be read, but not written."
        )
    compaction = _Compaction(table, packing, folder, {OPERATION: "compact", **(properties or {})})
    try:
        for attempt in range(_ATTEMPTS):
            planned_on = table.refresh().metadata_location
            try:
                return compaction.attempt(dry_run)
            except FileNotFoundError:
                # Expired since the files were planned; unless it is simply lost.
                if table.refresh().metadata_location == planned_on:
                    raise
            except (CommitFailedException, ValidationException) as error:
                logger.info("%s: planning the compaction again: %s", compaction.name, error)
            time.sleep(min(0.05 * 2**attempt, 1.0) * random.uniform(0.5, 1.0))
        raise CommitConflict(compaction.name, _ATTEMPTS)
    except OutcomeUnknown:
        raise  # its files may be in the table
    except BaseException:
        compaction.remove_placed()
        raise


@dataclass(frozen=True)
class _Done:
    """A step whose files are in the warehouse, waiting for the commit."""

    step: Step
    spec_id: int
    files: tuple[DataFile, ...]


class _Compaction:
    """One compaction on its way in; keeps across attempts what nobody has touched."""

    def __init__(self, table: Table, packing: Packing, folder: Path, properties: dict[str, str]) -> None:
        self.table, self.packing, self.folder, self.properties = table, packing, folder, properties
        self.name = name_of(table)
        self._id = uuid4().hex
        self._done: list[_Done] = []
        self._partitions: set[tuple[int, Any]] | None = None
        """Whose files are still to be planned; None for all of them."""
        self._placed: set[str] = set()
        """What was put into the warehouse, and is there still."""
        self._numbers = count()

    def attempt(self, dry_run: bool) -> Compacted:
        """Do what is still to be done to the table as it is, and commit all of it."""
        everything = list(self.table.scan().plan_files())
        self._give_up_touched(everything)
        planned = self._planned(everything)
        if dry_run:
            return _estimate(self.name, list(planned), everything)
        for step in planned:
            self._done.append(self._do(step))
        self._partitions = set()
        return self._commit(everything) if self._done else Compacted(self.name, dry_run=False)

    def remove_placed(self, of: Iterable[_Done] | None = None) -> None:
        """What was put into the warehouse, all or for some steps, is not committed and goes again."""
        gone = set(self._placed) if of is None else {file.file_path for done in of for file in done.files}
        self._placed -= gone
        placing.delete_all(gone, self.table.io)

    def _give_up_touched(self, everything: list[FileScanTask]) -> None:
        """Drop the steps whose files a load has changed, so that their partitions are planned again."""
        now, spec_id = deletes_by_file(everything), self.table.spec().spec_id
        touched = [done for done in self._done if done.spec_id != spec_id or not done.step.holds(now)]
        self.remove_placed(touched)
        self._done = [done for done in self._done if done not in touched]
        if self._partitions is not None:
            self._partitions |= {done.step.partition for done in touched}

    def _planned(self, everything: list[FileScanTask]) -> Iterator[Step]:
        """What to do beside what is done; the oldest files first."""
        taken = {path for done in self._done for path in done.step.delete_files}
        free = [task for task in reversed(everything) if task.file.file_path not in taken]
        if self._partitions is not None:
            free = [task for task in free if (task.file.spec_id, task.file.partition) in self._partitions]
        return steps(free, self.packing, self.table.io)

    def _do(self, step: Step) -> _Done:
        made = self._one_delete_file(step) if step.deletes_only else self._written_anew(step)
        return _Done(step, self.table.spec().spec_id, tuple(made))

    def _one_delete_file(self, step: Step) -> list[DataFile]:
        (task,) = step.tasks
        positions = deleted_positions(FileScanTask(task.file, set(step.own_deletes)), self.table.io)
        staged = write_positions(self.folder, task, positions.sort())
        return [delete_file(staged, location, task.file) for location in self._place([staged])]

    def _written_anew(self, step: Step) -> list[DataFile]:
        # The step is about as large as a file should be: splitting what comes out would make a small one again.
        settings = WriteSettings.of(self.table.properties)
        settings = replace(settings, target_file_bytes=2 * self.packing.target_file_bytes)
        table = self.table
        live = (rows_of(raw_batches(table, task), live_positions(task, table.io)) for task in step.tasks)
        staged = write_files(self.folder, SchemaPlan.of_table(table), chain.from_iterable(live), settings)
        if (written := sum(file.rows for file in staged)) != step.live_rows:
            raise PermanentError(
                f"{self.name}: {number_of(written, 'row')} came where {step.live_rows:,} should be, in "
                f"{', '.join(step.delete_files)}. Nothing was changed."
            )
        placed = zip(staged, self._place(staged), strict=True)
        return [placing.data_file(file, location, self.table.metadata) for file, location in placed]

    def _place(self, files: Sequence[StagedFile]) -> list[str]:
        names = [f"{self._id}-{next(self._numbers):05d}.parquet" for _ in files]
        locations = placing.place(files, self.table, names)
        self._placed.update(locations)
        for file in files:
            file.path.unlink(missing_ok=True)  # an upload leaves it, and there may be many
        return locations

    def _commit(self, everything: list[FileScanTask]) -> Compacted:
        rewritten = [done for done in self._done if not done.step.deletes_only]
        folded = [done for done in self._done if done.step.deletes_only]
        changes = FileChanges(
            added=[file for done in rewritten for file in done.files],
            removed=[task.file for done in rewritten for task in done.step.tasks],
            added_deletes=[file for done in folded for file in done.files],
            removed_deletes=_leaving_deletes([done.step for done in self._done], everything),
        )
        transaction = self.table.transaction()
        snapshot = RewriteSnapshot(transaction, self.properties, changes, still_valid=self._still_valid)
        snapshot.commit()
        self._send(transaction, snapshot.snapshot_id)
        return Compacted(
            table=self.name,
            dry_run=False,
            files_before=len(changes.removed),
            files_after=len(changes.added),
            delete_files_before=len(changes.removed_deletes),
            delete_files_after=len(changes.added_deletes),
            rows=sum(file.record_count for file in changes.added),
            bytes_before=sum(file.file_size_in_bytes for file in changes.removed),
            bytes_after=sum(file.file_size_in_bytes for file in changes.added),
            snapshot_id=snapshot.snapshot_id,
        )

    def _still_valid(self, table: Table) -> bool:
        try:
            now = deletes_by_file(table.scan().plan_files())
        except FileNotFoundError:  # expired at this very moment: plan again
            return False
        return all(done.step.holds(now) for done in self._done)

    def _send(self, transaction: Transaction, snapshot_id: int) -> None:
        """Commit; where the outcome is unknown, find it out."""
        try:
            transaction.commit_transaction()
        except (CommitFailedException, ValidationException):
            raise
        except Exception as error:
            try:
                self.table.refresh()
            except Exception as again:
                raise OutcomeUnknown(self.name, self._id, error) from again
            if self.table.snapshot_by_id(snapshot_id) is None:
                raise OutcomeUnknown(self.name, self._id, error) from error


def _leaving_deletes(done: Sequence[Step], everything: Iterable[FileScanTask]) -> list[DataFile]:
    """Delete files that nobody needs after these steps."""
    rewritten = {path for step in done if not step.deletes_only for path in step.delete_files}
    needed: set[str] = set()
    others: dict[str, DataFile] = {}
    for task in everything:
        for delete in task.delete_files:
            if task.file.file_path in rewritten:
                others[delete.file_path] = delete
            else:
                needed.add(delete.file_path)
    folded = [delete for step in done if step.deletes_only for delete in step.own_deletes]
    return [*folded, *(delete for path, delete in others.items() if path not in needed)]


def _estimate(name: str, planned: list[Step], everything: list[FileScanTask]) -> Compacted:
    rewritten = [step for step in planned if not step.deletes_only]
    return Compacted(
        table=name,
        dry_run=True,
        files_before=sum(len(step.tasks) for step in rewritten),
        files_after=sum(step.live_rows > 0 for step in rewritten),
        delete_files_before=len(_leaving_deletes(planned, everything)),
        delete_files_after=len(planned) - len(rewritten),
        rows=sum(step.live_rows for step in rewritten),
        bytes_before=sum(task.file.file_size_in_bytes for step in rewritten for task in step.tasks),
        bytes_after=sum(step.live_bytes for step in rewritten),
    )
