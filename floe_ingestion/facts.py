"""What a source says of its columns beside their types: what they mean, whether they may be empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from floe_ingestion.naming import normalize_column
from floe_ingestion.spec import ColumnSpec, TableSpec
from floe_ingestion.staging import FOREIGN_KEYS, ColumnFacts, ForeignKey

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource


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
