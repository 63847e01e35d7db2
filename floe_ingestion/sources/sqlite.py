"""SQLite: its columns take any value, and it keeps times as text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import sqlalchemy as sa

from floe_ingestion.errors import SourceRejected

_FALSE = ("f", "false", "n", "no", "off", "0")
_TEXTS = frozenset({"GUID", "JSONB", "STRING", "UNIQUEIDENTIFIER", "UUID", "XML"})
"""Names of types that SQLAlchemy, as SQLite itself, takes for those of numbers."""
_PLACES = 9
"""Of numbers that are declared without."""
_EXACT = Context(prec=400)
_TIME = "%Y-%m-%d %H:%M:%f"


class _Words(sa.Text):
    """Text to everyone but SQLite, which keeps its digits as a number."""


def with_texts(table: sa.Table, connection: sa.Connection) -> None:
    """Let columns be texts whose type's name says so."""
    name = connection.dialect.identifier_preparer
    schema = f"{name.quote(table.schema)}." if table.schema else ""
    for row in connection.exec_driver_sql(f"pragma {schema}table_xinfo({name.quote(table.name)})"):
        if str(row[2]).upper().partition("(")[0].strip() in _TEXTS and row[1] in table.c:
            table.c[row[1]].type = _Words()


def read_as_declared(column: sa.Column[Any]) -> sa.ColumnElement[Any] | None:
    """What is selected in the place of a column, so that a value is as declared or refused; None for the column."""
    type_ = column.type
    if isinstance(type_, sa.Integer):
        # Arrow cuts 1.5 to 1, and refuses the text.
        is_real = sa.func.typeof(column) == "real"
        return sa.case((is_real, sa.cast(column, sa.Text)), else_=sa.type_coerce(column, sa.Text))
    if isinstance(type_, sa.Boolean):
        # To Python every text is true but an empty one.
        is_false = sa.func.lower(column).in_(_FALSE)
        return sa.case((is_false, sa.false()), else_=column)
    if isinstance(type_, (sa.JSON, _Words)):
        # Of JSON's null Python's reader makes none.
        return sa.cast(column, sa.Text)
    if isinstance(type_, (sa.Date, sa.DateTime, sa.Time)) or (isinstance(type_, sa.Numeric) and type_.asdecimal):
        return sa.type_coerce(column, _Told(column))
    return None


def query_by_cursor(query: Any, table: sa.Table, incremental: Any) -> Any:
    """The query by cursor, in words that SQLite answers right.

    SQLite keeps times as text, with or without fractions, and SQLAlchemy compares them as text: a row of
    exactly midnight sorts before `00:00:00.000000` and would be lost. dlt filters what comes back exactly, so
    that it is enough never to ask for too little.
    """
    last, end = incremental.get_current_range()
    column = table.c[incremental.get_cursor_column_name()]
    if last is None or incremental.last_value_func is not max or not isinstance(column.type, sa.DateTime):
        return query
    condition = between(column, last, end)
    if incremental.on_cursor_value_missing == "include":
        condition = sa.or_(condition, column.is_(None))
    query = table.select().where(condition)
    if incremental.row_order:
        query = query.order_by(column.asc() if incremental.row_order == "asc" else column.desc())
    return query


def between(column: sa.Column[Any], start: datetime, end: datetime | None) -> Any:
    """Whether a time lies in `start <= column < end`, for no row too few."""
    moment = sa.func.strftime(_TIME, column)
    inside = moment >= _text(start)
    if end is not None:
        # strftime knows milliseconds: the next one is asked for, so that nothing before `end` is missed.
        last = end + timedelta(milliseconds=1) if end.microsecond % 1000 else end
        inside = sa.and_(inside, moment < _text(last))
    # What strftime cannot read is no reason to leave a row out: reading the value will say what is wrong with it.
    return sa.or_(inside, sa.and_(moment.is_(None), column.is_not(None)))


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", "milliseconds")


class _Told(sa.types.TypeDecorator[Any]):
    """The type of a column, which names the column in its errors."""

    impl = sa.types.NullType
    cache_ok = False

    def __init__(self, column: sa.Column[Any]) -> None:
        super().__init__()
        self._column = column

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Callable[[Any], Any]:
        """Reads one value."""
        column, type_ = self._column, self._column.type
        processor = type_.dialect_impl(dialect).result_processor(dialect, coltype)
        read = _decimals(type_) if isinstance(type_, sa.Numeric) else processor

        def told(value: Any) -> Any:
            try:
                return value if value is None or read is None else read(value)
            except (ValueError, TypeError, ArithmeticError) as error:
                raise SourceRejected(
                    f"Table {column.table.name!r}, column {column.name!r}: {value!r} is not of its declared type "
                    f"{type_}. Correct it, leave it out with `where`, or load the column as text from a view."
                ) from error

        return told


def _decimals(type_: sa.Numeric[Any]) -> Callable[[Any], Decimal]:
    """Whole numbers exactly; of floating point ones the shortest that is read as them, at the declared places."""
    places = _PLACES if type_.precision is None else type_.scale or 0
    step = Decimal(1).scaleb(-places)

    def read(value: Any) -> Decimal:
        found = Decimal(repr(value) if isinstance(value, float) else value)
        return found.quantize(step, context=_EXACT) if isinstance(value, float) and found.is_finite() else found

    return read
