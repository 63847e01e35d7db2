"""Files written anew with the rows that they had: how these are read, and the snapshot that puts them in place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from pyiceberg.manifest import ManifestContent, ManifestFile
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _ManifestMergeManager

from floe_ingestion.iceberg.data_files import raw_batches
from floe_ingestion.iceberg.deletes import deleted_positions
from floe_ingestion.iceberg.row_sets import RowSet, rows_of
from floe_ingestion.iceberg.snapshot import LoadSnapshot


class RewriteSnapshot(LoadSnapshot):
    """A snapshot after which the table has the rows that it had: readers of changes may pass over it."""

    def _summary(self, snapshot_properties: dict[str, str] = {}) -> Summary:  # noqa: B006  (pyiceberg's signature)
        # pyiceberg counts the totals of an overwrite, and knows no `replace`.
        counted = super()._summary(snapshot_properties)
        return Summary(operation=Operation.REPLACE, **counted.additional_properties)

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        """Beside the files, merge their manifests: every load adds one."""
        found = super()._process_manifests(manifests)
        data = [manifest for manifest in found if manifest.content == ManifestContent.DATA]
        properties = self._transaction.table_metadata.properties
        merging: _ManifestMergeManager[Any] = _ManifestMergeManager(
            target_size_bytes=int(properties.get("commit.manifest.target-size-bytes", 8 * 1024 * 1024)),
            min_count_to_merge=int(properties.get("commit.manifest.min-count-to-merge", 100)),
            merge_enabled=True,
            snapshot_producer=self,
        )
        deletes = [manifest for manifest in found if manifest.content == ManifestContent.DELETES]
        merged = [*merging.merge_manifests(data), *deletes]
        # Of those merged, nothing names what this snapshot has written itself; pyiceberg removes it with the commit.
        named = {manifest.manifest_path for manifest in merged}
        own = [manifest.manifest_path for manifest in found if manifest.added_snapshot_id == self._snapshot_id]
        self._uncommitted_manifests.extend(path for path in own if path not in named)
        return merged


def live_rows(table: Table, task: FileScanTask) -> Iterator[pa.RecordBatch]:
    """The rows of a data file that are not deleted, in the table's columns, batch by batch."""
    if not task.delete_files:
        return raw_batches(table, task)
    live = RowSet.first(task.file.record_count)
    if (deleted := deleted_positions(task, table.io)) is not None:
        live -= RowSet.of(deleted)
    return rows_of(raw_batches(table, task), live)
