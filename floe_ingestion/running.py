"""Sources materialised in this process, as the CLI and the demo do it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from floe_ingestion.definitions import build_definitions
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.formats import number_of
from floe_ingestion.loading import load_spec
from floe_ingestion.partitions import known_keys
from floe_ingestion.schedules import job_name
from floe_ingestion.secrets import redact
from floe_ingestion.spec import PartitionsSpec, SourceSpec, Spec

_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"
_FEW = 8


@dataclass(frozen=True)
class CheckFound:
    """What a check found in a table."""

    table: str
    name: str
    passed: bool
    severity: str
    """`warn` or `error`."""
    sentence: str

    @property
    def word(self) -> str:
        """For people."""
        if self.passed:
            return "holds"
        return "failed" if self.severity == "error" else "warns"


@dataclass(frozen=True)
class SourceResult:
    """What became of one source."""

    source: str
    success: bool
    run_id: str
    error: str | None
    tables: dict[str, dict[str, Any]]
    """The metadata of each table that landed."""
    checks: tuple[CheckFound, ...]

    def lines(self) -> list[str]:
        """For people."""
        lines = [_line(table, metadata) for table, metadata in self.tables.items()]
        warnings = [text for metadata in self.tables.values() for text in metadata.get("warnings", "").split("\n\n")]
        lines += [f"warning: {text}" for text in warnings if text]
        lines += [f"{check.table}: {check.name} {check.word}: {check.sentence}" for check in self.checks]
        return [*lines, f"{self.source} failed: {self.error}"] if self.error else lines


def _line(table: str, metadata: Mapping[str, Any]) -> str:
    if "rows added" not in metadata:  # a plugin that writes by itself knows of its whole run only
        loaded = number_of(metadata.get("rows_loaded", 0), "row")
        return f"{table}: materialised by the ingestion plugin, which reports {loaded} for all of its source"
    return (
        f"{table}: {number_of(metadata['rows added'], 'row')} added, {metadata.get('rows updated', 0):,} updated, "
        f"{metadata.get('dagster/row_count', 0):,} in all"
    )


def parse_span(partition: str | None, span: str | None) -> tuple[str, str] | None:
    """First and last partition key of the options; None without any."""
    if partition:
        return partition, partition
    if span is None:
        return None
    first, dots, last = span.partition("..")
    if not dots or not first or not last:
        raise ConfigurationError(f"--partitions {span!r} is no range. Write e.g. --partitions 2013-01-01..2013-01-31.")
    return first, last


def run_sources(
    spec_path: str,
    names: Sequence[str] = (),
    span: tuple[str, str] | None = None,
    quiet: bool = False,
    debug: bool = False,
) -> list[SourceResult]:
    """Materialise the named sources, or all that are enabled, one run each.

    What the runs say goes to stderr: nothing where `quiet`, Dagster's whole log with tracebacks for `debug`.
    """
    spec = load_spec(spec_path)
    chosen = [spec.source(name) for name in names] or [source for source in spec.sources if source.enabled]
    _check_partitions(spec, chosen, span)
    # A source that is named is run even where it is disabled for Dagster.
    enabled = tuple(
        source.model_copy(update={"enabled": True}) if source in chosen else source for source in spec.sources
    )
    definitions = build_definitions(spec.model_copy(update={"sources": enabled}))
    if not debug:
        definitions = dg.Definitions.merge(definitions, dg.Definitions(loggers={"console": _sentences(quiet)}))
    kept = bool(os.environ.get("DAGSTER_HOME"))
    with dg.DagsterInstance.get() if kept else dg.DagsterInstance.ephemeral() as instance:
        for source in chosen:
            if span is not None and source.partitions is not None:
                _check_span(source.name, source.partitions, span, instance)
        return [_run(source, definitions, instance, span if source.partitions else None) for source in chosen]


def _sentences(quiet: bool) -> dg.LoggerDefinition:
    """A logger that prints what a run says for people; what failed it is in its `SourceResult`."""

    class Console(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said: dict[str, Any] = getattr(record, "dagster_meta", {})
            event: dg.DagsterEvent | None = said.get("dagster_event")
            if event is None and record.levelno >= logging.INFO:
                print(said.get("orig_message", record.getMessage()), file=sys.stderr)
            elif event is not None and event.is_step_up_for_retry:
                print(event.message, _told(event.step_retry_data.error), file=sys.stderr)

    def console(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("floe-ingestion", logging.DEBUG)
        logger.addHandler(logging.NullHandler() if quiet else Console())
        return logger

    return dg.LoggerDefinition(console, description="sentences on stderr")


def _run(
    source: SourceSpec, definitions: dg.Definitions, instance: dg.DagsterInstance, span: tuple[str, str] | None
) -> SourceResult:
    whole_range = span is not None and span[0] != span[1]
    result = definitions.resolve_job_def(job_name(source)).execute_in_process(
        instance=instance,
        partition_key=span[0] if span is not None and not whole_range else None,
        tags={_RANGE_START: span[0], _RANGE_END: span[1]} if span is not None and whole_range else None,
        run_config={"loggers": {"console": {}}},
        raise_on_error=False,
    )
    tables: dict[str, dict[str, Any]] = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        name = ".".join(materialization.asset_key.path)
        tables[name] = {key: _plain(value) for key, value in materialization.metadata.items()}
    return SourceResult(source.name, result.success, result.run_id, _error(result), tables, _checks(result))


def _checks(result: dg.ExecuteInProcessResult) -> tuple[CheckFound, ...]:
    return tuple(
        CheckFound(
            ".".join(found.asset_key.path),
            found.check_name,
            found.passed,
            found.severity.value.lower(),
            found.description or "",
        )
        for found in result.get_asset_check_evaluations()
    )


def _error(result: dg.ExecuteInProcessResult) -> str | None:
    if result.success:
        return None
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            if failure is not None and failure.description:
                return str(failure.description)
            return _told(event.step_failure_data.error)
    # No step began: a resource, such as the ingestion plugin, could not be made.
    return _told(next(event.job_failure_data.error for event in result.all_events if event.is_job_failure))


def _told(error: Any) -> str:
    """What the first cause of an error says, without its class and its traceback."""
    if error is None:
        return "no reason was given"
    while error.cause is not None:
        error = error.cause
    name, _, words = str(error.message).strip().partition(": ")
    return redact(words or name)


def _check_partitions(spec: Spec, chosen: Sequence[SourceSpec], span: tuple[str, str] | None) -> None:
    partitioned = [source.name for source in chosen if source.partitions is not None]
    if partitioned and span is None:
        raise ConfigurationError(
            f"{', '.join(partitioned)} is partitioned: say which to load with --partition KEY or --partitions "
            f"FROM..TO, or name the other sources of {spec.path}."
        )
    if span is not None and not partitioned:
        raise ConfigurationError(f"No source to run is partitioned, so --partition means nothing in {spec.path}.")


def _check_span(name: str, partitions: PartitionsSpec, span: tuple[str, str], instance: dg.DagsterInstance) -> None:
    if partitions.name is not None and span[0] == span[1]:
        instance.add_dynamic_partitions(partitions.name, [span[0]])  # who names it wants it to be there
    keys = known_keys(partitions, instance)
    known = ", ".join(keys if len(keys) <= _FEW else [*keys[:2], "…", keys[-1]]) or "none yet"
    for key in span:
        if key not in keys:
            raise ConfigurationError(f"{name} has no partition {key!r}. Its {partitions.type} partitions: {known}.")
    if keys.index(span[0]) > keys.index(span[1]):
        raise ConfigurationError(f"The range {'..'.join(span)} ends before it begins. Write {span[1]}..{span[0]}.")


def _plain(value: dg.MetadataValue[Any]) -> Any:
    """As JSON can say it."""
    raw = value.value
    if isinstance(raw, dg.TableSchema):
        return {column.name: column.type for column in raw.columns}
    if isinstance(raw, dg.TableColumnLineage):
        return {name: [dep.column_name for dep in deps] for name, deps in raw.deps_by_column.items()}
    if isinstance(raw, dg.TableMetadataValue):
        return [dict(record.data) for record in raw.records]
    # Of Dagster's own types some are tuples that nobody may iterate over.
    return raw if raw is None or isinstance(raw, (str, int, float, dict, list)) else str(raw)
