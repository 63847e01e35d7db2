"""Configured sources, and dlt sources written in Python, as Dagster assets: one a table."""

# No `from __future__ import annotations` here: Dagster reads the annotations of an asset's function as they are.

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import dlt
from dagster_dlt.translator import DltResourceTranslatorData

from floe_ingestion.checks import audited, check_specs, checks_alone, checks_of_load
from floe_ingestion.errors import PermanentError
from floe_ingestion.mistakes.report import Report
from floe_ingestion.partitions import backfill_policy, partition_of, partitions_definition, window_of
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of
from floe_ingestion.plugins import IngestionPlugin, StagingPlugin
from floe_ingestion.resolution import resolve
from floe_ingestion.retries import dagster_failures, failed_runs_before, retry_policy
from floe_ingestion.secrets import expand
from floe_ingestion.sources.base import ResourceSpec
from floe_ingestion.sources.function import FunctionConnector
from floe_ingestion.sources.registry import connector_class
from floe_ingestion.spec import (
    ContractSpec,
    DefaultsSpec,
    DestinationSpec,
    IncrementalSpec,
    Nested,
    PartitionsSpec,
    RetrySpec,
    SourceSpec,
    TableSpec,
    WriteDisposition,
)
from floe_ingestion.spec_checks import CheckSpec, Publish
from floe_ingestion.staging import LoadRequest, Provenance
from floe_ingestion.translator import FloeDltTranslator, source_key, table_key


