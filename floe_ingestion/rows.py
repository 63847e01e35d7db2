"""Rows: what their types are told of the table before, and what dlt has made of those that it types itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from floe_ingestion.errors import OtherTable
from floe_ingestion.spec import TableSpec

if TYPE_CHECKING:
    from dlt.common.schema import Schema
    from dlt.extract.resource import DltResource

    from floe_ingestion.iceberg.writer import ParquetSink
    from floe_ingestion.row_types import RowTypes


_COLLECTED_EVERY = 200_000
"""Objects that may hold others, of which a page of 1,000 rows makes some thousands."""


def schema_of(spec: TableSpec, known: Any) -> Schema:
    """dlt's schema of the source; it knows the table's columns, so that rows are typed as they were before."""
    import pyarrow as pa
    from dlt.common.libs.pyarrow import UnsupportedArrowTypeException, py_arrow_to_table_schema_columns
    from dlt.common.schema import Schema
    from dlt.common.schema.utils import new_table

    schema = Schema(spec.source.lower())
    columns: list[Any] = []
    for column in known if known is not None else ():
        with suppress(UnsupportedArrowTypeException):  # such as uuid, which dlt has no word for: it types those anew
            columns.extend(py_arrow_to_table_schema_columns(pa.schema([column])).values())
    if columns:
        schema.update_table(new_table(spec.name, columns=columns))
    return schema


def types_of(
    spec: TableSpec, schema: Schema, resource: DltResource, told: Mapping[str, Any] | None, known: Any
) -> RowTypes | None:
    """What makes Arrow of the rows of `resource`; None where it asks dlt to do more with them than to type them.

    `told` is what the resource tells of its table before any row, None where that depends on them; `known` are the
    table's columns.
    """
    from floe_ingestion.row_types import RowTypes

    if told is None or resource.validator is not None or "schema_contract" in told:
        return None
    return RowTypes(spec, schema, told.get("columns", {}), known)


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Python looks for garbage seldom while rows are made, thousands of objects a page that all live on.

    It took an eighth of the time of a load, and found next to nothing. Where another load of this process has seen to
    it, it is that one which gives the threshold back.
    """
    before = gc.get_threshold()
    if not 0 < before[0] < _COLLECTED_EVERY:
        yield
        return
    gc.set_threshold(_COLLECTED_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def write_normalized(spec: TableSpec, pipeline: Any, sink: ParquetSink) -> None:
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


def write_columns(spec: TableSpec, resource: DltResource, sink: ParquetSink) -> None:
    """The columns that the source knows of, where it has no rows: its table is to be there all the same."""
    from dlt.common.destination import DestinationCapabilitiesContext
    from dlt.common.libs.pyarrow import columns_to_arrow

    columns = resource.compute_table_schema().get("columns", {})
    if spec.nested == "struct":  # which type they have, only rows can tell
        columns = {name: column for name, column in columns.items() if column.get("data_type") != "json"}
    schema = columns_to_arrow(columns, DestinationCapabilitiesContext.generic_capabilities(), "UTC")
    if len(schema):
        sink.write(schema.empty_table())
