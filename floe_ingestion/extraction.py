"""dlt runs a resource; what it has to type itself goes into Parquet behind it."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import dlt
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.destinations import filesystem
from dlt.extract.source import DltSource

from floe_ingestion.errors import OtherTable
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.spec import TableSpec

if TYPE_CHECKING:
    from dlt.common.normalizers.naming import NamingConvention
    from dlt.common.schema import Schema
    from dlt.extract.resource import DltResource

    from floe_ingestion.iceberg.writer import ParquetSink
    from floe_ingestion.sink import SinkStep


def extract(
    spec: TableSpec, resource: DltResource, step: SinkStep, schema: Schema, cursor: str | None, folder: Path
) -> dict[str, Any]:
    """Run dlt from `cursor` with `step` at the end; what is no Arrow by then goes through dlt's typing first.

    Returns dlt's state of this source, which is the cursor to land with the rows.
    """
    # dlt reports its use to its makers unless told not to; a library must not decide that for its users.
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    if callable(resource.table_name):
        raise OtherTable(str(spec), spec.resource, "a table that it names row by row")
    resource.max_table_nesting = 0
    resource.apply_hints(table_name=spec.name, write_disposition="append")
    resource.add_step(step)
    source = DltSource(schema, spec.source, [resource])
    pipeline = dlt.pipeline(
        f"floe_{uuid4().hex}", destination=_nowhere(), dataset_name="bronze", pipelines_dir=str(folder / "dlt")
    )
    pipeline.config.restore_from_destination = False  # for which it would extract its state as a table of its own
    try:
        if cursor is not None:
            with pipeline.managed_state() as state:
                state.setdefault("sources", {})[source.name] = cursors.decode(cursor)
        pipeline.extract(source, loader_file_format="parquet")
        step.flush()
        if step.rows_passed:
            pipeline.normalize()
            _write_normalized(spec, pipeline, step.sink)
        elif step.nothing_came:
            _write_columns(spec, resource, step.sink)
        return dict(pipeline.state.get("sources", {}).get(source.name, {}))
    finally:
        with suppress(Exception):  # leaving a pipeline must not hide what went wrong in it
            pipeline.deactivate()


class _Nowhere(filesystem):
    """The destination that dlt types rows for; nothing is ever loaded into it.

    dlt asks five times a table what it can do, each time through all of its configuration: a sixth of a small load.
    """

    def __init__(self) -> None:
        super().__init__(bucket_url="file:///nowhere")
        self._known: dict[type, DestinationCapabilitiesContext] = {}

    def capabilities(
        self, config: Any = None, naming: NamingConvention | None = None
    ) -> DestinationCapabilitiesContext:
        if type(naming) not in self._known:
            self._known[type(naming)] = super().capabilities(config, naming)
        return self._known[type(naming)].copy()  # the pipeline changes what it is given


@cache
def _nowhere() -> _Nowhere:
    return _Nowhere()


def _write_normalized(spec: TableSpec, pipeline: Any, sink: ParquetSink) -> None:
    """What dlt has typed, into the sink."""
    import pyarrow.parquet as pq

    for load_id in pipeline.list_normalized_load_packages():
        for job in pipeline.get_load_package_info(load_id).jobs["new_jobs"]:
            table = job.job_file_info.table_name
            if table.startswith("_dlt"):
                continue
            if table != spec.name:
                raise OtherTable(str(spec), spec.resource, table)
            with pq.ParquetFile(job.file_path) as parquet:
                for batch in parquet.iter_batches():
                    sink.write(batch)


def _write_columns(spec: TableSpec, resource: DltResource, sink: ParquetSink) -> None:
    """The columns that the source knows of, where it has no rows: its table is to be there all the same.

    Those that the table has keep their types: dlt's words for types say less than the rows do.
    """
    import pyarrow as pa
    from dlt.common.libs.pyarrow import columns_to_arrow

    columns = resource.compute_table_schema().get("columns", {})
    if spec.nested == "struct":  # which type they have, only rows can tell
        columns = {name: column for name, column in columns.items() if column.get("data_type") != "json"}
    schema = columns_to_arrow(columns, DestinationCapabilitiesContext.generic_capabilities(), "UTC")
    known = {field.name: field.type for field in sink.plan.arrow}
    if len(schema):
        kept = [(field.name, known.get(spec.column(field.name), field.type)) for field in schema]
        sink.write(pa.schema(kept).empty_table())
