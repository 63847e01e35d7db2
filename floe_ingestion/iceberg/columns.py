"""Columns for Iceberg tables: of new tables, from declared types, from Arrow."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyiceberg import types as ice
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table.name_mapping import MappedField, NameMapping

from floe_ingestion.errors import ConfigurationError, KeyViolation
from floe_ingestion.iceberg.types import carried, fields_of
from floe_ingestion.spec import ColumnSpec, TableSpec

_VARIANTS: tuple[tuple[tuple[type[ice.IcebergType], ...], str], ...] = (
    ((ice.StringType,), "text"),
    ((ice.IntegerType, ice.LongType), "bigint"),
    ((ice.FloatType, ice.DoubleType), "double"),
    ((ice.BooleanType,), "bool"),
    ((ice.DecimalType,), "decimal"),
    ((ice.TimestampType, ice.TimestamptzType), "timestamp"),
    ((ice.DateType,), "date"),
    ((ice.TimeType,), "time"),
    ((ice.BinaryType, ice.FixedType), "binary"),
)


def declared_columns(spec: TableSpec) -> dict[str, ColumnSpec]:
    """The declared columns of a table, by the name that they have in it."""
    return {spec.column(name): column for name, column in spec.columns.items()}


def variant_name(column: str, type_: ice.IcebergType) -> str:
    """The column beside `column` for values of a type that it cannot take; named as dlt names its own."""
    word = next((word for types, word in _VARIANTS if isinstance(type_, types)), "json")
    return f"{column}__v_{word}"


def new_schema(spec: TableSpec, fields: list[ice.NestedField], key: Sequence[str]) -> Schema:
    """The schema of a new table: documented columns, key columns required and identifying."""
    declared = declared_columns(spec)
    numbered = [
        ice.NestedField(
            number,
            field.name,
            field.field_type,
            required=field.name in key,
            doc=declared[field.name].description if field.name in declared else None,
        )
        for number, field in enumerate(fields, start=1)
    ]
    nested = [f.name for f in numbered if f.required and not isinstance(f.field_type, ice.PrimitiveType)]
    if nested:
        raise KeyViolation(
            f"{spec}: the key column {nested[0]!r} holds nested values, and a key is a plain value. Make what "
            f"identifies a row a column of its own in the source, and write `primary_key: <column>`."
        )
    floating = [f.name for f in numbered if f.required and isinstance(f.field_type, (ice.FloatType, ice.DoubleType))]
    if floating:
        raise KeyViolation(
            f"{spec}: the key column {floating[0]!r} holds floating point numbers, which Iceberg does not take "
            f"as an identifier. Declare it as a decimal or an integer (`columns: {{{floating[0]}: long}}`)."
        )
    # Fields inside of columns still have ids of their own making; identifiers need each id to be one field.
    schema = assign_fresh_schema_ids(Schema(*numbered))
    return Schema(*schema.fields, identifier_field_ids=[field.field_id for field in schema.fields if field.required])


def parse_type(text: str, table: str, column: str) -> ice.IcebergType:
    """The primitive Iceberg type that `text` names."""
    from pydantic import ValidationError
    from pyiceberg.exceptions import ValidationError as NotIceberg

    compact = "".join(text.lower().split()).replace(",", ", ")
    try:
        return ice.NestedField.model_validate({"id": 1, "name": column, "type": compact, "required": False}).field_type
    except (ValidationError, NotIceberg, ValueError) as error:
        raise ConfigurationError(
            f"{table}: column {column!r} is declared as {text!r}, which is no Iceberg type. Write one of: boolean, "
            f"int, long, float, double, decimal(p, s), date, time, timestamp, timestamptz, string, uuid, binary."
        ) from error


def iceberg_type(name: str, type_: pa.DataType) -> ice.IcebergType | None:
    """The Iceberg type that carries `type_`, with ids that mean nothing yet; None while only nulls are known."""
    arrow = carried(type_, name)
    if arrow is None:
        return None
    numbers = iter(range(1, 10_000))

    def mapped(field: pa.Field) -> MappedField:
        children = [mapped(child) for child in fields_of(field.type)]
        return MappedField(field_id=next(numbers), names=[field.name], fields=children)

    # pyiceberg's public conversion wants ids; the ones given here are replaced when the type joins a schema.
    field = pa.field(name, arrow)
    return pyarrow_to_schema(pa.schema([field]), name_mapping=NameMapping([mapped(field)])).fields[0].field_type
