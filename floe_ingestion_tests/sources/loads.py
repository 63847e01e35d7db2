"""Runs of one connector as the library makes them: dlt in a folder of its own, the state handed from run to run."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import dlt
import pyarrow as pa
from dlt.extract.items_transform import ItemTransform
from dlt.extract.source import DltSource

from floe_ingestion.sources.base import Extraction, SourceConnector
from floe_ingestion.spec import IncrementalSpec, PartitionsSpec, TableSpec
from floe_ingestion.staging import Window


@dataclass(frozen=True)
class Loaded:
    """What a run brought, and the state that it leaves."""

    items: list[Any]
    state: dict[str, Any]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for item in self.items for row in (item.to_pylist() if isinstance(item, _ARROW) else [item])]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the first batch."""
        return self.items[0].schema

    def values(self, column: str) -> list[Any]:
        return [row.get(column) for row in self.rows]


_ARROW = (pa.Table, pa.RecordBatch)


class _Last(ItemTransform):  # type: ignore[type-arg]
    """Stands where the library writes: behind dlt's incremental."""

    placement_affinity: ClassVar[float] = 3

    def __init__(self) -> None:
        super().__init__(lambda item: item)
        self.items: list[Any] = []

    def __call__(self, item: Any, meta: Any = None) -> Any:
        self.items += item if isinstance(item, list) else [item]
        return None if isinstance(item, _ARROW) else item


def table_of(resource: str, **settings: Any) -> TableSpec:
    """The table that a resource lands in."""
    given = {
        "source": "src",
        "source_type": "any",
        "resource": resource,
        "namespace": ("raw",),
        "name": resource,
    }
    return TableSpec.model_validate({**given, **settings})


def load(
    connector: SourceConnector,
    resource: str,
    *,
    incremental: IncrementalSpec | dict[str, Any] | None = None,
    partitions: PartitionsSpec | dict[str, Any] | None = None,
    window: Window | None = None,
    known: pa.Schema | None = None,
    columns: dict[str, str] | None = None,
    after: Loaded | None = None,
) -> Loaded:
    """Load one resource, from the state that the run `after` left."""
    own = next(spec for spec in connector.resource_specs() if spec.name == resource)
    table = table_of(
        resource,
        incremental=incremental or own.incremental,
        partitions=partitions,
        columns={**own.columns, **(columns or {})},
    )
    made = connector.build([Extraction(table, window, known)])[resource]
    last = _Last()
    made.add_step(last)
    made.max_table_nesting = 0
    with tempfile.TemporaryDirectory() as folder:
        state = _run(made, folder, after.state if after else None)
    return Loaded(last.items, state)


def _run(resource: Any, folder: str, before: dict[str, Any] | None) -> dict[str, Any]:
    pipeline = dlt.pipeline(
        f"p{uuid4().hex}",
        destination=dlt.destinations.filesystem(bucket_url=(Path(folder) / "out").as_uri()),
        pipelines_dir=folder,
    )
    source = DltSource(dlt.Schema("src"), "src", [resource])
    try:
        if before is not None:
            with pipeline.managed_state() as state:
                state.setdefault("sources", {})["src"] = before
        pipeline.extract(source, loader_file_format="parquet")
        pipeline.normalize()
        return dict(pipeline.state.get("sources", {}).get("src", {}))
    finally:
        pipeline.deactivate()
