"""Columns whose types are known before a row comes: those that floe.yaml declares, and those that the table has."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from dlt.common.libs.pyarrow import UnsupportedArrowTypeException, py_arrow_to_table_schema_columns
from pyiceberg.io.pyarrow import schema_to_pyarrow

from floe_ingestion.formats import instant
from floe_ingestion.iceberg.columns import declared_columns, parse_type
from floe_ingestion.naming import normalize_column
from floe_ingestion.sources.base import Extraction
from floe_ingestion.sources.instants import as_moment, as_text, cursor_arguments
from floe_ingestion.sources.paging import PageCursor
from floe_ingestion.spec import IncrementalSpec

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource


def known_columns(extraction: Extraction) -> pa.Schema:
    """The types that columns have already, in the table or by declaration, by the table's names."""
    types = {field.name: field.type for field in extraction.known or ()}
    for name, column in declared_columns(extraction.table).items():
        if column.type is not None:
            types[name] = schema_to_pyarrow(parse_type(column.type, str(extraction.table), name))
    return pa.schema(list(types.items()))


def told_to_dlt(columns: Iterable[pa.Field]) -> dict[str, Any]:
    """`columns` in dlt's words, by name, but for those that it has none for, such as uuid: these it types anew."""
    told: dict[str, Any] = {}
    for column in columns:
        with suppress(UnsupportedArrowTypeException):
            told.update(py_arrow_to_table_schema_columns(pa.schema([column])))
    return told


def with_known_columns(resource: DltResource, extraction: Extraction, nested: Iterable[str]) -> DltResource:
    """`resource` with its declared columns, so that they are there when all rows, or no rows, come without them.

    Those of `nested` hold objects and lists, which land as JSON text.
    """
    types = {name: column.type for name, column in declared_columns(extraction.table).items()}
    columns = told_to_dlt(known_columns(extraction))
    columns |= {name: {"name": name, "data_type": "json"} for name in nested if types.get(name) in (None, "string")}
    resource.apply_hints(columns=columns)
    return resource


def column_cursor(spec: IncrementalSpec, known: pa.Schema) -> PageCursor:
    """dlt's incremental on a column of Arrow tables."""
    name = normalize_column(spec.cursor_path)
    type_ = known.field(name).type if name in known.names else None
    arguments = {**cursor_arguments(spec), "last_value_func": max}
    for key in arguments.keys() & {"initial_value", "end_value"}:
        arguments[key] = _fitting(getattr(spec, key), type_)
    return PageCursor(**arguments)


def _fitting(value: Any, type_: pa.DataType | None) -> Any:
    """A bound of floe.yaml as a value that Arrow compares with columns of `type_`."""
    moment = as_moment(value)
    if not isinstance(moment, date) or (type_ is not None and not pa.types.is_temporal(type_)):
        return as_text(value)
    if type_ is not None and pa.types.is_date(type_):
        return moment.date() if isinstance(moment, datetime) else moment
    in_utc = instant(moment, "UTC")
    # Of a column that nobody knows yet, a time with a zone fits dates and both kinds of times.
    return in_utc.replace(tzinfo=None) if type_ is not None and type_.tz is None else in_utc
