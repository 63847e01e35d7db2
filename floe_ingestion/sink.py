"""The last step of a dlt pipe: rows become Arrow and go to the Parquet writer, where dlt need not type them first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from dlt.extract.items_transform import ItemTransform

from floe_ingestion.errors import OtherTable, PermanentError
from floe_ingestion.iceberg.writer import ParquetSink
from floe_ingestion.naming import normalize_column
from floe_ingestion.row_types import RowTypes
from floe_ingestion.storing import of_polars
from floe_ingestion.value_types import are_plain

_ROWS = 4_000
"""Rows that are turned at once, at least; of fewer the steps for each column cost more than those for each value."""


class SinkStep(ItemTransform[Any, Any]):
    """Stands behind dlt's incremental and limit steps, which have filtered by then."""

    placement_affinity: ClassVar[float] = 3

    def __init__(self, sink: ParquetSink, types: RowTypes | None = None, json_rows: bool = False) -> None:
        """Without `types` all rows go on to dlt; `json_rows` are known to hold nothing but what JSON can say."""
        super().__init__(lambda item: item)
        self.sink, self._types = sink, types
        self._all_plain = json_rows or sink.plan.spec.nested == "struct"
        self._waiting: list[dict[str, Any]] = []
        self.rows = 0
        """Of all items, columnar or not."""
        self.rows_passed = False
        """Whether rows went on to dlt, which then has to normalise them."""
        self.nothing_came = True
        """Neither rows nor columns."""
        self._met: set[str] = set()
        self.names: dict[str, str] = {}
        """What the source calls the columns of rows, whose names dlt changes, by their names in the table."""

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """Take what is columnar, or can be made so; hand on the rest."""
        spec = self.sink.plan.spec
        if (elsewhere := _table_of(meta)) not in (None, spec.name):
            raise OtherTable(str(spec), spec.resource, str(elsewhere))
        items = item if isinstance(item, list) else [item]
        self.nothing_came = self.nothing_came and not items
        if self._take_rows(items, meta):
            return None
        rest = [piece for piece in items if not self._take(piece)]
        if rest and spec.nested == "struct":
            raise PermanentError(
                f"{spec} asks for `nested: struct`, and {spec.resource} gives rows that only dlt can type: objects of "
                f"a class ({type(rest[0]).__name__}), or rows with a model, a schema contract or hints of their own. "
                f"Give plain dictionaries, or write `nested: json`."
            )
        self.rows += len(rest)
        self.rows_passed = self.rows_passed or bool(rest)
        if rest and isinstance(rest[0], Mapping):
            self._remember(rest[0])
        if not rest:
            return None
        return rest if isinstance(item, list) else rest[0]

    def _remember(self, row: Mapping[str, Any]) -> None:
        for name in row.keys() - self._met:
            self._met.add(name)
            if isinstance(name, str) and name.strip():
                self.names[normalize_column(name)] = name

    def flush(self) -> None:
        """Write the rows that wait for more of them."""
        if self._waiting and self._types is not None:
            rows, self._waiting = self._waiting, []
            table = self._types.table(rows)
            self._remember(self._types.names)
            self.sink.write(table)

    def _take_rows(self, items: list[Any], meta: Any) -> bool:
        if getattr(meta, "hints", None):  # from here on dlt knows more than was told before
            self.flush()
            self._types = None
        if self._types is None or set(map(type, items)) != {dict} or not (self._all_plain or are_plain(items)):
            return False
        self.rows += len(items)
        self._waiting += items
        if len(self._waiting) >= _ROWS:
            self.flush()
        return True

    def _take(self, piece: Any) -> bool:
        table = _as_arrow(piece)
        if table is not None:
            self.rows += table.num_rows
            self.flush()
            self.sink.write(table)
        return table is not None


def _table_of(meta: Any) -> Any:
    """The table that rows are marked for: by `dlt.mark.with_table_name`, or `with_hints`."""
    hints = getattr(meta, "hints", None)
    return getattr(meta, "table_name", None) or (hints.get("table_name") if isinstance(hints, dict) else None)


def _as_arrow(piece: Any) -> pa.Table | pa.RecordBatch | None:
    """`piece` as Arrow if it is columnar (Arrow, Polars, pandas); None for rows."""
    if isinstance(piece, (pa.Table, pa.RecordBatch)):
        return piece
    module = type(piece).__module__.partition(".")[0]
    if module == "polars":
        return of_polars(piece.collect() if hasattr(piece, "collect") else piece)
    if module == "pandas":
        return pa.Table.from_pandas(piece, preserve_index=False)
    return None
