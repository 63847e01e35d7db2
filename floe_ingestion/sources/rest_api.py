"""Any API that answers in JSON, described in floe.yaml and read by dlt's rest_api source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from floe_ingestion.classify import source_errors
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.formats import did_you_mean, number_of
from floe_ingestion.secrets import hide
from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector, named
from floe_ingestion.sources.rest_options import Auth, Endpoint, EndpointOrPath, Paginator
from floe_ingestion.spec import (
    Columns,
    Contract,
    IncrementalSpec,
    Names,
    StrictModel,
    TableSpec,
    WriteDisposition,
)

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource


class EndpointDefaults(StrictModel):
    """What holds for every resource that does not say otherwise."""

    endpoint: EndpointOrPath = Endpoint()
    """Parameters, headers and JSON bodies are filled together with a resource's own; all else is replaced."""
    write_disposition: WriteDisposition | None = None
    primary_key: Names = ()
    schema_contract: Contract | None = None
    columns: Columns = Field(default={})
    incremental: IncrementalSpec | None = None


class EndpointResource(ResourceSpec):
    """The rows of one endpoint."""

    endpoint: EndpointOrPath = Endpoint()
    """The path, or a mapping with `path`, `method`, `params` and so on."""
    include_from_parent: Names = ()
    """Fields of the parent's row that become columns `_<parent>_<field>` of this one's."""


