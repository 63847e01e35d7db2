"""A load while it is staged: rows go in, and what is to be committed comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from pyiceberg.catalog import Catalog

from floe_ingestion.iceberg.history import find_snapshot
from floe_ingestion.iceberg.rejects import Rejects
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.tables import load_table, properties_of
from floe_ingestion.iceberg.writer import ParquetSink, WriteSettings
from floe_ingestion.spec import TableSpec
from floe_ingestion.staging import Provenance, StagedFile, StagedTable, Window


def landed_by_run(spec: TableSpec, catalog: Catalog, provenance: Provenance) -> StagedTable | None:
    """What this very run landed already: a retried step does not ask for it again."""
    existing = load_table(catalog, spec.identifier) if provenance.run_id else None
    if find_snapshot(existing, provenance) is None:
        return None
    return StagedTable(spec, provenance=provenance, landed_before=True)


class OpenLoad:
    """One load of one table; its files lie in `folder`.

    A context, which leaves no thread behind where it is left by an error.
    """

    def __init__(
        self,
        spec: TableSpec,
        catalog: Catalog,
        folder: Path,
        window: Window | None = None,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._spec, self._window, self._began, self._load_id = spec, window, time.monotonic(), uuid4().hex
        self.table = table = load_table(catalog, spec.identifier)
        """As it is before the load; None for a new one."""
        self.plan = SchemaPlan(spec, table.transaction() if table is not None else None)
        self._rejects = Rejects(spec, self._load_id, catalog, folder)
        self.plan.on_reject = self._rejects.take
        settings = WriteSettings.of(properties_of(table, spec))
        self.sink = ParquetSink(folder, self.plan, settings, window, progress)
        self._files: tuple[StagedFile, ...] = ()
        self._rejected: StagedTable | None = None

    def __enter__(self) -> OpenLoad:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.sink.abort()
            self._rejects.abort()

    def close(self) -> bool:
        """Finish the files; whether there are any."""
        self._files = self.sink.close()
        self._rejected = self._rejects.close()
        return bool(self._files)

    def staged(self, **more: Any) -> StagedTable:
        """What there is to commit once it is closed, with `more` fields of `StagedTable`."""
        return StagedTable(
            self._spec,
            self._files,
            self.plan.schema,
            self.plan.partition_spec,
            load_id=self._load_id,
            rejected=self._rejected,
            key=self.plan.key,
            window=self._window,
            discarded=dict(self.sink.discarded),
            seconds=time.monotonic() - self._began,
            **more,
        )
