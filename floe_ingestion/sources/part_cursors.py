"""A cursor for each part of a resource, such as each repository that its rows come from.

With one cursor for all, what is changed in the first part while the last one is read would be passed over, and so
would everything in a part that is added later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

from floe_ingestion.errors import SourceRejected
from floe_ingestion.sources.instants import as_moment, as_text, instant_of
from floe_ingestion.spec import IncrementalSpec


class PartCursor:
    """Where one part goes on. It lives in dlt's state of the resource, in the shape of dlt's own cursors.

    Rows at exactly the last value are told apart by what is in them, so that none lands twice.
    """

    def __init__(self, part: str, spec: IncrementalSpec) -> None:
        import dlt

        cursors = dlt.current.resource_state().setdefault("incremental", {})
        fresh = {"initial_value": as_text(spec.initial_value), "last_value": None, "unique_hashes": []}
        self._state: dict[str, Any] = cursors.setdefault(f"{part}:{spec.cursor_path}", fresh)
        self._spec, self._path = spec, spec.cursor_path.split(".")
        before = self._state["last_value"]
        self._known = set(self._state["unique_hashes"]) if not spec.lag else set()
        self.start: Any = _earlier(before, spec.lag) if before is not None else fresh["initial_value"]
        """What is older was landed before, or is not wanted; None for nothing."""
        self._end = as_text(spec.end_value)

    def new(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows that are new or have changed."""
        for row in rows:
            value = self.value_of(row)
            if value is None:
                if self._spec.on_cursor_value_missing == "include":
                    yield row
            elif self._lies_within(value) and (mark := mark_of(row)) not in self._known:
                self._advance(value, mark)
                yield row

    def value_of(self, row: dict[str, Any]) -> Any:
        """The row's value; None where it has none and that is allowed."""
        value: Any = row
        for key in self._path:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None and self._spec.on_cursor_value_missing == "raise":
            raise SourceRejected(
                f"A row has no {self._spec.cursor_path!r}, its cursor. Write another `cursor_path`, or "
                f"`on_cursor_value_missing: include` or `exclude`."
            )
        return value

    def _lies_within(self, value: Any) -> bool:
        if self._end is not None and not _less(value, self._end):
            return False
        return self.start is None or not _less(value, self.start)

    def _advance(self, value: Any, mark: str) -> None:
        if self._end is not None:
            return  # as dlt does: what is loaded up to an end leaves no cursor
        last = self._state["last_value"]
        if last is None or _less(last, value):
            self._state["last_value"], self._state["unique_hashes"] = value, [mark]
        elif not _less(value, last) and mark not in self._state["unique_hashes"]:
            self._state["unique_hashes"].append(mark)


def mark_of(row: dict[str, Any]) -> str:
    """What tells a row, as it is now, from every other."""
    return hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _less(one: Any, other: Any) -> bool:
    first, second = instant_of(one), instant_of(other)
    return bool(one < other) if first is None or second is None else first < second


def _earlier(value: Any, lag: float | None) -> Any:
    if not lag:
        return value
    moment = as_moment(value)
    if isinstance(moment, datetime):
        return as_text(moment - timedelta(seconds=lag))
    return as_text(moment - timedelta(days=lag)) if isinstance(moment, date) else value - lag
