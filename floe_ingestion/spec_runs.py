"""What floe.yaml may say about when things run: what starts loads, how old rows may be, retries, and maintenance."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from floe_ingestion.formats import AtLeastOne, Count, Cron, Flag, Number, TimeZone, short_for

_OPERATIONS = ("compact", "expire", "orphans")


class StrictModel(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleSpec(StrictModel):
    """When the source is materialised by itself; stopped until `enabled: true`."""

    cron: Cron = Field(examples=["'0 6 * * *'"])
    timezone: TimeZone = "UTC"
    enabled: Flag = False


class SensorSpec(StrictModel):
    """Loads the source when its files are others than before; stopped until `enabled: true`."""

    minimum_interval_seconds: AtLeastOne = 60
    """How long to wait between two looks."""
    enabled: Flag = False


class AutomationSpec(StrictModel):
    """One of Dagster's automation conditions for each table; stopped until `enabled: true`."""

    condition: Literal["eager", "on_cron", "on_missing"]
    cron: Cron | None = None
    timezone: TimeZone = "UTC"
    enabled: Flag = False

    @model_validator(mode="after")
    def _cron_where_it_counts(self) -> AutomationSpec:
        if self.condition == "on_cron" and self.cron is None:
            raise ValueError("`on_cron` needs a `cron`, e.g. cron: '0 6 * * *'")
        if self.condition != "on_cron" and (self.cron is not None or "timezone" in self.model_fields_set):
            raise ValueError(f"`cron` and `timezone` go with `condition: on_cron`, not with {self.condition}")
        return self


class FreshnessSpec(StrictModel):
    """How old the newest load may be; Dagster shows it at the asset and can alert."""

    max_age_hours: Number | None = Field(default=None, ge=0.02)
    """Older than this fails."""
    warn_age_hours: Number | None = Field(default=None, ge=0.02)
    """Older than this warns."""
    deadline: Cron | None = None
    """By when a load has to have come, instead of an age."""
    window_hours: Number | None = Field(default=None, ge=0.02)
    """How long before the deadline a load counts for it."""
    timezone: TimeZone = "UTC"

    @model_validator(mode="after")
    def _age_or_deadline(self) -> FreshnessSpec:
        age, deadline = self.max_age_hours, self.deadline
        if (age is None) == (deadline is None):
            raise ValueError("needs either `max_age_hours: 26`, or `deadline: '0 9 * * *'` with `window_hours: 3`")
        if deadline is not None and self.window_hours is None:
            raise ValueError("a `deadline` needs `window_hours`, how long before it a load counts, e.g. 3")
        if age is not None and (self.window_hours is not None or "timezone" in self.model_fields_set):
            raise ValueError("`window_hours` and `timezone` go with `deadline`, not with `max_age_hours`")
        if self.warn_age_hours is not None and (age is None or self.warn_age_hours >= age):
            raise ValueError("`warn_age_hours` has to be less than `max_age_hours`")
        return self


Automation = Annotated[AutomationSpec, short_for("condition")]


class RetrySpec(StrictModel):
    """How often and how soon a transient failure is tried again."""

    max_retries: Count = 3
    delay_seconds: Number = Field(default=10.0, ge=0)
    backoff: Literal["exponential", "linear", "none"] = "exponential"
    jitter: Flag = True


class ExpireSpec(StrictModel):
    """Which snapshots stay; the others expire, with the files that only they name."""

    keep_last: AtLeastOne = 10
    """So many of each branch stay, however old they are."""
    keep_days: Number | None = Field(default=5.0, ge=0)
    """What is younger stays: more than the longest run or query takes. `null` lets the count alone decide."""


class CompactSpec(StrictModel):
    """When files are written anew, and how large they become."""

    target_file_bytes: AtLeastOne | None = None
    """The table's `write.target-file-size-bytes` where absent."""
    min_files: Annotated[int, Strict(), Field(ge=2)] = 5
    """At least so many small files of a partition become one."""


class OrphansSpec(StrictModel):
    """Which files that no snapshot names are deleted."""

    older_than_days: Number = Field(default=3.0, ge=1)
    """The files of a load that is running look like orphans, too."""


class MaintenanceSpec(StrictModel):
    """How tables are kept in shape; nothing happens that is not asked for."""

    expire: ExpireSpec | None = None
    compact: CompactSpec | None = None
    orphans: OrphansSpec | None = None
    schedule: ScheduleSpec | None = None

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of those that are asked for."""
        return tuple(name for name in _OPERATIONS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _asks_for_something(self) -> MaintenanceSpec:
        for name in _OPERATIONS:
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"`{name}` is empty. Write `{name}: {{}}` for its defaults, or leave it out")
        if not self.operations:
            raise ValueError("asks for nothing. Write at least one of `expire: {}`, `compact: {}`, `orphans: {}`")
        return self
