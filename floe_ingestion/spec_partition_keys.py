"""Whether a column can tell to which partition a row belongs, as far as its declared type says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from floe_ingestion.spec import TableSpec


def _moment(key: str) -> datetime:
    return datetime.fromisoformat(key.replace("Z", "+00:00"))


_READ: dict[str, Callable[[str], Any]] = {
    "string": str,
    **dict.fromkeys(("int", "long"), int),
    **dict.fromkeys(("float", "double"), float),
    "decimal": Decimal,
    "boolean": lambda key: {"true": True, "false": False}[key.lower()],
    "date": date.fromisoformat,
    **dict.fromkeys(("timestamp", "timestamptz"), _moment),
}
"""What makes a value of the key of a partition, by the word of its column's type."""
_COMPARED = ("date", "timestamp", "timestamptz", "string", "int", "long")
"""Types of columns that windows of time are compared with."""


def mistake_of_column(table: TableSpec) -> str | None:
    """What is wrong between the partitions of `table` and the type that is declared for their column."""
    partitions = table.partitions
    if partitions is None:
        return None
    column = table.column(partitions.column)
    declared = next((spec.type for name, spec in table.columns.items() if table.column(name) == column), None)
    if declared is None:
        return None
    word = "".join(declared.lower().split()).partition("(")[0]
    if word not in (_READ if partitions.by_keys else _COMPARED):
        known = "text, numbers, dates or times" if partitions.by_keys else "dates, times, text or whole numbers"
        return (
            f"`column` is {partitions.column!r}, which {table} declares as {declared}; partitions need a column of "
            f"{known}. Choose another, or make it text with `columns: {{{partitions.column}: string}}`"
        )
    if wrong := [key for key in partitions.keys if not _is_one(key, word)]:
        return (
            f"`keys` holds {wrong[0]!r}, which is no value of {partitions.column!r}: {table} declares it as "
            f"{declared}. Write each key as a row has it there, or another `column`"
        )
    return None


def _is_one(key: str, word: str) -> bool:
    try:
        _READ[word](key)
    except (ValueError, KeyError, InvalidOperation):
        return False
    return True
