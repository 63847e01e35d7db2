"""What an asset returned, staged for the same commit as a load: batch by batch, each file written once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from floe_ingestion.errors import OutsideWindow
from floe_ingestion.spec import TableSpec
from floe_ingestion.staging import Provenance, StagedFile, StagedTable, Window

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from floe_ingestion.frames import Batch
    from floe_ingestion.iceberg.writer import ParquetSink


def stage_rows(
    batches: Iterator[Batch],
    spec: TableSpec,
    window: Window | None,
    provenance: Provenance,
    catalog: Catalog,
    folder: Path,
) -> StagedTable:
    """The rows of `batches` as files in `folder`; none are taken where this very run has landed them already.

    Raises `OutsideWindow` for rows of other partitions.
    """
    from floe_ingestion.iceberg.commit import NEW_TABLE_PROPERTIES, load_table
    from floe_ingestion.iceberg.rejects import Rejects
    from floe_ingestion.iceberg.report import find_snapshot
    from floe_ingestion.iceberg.schema import SchemaPlan
    from floe_ingestion.iceberg.writer import ParquetSink, WriteSettings

    began, load_id = time.monotonic(), uuid4().hex
    table = load_table(catalog, spec.identifier)
    if find_snapshot(table, provenance) is not None:
        return StagedTable(spec, provenance=provenance, landed_before=True)
    plan = SchemaPlan(spec, table.transaction() if table is not None else None, _key(spec))
    rejects = Rejects(spec, load_id, lambda identifier: load_table(catalog, identifier), folder)
    plan.on_reject = rejects.take
    properties = dict(table.properties) if table is not None else {**NEW_TABLE_PROPERTIES, **spec.properties}
    sink = ParquetSink(folder, plan, WriteSettings.of(properties), window)
    try:
        files = _written(batches, sink)
        _require_inside(spec, sink)
        rejected = rejects.close()
    except BaseException:
        sink.abort()
        rejects.abort()
        raise
    return StagedTable(
        load_id=load_id,
        provenance=provenance,
        table=spec,
        rejected=rejected,
        files=files,
        schema=plan.schema,
        partition_spec=plan.partition_spec,
        key=plan.key,
        window=window,
        discarded=dict(sink.discarded),
        seconds=time.monotonic() - began,
    )


def _key(spec: TableSpec) -> tuple[str, ...]:
    return spec.primary_key if spec.write_disposition == "merge" else ()


def _written(batches: Iterator[Batch], sink: ParquetSink) -> tuple[StagedFile, ...]:
    for batch in batches:
        sink.write(batch)
    return sink.close()


def _require_inside(spec: TableSpec, sink: ParquetSink) -> None:
    """A source may send more than it was asked for; an asset that returns more has made a mistake."""
    outside, unknown = sink.discarded.get("outside window", 0), sink.discarded.get("no partition", 0)
    if outside or unknown:
        columns = ", ".join(repr(each.column) for each in (spec.partitions, *spec.more_partitions) if each)
        without = f", and {unknown} rows without a value there" if unknown else ""
        raise OutsideWindow(
            f"{spec}: the asset returned {outside} rows whose {columns} lies outside the partition being "
            f"materialized{without}. Nothing was written. Return the rows of the partition alone."
        )
