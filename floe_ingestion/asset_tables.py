"""The assets of a run and the tables they mean: which one an output goes to, and which rows an input gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from floe_ingestion.errors import PermanentError
from floe_ingestion.formats import did_you_mean
from floe_ingestion.naming import fits_in_location
from floe_ingestion.partitions import partition_name
from floe_ingestion.retries import failed_runs_before
from floe_ingestion.spec import TableSpec
from floe_ingestion.spec_stored import StoreSettings, plain, settings_of
from floe_ingestion.staging import Provenance, Window
from floe_ingestion.translator import PARTITION_COLUMN
from floe_ingestion.windows import columns_of, partitions_specs, windows_of

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.table import Table


def identifier_of(key: dg.AssetKey, table: str | None, schema: str) -> tuple[str, ...]:
    """Namespace and name of the table of an asset: `table` where its metadata says one, else its key."""
    path = tuple(table.split(".")) if table else tuple(key.path)
    return path if len(path) > 1 else (*schema.split("."), *path)


def table_of(context: dg.OutputContext, schema: str) -> tuple[TableSpec, Window | None]:
    """Where an output goes, and which rows of the table it replaces where it is partitioned."""
    if not context.has_asset_key:
        raise PermanentError(
            f"The Iceberg IO manager stores assets, and the output {context.name!r} is none of an asset. Use another "
            f"io_manager_key for it."
        )
    name = context.asset_key.to_user_string()
    settings = settings_of(StoreSettings, context.definition_metadata, f"The metadata of {name}")
    identifier = identifier_of(context.asset_key, settings.table, schema)
    if unfit := [part for part in identifier if not fits_in_location(part)]:
        raise PermanentError(
            f"{name}: a table cannot be stored under {unfit[0]!r}: in the address of its files ? # / .. and codes such "
            f"as %20 mean something else. Write 'floe/table': '<schema>.<table>' in the asset's metadata, or another "
            f"`schema_name`."
        )
    if not context.has_asset_partitions:
        return settings.table_spec(name, identifier), None
    definition, keys = context.asset_partitions_def, context.asset_partition_keys
    columns = columns_of(definition, settings.partition_column, name)
    windows = windows_of(definition, columns, keys)
    if len(windows) != 1:
        raise PermanentError(
            f"{name}: this run is about partitions that lie apart, {' and '.join(sorted(keys)[:3])} among them, and "
            f"their rows cannot be replaced at once. Materialize one of them at a time, or a range of each dimension."
        )
    return settings.table_spec(name, identifier, partitions_specs(definition, columns, keys)), windows[0]


def provenance_of(context: dg.OutputContext) -> Provenance:
    """Which run stores, so that a retried step finds what it stored."""
    step = context.step_context
    partition = partition_name(step.partition_key_range) if context.has_asset_partitions else ""
    continues = failed_runs_before(step.dagster_run, step.instance)
    return Provenance(context.run_id, context.asset_key.to_user_string(), partition, continues)


def upstream_metadata(context: dg.InputContext) -> Mapping[str, Any]:
    """What the upstream asset says of itself in its definition."""
    return plain(context.upstream_output.definition_metadata if context.upstream_output is not None else {})


def rows_of_partitions(context: dg.InputContext, upstream: Mapping[str, Any], table: Table) -> BooleanExpression | None:
    """The rows of the upstream partitions as a filter; None for the whole table."""
    from floe_ingestion.iceberg.partition import any_window_filter

    if not context.has_asset_partitions:
        return None
    definition, keys = context.asset_partitions_def, context.asset_partition_keys
    said = upstream.get(PARTITION_COLUMN)
    if said is None and set(keys) == set(definition.get_partition_keys(dynamic_partitions_store=context.instance)):
        return None
    name = context.asset_key.to_user_string()
    windows = windows_of(definition, columns_of(definition, said, name), keys)
    known = [field.name for field in table.schema().fields]
    windows = tuple(window if set(window.columns) <= set(known) else window.in_table() for window in windows)
    missing = next((column for window in windows for column in window.columns if column not in known), None)
    if missing is not None:
        raise PermanentError(
            f"{name} is partitioned by {missing!r}, which its table does not have.{did_you_mean(missing, known)} "
            f"Its columns: {', '.join(known)}."
        )
    return any_window_filter(windows, table.schema())
