"""What floe.yaml may say about partitions: which there are, and how many of them one run loads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from floe_ingestion.formats import AtLeastOne, Moment, TimeZone, instant, one_or_many
from floe_ingestion.spec_runs import StrictModel

PartitionType = Literal["hourly", "daily", "weekly", "monthly", "static", "dynamic"]
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(one_or_many)]

_BEGINS = {"hourly": "an hour", "daily": "a day", "weekly": "a day", "monthly": "a month"}


class PartitionsSpec(StrictModel):
    """How an asset is partitioned; materialising a partition replaces the rows of its own window."""

    type: PartitionType
    column: str = Field(min_length=1, examples=["created_at"])
    """The column that says to which partition a row belongs."""
    start: Moment | None = None
    end: Moment | None = None
    """Exclusive; open where absent."""
    timezone: TimeZone = "UTC"
    keys: Names = ()
    name: Name | None = None
    """dynamic: under which name Dagster's instance keeps the keys; assets may share it."""
    max_partitions_per_run: AtLeastOne | None = None
    """A backfill is split into runs of so many partitions; one run for all of them where absent."""
    outside_window: Literal["drop", "error"] = "drop"
    """Rows that the source sends beside those it was asked for: left out and counted, or an error."""
    start_param: str | None = None
    """rest_api: the request parameter that takes the start of a window, as ISO text in UTC."""
    end_param: str | None = None

    @property
    def by_keys(self) -> bool:
        """Whether the column holds a partition's key itself, and no moment within it."""
        return self.type in ("static", "dynamic")

    @model_validator(mode="after")
    def _complete(self) -> PartitionsSpec:
        mistakes = list(self._mistakes_of_keys() if self.by_keys else self._mistakes_of_time())
        if self.name is not None and self.type != "dynamic":
            mistakes.append("`name` belongs to dynamic partitions, whose keys Dagster keeps under it")
        if mistakes:
            raise ValueError(". ".join(mistakes))
        return self

    def _mistakes_of_keys(self) -> Iterator[str]:
        if self.type == "static" and not self.keys:
            yield "static partitions need their `keys`, e.g. keys: [eu, us]"
        if twice := sorted({key for key in self.keys if self.keys.count(key) > 1}):
            yield f"`keys` holds {', '.join(map(repr, twice))} twice. Keep one of them"
        if self.type == "dynamic" and self.name is None:
            yield "dynamic partitions need a `name`, under which Dagster keeps their keys, e.g. name: regions"
        if self.type == "dynamic" and self.keys:
            yield "`keys` belong to static partitions; those of dynamic ones are added in Dagster"
        if self.start is not None or self.end is not None:
            yield f"`start` and `end` belong to partitions by time; {self.type} ones follow from their keys"

    def _mistakes_of_time(self) -> Iterator[str]:
        start, end = self.start, self.end
        if start is None:
            yield f"{self.type} partitions need a `start`, e.g. start: 2024-01-01"
        elif end is not None and instant(end, self.timezone) <= instant(start, self.timezone):
            yield f"the end, {end}, is not after the start, {start}. Write an `end` after the `start`"
        else:
            yield from self._between_two("start", start)
            yield from self._between_two("end", end) if end is not None else ()
        if self.keys:
            yield f"`keys` belong to static partitions; {self.type} ones follow from `start` and `end`"

    def _between_two(self, key: str, moment: date) -> Iterator[str]:
        """A bound inside a partition: Dagster has whole ones only, and would pass over that one in silence."""
        local = local_time(moment, self.timezone)
        before = _beginning(local, self.type)
        if before != local:
            after = _following(before, self.type)
            yield (
                f"the {key}, {moment}, is not where {_BEGINS[self.type]} begins in {self.timezone}, and there are "
                f"whole partitions only. Write {key}: {_written(before)} or {key}: {_written(after)}"
            )


def local_time(moment: date, zone: str) -> datetime:
    """`moment` on the clocks of `zone`, without an offset."""
    return instant(moment, zone).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _beginning(local: datetime, type_: PartitionType) -> datetime:
    """Where the hour, day or month of `local` begins; a week begins on any day."""
    hour = local.replace(minute=0, second=0, microsecond=0)
    if type_ == "hourly":
        return hour
    return hour.replace(hour=0, day=1) if type_ == "monthly" else hour.replace(hour=0)


def _following(beginning: datetime, type_: PartitionType) -> datetime:
    if type_ == "hourly":
        return beginning + timedelta(hours=1)
    return _beginning(beginning + timedelta(days=31), type_) if type_ == "monthly" else beginning + timedelta(days=1)


def _written(moment: datetime) -> str:
    """As floe.yaml writes it: a date where it is one."""
    return moment.date().isoformat() if moment == _beginning(moment, "daily") else moment.isoformat()
