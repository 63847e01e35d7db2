"""What Dagster's page of an asset says of a load: its version, its numbers, and where each column comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from floe_ingestion.staging import Landed, StagedTable
from floe_ingestion.translator import source_key

if TYPE_CHECKING:
    from dagster._core.execution.context.system import StepExecutionContext
    from pyiceberg.table import Table

_LARGE = frozenset({"preview", "how to read", "dagster/column_schema", "dagster/column_lineage"})
"""Shown once a run: Dagster keeps the metadata of a range again for each of its partitions."""


def publish(
    context: dg.OutputContext, staged: StagedTable, landed: Landed, table: Table | None, shown: Mapping[str, Any]
) -> None:
    """Put `shown`, and what else is known of the load, at the materialisation that Dagster is about to record."""
    shown = {**shown, **_numbers(context, staged, landed)}
    if table is not None:
        shown["dagster/column_schema"] = _described(shown["dagster/column_schema"], staged)
        if (lineage := _lineage(staged, table)) is not None:
            shown["dagster/column_lineage"] = lineage
        shown["how to read"] = dg.MetadataValue.md(_how_to_read(landed, table))
    step = _step(context)
    if step is not None and landed.snapshot_id is not None:
        # Known only now, behind the commit, when the asset has long yielded its result.
        step.set_data_version(context.asset_key, dg.DataVersion(str(landed.snapshot_id)))
    partitions = context.asset_partition_keys if context.has_asset_partitions else []
    if step is not None and len(partitions) > 1:
        large = {name: shown.pop(name) for name in _LARGE & shown.keys()}
        step.add_asset_metadata(large, context.asset_key, partitions[-1])
    context.add_output_metadata(shown)


def _numbers(context: dg.OutputContext, staged: StagedTable, landed: Landed) -> dict[str, Any]:
    rows = landed.rows_added + landed.rows_updated
    found: dict[str, Any] = {}
    if staged.seconds > 0 and not landed.already_landed:
        found["rows per second"] = dg.MetadataValue.float(round(rows / staged.seconds, 1))
    if context.has_asset_partitions:
        found["partitions loaded"] = len(context.asset_partition_keys)
    return found


def _described(schema: dg.TableSchema, staged: StagedTable) -> dg.TableSchema:
    """The columns of the table with what the source says of them."""
    return dg.TableSchema(columns=[_described_column(column, staged) for column in schema.columns])


def _described_column(column: dg.TableColumn, staged: StagedTable) -> dg.TableColumn:
    facts = staged.facts.get(column.name)
    if facts is None:
        return column
    known = column.constraints
    return dg.TableColumn(
        name=column.name,
        type=column.type,
        description=column.description or facts.description,
        constraints=dg.TableColumnConstraints(
            nullable=known.nullable and facts.nullable, unique=known.unique, other=known.other
        ),
    )


def _lineage(staged: StagedTable, table: Table) -> dg.TableColumnLineage | None:
    """Each column's name in the source; None where the load brought no rows to tell."""
    source, columns = source_key(staged.table), {field.name for field in table.schema().fields}
    deps = {
        name: [dg.TableColumnDep(asset_key=source, column_name=came_as)]
        for name, came_as in staged.came_as.items()
        if name in columns
    }
    return dg.TableColumnLineage(deps) if deps else None


def _how_to_read(landed: Landed, table: Table) -> str:
    """The table as this load left it, with DuckDB and pyiceberg."""
    catalog = table.catalog.name
    return "\n".join(
        [
            "```sql",
            "-- DuckDB, with its extension iceberg",
            f"select * from iceberg_scan('{landed.metadata_location or table.metadata_location}');",
            "```",
            "```python",
            "from pyiceberg.catalog import load_catalog",
            f'table = load_catalog("{catalog}", ...).load_table("{landed.table}")',
            f"table.scan(snapshot_id={landed.snapshot_id}).to_arrow()",
            "```",
        ]
    )


def _step(context: dg.OutputContext) -> StepExecutionContext | None:
    """The step behind the output; None for a context that a test has built."""
    try:
        return context.step_context
    except dg.DagsterInvariantViolationError:
        return None