def source_assets(source: SourceSpec, file: Path) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of one source of the floe.yaml `file`, and the external assets that they are read from.

    Touches nothing outside.
    """
    kinds = connector_class(source.type).kinds
    written = {resource: (str(file), line) for resource, line in source.lines.items()}
    landed = _assets(pipeline_of(source, file.parent), FloeDltTranslator(source, kinds, written))
    return [landed, *_external_assets(source, kinds)]


def _external_assets(source: SourceSpec, kinds: Sequence[str]) -> list[dg.AssetSpec]:
    """What the tables are read from, so that the lineage shows it."""
    return [
        dg.AssetSpec(
            key=source_key(table),
            group_name=source.group or source.name,
            description=f"{table.resource}, as {source.name} has it; observed by loading {table}.",
            kinds=set(kinds) or None,
        )
        for table in source.tables
    ]


def dlt_asset(
    *,
    table: str,
    write_disposition: WriteDisposition = "append",
    primary_key: str | Sequence[str] = (),
    incremental: IncrementalSpec | None = None,
    partitions: PartitionsSpec | None = None,
    schema_contract: ContractSpec | str = "evolve",
    nested: Nested = "json",
    columns: Mapping[str, str] | None = None,
    partition_by: Sequence[str] = (),
    checks: Sequence[CheckSpec | Mapping[str, Any]] = (),
    publish: Publish = "direct",
    retry: RetrySpec | None = None,
    group: str | None = None,
    description: str | None = None,
    owners: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    kinds: Sequence[str] = (),
    pool: str | None = None,
    op_tags: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """An asset from a function that gives a dlt resource, or yields rows or Arrow tables.

    The function is called in a run only. If it has a parameter `window`, it is given the `Window` of a
    partitioned run (None otherwise), to ask its source for just that; rows outside are left out in any case.
    `table` is `<schema>.<table>`; the rest is what floe.yaml calls the same. Its cursor, if the resource has
    a `dlt.sources.incremental`, is committed with the rows. Raises `ConfigurationError` with every mistake.
    """

    def decorate(function: Callable[..., Any]) -> dg.AssetsDefinition:
        name = getattr(function, "__name__", "source")
        source = _declared(
            name,
            {
                "table": table,
                "write_disposition": write_disposition,
                "primary_key": primary_key,
                "schema_contract": schema_contract,
                "nested": nested,
                "columns": columns or {},
                "partition_by": partition_by,
                "publish": publish,
            },
            {
                "incremental": incremental,
                "partitions": partitions,
                "checks": checks,
                "retry": retry,
                "group": group,
                "description": description or inspect.getdoc(function),
                "owners": owners,
                "tags": tags or {},
                "pool": pool,
                "op_tags": op_tags or {},
            },
        )
        pipeline = IngestionPipeline(name, source.tables, lambda: FunctionConnector(function))
        return _assets(pipeline, FloeDltTranslator(source, tuple(kinds), _written_at(function)))

    return decorate


def _written_at(function: Callable[..., Any]) -> dict[str, tuple[str, int]]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return {function.__name__: (code.co_filename, code.co_firstlineno)} if code is not None else {}


def _assets(pipeline: IngestionPipeline, translator: FloeDltTranslator) -> dg.AssetsDefinition:
    source = translator.source
    partitions, retry = source.partitions, source.retry or RetrySpec()
    by_key = {table_key(table): table for table in pipeline.tables}

    @dg.multi_asset(
        name=pipeline.name,
        specs=_specs(pipeline.tables, translator),
        check_specs=check_specs(pipeline.tables),
        can_subset=True,
        partitions_def=partitions_definition(partitions) if partitions is not None else None,
        backfill_policy=backfill_policy(partitions),
        retry_policy=retry_policy(retry),
        pool=source.pool_name,
        op_tags=source.op_tags,
    )
    def ingest(
        context: dg.AssetExecutionContext,
        ingestion: dg.ResourceParam[IngestionPlugin],
        iceberg_io_manager: dg.ResourceParam[Any],
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        tables = [by_key[key] for key in by_key if key in context.selected_asset_keys]
        unjudged = list(pipeline.tables)
        with dagster_failures(pipeline.name, retry, last=context.retry_number >= retry.max_retries):
            if tables and isinstance(ingestion, StagingPlugin):
                yield from _land(context, ingestion, pipeline, tables, iceberg_io_manager)
                unjudged = [table for table in unjudged if table not in tables]
            elif tables:
                yield from _report(ingestion, pipeline, tables)
            yield from checks_alone(context, unjudged, iceberg_io_manager)

    return ingest


def _land(
    context: dg.AssetExecutionContext,
    ingestion: StagingPlugin,
    pipeline: IngestionPipeline,
    tables: list[TableSpec],
    io_manager: Any,
) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
    """Stage table by table; the IO manager commits each before it is judged, and before the next is staged."""
    partition, continues = partition_of(context), failed_runs_before(context.run, context.instance)
    request = LoadRequest(
        resources=tuple(table.resource for table in tables),
        window=window_of(context, tables[0].partitions),
        provenance={
            table.resource: Provenance(context.run.run_id, table_key(table).to_user_string(), partition, continues)
            for table in tables
        },
        log=context.log.info,
    )
    for staged in ingestion.stage(pipeline, request):
        if staged.table.publish == "audit":
            yield from audited(context, staged, io_manager)
        yield dg.MaterializeResult(asset_key=table_key(staged.table), value=staged)
        yield from checks_of_load(context, staged, io_manager)


def _report(
    ingestion: IngestionPlugin, pipeline: IngestionPipeline, tables: list[TableSpec]
) -> Iterator[dg.MaterializeResult[Any]]:
    """A plugin that writes by itself: run it, and show what it says of its run."""
    source = pipeline.source
    if any(table.publish == "audit" for table in tables):
        raise PermanentError(
            f"{pipeline.name} is published by audit, and the ingestion plugin {ingestion.name!r} writes by itself. "
            f"Use the plugin dlt for it, or leave `publish` out."
        )
    if source is None:
        raise PermanentError(
            f"{pipeline.name} is a Python function, and the ingestion plugin {ingestion.name!r} does not stage rows. "
            f"Use the plugin dlt for it."
        )
    destination = source.destination.table or source.destination.namespace or ""
    entry = expand(source.as_entry(), source.place)
    result = ingestion.run_pipeline(ingestion.create_pipeline(source.type, destination, entry))
    for table in tables:
        yield dg.MaterializeResult(asset_key=table_key(table), metadata=result)


def _specs(tables: Sequence[TableSpec], translator: FloeDltTranslator) -> list[dg.AssetSpec]:
    """By dlt resources that have a name and nothing behind them: definitions touch nothing."""
    resources = [dlt.resource([], name=table.resource) for table in tables]
    return [translator.get_asset_spec(DltResourceTranslatorData(resource=each, pipeline=None)) for each in resources]


def _declared(name: str, destination: Mapping[str, Any], settings: Mapping[str, Any]) -> SourceSpec:
    """A source that stands in Python, held to the rules of floe.yaml; all mistakes are raised at once."""
    report = Report(f"dlt_asset({destination['table']!r})")
    place = report.validated(DestinationSpec, dict(destination), ()).model
    # A placeholder, so that a mistake about the destination hides none about the rest.
    entry = {**settings, "name": name, "type": "python", "destination": place or {"table": "schema.table"}}
    source = report.validated(SourceSpec, entry, ()).model
    resource = (ResourceSpec(name=name), ())
    found = resolve(source, [resource], DefaultsSpec(), (), report) if source and place else []
    report.close()
    assert source is not None
    return source.resolved(report.name, tuple(each.table for each in found))
