"""What an asset returned, staged for the same commit as a load: batch by batch, each file written once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from floe_ingestion.errors import OutsideWindow
from floe_ingestion.formats import number_of
from floe_ingestion.load_warnings import unseen
from floe_ingestion.spec import TableSpec
from floe_ingestion.staging import Provenance, StagedTable, Window

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
    from floe_ingestion.iceberg.open_load import OpenLoad, landed_by_run

    if (landed := landed_by_run(spec, catalog, provenance)) is not None:
        return landed
    with OpenLoad(spec, catalog, folder, window) as load:
        load.plan.key = spec.primary_key if spec.write_disposition == "merge" else ()
        for batch in batches:
            load.sink.write(batch)
        any_landed = load.close()
        _require_inside(spec, load.sink)
        return load.staged(provenance=provenance, warnings=unseen(spec, load, any_landed))


def _require_inside(spec: TableSpec, sink: ParquetSink) -> None:
    """A source may send more than it was asked for; an asset that returns more has made a mistake."""
    outside, unknown = sink.discarded.get("outside window", 0), sink.discarded.get("no partition", 0)
    if outside or unknown:
        columns = ", ".join(repr(each.column) for each in (spec.partitions, *spec.more_partitions) if each)
        without = f", and {number_of(unknown, 'row')} without a value there" if unknown else ""
        raise OutsideWindow(
            f"{spec}: the asset returned {number_of(outside, 'row')} whose {columns} lies outside the partition being "
            f"materialized{without}. Nothing was written. Return the rows of the partition alone."
        )
