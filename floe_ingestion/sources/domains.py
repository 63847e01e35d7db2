"""Types of columns that SQLAlchemy does not reflect in full, asked of the database."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from floe_ingestion.errors import SourceRejected
from floe_ingestion.sources.sql_types import base_of
from floe_ingestion.sources.sqlite_values import with_texts

_NUMERICS = """
    with recursive found (name, type, digits) as (
        select attname, atttypid, atttypmod from pg_attribute where attrelid = cast(:table as regclass) and attnum > 0
        union all
        select name, typbasetype, greatest(digits, typtypmod) from found join pg_type on oid = type and typtype = 'd'
    ) select name, format_type(type, digits) from found where type = cast('numeric' as regtype)
"""
_OWN = "sqlalchemy.dialects.postgresql"
_ORDERED = (sa.Numeric, sa.Float, sa.Integer, sa.DateTime, sa.Time, sa.String, sa.Uuid, sa.LargeBinary, postgresql.OID)
_DIGITS = re.compile(r"numeric\((\d+),(-?\d+)\)")


def complete(table: sa.Table, url: str, connected: Callable[[], AbstractContextManager[sa.Connection]]) -> None:
    """Give columns the types that they have: SQLite's by their names, PostgreSQL's domains with their digits."""
    if url.startswith("sqlite"):
        with connected() as connection:
            with_texts(table, connection)
    elif any(isinstance(column.type, postgresql.DOMAIN) for column in table.columns):
        with connected() as connection:
            _with_digits(table, connection)


def _with_digits(table: sa.Table, connection: sa.Connection) -> None:
    name = quoted(table)
    for column, type_ in connection.execute(sa.text(_NUMERICS), {"table": name}):
        match = _DIGITS.fullmatch(type_)
        if match and column in table.c and isinstance(table.c[column].type, postgresql.DOMAIN):
            table.c[column].type = sa.Numeric(int(match[1]), int(match[2]))


def quoted(table: sa.Table) -> str:
    """The table's name as PostgreSQL reads it from a text; the driver's own dialect would double each %."""
    dialect: Any = postgresql.dialect
    return str(dialect(paramstyle="named").identifier_preparer.format_table(table))


def require_order(column: sa.Column[object], url: str) -> None:
    """Raise `SourceRejected` for a cursor whose text, which is what lands, has another order than the database's."""
    type_ = base_of(column.type)
    unordered = isinstance(type_, (sa.Enum, sa.ARRAY, sa.JSON)) or (isinstance(type_, sa.Time) and type_.timezone)
    unknown = isinstance(type_, sa.types.NullType) and url.startswith("postgres")
    own = type(type_).__module__.startswith(_OWN) and not isinstance(type_, _ORDERED)
    if unordered or unknown or own:
        name = "that SQLAlchemy does not know" if unknown else getattr(type_, "name", None) or type_
        raise SourceRejected(
            f"Table {column.table.name!r}, column {column.name!r}: values of type {name} land as text, which has "
            f"another order than the database's, so that rows would be passed over. Load by another column, or by one "
            f"of a view that is a number or a time."
        )
