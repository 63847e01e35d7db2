"""A source that is written in Python: a function that gives rows, Arrow tables or a dlt resource."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from floe_ingestion.errors import PermanentError
from floe_ingestion.formats import number_of
from floe_ingestion.sources.base import Extraction, declared_key, incremental_of

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource
    from dlt.extract.source import DltSource


class FunctionConnector:
    """A Python function as a source."""

    json_rows: ClassVar[bool] = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        """Call the function for its one table."""
        import dlt
        from dlt.extract.resource import DltResource
        from dlt.extract.source import DltSource

        from floe_ingestion.sources.paging import in_pages

        (extraction,) = extractions
        wants_window = "window" in inspect.signature(self.function).parameters
        made = self.function(window=extraction.window) if wants_window else self.function()
        name = extraction.table.resource
        if made is None:
            raise PermanentError(
                f"{name} returned nothing. Yield rows or Arrow tables, or return a list or a dlt resource."
            )
        if isinstance(made, DltSource):
            made = _only_resource(made, name)
        if isinstance(made, (list, tuple, Iterator)):
            made = in_pages(made)
        resource = made if isinstance(made, DltResource) else dlt.resource(made, name=name)
        incremental = incremental_of(extraction)
        if incremental is not None:
            resource.apply_hints(incremental=incremental)
        return {name: resource}

    def key_of(self, resource: DltResource) -> tuple[str, ...]:
        """The primary key that the resource declares."""
        return declared_key(resource)


def _only_resource(source: DltSource, name: str) -> DltResource:
    resources = list(source.selected_resources.values())
    if len(resources) == 1:
        return resources[0]
    if name in source.resources:
        return source.resources[name]
    raise PermanentError(
        f"{name} returned a dlt source with {number_of(len(resources), 'resource')} ({', '.join(source.resources)}). "
        f"One asset lands one table: return `source.resources[…]`, in one decorated function each."
    )
