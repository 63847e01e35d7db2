"""What Dagster shows of a load: a sentence in the log, and the metadata of its materialisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from floe_ingestion.staging import Landed, StagedTable

if TYPE_CHECKING:
    from pyiceberg.table import Table

_PREVIEW_ROWS = 5
_LONGEST_CELL = 80


def sentence(landed: Landed, staged: StagedTable) -> str:
    """What a commit did, for the run's log."""
    if landed.already_landed:
        return f"{landed.table}: this run landed it before; nothing was written again"
    changed = f"{landed.rows_added:,} rows added"
    changed += f", {landed.rows_updated:,} updated" if landed.rows_updated else ""
    changed += f", {landed.rows_deleted:,} replaced" if landed.rows_deleted else ""
    return f"{landed.table}: {changed} in {staged.seconds:.1f} s; {landed.rows_total:,} rows in all"


def column_schema(table: Table) -> dg.TableSchema:
    """The committed Iceberg schema as Dagster shows it."""
    identifying = set(table.schema().identifier_field_ids)
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=field.name,
                type=str(field.field_type),
                description=field.doc,
                constraints=dg.TableColumnConstraints(
                    nullable=not field.required,
                    other=["identifies a row"] if field.field_id in identifying else None,
                ),
            )
            for field in table.schema().fields
        ]
    )


def materialization_metadata(
    staged: StagedTable, landed: Landed, table: Table | None, preview: str, single_partition: bool
) -> dict[str, Any]:
    """What the asset page shows of one load; numbers are numbers, so that Dagster plots them."""
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
    if single_partition and not landed.already_landed:
        shown["dagster/partition_row_count"] = landed.rows_added + landed.rows_updated
    if staged.table.write_disposition == "merge":
        shown["rows unchanged"] = landed.rows_unchanged
    left_out = {**staged.discarded, "duplicate key": landed.duplicates_dropped}
    shown |= {f"rows left out: {reason}": rows for reason, rows in left_out.items() if rows}
    shown |= _cursor_metadata(staged)
    if landed.columns_added or landed.columns_changed:
        shown["schema changes"] = dg.MetadataValue.md(_schema_changes(landed))
    if table is not None:
        shown["dagster/uri"] = table.location()
        shown["dagster/column_schema"] = column_schema(table)
    if staged.warnings:
        shown["warnings"] = dg.MetadataValue.md("\n\n".join(staged.warnings))
    if preview:
        shown["preview"] = dg.MetadataValue.md(preview)
    return shown


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


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    text = text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"
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
