"""What floe.yaml may say about loads that nobody starts by the clock, and about how old rows may become."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from floe_ingestion.formats import AtLeastOne, Cron, Flag, Number, TimeZone
from floe_ingestion.spec_runs import StrictModel


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


def _condition_word(value: Any) -> Any:
    return {"condition": value} if isinstance(value, str) else value


Automation = Annotated[AutomationSpec, BeforeValidator(_condition_word)]
