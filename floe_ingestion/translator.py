"""What Dagster is told of a table that will land: key, lineage, kinds, group, description, automation, freshness."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import dagster as dg
from dagster_dlt import DagsterDltTranslator
from dagster_dlt.translator import DltResourceTranslatorData

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.naming import normalize_identifier
from floe_ingestion.spec import SourceSpec, TableSpec
from floe_ingestion.spec_checks import age, freshness_without_column
from floe_ingestion.spec_runs import AutomationSpec, FreshnessSpec

IO_MANAGER_KEY = "iceberg_io_manager"
PARTITION_COLUMN = "floe/partition_column"
SOURCE_PREFIX = "source"

_DAGSTER_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_MOST_KINDS = 3  # Dagster accepts no more on one asset


def table_key(table: TableSpec) -> dg.AssetKey:
    """`[<schema>, <table>]`."""
    return dg.AssetKey(list(table.identifier))


def source_key(table: TableSpec) -> dg.AssetKey:
    """The external asset that stands for what the table is read from."""
    # Dagster makes a name of the key, and databases and sheets have names that it refuses.
    name = table.resource if _DAGSTER_NAME.fullmatch(table.resource) else normalize_identifier(table.resource)
    return dg.AssetKey([SOURCE_PREFIX, table.source, name])


@dataclass
class FloeDltTranslator(DagsterDltTranslator):
    """Describes each dlt resource of a source by the table that it lands in."""

    source: SourceSpec
    kinds: tuple[str, ...] = ()
    """The source's own, shown on the source asset too."""
    written: Mapping[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """File and line that configure each resource, by its name."""

    def get_asset_spec(self, data: DltResourceTranslatorData) -> dg.AssetSpec:
        """The asset of the table; its output goes to the Iceberg IO manager."""
        source, table = self.source, self._tables[data.resource.name]
        automation, freshness = source.automation, source.freshness
        return dg.AssetSpec(
            key=table_key(table),
            deps=[source_key(table)],
            group_name=source.group or source.name,
            description=table.description or default_description(table),
            owners=list(source.owners) or None,
            tags=dict(source.tags),
            kinds={"dlt", "iceberg", *self.kinds[: _MOST_KINDS - 2]},
            metadata={**_definition_metadata(table), **_references(self.written.get(table.resource), table)},
            automation_condition=_automation_condition(automation, source_key(table)) if automation else None,
            freshness_policy=_freshness_policy(freshness, source.name) if freshness else _freshness_of_checks(table),
        ).with_io_manager_key(IO_MANAGER_KEY)

    @cached_property
    def _tables(self) -> dict[str, TableSpec]:
        return {table.resource: table for table in self.source.tables}


def _automation_condition(
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


def _freshness_policy(spec: FreshnessSpec, place: str) -> dg.FreshnessPolicy:
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


def _freshness_of_checks(table: TableSpec) -> dg.FreshnessPolicy | None:
    """Dagster's own, which it evaluates also while nothing runs: that is when an asset grows old."""
    check = freshness_without_column(table.checks)
    return dg.FreshnessPolicy.time_window(fail_window=age(check.max_age)) if check is not None else None


def default_description(table: TableSpec) -> str:
    """One sentence on how the table comes about."""
    how = {"append": "Rows are appended", "replace": "Every load replaces it", "merge": "Rows are merged by key"}
    done = how[table.write_disposition]
    if table.partitions is not None and table.write_disposition != "merge":
        done = "A load replaces its own partitions"
    by_cursor = f"; loaded by cursor {table.incremental.cursor_path}" if table.incremental else ""
    return f"{table.resource} of {table.source} ({table.source_type}). {done}{by_cursor}."


def _definition_metadata(table: TableSpec) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "dagster/table_name": str(table),
        "source": table.source,
        "write disposition": table.write_disposition,
    }
    if table.primary_key:
        metadata["primary key"] = ", ".join(table.primary_key)
    if table.incremental is not None:
        metadata["cursor"] = table.incremental.cursor_path
    if table.partitions is not None:
        metadata[PARTITION_COLUMN] = table.partitions.column
    return metadata


def _references(written: tuple[str, int] | None, table: TableSpec) -> dict[str, Any]:
    """A link to the lines behind the table; Dagster can turn it into one to a git repository."""
    if written is None:
        return {}
    file, line = written
    label = f"{table.resource} of {table.source}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        reference = dg.LocalFileCodeReference(file_path=file, line_number=line, label=label)
        return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[reference])}
