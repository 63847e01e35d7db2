"""Fields of a parent's row in the path of a child's requests, escaped as a URL wants them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

from floe_ingestion.sources.rest_options import PARENT, Endpoint, is_resolved

_KEPT = "/!$&'()*+,;=:@"
"""What a path may hold as it is; a slash, because APIs want one in fields such as `full_name: owner/repo`."""


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
