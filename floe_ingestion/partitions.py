"""`partitions:` of floe.yaml as Dagster's partitions, and a run's partitions as the window that it loads."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import dagster as dg

from floe_ingestion.spec import PartitionsSpec
from floe_ingestion.staging import Window

_TIME_WINDOWS: dict[str, Any] = {
    "hourly": dg.HourlyPartitionsDefinition,
    "daily": dg.DailyPartitionsDefinition,
    "weekly": dg.WeeklyPartitionsDefinition,
    "monthly": dg.MonthlyPartitionsDefinition,
}


def partitions_definition(spec: PartitionsSpec) -> dg.PartitionsDefinition:
    """Dagster's partitions of `spec`."""
    if spec.type == "static":
        return dg.StaticPartitionsDefinition(list(spec.keys))
    start, end = _moment(spec.start), _moment(spec.end)
    made: dg.TimeWindowPartitionsDefinition = _TIME_WINDOWS[spec.type](
        start_date=start, end_date=end, timezone=spec.timezone
    )
    return made


def window_of(context: dg.AssetExecutionContext, spec: PartitionsSpec | None) -> Window | None:
    """The rows that this run is about: its partition, or its whole range of partitions; None if unpartitioned."""
    if spec is None or (not context.has_partition_key and not context.has_partition_key_range):
        return None
    if spec.type == "static":
        return Window(spec.column, values=tuple(context.partition_keys))
    window = context.partition_time_window
    return Window(spec.column, start=window.start, end=window.end)


def partition_of(context: dg.AssetExecutionContext) -> str:
    """The run's partition key, `first...last` for a range, empty if unpartitioned."""
    if not context.has_partition_key and not context.has_partition_key_range:
        return ""
    keys = context.partition_key_range
    return keys.start if keys.start == keys.end else f"{keys.start}...{keys.end}"


def _moment(value: object) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    return datetime.fromisoformat(str(value))
