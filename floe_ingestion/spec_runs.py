"""What floe.yaml may say about when things run: loads, their retries, and the maintenance of their tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

from floe_ingestion.formats import Count, Cron, Flag, Number, TimeZone


class StrictModel(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleSpec(StrictModel):
    """When the source is materialised by itself; stopped until `enabled: true`."""

    cron: Cron = Field(examples=["'0 6 * * *'"])
    timezone: TimeZone = "UTC"
    enabled: Flag = False


class RetrySpec(StrictModel):
    """How often and how soon a transient failure is tried again."""

    max_retries: Count = 3
    delay_seconds: Number = Field(default=10.0, ge=0)
    backoff: Literal["exponential", "linear", "none"] = "exponential"
    jitter: Flag = True


class ExpireSpec(StrictModel):
    """Which snapshots stay; the others expire, with the files that only they name."""

    keep_last: Annotated[int, Strict(), Field(ge=1)] = 10
    """So many of each branch stay, however old they are."""
    keep_days: Number | None = Field(default=5.0, ge=0)
    """What is younger stays: more than the longest run or query takes. `null` lets the count alone decide."""


class CompactSpec(StrictModel):
    """When files are written anew, and how large they become."""

    target_file_bytes: Annotated[int, Strict(), Field(ge=1)] | None = None
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

    @model_validator(mode="after")
    def _asks_for_something(self) -> MaintenanceSpec:
        for name in ("expire", "compact", "orphans"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"`{name}` is empty. Write `{name}: {{}}` for its defaults, or leave it out")
        if self.expire is None and self.compact is None and self.orphans is None:
            raise ValueError("asks for nothing. Write at least one of `expire: {}`, `compact: {}`, `orphans: {}`")
        return self
