"""A job that keeps the tables of a source in shape, where floe.yaml asks for it, and its schedule."""

# No `from __future__ import annotations` here: Dagster reads the annotations of an op as they are.

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg
from pydantic import Field

from floe_ingestion.errors import IngestionError, PermanentError, TransientError
from floe_ingestion.resources import IcebergLakeResource
from floe_ingestion.retries import dagster_failures, retry_policy
from floe_ingestion.schedules import SOURCE_TAG
from floe_ingestion.spec import MaintenanceSpec, RetrySpec, SourceSpec
from floe_ingestion.translator import table_key
from floe_ingestion.upkeep import Upkeep, keep_up, remove_abandoned

_RESOURCE = "lake"


class MaintenanceConfig(dg.Config):
    """What a run of a maintenance job is told."""

    dry_run: bool = Field(
        default=True, description="Tell what would be done, and do nothing. The schedule sets it to false."
    )


def maintenance_jobs(sources: Sequence[SourceSpec], lake: IcebergLakeResource) -> list[dg.JobDefinition]:
    """A job `maintain_<source>` for each of `sources` that asks for maintenance."""
    return [_job(source, source.maintenance, lake) for source in sources if source.maintenance is not None]


def maintenance_schedules(
    sources: Sequence[SourceSpec], jobs: Sequence[dg.JobDefinition]
) -> list[dg.ScheduleDefinition]:
    """The schedules of these jobs, stopped until `enabled: true`."""
    by_name = {job.name: job for job in jobs}
    found: list[dg.ScheduleDefinition] = []
    for source in sources:
        schedule = source.maintenance.schedule if source.maintenance is not None else None
        if schedule is None:
            continue
        started = dg.DefaultScheduleStatus.RUNNING if schedule.enabled else dg.DefaultScheduleStatus.STOPPED
        found.append(
            dg.ScheduleDefinition(
                name=f"{_name(source)}_schedule",
                job=by_name[_name(source)],
                cron_schedule=schedule.cron,
                execution_timezone=schedule.timezone,
                default_status=started,
                run_config=dg.RunConfig(ops={_op_name(source): MaintenanceConfig(dry_run=False)}),
            )
        )
    return found


def _name(source: SourceSpec) -> str:
    return f"maintain_{source.name}"


def _op_name(source: SourceSpec) -> str:
    return f"tables_of_{source.name}"  # Dagster lets no op have the name of a job


def _job(source: SourceSpec, maintenance: MaintenanceSpec, lake: IcebergLakeResource) -> dg.JobDefinition:
    retry = source.retry or RetrySpec()
    does = f"Keeps the tables of {source.name} in shape: {', '.join(maintenance.operations)}."

    @dg.op(
        name=_op_name(source),
        description=does,
        required_resource_keys={_RESOURCE},
        retry_policy=retry_policy(retry),
        out=dg.Out(dg.Nothing),
    )
    def maintain(
        context: dg.OpExecutionContext, config: MaintenanceConfig
    ) -> Iterator[dg.AssetObservation | dg.Output[None]]:
        with dagster_failures(_name(source), retry, last=context.retry_number >= retry.max_retries):
            yield from _maintain(context, source, maintenance, config.dry_run)
        yield dg.Output(None)

    graph = dg.GraphDefinition(name=_name(source), node_defs=[maintain])
    return graph.to_job(
        resource_defs={_RESOURCE: lake},
        description=f"{does} A dry run by default.",
        tags={SOURCE_TAG: source.name, **source.tags},
    )


def _maintain(
    context: dg.OpExecutionContext, source: SourceSpec, maintenance: MaintenanceSpec, dry_run: bool
) -> Iterator[dg.AssetObservation]:
    """Look after each table; what was done is in the run's log, and on the page of the asset."""
    lake: IcebergLakeResource = getattr(context.resources, _RESOURCE)
    catalog, staging = lake.connect(), lake.staging_folder
    properties = {"dagster-run-id": context.run_id}
    keys = {str(table): table_key(table) for table in source.tables}
    errors: list[IngestionError] = []
    for kept in keep_up(catalog, source.tables, maintenance, staging, properties=properties, dry_run=dry_run):
        for told in kept.sentences():
            context.log.info(told)
        if kept.error is not None:
            errors.append(kept.error)
        if kept.table in keys:
            yield from _observations(keys[kept.table], kept)
    for told in remove_abandoned(maintenance, staging, dry_run=dry_run):
        context.log.info(told)
    _raise(errors)


def _observations(key: dg.AssetKey, kept: Upkeep) -> Iterator[dg.AssetObservation]:
    from floe_ingestion.iceberg.maintenance import as_dict, sentence

    for report in kept.reports:
        if not report.dry_run:
            facts = as_dict(report)
            operation = facts.pop("operation")
            shown = {f"{operation}: {name.replace('_', ' ')}": value for name, value in _shown(facts).items()}
            yield dg.AssetObservation(key, description=sentence(report), metadata=shown)


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in facts.items() if name not in ("table", "dry_run") and value is not None}
    # Snapshot ids are larger than the numbers of JavaScript.
    return {name: str(value) if name == "snapshot_id" else value for name, value in told.items()}


def _raise(errors: Sequence[IngestionError]) -> None:
    """One failure for all tables; tried again where that can help any of them."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        told = "\n".join(str(error) for error in errors)
        raise (
            TransientError(told) if any(isinstance(error, TransientError) for error in errors) else PermanentError(told)
        )
