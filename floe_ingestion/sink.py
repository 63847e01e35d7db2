"""The last step of a dlt pipe: Arrow goes straight to the Parquet writer, rows go on to dlt's own typing."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
from dlt.extract.items_transform import ItemTransform

from floe_ingestion.errors import OtherTable
from floe_ingestion.iceberg.writer import ParquetSink


class SinkStep(ItemTransform[Any, Any]):
    """Stands behind dlt's incremental and limit steps, which have filtered by then."""

    placement_affinity: ClassVar[float] = 3

    def __init__(self, sink: ParquetSink) -> None:
        super().__init__(lambda item: item)
        self._sink = sink
        self.rows = 0
        """Of all items, columnar or not."""
        self.rows_passed = False
        """Whether rows went on to dlt, which then has to normalise them."""
        self.nothing_came = True
        """Neither rows nor columns."""

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """Take what is columnar; hand on the rest."""
        spec = self._sink.plan.spec
        if (elsewhere := _table_of(meta)) not in (None, spec.name):
            raise OtherTable(str(spec), spec.resource, str(elsewhere))
        items = item if isinstance(item, list) else [item]
        self.nothing_came = self.nothing_came and not items
        rest = [piece for piece in items if not self._take(piece)]
        self.rows += len(rest)
        self.rows_passed = self.rows_passed or bool(rest)
        if not rest:
            return None
        return rest if isinstance(item, list) else rest[0]

    def _take(self, piece: Any) -> bool:
        table = as_arrow(piece)
        if table is not None:
            self.rows += table.num_rows
            self._sink.write(table)
        return table is not None


def _table_of(meta: Any) -> Any:
    """The table that rows are marked for: by `dlt.mark.with_table_name`, or `with_hints`."""
    hints = getattr(meta, "hints", None)
    return getattr(meta, "table_name", None) or (hints.get("table_name") if isinstance(hints, dict) else None)


def as_arrow(piece: Any) -> pa.Table | pa.RecordBatch | None:
    """`piece` as Arrow if it is columnar (Arrow, Polars, pandas); None for rows."""
    if isinstance(piece, (pa.Table, pa.RecordBatch)):
        return piece
    module = type(piece).__module__.partition(".")[0]
    if module == "polars":
        return (piece.collect() if hasattr(piece, "collect") else piece).to_arrow()
    if module == "pandas":
        return pa.Table.from_pandas(piece, preserve_index=False)
    return None
