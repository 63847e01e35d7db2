"""Rows: what their types are told of the table before."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from floe_ingestion.spec import TableSpec

if TYPE_CHECKING:
    from dlt.common.schema import Schema
    from dlt.extract.resource import DltResource

    from floe_ingestion.row_types import RowTypes


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
