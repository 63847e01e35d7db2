"""Rows that a contract keeps out of a table: kept in `<table>__rejected`, as JSON, with the reason."""

from __future__ import annotations

import json
import math
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog

from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.tables import load_table
from floe_ingestion.iceberg.writer import ParquetSink
from floe_ingestion.spec import TableSpec
from floe_ingestion.staging import StagedTable

SUFFIX = "__rejected"
LOAD_COLUMN = "load_id"


class Rejects:
    """Collects the rejected rows of one load; nothing is opened before there is one."""

    def __init__(self, spec: TableSpec, load_id: str, catalog: Catalog, folder: Path) -> None:
        self._spec = rejected_table(spec)
        self._load_id, self._catalog, self._folder = load_id, catalog, folder
        self._sink: ParquetSink | None = None

    def take(self, rows: pa.RecordBatch, reason: str) -> None:
        """Keep `rows` as they came."""
        if self._sink is None:
            table = load_table(self._catalog, self._spec.identifier)
            plan = SchemaPlan(self._spec, table.transaction() if table is not None else None)
            self._sink = ParquetSink(self._folder, plan)
        now = datetime.now(timezone.utc)
        kept = [_as_json(row) for row in rows.to_pylist()]
        self._sink.write(
            pa.table(
                {
                    LOAD_COLUMN: pa.repeat(pa.scalar(self._load_id), len(kept)),
                    "rejected_at": pa.repeat(pa.scalar(now, pa.timestamp("us", "UTC")), len(kept)),
                    "reason": pa.repeat(pa.scalar(reason), len(kept)),
                    "row": pa.array(kept, pa.string()),
                }
            )
        )

    def close(self) -> StagedTable | None:
        """What there is to land; None for no rejected row."""
        if self._sink is None:
            return None
        files = self._sink.close()
        plan = self._sink.plan
        return StagedTable(self._spec, files, plan.schema, plan.partition_spec, load_id=f"{self._load_id}-rejected")

    def abort(self) -> None:
        """The load failed: stop without finishing."""
        if self._sink is not None:
            self._sink.abort()


def _as_json(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, default=str, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has no word for floats that are no numbers
        return json.dumps(_with_numbers_only(row), default=str, ensure_ascii=False)


def _with_numbers_only(value: Any) -> Any:
    """`value`, in which NaN and the infinite are texts, called as JavaScript and SQL call them."""
    if isinstance(value, dict):
        return {name: _with_numbers_only(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_numbers_only(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def rejected_table(spec: TableSpec) -> TableSpec:
    """The table beside `spec` that takes its rejected rows."""
    return TableSpec(
        source=spec.source,
        source_type=spec.source_type,
        resource=spec.resource,
        namespace=spec.namespace,
        name=f"{spec.name}{SUFFIX}",
    )
