"""One job a source, and its schedule, stopped until `enabled: true`."""

from __future__ import annotations

import dagster as dg

from floe_ingestion.partitions import known_keys, partitions_definition
from floe_ingestion.spec import SourceSpec
from floe_ingestion.translator import table_key

SOURCE_TAG = "floe/source"


def job_name(source: SourceSpec) -> str:
    """What the job of a source is called."""
    return f"ingest_{source.name}"


def source_job(source: SourceSpec) -> dg.UnresolvedAssetJobDefinition:
    """The job that materialises all tables of a source."""
    return dg.define_asset_job(
        name=job_name(source),
        selection=[table_key(table) for table in source.tables],
        description=source.description or f"Loads every table of {source.name}.",
        tags={SOURCE_TAG: source.name, **source.tags, **source.op_tags},
    )


def source_schedule(source: SourceSpec, job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition | None:
    """The schedule of floe.yaml.

    A tick loads the newest complete partition of a source that is partitioned by time, unless an earlier tick
    did, and each partition of one that is partitioned by keys.
    """
    schedule, partitions = source.schedule, source.partitions
    if schedule is None:
        return None

    @dg.schedule(
        name=f"{source.name}_schedule",
        job=job,
        cron_schedule=schedule.cron,
        execution_timezone=schedule.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING if schedule.enabled else dg.DefaultScheduleStatus.STOPPED,
    )
    def due(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        if partitions is None:
            return [dg.RunRequest()]
        tick = context.scheduled_execution_time
        if partitions.by_keys:
            keys = partitions.keys or known_keys(partitions, context.instance)
            if not keys:
                return dg.SkipReason(f"Nobody has added a partition of {source.name} yet (name: {partitions.name}).")
            return [dg.RunRequest(run_key=f"{tick.isoformat()} {key}", partition_key=key) for key in keys]
        with dg.partition_loading_context(effective_dt=tick):
            key = partitions_definition(partitions).get_last_partition_key()
        if key is None:
            return dg.SkipReason(f"No partition of {source.name} is complete yet.")
        return [dg.RunRequest(run_key=key, partition_key=key)]

    return due
