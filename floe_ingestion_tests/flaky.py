"""A source connector whose resources break off as often as they are told, after their rows were half read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector, incremental_of, named
from floe_ingestion_tests.parcels import install

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource


class FlakyResource(ResourceSpec):
    """Rows that stand in the configuration."""

    rows: tuple[Mapping[str, Any], ...] = ()
    failures: int = 0
    """How many attempts break off."""


class FlakyConnector(SourceConnector):
    """`type: flaky`; each attempt at a resource leaves a line in `<its name>.attempts`."""

    kind = "flaky"
    kinds = ("flaky",)

    folder: str = "."
    token: str = ""
    """A secret that is told with every failure, as careless sources do."""
    resources: tuple[Annotated[FlakyResource, BeforeValidator(named)], ...]

    def relative_to(self, folder: Path) -> FlakyConnector:
        return self.model_copy(update={"folder": str(folder / self.folder)})

    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        return self.resources

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        import dlt

        resources = {resource.name: resource for resource in self.resources}
        made: dict[str, DltResource] = {}
        for extraction in extractions:
            name = extraction.table.resource
            made[name] = dlt.resource(self._rows(resources[name]), name=name)
            if (incremental := incremental_of(extraction)) is not None:
                made[name].apply_hints(incremental=incremental)
        return made

    def _rows(self, resource: FlakyResource) -> Iterator[dict[str, Any]]:
        attempt = attempts(Path(self.folder), resource.name) + 1
        with (Path(self.folder) / f"{resource.name}.attempts").open("a") as file:
            file.write("attempt\n")
        for number, row in enumerate(resource.rows):
            if number and attempt <= resource.failures:
                raise ConnectionError(f"{resource.name} broke off at its attempt {attempt}{self._telling()}")
            yield dict(row)

    def _telling(self) -> str:
        return f" with the token {self.token}" if self.token else ""


def attempts(folder: Path, resource: str) -> int:
    """How often a resource was read."""
    path = folder / f"{resource}.attempts"
    return len(path.read_text().splitlines()) if path.exists() else 0


def install_flaky(site: Path) -> None:
    """Install the connector into the folder `site`, which is to be put on the path."""
    install(site, "acme-flaky", "flaky = floe_ingestion_tests.flaky:FlakyConnector")
