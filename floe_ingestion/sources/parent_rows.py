"""Rows of a parent: which of them its children can be asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dlt.common.jsonpath import compile_path, find_values
from dlt.extract.items_transform import FilterItem

from floe_ingestion.errors import SourceRejected


class Askable(FilterItem):
    """Leaves out rows that have nothing in a field that the child is asked by: dlt would ask for `None`."""

    def __init__(self, parent: str, child: str, fields: Iterable[str]) -> None:
        super().__init__(lambda row: True)
        self._parent, self._child = parent, child
        self._fields = {field: compile_path(field) for field in sorted(fields)}

    def __call__(self, item: Any, meta: Any = None) -> Any:
        """Those of a page; raises `SourceRejected` where none of them has the field at all."""
        rows = item if isinstance(item, list) else [item]
        for field, path in self._fields.items():
            found = [find_values(path, row) for row in rows]
            if rows and not any(found):
                known = ", ".join(map(str, rows[0])) if isinstance(rows[0], dict) else type(rows[0]).__name__
                raise SourceRejected(
                    f"{self._child}: no row of {self._parent} has {field!r}, which it is asked by. They have: {known}. "
                    f"Correct `{{resources.{self._parent}.{field}}}`."
                )
            rows = [row for row, values in zip(rows, found, strict=True) if values and values[0] is not None]
        return rows if isinstance(item, list) else next(iter(rows), None)
