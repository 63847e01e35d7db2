"""Stripe on this machine: lists that tests fill, newest first, in pages as its API makes them.

The rows of `data/stripe_shapes.json` hold, for each list, the required fields of the classes of Stripe's Python client
(PyPI `stripe` 16.1.0, API version 2026-10-28.endive) and those that the connector declares a type for, with values of
the annotated types. Compared by hand: that client, pointed at this fake, pages through a list by `auto_paging_iter`,
narrows it by `created`, and raises its `AuthenticationError` and `InvalidRequestError` for the refusals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from floe_ingestion.sources.stripe_resources import LISTINGS
from floe_ingestion_tests.http_server import Answer, Asked, HttpServer, serving

_SHAPES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "stripe_shapes.json").read_text("utf-8"))
_PATHS = {listing.path: name for name, listing in LISTINGS.items()}
KEY = "sk_test_an0ctopus"
NEW_YEAR = 1_704_067_200
"""Of 2024, as Stripe writes it."""
Row = dict[str, Any]


class FakeStripe:
    """Answers below `url` to whoever sends `Bearer <KEY>`."""

    def __init__(self, server: HttpServer) -> None:
        self.server, self.url = server, f"{server.url}/v1"
        self.lists: dict[str, list[Row]] = {}
        self.after_answer: Callable[[Asked], None] = lambda asked: None
        server.fallback = self._answer

    @property
    def asked(self) -> list[Asked]:
        """All requests."""
        return self.server.asked

    def add(self, resource: str, identifier: str, created: int = NEW_YEAR, **values: Any) -> Row:
        """Make an object."""
        times = {LISTINGS[resource].created: created}
        row: Row = deepcopy(_SHAPES[resource]) | {"id": identifier} | times | values
        self.lists.setdefault(resource, []).append(row)
        return row

    def fill(self, resource: str, numbers: range, seconds: int = 60) -> None:
        """One object in every so many seconds, called `id_<number>`."""
        for number in numbers:
            self.add(resource, f"id_{number:04}", NEW_YEAR + number * seconds)

    def _answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return refusal(401, "Invalid API Key provided: sk_****")
        resource = _PATHS.get(asked.path.removeprefix("/v1/"))
        if resource is None:
            return refusal(404, f"Unrecognized request URL (GET: {asked.path}).")
        answer = self._list(asked, resource)
        self.after_answer(asked)
        return answer

    def _list(self, asked: Asked, resource: str) -> Answer:
        by = LISTINGS[resource].created
        rows = self.lists.get(resource, [])[::-1]
        rows.sort(key=lambda row: int(row[by]), reverse=True)
        since, until = int(asked.params.get("created[gte]", 0)), int(asked.params.get("created[lt]", 1 << 40))
        rows = [row for row in rows if since <= row[by] < until]
        if after := asked.params.get("starting_after"):
            found = [index for index, row in enumerate(rows) if row["id"] == after]
            if not found:
                return refusal(
                    400, f"No such {resource[:-1]}: '{after}'", code="resource_missing", param="starting_after"
                )
            rows = rows[found[0] + 1 :]
        size = int(asked.params.get("limit", 10))
        return Answer({"object": "list", "url": asked.path, "has_more": len(rows) > size, "data": rows[:size]})


def refusal(status: int, message: str, headers: dict[str, str] | None = None, **more: str) -> Answer:
    """An error as Stripe writes it."""
    return Answer({"error": {"type": "invalid_request_error", "message": message, **more}}, status, headers or {})


@contextmanager
def stripe() -> Iterator[FakeStripe]:
    """A Stripe of a test's own."""
    with serving() as server:
        yield FakeStripe(server)
