"""What Dagster shows of a load: a sentence in the log, and on the page of its asset numbers, columns and first rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from floe_ingestion.formats import number_of, shortened
from floe_ingestion.staging import ColumnFacts, ForeignKey, Landed, StagedTable
from floe_ingestion.translator import source_key

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.types import NestedField

_PREVIEW_ROWS = 5
_LONGEST_CELL = 80
_FOREIGN_KEYS = "floe/foreign_keys"
_LARGE = frozenset({"preview", "how to read", "dagster/column_schema", "dagster/column_lineage", _FOREIGN_KEYS})
"""Shown once a run: Dagster keeps the metadata of a range again for each of its partitions."""


def show(context: dg.OutputContext, staged: StagedTable, landed: Landed) -> None:
    """Tell of the load in the log, and at the materialisation that Dagster is about to record."""
    context.log.info(sentence(landed, staged))
    for warning in staged.warnings:
        context.log.warning(warning)
    shown = {**_of_load(staged, landed), **_of_partitions(context, landed)}
    if (table := staged.receipt.table) is not None:
        shown |= _of_table(staged, landed, table)
    step = context.step_context
    if landed.snapshot_id is not None:
        # Known only now, behind the commit, when the asset has long yielded its result.
        step.set_data_version(context.asset_key, dg.DataVersion(str(landed.snapshot_id)))
    partitions = context.asset_partition_keys if context.has_asset_partitions else []
    if len(partitions) > 1:
        large = {name: shown.pop(name) for name in _LARGE & shown.keys()}
        step.add_asset_metadata(large, context.asset_key, partitions[-1])
    context.add_output_metadata(shown)


def sentence(landed: Landed, staged: StagedTable) -> str:
    """What a commit did, for the run's log."""
    if landed.already_landed:
        return f"{landed.table}: this run landed it before; nothing was written again"
    changed = f"{number_of(landed.rows_added, 'row')} added"
    changed += f", {landed.rows_updated:,} updated" if landed.rows_updated else ""
    changed += f", {landed.rows_deleted:,} replaced" if landed.rows_deleted else ""
    return f"{landed.table}: {changed} in {staged.seconds:.1f} s; {number_of(landed.rows_total, 'row')} in all"


def first_rows(staged: StagedTable) -> str:
    """The first staged rows as a Markdown table; empty without rows."""
    import pyarrow.parquet as pq

    if not staged.files:
        return ""
    with pq.ParquetFile(staged.files[0].path) as file:
        rows = next(file.iter_batches(batch_size=_PREVIEW_ROWS)).to_pylist()
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _of_load(staged: StagedTable, landed: Landed) -> dict[str, Any]:
    """Numbers are numbers, so that Dagster plots them."""
    rows = landed.rows_added + landed.rows_updated
    shown: dict[str, Any] = {
        "rows added": landed.rows_added,
        "rows updated": landed.rows_updated,
        "rows deleted": landed.rows_deleted,
        "files added": landed.files_added,
        "bytes added": landed.bytes_added,
        "seconds": dg.MetadataValue.float(round(staged.seconds, 3)),
        "snapshot id": str(landed.snapshot_id) if landed.snapshot_id else "none",
        "load id": landed.load_id,
        "dagster/row_count": landed.rows_total,
        "dagster/table_name": landed.table,
    }
    if staged.seconds > 0 and not landed.already_landed:
        shown["rows per second"] = dg.MetadataValue.float(round(rows / staged.seconds, 1))
    if staged.table.write_disposition == "merge":
        shown["rows unchanged"] = landed.rows_unchanged
    left_out = {**staged.discarded, "duplicate key": landed.duplicates_dropped}
    shown |= {f"rows left out: {reason}": rows for reason, rows in left_out.items() if rows}
    shown |= _cursor_metadata(staged)
    if landed.columns_added or landed.columns_changed:
        shown["schema changes"] = dg.MetadataValue.md(_schema_changes(landed))
    if staged.warnings:
        shown["warnings"] = dg.MetadataValue.md("\n\n".join(staged.warnings))
    if staged.receipt.preview:
        shown["preview"] = dg.MetadataValue.md(staged.receipt.preview)
    return shown


def _of_partitions(context: dg.OutputContext, landed: Landed) -> dict[str, Any]:
    if not context.has_asset_partitions:
        return {}
    count = len(context.asset_partition_keys)
    shown: dict[str, Any] = {"partitions loaded": count}
    if count == 1 and not landed.already_landed:
        shown["dagster/partition_row_count"] = landed.rows_added + landed.rows_updated
    return shown


def _of_table(staged: StagedTable, landed: Landed, table: Table) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "dagster/uri": table.location(),
        "dagster/column_schema": _columns(staged, table),
        "how to read": dg.MetadataValue.md(_how_to_read(landed, table)),
    }
    if staged.foreign_keys:
        shown[_FOREIGN_KEYS] = _foreign_keys(staged)
    if (lineage := _lineage(staged, table)) is not None:
        shown["dagster/column_lineage"] = lineage
    return shown


def _columns(staged: StagedTable, table: Table) -> dg.TableSchema:
    """The committed columns, with what the source says of them."""
    identifying = set(table.schema().identifier_field_ids)
    return dg.TableSchema(
        columns=[_column(field, staged, field.field_id in identifying) for field in table.schema().fields]
    )


def _column(field: NestedField, staged: StagedTable, identifies: bool) -> dg.TableColumn:
    facts = staged.facts.get(field.name, ColumnFacts())
    said = ["identifies a row"] if identifies else []
    said += [f"references {_target(key)}" for key in staged.foreign_keys if field.name in key.columns]
    return dg.TableColumn(
        name=field.name,
        type=str(field.field_type),
        description=field.doc or facts.description,
        constraints=dg.TableColumnConstraints(nullable=not field.required and facts.nullable, other=said or None),
    )


def _foreign_keys(staged: StagedTable) -> dg.TableMetadataValue:
    """Which asset holds what a column refers to, where the same source loads it."""
    records = [
        dg.TableRecord(
            {
                "columns": ", ".join(key.columns),
                "references": _target(key),
                "asset": dg.AssetKey(key.landed).to_user_string() if key.landed else "not loaded by this source",
            }
        )
        for key in staged.foreign_keys
    ]
    return dg.MetadataValue.table(records)


def _target(key: ForeignKey) -> str:
    return f"{'.'.join(key.landed) or key.table}({', '.join(key.referenced)})"


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


def _cell(value: Any) -> str:
    text = shortened("" if value is None else str(value), _LONGEST_CELL)
    return text.replace("|", "\\|").replace("\n", " ")


def _cursor_metadata(staged: StagedTable) -> dict[str, Any]:
    from floe_ingestion.iceberg import cursor as cursors

    shown: dict[str, Any] = {}
    for moment, cursor in (("before", staged.cursor_before), ("after", staged.cursor)):
        values = {path: str(value) for path, value in cursors.describe(cursor).items()}
        if values:
            shown[f"cursor {moment}"] = dg.MetadataValue.json(values)
    return shown


def _schema_changes(landed: Landed) -> str:
    lines = [f"- new column `{name}`" for name in landed.columns_added]
    return "\n".join(lines + [f"- `{change}`" for change in landed.columns_changed])
