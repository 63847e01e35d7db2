"""What is known of a table before its first row: by the source, and by the columns that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from floe_ingestion.naming import normalize_column
from floe_ingestion.spec import ColumnSpec, TableSpec
from floe_ingestion.staging import FOREIGN_KEYS, ColumnFacts, ForeignKey

if TYPE_CHECKING:
    import pyarrow as pa
    from dlt.common.schema import Schema
    from dlt.extract.resource import DltResource

    from floe_ingestion.row_types import RowTypes


def told_by(resource: DltResource) -> Mapping[str, Any] | None:
    """The table as the resource tells it before any row, in dlt's words; None where it goes by its rows."""
    from dlt.extract.exceptions import DataItemRequiredForDynamicTableHints

    try:
        return resource.compute_table_schema()
    except DataItemRequiredForDynamicTableHints:
        return None


def facts_of(told: Mapping[str, Any] | None) -> dict[str, ColumnFacts]:
    """By the name of the column in the table."""
    return {
        normalize_column(name): ColumnFacts(column.get("description"), column.get("nullable", True) is not False)
        for name, column in (told or {}).get("columns", {}).items()
    }


def foreign_keys_of(told: Mapping[str, Any] | None, tables: Sequence[TableSpec]) -> tuple[ForeignKey, ...]:
    """What the source says of them; `tables` are all that it loads."""
    landed = {table.resource: table.identifier for table in tables}
    return tuple(
        ForeignKey(
            columns=tuple(map(normalize_column, key["columns"])),
            table=key["table"],
            referenced=tuple(map(normalize_column, key["referenced"]))
            if key["table"] in landed
            else tuple(key["referenced"]),
            landed=landed.get(key["table"], ()),
        )
        for key in (told or {}).get(FOREIGN_KEYS, ())
    )


def documented(spec: TableSpec, facts: Mapping[str, ColumnFacts]) -> TableSpec:
    """`spec` with what the source says of columns that floe.yaml does not describe."""
    columns = {normalize_column(name): column for name, column in spec.columns.items()}
    for name, fact in facts.items():
        column = columns.get(name, ColumnSpec())
        if fact.description and column.description is None:
            columns[name] = column.model_copy(update={"description": fact.description})
    return spec.model_copy(update={"columns": columns})


def schema_of(spec: TableSpec, known: pa.Schema | None) -> Schema:
    """dlt's schema of the source; it knows the table's columns, so that rows are typed as they were before."""
    from dlt.common.schema import Schema
    from dlt.common.schema.utils import new_table

    from floe_ingestion.sources.known_columns import told_to_dlt

    schema = Schema(spec.source.lower())
    if columns := told_to_dlt(known or ()):
        schema.update_table(new_table(spec.name, columns=list(columns.values())))
    return schema


def types_of(
    spec: TableSpec, schema: Schema, resource: DltResource, told: Mapping[str, Any] | None, known: pa.Schema | None
) -> RowTypes | None:
    """What makes Arrow of the rows of `resource`; None where it asks dlt to do more with them than to type them.

    `told` is what the resource tells of its table before any row, None where that depends on them; `known` are the
    table's columns.
    """
    from floe_ingestion.row_types import RowTypes

    if told is None or resource.validator is not None or "schema_contract" in told:
        return None
    return RowTypes(spec, schema, told.get("columns", {}), known)
