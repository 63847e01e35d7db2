"""Which files a compaction writes anew: small ones of one partition together, and those with many deleted rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.table import FileScanTask

from floe_ingestion.iceberg.data_files import in_groups
from floe_ingestion.iceberg.deletes import live_rows_of, only_of

_SMALL = 0.75
"""Share of the target size from which on a file is large enough."""
_READERS = 8


@dataclass(frozen=True)
class Packing:
    """When files are worth writing anew, and how large they become."""

    target_file_bytes: int
    min_files: int = 5
    """At least so many small files become one; at least so many delete files of one data file, too."""
    deleted_share: float = 0.1
    """A file of whose rows more are deleted is written anew, whatever its size."""


@dataclass(frozen=True)
class Step:
    """Data files that are written anew as one, or one that stays and gets one delete file instead of many."""

    tasks: tuple[FileScanTask, ...]
    live_rows: int = 0
    """Rows that are written."""
    live_bytes: int = 0
    """About how large that is."""
    deletes_only: bool = False

    @property
    def partition(self) -> tuple[int, Any]:
        """Id of the partition spec, and the partition's values."""
        return _partition(self.tasks[0])

    @property
    def delete_files(self) -> dict[str, frozenset[str]]:
        """The data files that the step speaks of, each with the delete files that it takes in."""
        return deletes_by_file(self.tasks)

    @property
    def own_deletes(self) -> list[DataFile]:
        """Delete files that speak of none but these data files."""
        return [delete for task in self.tasks for delete in only_of(task.delete_files, task.file)]

    def holds(self, now: Mapping[str, frozenset[str]]) -> bool:
        """Whether the data files are still there, with the delete files that they had."""
        return all(now.get(path) == deletes for path, deletes in self.delete_files.items())


@dataclass(frozen=True)
class _File:
    task: FileScanTask
    live: int

    @property
    def deleted_share(self) -> float:
        return 1 - self.live / self.task.file.record_count if self.task.file.record_count else 1.0

    @property
    def live_bytes(self) -> int:
        return int(self.task.file.file_size_in_bytes * (1 - self.deleted_share))


def deletes_by_file(tasks: Iterable[FileScanTask]) -> dict[str, frozenset[str]]:
    """By the location of each data file, those of its delete files."""
    return {task.file.file_path: frozenset(delete.file_path for delete in task.delete_files) for task in tasks}


def steps(tasks: Sequence[FileScanTask], packing: Packing, io: FileIO) -> Iterator[Step]:
    """What is worth doing to the files of `tasks`, partition by partition."""
    partitions: dict[tuple[int, Any], list[_File]] = {}
    for file in _with_live_rows(tasks, io):
        partitions.setdefault(_partition(file.task), []).append(file)
    for files in partitions.values():
        rewritten: set[str] = set()
        looked_at = [file for file in files if _worth_a_look(file, packing)]
        # Neighbours, so that what was written at one time stays together.
        for group in in_groups(looked_at, lambda file: file.live_bytes, packing.target_file_bytes):
            if len(group) >= packing.min_files or any(file.deleted_share > packing.deleted_share for file in group):
                rewritten.update(file.task.file.file_path for file in group)
                yield _step(group)
        for file in files:
            if file.task.file.file_path not in rewritten:
                step = Step((file.task,), deletes_only=True)
                if len(step.own_deletes) >= packing.min_files:
                    yield step


def _worth_a_look(file: _File, packing: Packing) -> bool:
    small = file.task.file.file_size_in_bytes < packing.target_file_bytes * _SMALL
    return small or file.deleted_share > packing.deleted_share


def _step(group: Sequence[_File]) -> Step:
    rows, size = sum(file.live for file in group), sum(file.live_bytes for file in group)
    return Step(tuple(file.task for file in group), rows, size)


def _with_live_rows(tasks: Sequence[FileScanTask], io: FileIO) -> Iterator[_File]:
    with ThreadPoolExecutor(max_workers=_READERS) as readers:
        for task, rows in zip(tasks, readers.map(partial(live_rows_of, io=io), tasks), strict=True):
            yield _File(task, rows)


def _partition(task: FileScanTask) -> tuple[int, Any]:
    return task.file.spec_id, task.file.partition
