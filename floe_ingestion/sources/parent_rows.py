"""Rows of a parent: which of them its children can be asked for, and how their fields stand in a path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

from dlt.common.jsonpath import compile_path, find_values
from dlt.extract.items_transform import FilterItem

from floe_ingestion.errors import SourceRejected
from floe_ingestion.sources.rest_options import PARENT, Endpoint, is_resolved

_KEPT = "/!$&'()*+,;=:@"
"""What a path may hold as it is; a slash, because APIs want one in fields such as `full_name: owner/repo`."""


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


class PathFields:
    """What the path of `endpoint` takes of the parent's rows: dlt fills it in as it stands there."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._path, self._params = endpoint.path or "", endpoint.params
        first = re.match(r"\{([^{}]+)\}", self._path)
        self._leading = self._field_of(first[0]) if first else None
        self._alone = first is not None and first[0] == self._path

    @cached_property
    def keys(self) -> Mapping[str, str]:
        """What each field is called in a row that holds it escaped, too."""
        fields = {field for _, field in PARENT.findall(self._path)}
        fields |= {value["field"] for value in self._params.values() if is_resolved(value)}
        return {field: f"floe_in_path_{number}" for number, field in enumerate(sorted(fields))}

    @property
    def path(self) -> str:
        """The path, of the escaped fields."""
        return PARENT.sub(lambda found: f"{{resources.{found[1]}.{self.keys[found[2]]}}}", self._path)

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters, of which some stand for a field of the path."""
        return {
            name: {**value, "field": self.keys[value["field"]]} if is_resolved(value) else value
            for name, value in self._params.items()
        }

    def escaped(self, field: str, value: Any) -> str:
        """`value` in the path; raises `ValueError` where it would lead out of it."""
        text = str(value)
        if field == self._leading and (self._alone or text.startswith(("http://", "https://"))):
            return text  # a URL or a path, not a part of one
        if {".", ".."}.intersection(text.split("/")):
            raise ValueError(f"{text!r} leads to another path")
        return quote(text, safe=_KEPT)

    def _field_of(self, placeholder: str) -> str | None:
        if found := PARENT.fullmatch(placeholder):
            return found[2]
        value: Any = self._params.get(placeholder[1:-1])
        return value["field"] if is_resolved(value) else None
