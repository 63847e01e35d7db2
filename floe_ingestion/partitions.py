"""`partitions:` of floe.yaml as Dagster's partitions, and a run's partitions as the window that it loads."""

from __future__ import annotations

from typing import Any

import dagster as dg

from floe_ingestion.errors import PermanentError
from floe_ingestion.spec import PartitionsSpec
from floe_ingestion.spec_partitions import local_time
from floe_ingestion.staging import Window

_TIME_WINDOWS: dict[str, Any] = {
    "hourly": dg.HourlyPartitionsDefinition,
    "daily": dg.DailyPartitionsDefinition,
    "weekly": dg.WeeklyPartitionsDefinition,
    "monthly": dg.MonthlyPartitionsDefinition,
}
_RANGE = "..."
"""Between the first and the last key of a range of partitions."""


def partitions_definition(spec: PartitionsSpec) -> dg.PartitionsDefinition:
    """Dagster's partitions of `spec`; a week begins on the weekday of its `start`."""
    if spec.type == "static":
        return dg.StaticPartitionsDefinition(list(spec.keys))
    if spec.type == "dynamic":
        return dg.DynamicPartitionsDefinition(name=spec.name)
    assert spec.start is not None
    # Dagster drops an offset instead of converting it.
    start = local_time(spec.start, spec.timezone)
    end = local_time(spec.end, spec.timezone) if spec.end is not None else None
    # Dagster counts weekdays from Sunday; its default would leave out the days from `start` to the first Sunday.
    offset = {"day_offset": start.isoweekday() % 7} if spec.type == "weekly" else {}
    made: dg.TimeWindowPartitionsDefinition = _TIME_WINDOWS[spec.type](
        start_date=start, end_date=end, timezone=spec.timezone, **offset
    )
    return made


def backfill_policy(spec: PartitionsSpec | None) -> dg.BackfillPolicy | None:
    """How a backfill becomes runs; None if unpartitioned."""
    if spec is None:
        return None
    if spec.max_partitions_per_run is None:
        return dg.BackfillPolicy.single_run()
    return dg.BackfillPolicy.multi_run(spec.max_partitions_per_run)


def known_keys(spec: PartitionsSpec, instance: dg.DagsterInstance) -> list[str]:
    """The keys of all partitions that there are now; those of dynamic ones stand in `instance`."""
    return list(partitions_definition(spec).get_partition_keys(dynamic_partitions_store=instance))


def window_of(context: dg.AssetExecutionContext, spec: PartitionsSpec | None) -> Window | None:
    """The rows that this run is about: its partition, or its whole range of partitions; None if unpartitioned.

    Raises `PermanentError` for a partitioned asset in a run without a partition: it would append every row.
    """
    if spec is None:
        return None
    if not context.has_partition_key and not context.has_partition_key_range:
        raise PermanentError(
            f"{context.op_execution_context.op.name} is partitioned ({spec.type}), and this run names no partition. "
            f"Choose one, or a range of them: the run would not know which rows to replace."
        )
    if spec.by_keys:
        return Window(spec.column, values=tuple(context.partition_keys), strict=spec.outside_window == "error")
    window = context.partition_time_window
    return Window(spec.column, start=window.start, end=window.end, strict=spec.outside_window == "error")


def partition_of(context: dg.AssetExecutionContext) -> str:
    """The run's partition key, `first...last` for a range, empty if unpartitioned."""
    if not context.has_partition_key and not context.has_partition_key_range:
        return ""
    return partition_name(context.partition_key_range)


def partition_name(keys: dg.PartitionKeyRange) -> str:
    """The key of one partition, `first...last` of several."""
    return keys.start if keys.start == keys.end else f"{keys.start}{_RANGE}{keys.end}"


def window_between(spec: PartitionsSpec, partition: str, instance: dg.DagsterInstance) -> Window:
    """The rows of what `partition_of` called `partition`, in an earlier run."""
    first, _, last = partition.partition(_RANGE)
    if spec.by_keys and not last:
        return Window(spec.column, values=(first,))
    definition = partitions_definition(spec)
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        start = definition.time_window_for_partition_key(first).start
        end = definition.time_window_for_partition_key(last or first).end
        return Window(spec.column, start=start, end=end)
    keys = known_keys(spec, instance)
    return Window(spec.column, values=tuple(keys[keys.index(first) : keys.index(last or first) + 1]))
