"""One snapshot for everything that a load changes: files that come and files that go, together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pyiceberg.exceptions import ValidationException
from pyiceberg.expressions import BooleanExpression
from pyiceberg.manifest import (
    DataFile,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles

from floe_ingestion.iceberg.tables import name_of


@dataclass(frozen=True)
class FileChanges:
    """Manifest entries that come and go."""

    added: Sequence[DataFile] = ()
    removed: Sequence[DataFile] = ()
    added_deletes: Sequence[DataFile] = ()
    removed_deletes: Sequence[DataFile] = ()
    predicate: BooleanExpression | None = None
    """The rows that this removes or must be alone with; None for a pure append."""

    @property
    def operation(self) -> Operation:
        """`append` for readers that follow appends alone."""
        return Operation.OVERWRITE if self.removed or self.added_deletes else Operation.APPEND


class LoadSnapshot(_OverwriteFiles):
    """An append or an overwrite, with position deletes, whose retries check that the load still stands.

    pyiceberg replays a snapshot on a table that others have written to meanwhile. Two things must hold for
    that: `still_valid(table)` (the cursor is the one that the load started from), and, where the load has a
    predicate, that nobody else has touched its rows. Else, or where files would now be partitioned in another
    way, `ValidationException`: plan again.
    """

    def __init__(
        self,
        transaction: Transaction,
        properties: dict[str, str],
        changes: FileChanges,
        still_valid: Callable[[Table], bool] = lambda table: True,
    ) -> None:
        self._changes, self._still_valid = changes, still_valid
        self._spec_id = transaction.table_metadata.default_spec_id
        super().__init__(
            operation=changes.operation,
            transaction=transaction,
            io=transaction._table.io,
            snapshot_properties=properties,
        )
        for file in changes.added:
            self.append_data_file(file)
        for file in changes.removed:
            self.delete_data_file(file)
        if changes.predicate is not None:
            self.delete_by_predicate(changes.predicate)

    def schema(self) -> Schema:
        """The table's columns, and those that it has no more but is, or was, partitioned by: manifests want their type.

        Under other names: theirs may have been given to other columns since.
        """
        metadata, schema = self._transaction.table_metadata, super().schema()
        sources = {field.source_id for spec in metadata.partition_specs for field in spec.fields}
        gone = sources.difference(schema.field_ids)
        known = {id_: each.find_field(id_) for each in metadata.schemas for id_ in gone.intersection(each.field_ids)}
        if not known:
            return schema
        dropped = [field.model_copy(update={"name": f"dropped-{id_}"}) for id_, field in known.items()]
        return Schema(*schema.fields, *dropped, schema_id=schema.schema_id)

    @property
    def written(self) -> list[str]:
        """The manifests and manifest lists that it has begun to write."""
        return [*self._written_manifests, *self._uncommitted_manifests, *self._written_manifest_lists]

    def _validate_concurrency(self) -> None:
        table = self._transaction._table
        if table.metadata.default_spec_id != self._spec_id:
            raise ValidationException(f"{name_of(table)}: the partition spec changed")
        if not self._still_valid(table):
            raise ValidationException(f"{name_of(table)}: what the load started from has changed")
        if self._changes.predicate is not None:
            super()._validate_concurrency()

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        """Add what pyiceberg has no words for: delete files that come, and those that go with their data file."""
        added = [
            self._delete_manifest(spec_id, [self._added(file) for file in files])
            for spec_id, files in _by_spec(self._changes.added_deletes).items()
        ]
        kept = (kept for manifest in manifests for kept in self._without_removed_deletes(manifest))
        return [*added, *filter(self._is_of_use, kept)]

    def _is_of_use(self, manifest: ManifestFile) -> bool:
        """Manifests of files that earlier snapshots removed would be carried along for ever."""
        own = manifest.added_snapshot_id == self._snapshot_id
        return own or manifest.has_added_files() or manifest.has_existing_files()

    def _without_removed_deletes(self, manifest: ManifestFile) -> list[ManifestFile]:
        if manifest.content != ManifestContent.DELETES or not self._changes.removed_deletes:
            return [manifest]
        gone = {file.file_path for file in self._changes.removed_deletes}
        entries = self.fetch_manifest_entry(manifest)
        if not any(entry.data_file.file_path in gone for entry in entries):
            return [manifest]
        copied = [self._copied(entry, entry.data_file.file_path in gone) for entry in entries]
        return [self._delete_manifest(manifest.partition_spec_id, copied)]

    def _delete_manifest(self, spec_id: int, entries: list[ManifestEntry]) -> ManifestFile:
        writer = _DeleteManifestWriter(
            self.spec(spec_id), self.schema(), self.new_manifest_output(), self._snapshot_id, self._compression
        )
        with writer:
            for entry in entries:
                writer.add_entry(entry)
        return writer.to_manifest_file()

    def _added(self, file: DataFile) -> ManifestEntry:
        return ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED,
            snapshot_id=self._snapshot_id,
            sequence_number=None,
            file_sequence_number=None,
            data_file=file,
        )

    def _copied(self, entry: ManifestEntry, gone: bool) -> ManifestEntry:
        return ManifestEntry.from_args(
            status=ManifestEntryStatus.DELETED if gone else ManifestEntryStatus.EXISTING,
            snapshot_id=self._snapshot_id if gone else entry.snapshot_id,
            sequence_number=entry.sequence_number,
            file_sequence_number=entry.file_sequence_number,
            data_file=entry.data_file,
        )

    def _summary(self, snapshot_properties: dict[str, str] = {}) -> Summary:  # noqa: B006  (pyiceberg's signature)
        added, removed = self._added_data_files, self._deleted_data_files
        # The collector counts delete files right; it is only never given any.
        self._added_data_files = [*added, *self._changes.added_deletes]
        self._deleted_data_files = removed | set(self._changes.removed_deletes)
        try:
            return super()._summary(snapshot_properties)
        finally:
            self._added_data_files, self._deleted_data_files = added, removed


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


class _DeleteManifestWriter(ManifestWriterV2):
    """A manifest of delete files; pyiceberg only writes those of data files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def _by_spec(files: Sequence[DataFile]) -> dict[int, list[DataFile]]:
    found: dict[int, list[DataFile]] = defaultdict(list)
    for file in files:
        found[file.spec_id].append(file)
    return found
