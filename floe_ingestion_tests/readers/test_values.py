"""Each reader finds in each table what its source had, with and without a filter.

Where a reader is different, that is written here and in docs/readers.md, and noticed when it changes.
"""

from __future__ import annotations

from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pyiceberg.table import Table
from pyiceberg.types import ListType, MapType, StringType, StructType, UUIDType

from floe_ingestion_tests.lake import Lake, Row, in_order
from floe_ingestion_tests.readers.asking import Filter
from floe_ingestion_tests.readers.conftest import Reader
from floe_ingestion_tests.readers.tables import NAMES, Written

UNREADABLE = {
    ("spark", "times"): "Spark does not support time fields",
    ("spark", "by_fixed"): "Malformed data",
    ("daft", "by_uuid"): "Cannot cast UUID",
    ("chdb", "by_uuid"): "Cannot parse uuid",
}
UNFILTERABLE = {
    ("daft", "by_piece"): "Duplicate Partitioning Columns",
    ("daft", "respecced"): "not found in schema",
}


def plain(rows: list[Row], table: Table) -> list[Row]:
    """`rows` in the types of Python: readers have UUIDs as text or bytes, maps as dictionaries, and texts as bytes."""
    types = {field.name: field.field_type for field in table.schema().fields}
    return [{name: _plain(value, types[name]) for name, value in row.items()} for row in rows]


def _plain(value: Any, type_: Any) -> Any:
    if value is None:
        return None
    if isinstance(type_, ListType):
        return [_plain(each, type_.element_type) for each in value]
    if isinstance(type_, MapType):
        pairs = value.items() if isinstance(value, dict) else value
        return [(_plain(key, type_.key_type), _plain(each, type_.value_type)) for key, each in pairs]
    if isinstance(type_, StructType):
        return {field.name: _plain(value[field.name], field.field_type) for field in type_.fields}
    if isinstance(type_, UUIDType) and isinstance(value, (str, bytes)):
        return UUID(value) if isinstance(value, str) else UUID(bytes=value)
    if isinstance(type_, StringType) and isinstance(value, bytes):
        return value.decode()
    return value


def as_seen_by(name: str, rows: list[Row], table: Table) -> list[Row]:
    """What a reader that cannot have everything makes of `rows`."""
    types = {field.name: field.field_type for field in table.schema().fields}
    if name == "chdb":
        return [{column: in_clickhouse(value, types[column]) for column, value in row.items()} for row in rows]
    if name in ("pyiceberg", "polars-pyiceberg"):
        structs = [
            column
            for column, type_ in types.items()
            if isinstance(type_, ListType) and isinstance(type_.element_type, StructType)
        ]
        return [{**row, **{column: row[column] or [] for column in structs}} for row in rows]
    return rows


def in_clickhouse(value: Any, type_: Any) -> Any:
    """It knows no missing list, map or struct, no time without a zone, and of a time of day the seconds alone."""
    if isinstance(type_, ListType):
        return [in_clickhouse(each, type_.element_type) for each in value or ()]
    if isinstance(type_, MapType):
        return [(key, in_clickhouse(each, type_.value_type)) for key, each in value or ()]
    if isinstance(type_, StructType):
        return {field.name: in_clickhouse((value or {}).get(field.name), field.field_type) for field in type_.fields}
    if isinstance(value, datetime):
        return value.replace(tzinfo=timezone.utc)
    if isinstance(value, time):
        return (value.hour * 60 + value.minute) * 60 + value.second
    return value


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_finds_what_the_source_had(
    reader: Reader, name: str, written: dict[str, Written], written_lake: Lake
) -> None:
    table = written_lake.table(written[name].name)
    if (message := UNREADABLE.get((reader.name, name))) is not None:
        with pytest.raises(Exception, match=message):
            reader.read(table, None)
        return

    found = plain(reader.read(table, None), table)

    assert in_order(found) == in_order(as_seen_by(reader.name, written[name].rows, table))


FILTERS = (
    Filter("id", "=", 7),
    Filter("id", ">=", 9),
    Filter("customer", "=", "customer 2 of the länger name"),
    Filter("customer", "<", "customer 2"),
    Filter("amount", "=", Decimal("-7.98")),
    Filter("amount", "<", Decimal("-8.99")),
    Filter("sold", "=", date(2024, 1, 2)),
    Filter("sold", ">=", date(2024, 1, 3)),
    Filter("at", "=", datetime(2024, 1, 1, 14, 0, 0, 2, tzinfo=timezone.utc)),
    Filter("at", "<", datetime(2024, 1, 2, tzinfo=timezone.utc)),
)


@pytest.mark.parametrize("name", ["by_day", "by_bucket", "by_piece", "respecced", "merged"])
def test_a_filter_finds_the_rows_that_it_names(
    reader: Reader, name: str, written: dict[str, Written], written_lake: Lake
) -> None:
    """A wrong bound, partition or bucket would keep a reader from the file that holds them."""
    table = written_lake.table(written[name].name)
    if (message := UNFILTERABLE.get((reader.name, name))) is not None:
        with pytest.raises(Exception, match=message):
            all(reader.read(table, where) is not None for where in FILTERS)
        return
    met = 0
    for where in FILTERS:
        expected = [row for row in written[name].rows if where.holds(row)]
        found = plain(reader.read(table, where), table)
        assert in_order(found) == in_order(as_seen_by(reader.name, expected, table)), where
        met += len(expected)
    assert met >= len(FILTERS)
