"""The requests of one resource: floe.yaml's endpoint, cursor and window as dlt's rest_api source takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dlt.common.jsonpath import compile_path
from dlt.sources.helpers.rest_client.detector import single_entity_path
from dlt.sources.rest_api.config_setup import create_paginator

from floe_ingestion.sources.instants import as_text, cursor_arguments
from floe_ingestion.sources.paging import PageCursor
from floe_ingestion.sources.parent_rows import Askable, PathFields
from floe_ingestion.sources.rest_answers import Pages
from floe_ingestion.spec import IncrementalSpec

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource

    from floe_ingestion.sources.base import Extraction
    from floe_ingestion.sources.rest_api import EndpointResource
    from floe_ingestion.sources.rest_options import Endpoint

_NOWHERE = "floe_window"


@dataclass(frozen=True)
class Requests:
    """What one resource asks for; `extraction` is None for a parent that is only read for its children."""

    resource: EndpointResource
    endpoint: Endpoint
    cursor: IncrementalSpec | None
    extraction: Extraction | None
    base_url: str
    child: tuple[str, Endpoint] | None = None
    """Who is asked for by its rows, and how."""

    @property
    def name(self) -> str:
        return self.resource.name

    def config(self) -> dict[str, Any]:
        """The resource as dlt's rest_api source is told of it."""
        endpoint = self._endpoint()
        endpoint["params"] = {**PathFields(self.endpoint).params, **self._window_params}
        if self._told_to_dlt:
            endpoint["incremental"] = self._incremental()
        else:
            endpoint["params"] |= self._cursor_params
        config: dict[str, Any] = {"name": self.name, "endpoint": endpoint}
        if self.resource.include_from_parent:
            config["include_from_parent"] = list(self.resource.include_from_parent)
        return config

    def finish(self, made: DltResource) -> None:
        """Add to dlt's resource what its configuration cannot say."""
        if not self._told_to_dlt and self._step is not None:
            made.add_step(self._step)
        if self.child is not None:
            made.add_step(Askable(self.name, *self.child))

    @property
    def _told_to_dlt(self) -> bool:
        """Whether the cursor stands in dlt's configuration of the endpoint: for requests that say `{incremental.…}`."""
        return self.endpoint.uses_incremental() and self._incremental() is not None

    @cached_property
    def _step(self) -> Any:
        """The cursor as a step of the pipe, which is ours and takes whole pages.

        In `endpoint.incremental` of a child dlt binds it anew for each page of parents, at the newest row so far, and
        drops the rows of all later parents that are older: https://github.com/dlt-hub/dlt/issues/2429.
        """
        return PageCursor(**cursor_arguments(self.cursor)) if self.cursor is not None else None

    @property
    def _cursor_params(self) -> dict[str, Any]:
        if self.cursor is None:
            return {}
        wanted = {"start_value": self.cursor.start_param, "end_value": self.cursor.end_param}
        return {param: _FromCursor(self._step, value) for value, param in wanted.items() if param}

    @property
    def _window_params(self) -> dict[str, Any]:
        """The window of a partitioned run, for an API that can be asked for just that."""
        partitions = self.extraction.table.partitions if self.extraction else None
        if partitions is None or self._window is None:
            return {}
        start, end = self._window
        wanted = {partitions.start_param: start, partitions.end_param: end}
        return {param: value for param, value in wanted.items() if param}

    @property
    def _window(self) -> tuple[str, str] | None:
        """Start and end of a run of partitions by time; None for every other."""
        window = self.extraction.window if self.extraction else None
        if window is None or window.start is None or window.end is None:
            return None
        return as_text(window.start.astimezone(timezone.utc)), as_text(window.end.astimezone(timezone.utc))

    def _incremental(self) -> dict[str, Any] | None:
        """`endpoint.incremental`; in a window one that filters nothing, for requests that say `{incremental.…}`."""
        if self._window is not None:
            start, end = self._window
            return {
                "cursor_path": _NOWHERE,
                "initial_value": start,
                "end_value": end,
                "on_cursor_value_missing": "include",
            }
        if self.cursor is None:
            return None
        params = {"start_param": self.cursor.start_param, "end_param": self.cursor.end_param}
        return {**cursor_arguments(self.cursor), **{key: value for key, value in params.items() if value}}

    @property
    def _home(self) -> str | None:
        """Whose host has the credentials: the API's, or the one that floe.yaml names in the path."""
        return None if (self.endpoint.path or "").startswith(("http://", "https://")) else self.base_url

    def _endpoint(self) -> dict[str, Any]:
        endpoint = self.endpoint
        given: Any = {"type": "single_page"} if single_entity_path(endpoint.path or "") else {"type": "auto"}
        if endpoint.paginator is not None:
            given = endpoint.paginator.model_dump(exclude_unset=True)
        has_to_be_there = endpoint.data_selector if endpoint.on_data_missing == "raise" else None
        made: dict[str, Any] = {
            "path": PathFields(endpoint).path,
            "method": endpoint.method,
            "headers": dict(endpoint.headers),
            "paginator": Pages(create_paginator(given), has_to_be_there, self._home),
            "json": _plain(endpoint.json_body),
            "data": _plain(endpoint.data),
            # dlt takes 2 ms to compile it, and does so for each page where it is a text.
            "data_selector": compile_path(endpoint.data_selector) if endpoint.data_selector else None,
            "response_actions": [action.model_dump(exclude_none=True) for action in endpoint.response_actions],
            "auth": endpoint.auth.model_dump(exclude_unset=True) if endpoint.auth is not None else None,
        }
        return {key: value for key, value in made.items() if value}


class _FromCursor:
    """A parameter's value that is read from the cursor when the request is made; no value, no parameter."""

    def __init__(self, incremental: Any, attribute: str) -> None:
        self._incremental, self._attribute = incremental, attribute

    def __iter__(self) -> Iterator[Any]:
        # requests writes a parameter once for each item of what can be iterated, and none for None.
        return iter((as_text(getattr(self._incremental, self._attribute)),))


def _plain(value: Any) -> Any:
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value
