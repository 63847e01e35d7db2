"""Readers that live in this environment."""

from __future__ import annotations

from datetime import date
from typing import Any

from pyiceberg.expressions import AlwaysTrue, BooleanExpression, EqualTo, GreaterThanOrEqual, LessThan
from pyiceberg.table import Table

from floe_ingestion_tests.lake import Row, duckdb_connection
from floe_ingestion_tests.readers.asking import Filter

_PREDICATES = {"=": EqualTo, "<": LessThan, ">=": GreaterThanOrEqual}


def read_by_pyiceberg(table: Table, where: Filter | None) -> list[Row]:
    condition: BooleanExpression = AlwaysTrue()
    if where is not None:
        value = where.value.isoformat() if isinstance(where.value, date) else where.value
        condition = _PREDICATES[where.operator](where.column, value)
    return table.scan(row_filter=condition).to_arrow().to_pylist()


def read_by_duckdb(table: Table, where: Filter | None) -> list[Row]:
    condition = where.sql("duckdb") if where is not None else "true"
    query = f"select * from iceberg_scan('{table.metadata_location}') where {condition}"
    return duckdb_connection().sql(query).to_arrow_table().to_pylist()


def read_by_polars(table: Table, where: Filter | None, way: Any) -> list[Row]:
    """`way` is `native`, where Polars plans the scan by itself, or `pyiceberg`."""
    import polars as pl

    frame = pl.scan_iceberg(table.metadata_location, reader_override=way)
    if where is not None:
        column, value = pl.col(where.column), pl.lit(where.value)
        frame = frame.filter({"=": column == value, "<": column < value, ">=": column >= value}[where.operator])
    return frame.collect().to_arrow().to_pylist()