class RestApiConnector(SourceConnector):
    """`type: rest_api`.

    A resource whose requests hold `{resources.<parent>.<field>}` is asked for once for each row of its parent.
    It reads the parent itself: an `incremental` of the parent narrows what the child asks for, with a cursor that
    lands with the child's rows and is its own.
    """

    kind: ClassVar[str] = "rest_api"
    json_rows: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("api",)

    base_url: str = Field(min_length=1, examples=["https://api.example.com/v1"])
    headers: Mapping[str, str] = Field(default={}, repr=False)
    auth: Auth | None = None
    paginator: Paginator | None = None
    """How pages follow each other; found by the answers where absent, or asked for where these leave a doubt."""
    resource_defaults: EndpointDefaults = EndpointDefaults()
    resources: tuple[Annotated[EndpointResource, BeforeValidator(named)], ...] = Field(min_length=1)

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str) -> str:
        if "${" not in value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{value!r} is no URL of an API. Write e.g. https://api.example.com/v1")
        if "@" in value.partition("://")[2].partition("/")[0]:
            raise ValueError("holds a user name or password. Write them as `auth: {type: http_basic, …}`")
        return value

    @model_validator(mode="after")
    def _requests_can_be_made(self) -> RestApiConnector:
        if problems := [problem for resource in self.resources for problem in self._problems(resource)]:
            raise ValueError(". ".join(problems))
        return self

    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        return tuple(_with_defaults(resource, self.resource_defaults) for resource in self.resources)

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        return {extraction.table.resource: self._resource(extraction) for extraction in extractions}

    def check_connection(self) -> str:
        first = next(resource for resource in self.resources if not self.endpoint(resource).parents())
        table = TableSpec(source="", source_type=self.kind, resource=first.name, namespace=(), name=first.name)
        spec = _with_defaults(first, self.resource_defaults)
        extraction = Extraction(table.model_copy(update={"incremental": spec.incremental}))
        with source_errors(self.base_url):
            rows = list(self._resource(extraction, attempts=1).add_limit(1))
        return f"{self.base_url} answers, with {number_of(len(rows), 'row')} on the first page of {first.name!r}"

    def endpoint(self, resource: EndpointResource) -> Endpoint:
        """The endpoint of a resource, with `resource_defaults` filled in."""
        general, own = self.resource_defaults.endpoint, resource.endpoint
        filled: dict[str, Any] = {key: getattr(own, key) for key in own.model_fields_set}
        for key in Endpoint.MERGED:
            if getattr(general, key):
                filled[key] = {**getattr(general, key), **(getattr(own, key) or {})}
        return general.model_copy(update={**filled, "path": own.path or resource.name})

    def _problems(self, resource: EndpointResource) -> Iterator[str]:
        endpoint = self.endpoint(resource)
        parents, names = endpoint.parents(), [other.name for other in self.resources]
        incremental = _with_defaults(resource, self.resource_defaults).incremental
        for problem in endpoint.unfilled():
            yield f"{resource.name}: {problem}"
        for parent in sorted(parents.difference(names)):
            yield f"{resource.name}: there is no resource {parent!r} to take a field of.{did_you_mean(parent, names)}"
        if len(parents) > 1:
            yield f"{resource.name}: takes fields of {', '.join(sorted(parents))}; a resource has one parent"
        elif resource.include_from_parent and not parents:
            yield f"{resource.name}: has no parent to include from; write `{{resources.<parent>.<field>}}` in its path"
        elif parents and endpoint.uses_incremental():
            yield f"{resource.name}: a child cannot say {{incremental.…}}; write `incremental: {{start_param: …}}`"
        elif endpoint.needs_start() and incremental is not None and incremental.initial_value is None:
            yield f"{resource.name}: says {{incremental.…}}, and the first run has no value; write `initial_value`"
        elif resource.name in self._lineage(resource)[1:]:
            yield f"{resource.name}: is its own parent, by way of {', '.join(self._lineage(resource)[1:])}"

    def _lineage(self, resource: EndpointResource) -> list[str]:
        """The resource, its parent, that one's parent, and so on; a circle ends where it closes."""
        by_name = {other.name: other for other in self.resources}
        line = [resource.name]
        while parents := self.endpoint(by_name[line[-1]]).parents().intersection(by_name):
            line.append(min(parents))
            if line[-1] in line[:-1]:
                break
        return line

    def _resource(self, extraction: Extraction, attempts: int | None = None) -> DltResource:
        from dlt.sources.rest_api import rest_api_resources

        from floe_ingestion.sources.rest_requests import Requests

        by_name = {resource.name: resource for resource in self.resources}
        own = by_name[extraction.table.resource]
        made = [Requests(own, self._filled(own), extraction.cursor, extraction, self.base_url)]
        for child, parent in pairwise(by_name[name] for name in self._lineage(own)):
            cursor, asked_by = _with_defaults(parent, self.resource_defaults).incremental, self.endpoint(child)
            made.append(Requests(parent, self._filled(parent), cursor, None, self.base_url, (child.name, asked_by)))
        config: Any = {"client": self._client(attempts), "resources": [each.config() for each in made]}
        try:
            resources = rest_api_resources(config)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{extraction.table}: dlt does not take this configuration: {error}") from error
        found = {resource.name: resource for resource in resources}
        for each in made:
            each.finish(found[each.name])
        return found[extraction.table.resource]

    def _client(self, attempts: int | None) -> dict[str, Any]:
        from floe_ingestion.sources.rest_answers import session_of

        client: dict[str, Any] = {"base_url": self.base_url, "headers": dict(self.headers)}
        client["session"] = session_of(attempts)
        if self.auth is not None:
            client["auth"] = self.auth.model_dump(exclude_unset=True)
            for secret in client["auth"].keys() & {"api_key", "client_secret", "password", "token"}:
                hide(client["auth"][secret])  # one that floe.yaml holds itself, too: requests writes URLs into errors
        return client

    def _filled(self, resource: EndpointResource) -> Endpoint:
        endpoint = self.endpoint(resource)
        return endpoint.model_copy(update={"paginator": endpoint.paginator or self.paginator})


def _with_defaults(resource: EndpointResource, defaults: EndpointDefaults) -> EndpointResource:
    taken = {
        key: getattr(defaults, key)
        for key in EndpointDefaults.model_fields
        if key != "endpoint" and key in defaults.model_fields_set and key not in resource.model_fields_set
    }
    return resource.model_copy(update=taken)
