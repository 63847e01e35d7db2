"""Times as JSON sends them: ISO text, compared by the instant that it means and not letter by letter.

As text `…00:00Z` sorts behind `…00:00.5Z`, and `…12Z` behind `…123Z`, so that a cursor kept by comparing text would
skip rows whenever an API writes seconds with and without fractions, or in more than one time zone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from floe_ingestion.spec import IncrementalSpec

if TYPE_CHECKING:
    import pyarrow as pa

_ISO = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s?(Z|z|UTC|[+-]\d{2}(?::?\d{2})?)?)?"
)
_SHORTEST_TIME = len("2024-01-01T00:00:00Z")
_NANOSECONDS = 1_000_000_000
_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIRST_DAY = _EPOCH.toordinal()


def instant_of(value: object) -> int | None:
    """Nanoseconds from 1970 to `value`, a date, a time or ISO text; None for what is none of these.

    A date is its midnight. A time without an offset is UTC, as dlt reads it when it lands.
    """
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        whole = int((moment.replace(microsecond=0) - _EPOCH).total_seconds())
        return whole * _NANOSECONDS + moment.microsecond * 1000
    if isinstance(value, date):
        return (value.toordinal() - _FIRST_DAY) * _DAY * _NANOSECONDS
    if isinstance(value, str) and (match := _ISO.fullmatch(value.strip())):
        return _of_match(match)
    return None


def latest(values: Sequence[Any]) -> Any:
    """The greatest of `values` as dlt's incremental asks for it: times by their instant, all else as it is.

    Of equal ones the first, which dlt gives as the row's own: it takes a row again rather than lose it.
    """
    if len({isinstance(value, (int, float)) for value in values}) == 2 and any(type(value) is str for value in values):
        raise TypeError("numbers and texts have no order; write the first and last value as the source writes its own")
    return max(values, key=_rank)


def ranks_of(values: Sequence[Any], *, as_they_are: bool = False) -> pa.Array | None:
    """What `latest` compares `values` by, or `max` them `as_they_are`; None where some cannot be compared so."""
    import pyarrow as pa

    kinds = set(map(type, values)) - {type(None)}
    if kinds not in ({str}, {int}):
        return None
    if not as_they_are and kinds == {str}:
        if (at_once := _instants_of(values)) is not None:
            return at_once
        values = [None if value is None else _rank(value) for value in values]
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) != 1:
        return None
    # In nanoseconds the years behind 2262 need more than 64 bits.
    for type_ in (pa.int64(), pa.decimal128(38, 0)) if kinds == {int} else (pa.string(),):
        with suppress(pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
            return pa.array(values, type_)
    return None


def as_text(value: Any) -> Any:
    """A date or time as ISO text, UTC written as `Z`; anything else unchanged."""
    if isinstance(value, datetime):
        in_utc = value.tzinfo is not None and not value.utcoffset()
        return value.replace(tzinfo=None).isoformat() + "Z" if in_utc else value.isoformat()
    return value.isoformat() if isinstance(value, date) else value


def as_moment(value: object) -> object:
    """ISO text as the date or the time that it means; anything else unchanged."""
    match = _ISO.fullmatch(value.strip()) if isinstance(value, str) else None
    instant = _of_match(match) if match else None
    if match is None or instant is None:
        return value
    moment = _EPOCH + timedelta(seconds=instant // _NANOSECONDS)
    if match[4] is None:
        return moment.date()
    moment = moment.replace(microsecond=instant % _NANOSECONDS // 1000)
    return moment if match[8] else moment.replace(tzinfo=None)


def as_utc(value: object) -> datetime | None:
    """The moment that a cursor's value or a bound of floe.yaml means; None for what is no time."""
    instant = instant_of(value)
    return None if instant is None else _EPOCH + timedelta(microseconds=instant // 1000)


def cursor_arguments(spec: IncrementalSpec) -> dict[str, Any]:
    """The arguments of dlt's incremental for rows of JSON, whose times are text."""
    given = {
        "cursor_path": spec.cursor_path,
        "initial_value": as_text(spec.initial_value),
        "end_value": as_text(spec.end_value),
        "lag": spec.lag,
        "row_order": spec.row_order,
        "on_cursor_value_missing": spec.on_cursor_value_missing,
        # dlt lags nothing but its own max, which compares text letter by letter; a lag covers what that misses.
        "last_value_func": max if spec.lag else latest,
    }
    return {key: value for key, value in given.items() if value is not None}


def _instants_of(values: Sequence[Any]) -> pa.Array | None:
    """`instant_of` each of `values`, in a twentieth of its time; None if some are not of the form that most have."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        texts = pa.array(values, pa.string())
        # What is shorter than a time with an offset may be one to Arrow alone.
        if (pc.min(pc.binary_length(texts)).as_py() or 0) < _SHORTEST_TIME:
            return None
        return texts.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        return None


def _rank(value: Any) -> Any:
    instant = instant_of(value)
    return value if instant is None else instant


def _of_match(match: re.Match[str]) -> int | None:
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _FIRST_DAY
    except ValueError:
        return None
    seconds = int(hour or 0) * 3600 + int(minute or 0) * 60 + int(second or 0)
    return (days * _DAY + seconds - _seconds_of(offset)) * _NANOSECONDS + int((fraction or "").ljust(9, "0"))


def _seconds_of(offset: str | None) -> int:
    if offset is None or offset in ("Z", "z", "UTC"):
        return 0
    digits = offset[1:].replace(":", "").ljust(4, "0")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    return -seconds if offset[0] == "-" else seconds
