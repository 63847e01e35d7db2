"""Times in SQLite, which keeps them as text: queries for them in words that it answers right."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

_SQLITE_TIME = "%Y-%m-%d %H:%M:%f"


def query_by_cursor(query: Any, table: sa.Table, incremental: Any) -> Any:
    """The query by cursor, in words that SQLite answers right.

    SQLite keeps times as text, with or without fractions, and SQLAlchemy compares them as text: a row of
    exactly midnight sorts before `00:00:00.000000` and would be lost. dlt filters what comes back exactly, so
    that it is enough never to ask for too little.
    """
    import sqlalchemy as sa

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
    import sqlalchemy as sa

    moment = sa.func.strftime(_SQLITE_TIME, column)
    inside = moment >= start.strftime("%Y-%m-%d %H:%M:%S.") + f"{start.microsecond // 1000:03d}"
    if end is not None:
        # strftime knows milliseconds: the next one is asked for, so that nothing before `end` is missed.
        last = end + timedelta(milliseconds=1) if end.microsecond % 1000 else end
        inside = sa.and_(inside, moment < last.strftime("%Y-%m-%d %H:%M:%S.") + f"{last.microsecond // 1000:03d}")
    # What strftime cannot read is no reason to leave a row out: reading the value will say what is wrong with it.
    return sa.or_(inside, sa.and_(moment.is_(None), column.is_not(None)))
