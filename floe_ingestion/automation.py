"""`automation:` and `freshness:` of floe.yaml in Dagster's terms."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.spec_triggers import AutomationSpec, FreshnessSpec


def automation_condition(
    spec: AutomationSpec, source_asset: dg.AssetKey
) -> dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]:
    """The condition of a table that is read from `source_asset`."""
    if spec.condition == "eager":
        return dg.AutomationCondition.eager()
    # Nobody materialises the source asset, so that a condition which waits for it would wait for ever.
    source = dg.AssetSelection.assets(source_asset)
    if spec.condition == "on_missing":
        return dg.AutomationCondition.on_missing().ignore(source)
    assert spec.cron is not None
    return dg.AutomationCondition.on_cron(spec.cron, spec.timezone).ignore(source)


def freshness_policy(spec: FreshnessSpec, place: str) -> dg.FreshnessPolicy:
    """The policy; raises `ConfigurationError` for a window that is longer than the time between two deadlines."""
    if spec.deadline is None:
        assert spec.max_age_hours is not None
        warn = timedelta(hours=spec.warn_age_hours) if spec.warn_age_hours is not None else None
        return dg.FreshnessPolicy.time_window(timedelta(hours=spec.max_age_hours), warn)
    assert spec.window_hours is not None
    try:
        return dg.FreshnessPolicy.cron(spec.deadline, timedelta(hours=spec.window_hours), spec.timezone)
    except Exception as error:  # Dagster's own check, which knows the ticks of the cron expression
        raise ConfigurationError(
            f"{place}: `freshness` counts loads of the last {spec.window_hours:g} hours before each deadline, and "
            f"{spec.deadline!r} has deadlines closer together. Write fewer `window_hours`, or another `deadline`."
        ) from error
