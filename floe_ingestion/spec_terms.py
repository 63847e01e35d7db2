"""The types of columns and the terms of `partition_by`, as texts in Iceberg's words; read without pyiceberg."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from floe_ingestion.formats import did_you_mean, one_or_many

_TYPES = (
    *("boolean", "int", "long", "float", "double", "decimal(p, s)", "date", "time", "timestamp", "timestamptz"),
    *("string", "uuid", "binary"),
)
_RARE = ("timestamp_ns", "timestamptz_ns", "unknown")
_SIZED = re.compile(r"fixed\[\d+\]|decimal\((?P<digits>\d+),(?P<scale>\d+)\)")
_MOST_DIGITS = 38
# What databases, dlt and Arrow call them.
_ELSEWHERE = {
    **dict.fromkeys(("bigint", "int64", "uint32"), "long"),
    **dict.fromkeys(("integer", "smallint", "tinyint", "int32", "int16", "int8"), "int"),
    **dict.fromkeys(("float64", "real"), "double"),
    **dict.fromkeys(("text", "varchar", "char", "str", "json", "utf8"), "string"),
    **dict.fromkeys(("decimal", "numeric", "number"), "decimal(38, 9)"),
    **dict.fromkeys(("datetime", "timestamp_ntz"), "timestamp"),
    **dict.fromkeys(("bytes", "blob", "bytea"), "binary"),
    "timestamp_tz": "timestamptz",
    "bool": "boolean",
}

_TIMES = ("year", "month", "day", "hour")
_CALL = re.compile(r"(?P<name>[a-z]+)[(\[](?P<arguments>[^)\]]*)[)\]](?:\((?P<column>[^)]*)\))?\Z")


@dataclass(frozen=True)
class Term:
    """One part of `partition_by`: a column, and what is taken of it."""

    column: str
    function: str = "identity"
    number: int = 0
    """How many buckets, or how many characters or units."""


def valid_type(text: str) -> str:
    """A primitive type of Iceberg."""
    compact = "".join(text.lower().split())
    sized = _SIZED.fullmatch(compact)
    if compact in _TYPES or compact in _RARE or (sized and _fits(sized)):
        return text
    meant = _ELSEWHERE.get(compact.partition("(")[0])
    hint = f" Did you mean {meant!r}?" if meant and not sized else did_you_mean(compact, _TYPES)
    raise ValueError(f"{text!r} is no type of Iceberg. Write one of: {', '.join(_TYPES)}.{hint}")


def _fits(sized: re.Match[str]) -> bool:
    digits = sized["digits"]
    return digits is None or (1 <= int(digits) <= _MOST_DIGITS and int(sized["scale"]) <= int(digits))


def term_of(text: str) -> Term:
    """What a text in `partition_by` says; raises ValueError where that is nothing."""
    match = _CALL.match(text.replace(" ", ""))
    if match is None:
        return Term(text.strip())
    name, arguments = match["name"], match["arguments"].split(",")
    if match["column"]:
        arguments = [*arguments, match["column"]]
    if name in _TIMES and len(arguments) == 1 and arguments[0]:
        return Term(arguments[0], name)
    if name in ("bucket", "truncate") and len(arguments) == 2:
        number, column = arguments
        if number.isdigit() and int(number) > 0 and column:
            return Term(column, name, int(number))
        if column.isdigit() and int(column) > 0:
            raise ValueError(f"{text!r} has its number last. Write {name}({column}, {number})")
    raise ValueError(
        f"{text!r} is not understood. Write a column, year(c), month(c), day(c), hour(c), bucket(16, c) or "
        f"truncate(4, c)"
    )


def valid_term(text: str) -> str:
    """A term of `partition_by`, of a table whose columns may have any name."""
    term_of(text)
    return text


def _without_brackets(text: str) -> str:
    if re.search(r"[()\[\]]", term_of(text).column):  # in a table that a source lands in, no column has brackets
        raise ValueError(f"{text!r} is not understood. Write e.g. `day(c)`, in small letters, or a column alone")
    return text


ColumnType = Annotated[str, AfterValidator(valid_type)]
AnyTerm = Annotated[str, Field(min_length=1), AfterValidator(valid_term)]
AnyTerms = Annotated[tuple[AnyTerm, ...], BeforeValidator(one_or_many)]
PartitionTerms = Annotated[
    tuple[Annotated[AnyTerm, AfterValidator(_without_brackets)], ...], BeforeValidator(one_or_many)
]
