"""A source connector of a package that is not ours, and how pip would leave such a package on the path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector, named
from floe_ingestion.spec import Names, StrictModel

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource

ENTRY_POINT = "parcels = floe_ingestion_tests.parcels:ParcelsConnector"
COUNTRIES = "countries = floe_ingestion_tests.parcels:CountriesConnector"


class Endpoint(StrictModel):
    """Where the parcels of a resource are asked for."""

    path: str
    params: Mapping[str, str] = {}


class BearerAuth(StrictModel):
    """A token in a header."""

    type: Literal["bearer"]
    token: str


class BasicAuth(StrictModel):
    """A name and a password."""

    type: Literal["basic"]
    username: str
    password: str


class ParcelsResource(ResourceSpec):
    """One kind of parcel."""

    endpoint: str | Endpoint | None = None
    sizes: Names = ()


class ParcelsConnector(SourceConnector):
    """A service that knows where parcels are; its models have every shape that a connector's may have."""

    kind = "parcels"

    base_url: str = Field(examples=["https://parcels.example.com"])
    api_key: str | None = None
    page_size: int = Field(default=100, ge=1)
    auth: Annotated[BearerAuth | BasicAuth, Field(discriminator="type")] | None = None
    resources: tuple[Annotated[ParcelsResource, BeforeValidator(named)], ...]

    @model_validator(mode="after")
    def _key_in_one_place(self) -> ParcelsConnector:
        if self.api_key and self.auth:
            raise ValueError(f"api_key {self.api_key!r} and auth are both given. Write one of them")
        return self

    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        if self.base_url.endswith("/"):
            raise ConfigurationError(f"{self.base_url!r} ends with a slash. Remove it.")
        return self.resources

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        raise NotImplementedError


class CountriesConnector(SourceConnector):
    """A source that lists its resources in a way of its own."""

    kind = "countries"

    codes: str

    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        return tuple(ResourceSpec(name=code) for code in self.codes.split())

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        raise NotImplementedError


def install(site: Path, distribution: str, *entry_points: str) -> None:
    """Install `distribution` into the folder `site`, with these lines of our entry-point group."""
    info = site / f"{distribution.replace('-', '_')}-1.2.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2.3\n")
    (info / "entry_points.txt").write_text("\n".join(["[floe_ingestion.sources]", *entry_points]))
