"""Rows of a parent: which of them its children can be asked for."""

from __future__ import annotations

from typing import Any

from dlt.common.jsonpath import compile_path, find_values
from dlt.extract.items_transform import FilterItem

from floe_ingestion.errors import SourceRejected
from floe_ingestion.sources.path_fields import PathFields
from floe_ingestion.sources.rest_options import Endpoint


class Askable(FilterItem):
    """Leaves out rows that have nothing in a field that the child is asked by: dlt would ask for `None`.

    The others hold what stands in the path escaped as well.
    """

    def __init__(self, parent: str, child: str, asked_by: Endpoint) -> None:
        super().__init__(lambda row: True)
        self._parent, self._child = parent, child
        self._fields = {field: compile_path(field) for field in sorted(asked_by.fields_of(parent))}
        self._in_path = PathFields(asked_by)

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
            nothing = (None, "") if field in self._in_path.keys else (None,)
            rows = [row for row, values in zip(rows, found, strict=True) if values and values[0] not in nothing]
        rows = [{**row, **self._escaped(row)} for row in rows]
        return rows if isinstance(item, list) else next(iter(rows), None)

    def _escaped(self, row: Any) -> dict[str, str]:
        found = {field: find_values(self._fields[field], row)[0] for field in self._in_path.keys}
        try:
            return {self._in_path.keys[field]: self._in_path.escaped(field, value) for field, value in found.items()}
        except ValueError as error:
            raise SourceRejected(
                f"{self._child}: a row of {self._parent} cannot stand in the path that is asked for: {error}. Correct "
                f"it in the source, or ask by another field."
            ) from error
