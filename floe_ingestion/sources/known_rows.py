"""Columns of JSON rows that are known before a row has a value for them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from floe_ingestion.sources.base import Extraction

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource


def typed(resource: DltResource, extraction: Extraction, nested: Iterable[str] = ()) -> DltResource:
    """`resource` with its declared columns, so that they are there when all rows, or no rows, come without them.

    Those of `nested` hold objects and lists, which land as JSON text.
    """
    import pyarrow as pa
    from dlt.common.libs.pyarrow import UnsupportedArrowTypeException, py_arrow_to_table_schema_columns

    from floe_ingestion.naming import normalize_identifier
    from floe_ingestion.sources.file_cursors import known_columns

    columns: dict[str, Any] = {}
    for field in known_columns(extraction):
        with suppress(UnsupportedArrowTypeException):  # such as uuid, which is cast where rows are staged
            columns.update(py_arrow_to_table_schema_columns(pa.schema([field])))
    types = {normalize_identifier(name): column.type for name, column in extraction.table.columns.items()}
    columns |= {name: {"name": name, "data_type": "json"} for name in nested if types.get(name) in (None, "string")}
    resource.apply_hints(columns=columns)
    return resource
