"""What is asked of a database's table: columns that have to be there, conditions, and bounds as a column holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from floe_ingestion.errors import SourceRejected
from floe_ingestion.formats import instant
from floe_ingestion.sources.base import Extraction
from floe_ingestion.sources.instants import as_moment, as_text
from floe_ingestion.sources.sql_types import base_of
from floe_ingestion.sources.sqlite import between, query_by_cursor
from floe_ingestion.staging import ColumnKind, Window

_POSTGRES = "sqlalchemy.dialects.postgresql"
_ORDERED = (sa.Numeric, sa.Float, sa.Integer, sa.DateTime, sa.Time, sa.String, sa.Uuid, sa.LargeBinary, postgresql.OID)
_KINDS: tuple[tuple[type[sa.types.TypeEngine[Any]], ColumnKind], ...] = (
    (sa.Date, "date"),
    (sa.String, "text"),
    (sa.Integer, "integer"),
)


def require_columns(table: sa.Table, names: Sequence[str]) -> None:
    """Raise `SourceRejected` where one is missing; dlt leaves it out in silence."""
    if missing := [name for name in names if name not in table.c]:
        raise SourceRejected(
            f"Table {table.name!r} has no column {', '.join(map(repr, missing))}. "
            f"Correct `included_columns`, which names it. The others are there."
        )


def cursor_column(table: sa.Table, path: str) -> sa.Column[Any]:
    """The column to load by; raises `SourceRejected` where there is none of the name."""
    if path not in table.c:
        raise SourceRejected(
            f"Table {table.name!r} has no column {path!r} to load by. "
            f"Write `incremental: {{cursor_path: …}}` with one of: {', '.join(table.c.keys())}."
        )
    return table.c[path]


def require_order(column: sa.Column[object], dialect: str) -> None:
    """Raise `SourceRejected` for a cursor whose text, which is what lands, has another order than the database's."""
    type_ = base_of(column.type)
    unordered = isinstance(type_, (sa.Enum, sa.ARRAY, sa.JSON)) or (isinstance(type_, sa.Time) and type_.timezone)
    unknown = isinstance(type_, sa.types.NullType) and dialect == "postgresql"
    own = type(type_).__module__.startswith(_POSTGRES) and not isinstance(type_, _ORDERED)
    if unordered or unknown or own:
        name = "that SQLAlchemy does not know" if unknown else getattr(type_, "name", None) or type_
        raise SourceRejected(
            f"Table {column.table.name!r}, column {column.name!r}: values of type {name} land as text, which has "
            f"another order than the database's, so that rows would be passed over. Load by another column, or by one "
            f"of a view that is a number or a time."
        )


def narrowing(where: str | None, window: Window | None) -> Callable[..., Any]:
    """What narrows dlt's query: the user's condition, and the window of a partitioned run."""

    def narrow(query: Any, table: sa.Table, incremental: Any, engine: sa.Engine) -> Any:
        if engine.dialect.name == "sqlite" and incremental is not None:
            query = query_by_cursor(query, table, incremental)
        if window is not None:
            query = query.where(_window_condition(table, window, engine.dialect.name))
        if where:
            query = query.where(condition(where))
        return query

    return narrow


def condition(where: str) -> Any:
    """The user's condition as it is: with colons that name no parameter, and a comment that ends with its line."""
    return sa.literal_column(f"({where}\n)", sa.Boolean())


def _window_condition(table: sa.Table, window: Window, dialect: str) -> Any:
    if window.column not in table.c:
        raise SourceRejected(
            f"Table {table.name!r} has no column {window.column!r} to partition by. "
            f"Write `partitions: {{column: …}}` with one of: {', '.join(table.c.keys())}."
        )
    column = table.c[window.column]
    if window.values:
        return column.in_([int(value) if isinstance(column.type, sa.Integer) else value for value in window.values])
    kind = _kind(column)
    # Of texts and dates whole days are asked for; which rows are of the window, the table's type decides.
    start, end = (window.whole_days() if kind in ("text", "date") else window).bounds(kind)
    if dialect == "sqlite" and isinstance(start, datetime) and isinstance(end, datetime):
        return between(column, start, end)
    return sa.and_(column >= start, column < end)


def fitted(extraction: Extraction, table: sa.Table) -> Extraction:
    """With the first and last value of the cursor as its column holds them, however they were written."""
    cursor = extraction.cursor
    bounds = {"initial_value": cursor.initial_value, "end_value": cursor.end_value} if cursor else {}
    if cursor is None or not any(isinstance(value, (str, date)) for value in bounds.values()):
        return extraction
    column = cursor_column(table, cursor.cursor_path)
    held = cursor.model_copy(update={name: _as_held(column, value) for name, value in bounds.items()})
    return replace(extraction, table=extraction.table.model_copy(update={"incremental": held}))


def _as_held(column: sa.Column[Any], value: Any) -> Any:
    """A date, a time or its text in the terms of `column`; a date is its midnight, and no offset means UTC."""
    if isinstance(column.type, sa.String):
        return as_text(value)
    moment = as_moment(value)
    if isinstance(column.type, sa.DateTime) and isinstance(moment, date):
        exact = instant(moment, "UTC")
        return exact if column.type.timezone else exact.replace(tzinfo=None)
    if isinstance(column.type, sa.Date) and isinstance(moment, datetime):
        return moment.date()
    return moment


def _kind(column: sa.Column[Any]) -> ColumnKind:
    type_ = column.type
    if isinstance(type_, sa.DateTime):
        return "timestamptz" if type_.timezone else "timestamp"
    for sql_type, kind in _KINDS:
        if isinstance(type_, sql_type):
            return kind
    raise SourceRejected(f"Column {column.name!r} is {type_}; partitions need a date, a time, text or an integer.")
