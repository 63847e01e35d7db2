"""Cells of a spreadsheet as Arrow columns: what a number means stands in its format, not in the number."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from floe_ingestion.sources.instants import as_moment

_FIRST_DAY = datetime(1899, 12, 30)
_WITH_FRACTIONS = ("CURRENCY", "PERCENT", "SCIENTIFIC")
_DECIMALS = re.compile(r"\.[0#?]")
_MOST_EXACT = 2**53
_WORDS = {"true": True, "false": False}


@dataclass(frozen=True)
class CellError:
    """A formula that has no value, such as #DIV/0!."""

    type: str


def value_of(cell: Mapping[str, Any]) -> Any:
    """What a cell holds: None, a bool, an int, a float, a date, a time of day, a moment, a text or an error."""
    found = cell.get("effectiveValue", {})
    if "errorValue" in found:
        return CellError(found["errorValue"].get("type", "ERROR"))
    if "numberValue" in found:
        return _number(float(found["numberValue"]), cell.get("effectiveFormat", {}).get("numberFormat", {}))
    return found.get("boolValue", found.get("stringValue"))


def column(values: Sequence[Any], wanted: pa.DataType | None, known: pa.DataType | None, zone: str) -> pa.Array:
    """The values as one Arrow column: of the type that was declared, else that of the table, else what they are.

    `zone` is the spreadsheet's, whose times have no other. Raises `Misfit` where a value is not of the declared type.
    """
    if wanted is not None:
        return _fitted(values, wanted, zone)
    if known is not None:
        try:
            return _fitted(values, known, zone)
        except Misfit:
            pass  # then the contract of the table decides about the new type
    return _fitted(values, type_of(values), zone)


def type_of(values: Sequence[Any]) -> pa.DataType:
    """The one type that holds all of the values; text where they have nothing in common, null for none."""
    met = {type(value) for value in values if value is not None}
    if not met:
        return pa.null()
    if met <= {int, float}:
        return pa.float64() if float in met else pa.int64()
    if met <= {date, datetime}:
        return pa.timestamp("us") if datetime in met else pa.date32()
    single = {bool: pa.bool_(), time: pa.time64("us")}
    return single.get(met.pop(), pa.string()) if len(met) == 1 else pa.string()


class Misfit(ValueError):
    """A value that is not of its column's type; `index` says which."""

    def __init__(self, index: int, value: Any, type_: pa.DataType) -> None:
        self.index, self.value, self.type = index, value, type_
        super().__init__(f"{value!r} is no {type_}")


def text_of(value: Any) -> str:
    """A value as text: whole numbers without a point, times as ISO."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _MOST_EXACT else repr(value)
    return value.isoformat() if isinstance(value, (date, time)) else str(value)


def _number(value: float, format: Mapping[str, str]) -> Any:
    kind, pattern = format.get("type", ""), format.get("pattern", "")
    if kind in ("DATE", "DATE_TIME"):
        return _moment(value, kind)
    if kind == "TIME" and 0 <= value < 1:
        return _moment(value, "DATE_TIME").time()
    has_fraction = kind in _WITH_FRACTIONS or kind == "TIME" or _DECIMALS.search(pattern) is not None
    if value.is_integer() and abs(value) < _MOST_EXACT and not has_fraction:
        return int(value)
    return value


def _moment(days: float, kind: str) -> Any:
    # Of the fifteen digits of a spreadsheet five are the day's: a time is off by some microseconds.
    seconds = round(days % 1 * 86_400, 3)
    try:
        moment = _FIRST_DAY + timedelta(days=math.floor(days), seconds=seconds)
    except OverflowError:
        return days
    return moment.date() if kind == "DATE" and not seconds else moment


def _fitted(values: Sequence[Any], type_: pa.DataType, zone: str) -> pa.Array:
    convert = _converter(type_, zone)
    made = []
    for index, value in enumerate(values):
        try:
            made.append(None if value is None else convert(value))
        except (ValueError, TypeError, InvalidOperation, OverflowError) as error:
            raise Misfit(index, value, type_) from error
    try:
        return pa.array(made, pa.string() if convert is text_of and not pa.types.is_null(type_) else type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        index = next((at for at, value in enumerate(made) if not _takes(type_, value)), 0)
        raise Misfit(index, values[index], type_) from error


def _takes(type_: pa.DataType, value: Any) -> bool:
    try:
        pa.array([value], type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return False
    return True


def _converter(type_: pa.DataType, zone: str) -> Callable[[Any], Any]:
    if pa.types.is_integer(type_):
        return _whole
    if pa.types.is_floating(type_):
        return _real
    if pa.types.is_decimal(type_):
        return lambda value: Decimal(_digits(value))
    if pa.types.is_boolean(type_):
        return _truth
    if pa.types.is_date(type_):
        return _day
    if pa.types.is_time(type_):
        return lambda value: value if isinstance(value, time) else time.fromisoformat(_text(value))
    if pa.types.is_timestamp(type_):
        return lambda value: _in_zone(value, type_.tz, zone)
    # What is left, such as uuid, is cast from text where rows are staged.
    return text_of


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)
    return value.strip()


def _digits(value: Any) -> str:
    if isinstance(value, bool):
        raise ValueError(value)
    return text_of(value) if isinstance(value, (int, float)) else _text(value)


def _whole(value: Any) -> int:
    number = Decimal(_digits(value))
    if number != number.to_integral_value():
        raise ValueError(value)
    return int(number)


def _real(value: Any) -> float:
    return float(_digits(value))


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if (word := _text(value).lower()) not in _WORDS:
        raise ValueError(value)
    return _WORDS[word]


def _day(value: Any) -> date:
    moment = as_moment(value)
    if isinstance(moment, datetime):
        if moment.time() != time():
            raise ValueError(value)
        return moment.date()
    if isinstance(moment, date):
        return moment
    raise ValueError(value)


def _in_zone(value: Any, tz: str | None, zone: str) -> datetime:
    moment = as_moment(value)
    if not isinstance(moment, date):
        raise ValueError(value)
    at = moment if isinstance(moment, datetime) else datetime.combine(moment, time())
    if tz is None:
        if at.tzinfo is not None:
            raise ValueError(value)
        return at
    return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).astimezone(timezone.utc)
