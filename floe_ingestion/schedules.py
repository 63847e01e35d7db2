"""One job a source, and its schedule, stopped until `enabled: true`."""

from __future__ import annotations

import dagster as dg

from floe_ingestion.partitions import partitions_definition
from floe_ingestion.spec import SourceSpec
from floe_ingestion.translator import table_key

SOURCE_TAG = "floe/source"


def source_job(source: SourceSpec) -> dg.UnresolvedAssetJobDefinition:
    """The job that materialises all tables of a source."""
    return dg.define_asset_job(
        name=f"ingest_{source.name}",
        selection=[table_key(table) for table in source.tables],
        description=source.description or f"Loads every table of {source.name}.",
        tags={SOURCE_TAG: source.name, **source.tags},
        partitions_def=partitions_definition(source.partitions) if source.partitions is not None else None,
    )


def source_schedule(source: SourceSpec, job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition | None:
    """The schedule of floe.yaml; each tick of a partitioned source loads the newest complete partition."""
    schedule = source.schedule
    if schedule is None:
        return None
    status = dg.DefaultScheduleStatus.RUNNING if schedule.enabled else dg.DefaultScheduleStatus.STOPPED
    if source.partitions is None or source.partitions.type == "static":
        return dg.ScheduleDefinition(
            name=f"{source.name}_schedule",
            job=job,
            cron_schedule=schedule.cron,
            execution_timezone=schedule.timezone,
            default_status=status,
        )

    @dg.schedule(
        name=f"{source.name}_schedule",
        job=job,
        cron_schedule=schedule.cron,
        execution_timezone=schedule.timezone,
        default_status=status,
    )
    def newest_partition(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        partitions = partitions_definition(source.partitions)  # type: ignore[arg-type]
        key = partitions.get_last_partition_key(current_time=context.scheduled_execution_time)  # type: ignore[call-arg]
        if key is None:
            return dg.SkipReason(f"no partition of {source.name} is complete yet")
        return dg.RunRequest(run_key=key, partition_key=key)

    return newest_partition
