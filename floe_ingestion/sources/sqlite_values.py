"""Values of SQLite, whose columns take any: read as their column is declared, or refused by its name."""

from __future__ import annotations

from collections.abc import Callable
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
    """What is selected in the place of a column; None for the column itself."""
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
