"""Texts of floe.yaml that have a form: names, owners, tags, times.

Each check returns its text or raises a ValueError; the types at the end are for the fields of models. What
Dagster has rules for follows Dagster's (`test_spec.py` compares them), so that a mistake is found with its
line in the file and not while definitions load.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping
from datetime import date, datetime, time, timezone
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, Strict

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME_PART = re.compile(r"[\w-]+")
_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}\b")
_TAG_KEY = re.compile(r"([A-Za-z0-9_.-]{1,63}/|dagster/kind/)?[A-Za-z0-9_.-]{1,63}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")
_GROUP = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

_ONE_PLACE = "Write `table: bronze.orders` (one resource) or `schema: bronze` (many)"
BOTH_PLACES = f"holds both `table` and `schema`. {_ONE_PLACE}"

_CRON_WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_CRON_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
)
_CRON_NUMBER = re.compile(r"(?<![/#\d])\d+")  # not the step of */15, nor the week of 5#2
_CRON_PART = re.compile(r"[\w*,/#?-]+")


def did_you_mean(met: str, known: Collection[str]) -> str:
    """` Did you mean 'x'?` for the known word that is nearest to `met`; empty where none is near."""
    near = nearest(met, known)
    return f" Did you mean {near!r}?" if near else ""


def number_of(number: int, noun: str) -> str:
    """`1 row`, `2 rows`, `1,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(text: str, most: int) -> str:
    """`text`, or its first `most` characters and `…`."""
    return text if len(text) <= most else f"{text[:most]}…"


def nearest(met: str, known: Collection[str]) -> str | None:
    """The word of `known` that `met` is probably a misspelling of."""
    spelled = {word.lower(): word for word in sorted(known)}
    near = difflib.get_close_matches(met.lower(), spelled, n=1)
    return spelled[near[0]] if near else None


def valid_name(value: str) -> str:
    """The name of a source."""
    if not _NAME.fullmatch(value):
        words = re.sub(r"[^A-Za-z0-9_]+", "_", value).strip("_") or "orders"
        suggestion = f"_{words}" if words[0].isdigit() else words
        raise ValueError(
            f"{value!r} is not a name. Write a letter or underscore, then letters, digits and underscores, "
            f"such as {suggestion!r}"
        )
    return value


def valid_namespace(value: str) -> str:
    """A namespace of the catalog; its levels are parted by dots."""
    return _dotted(value, "a schema", "bronze")


def valid_table(value: str) -> str:
    """A table with its namespace."""
    if "." not in value:
        raise ValueError(f"{value!r} names no schema. Write `table: bronze.{value.strip() or 'orders'}`")
    return _dotted(value, "a table with its schema", "bronze.orders")


def valid_table_part(value: str) -> str:
    """A table's name, or the beginning of one, without its namespace."""
    if "." in value:
        raise ValueError(f"{value!r} holds a dot. Write the name alone; the schema is `destination.schema`")
    return _dotted(value, "a table's name", "orders")


def valid_column(value: str) -> str:
    """The name of a column."""
    if not value.strip():
        raise ValueError("an empty text names no column. Write the column's name")
    return value


def valid_owner(value: str) -> str:
    """An owner as Dagster shows it: a person or a team."""
    if not _EMAIL.fullmatch(value) and not (value.startswith("team:") and len(value) > len("team:")):
        raise ValueError(f"{value!r} is no owner. Write an e-mail address, or a team such as 'team:data'")
    return value


def valid_tag_key(value: str) -> str:
    """The key of a Dagster tag."""
    if not _TAG_KEY.fullmatch(value):
        raise ValueError(
            f"{value!r} is no key of a tag. Write at most 63 letters, digits and any of . _ - "
            f"(after a prefix with / where you like), such as 'team/domain'"
        )
    return value


def valid_tag_value(value: str) -> str:
    """The value of a Dagster tag."""
    if not _TAG_VALUE.fullmatch(value):
        raise ValueError(f"{value!r} is no value of a tag. Write at most 63 letters, digits and any of . _ -")
    return value


def valid_op_tag(value: object) -> object:
    """The value of a tag that an engine reads: a text, or a mapping or list that becomes JSON."""
    try:
        text = json.dumps(value, allow_nan=False)
        same = json.loads(text) == value
    except (TypeError, ValueError):
        text, same = "", False
    if not same:
        raise ValueError("holds what JSON has no word for, such as a date. Put it in quotes")
    if "${" in text:
        raise ValueError("holds a variable, and tags are stored before a run expands any. Write the value itself")
    return value


def valid_group(value: str) -> str:
    """The name of a Dagster asset group."""
    if not _GROUP.fullmatch(value):
        raise ValueError(f"{value!r} is no group. Write letters, digits and underscores, levels parted by /")
    return value


def valid_pool(value: str) -> str:
    """The name of a Dagster concurrency pool."""
    if not value or re.search(r"\s", value):
        raise ValueError(f"{value!r} is no pool. Write a name without spaces")
    return value


def valid_cron(value: str) -> str:
    """A cron expression of five fields, or a word such as `@daily`."""
    if value.startswith("@"):
        if value not in _CRON_WORDS:
            raise ValueError(f"{value!r} is no cron word. Write one of {', '.join(_CRON_WORDS)}")
        return value
    fields = value.split()
    if len(fields) != len(_CRON_FIELDS) or not all(map(_CRON_PART.fullmatch, fields)):
        raise ValueError(f"{value!r} is no cron expression. Write five fields, such as '0 6 * * *'")
    for field, (what, low, high) in zip(fields, _CRON_FIELDS, strict=True):
        if not all(low <= int(number) <= high for number in _CRON_NUMBER.findall(field)):
            raise ValueError(f"{value!r} has {field!r} for its {what}. Write {low} to {high}")
    return value


def valid_zone(value: str) -> str:
    """The name of a time zone, as the IANA list writes it."""
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        hint = did_you_mean(value, available_timezones()) or " Write e.g. 'Europe/Berlin'"
        raise ValueError(f"{value!r} is no time zone of the IANA list.{hint}") from error
    return value


def valid_moment(value: object) -> object:
    """A date or a time, if it is one or a text that begins like one.

    pydantic would read the number 2024 as 2024 seconds after 1970.
    """
    if isinstance(value, date) or (isinstance(value, str) and _DAY.match(value)):
        return value
    raise ValueError(f"{value!r} is no date. Write e.g. 2024-01-31 or 2024-01-31T06:00:00Z")


def instant(value: date, zone: str) -> datetime:
    """`value` in UTC: a date is its midnight in `zone`, and a time without an offset is one of `zone`."""
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    local = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))
    try:
        return local.astimezone(timezone.utc)
    except OverflowError:  # the first and last day of the calendar have no UTC in some zones
        return local.replace(tzinfo=timezone.utc)


def mistake_of_place(table: str | None, namespace: str | None, prefix: str) -> str | None:
    """What is wrong with the place that a destination names, if anything is."""
    if table is not None and namespace is not None:
        return BOTH_PLACES
    if table is None and namespace is None:
        return f"holds neither `table` nor `schema`. {_ONE_PLACE}"
    if table is not None and prefix:
        return "`table_prefix` goes with `schema`; with `table`, write the whole name"
    return None


def one_or_many(value: object) -> object:
    """A plain text where a list belongs is a list of that text."""
    return (value,) if isinstance(value, str) else value


def short_for(*keys: str) -> BeforeValidator:
    """A plain text where a mapping belongs is what stands at its `keys`."""
    return BeforeValidator(lambda value: dict.fromkeys(keys, value) if isinstance(value, str) else value)


def _dotted(value: str, what: str, example: str) -> str:
    if "${" in value:
        raise ValueError(f"{value!r} holds a variable; assets are named before a run. Write e.g. {example!r}")
    if not all(map(_NAME_PART.fullmatch, value.split("."))):
        raise ValueError(f"{value!r} is not {what}. Write letters, digits, _ and -, such as {example!r}")
    return value


SourceName = Annotated[str, AfterValidator(valid_name)]
SchemaName = Annotated[str, AfterValidator(valid_namespace)]
TableName = Annotated[str, AfterValidator(valid_table)]
TablePart = Annotated[str, AfterValidator(valid_table_part)]
ColumnName = Annotated[str, AfterValidator(valid_column)]
Owners = Annotated[tuple[Annotated[str, AfterValidator(valid_owner)], ...], BeforeValidator(one_or_many)]
TagKey = Annotated[str, AfterValidator(valid_tag_key)]
Tags = Mapping[TagKey, Annotated[str, AfterValidator(valid_tag_value)]]
OpTags = Mapping[TagKey, Annotated[Any, BeforeValidator(valid_op_tag)]]
Group = Annotated[str, AfterValidator(valid_group)]
Pool = Annotated[str, AfterValidator(valid_pool)]
Cron = Annotated[str, AfterValidator(valid_cron)]
TimeZone = Annotated[str, AfterValidator(valid_zone)]
Moment = Annotated[datetime | date, BeforeValidator(valid_moment)]

# Strict, because pydantic would take "yes" for true, true for 1 and "5" for 5: what YAML read is what counts.
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=0)]
AtLeastOne = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Time = Annotated[datetime, Strict()] | Annotated[date, Strict()]
CursorValue = str | Annotated[int, Strict()] | Number | Time
