"""What a rest_api source may say about authentication, pagination and endpoints, as strict models.

The keys are those of dlt's rest_api source, which takes what `model_dump` makes of them.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from floe_ingestion.formats import Count, Flag, short_for
from floe_ingestion.spec import StrictModel

PARENT = re.compile(r"\{resources\.([A-Za-z_][A-Za-z0-9_]*)\.([^{}]+)\}")
_START = re.compile(r"\{incremental\.(start|initial|last)_value\}")


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class BearerAuth(StrictModel):
    """`Authorization: Bearer <token>`."""

    type: Literal["bearer"]
    token: str = Field(repr=False, examples=["${API_TOKEN}"])


class ApiKeyAuth(StrictModel):
    """A key in a header or in a parameter of the URL."""

    type: Literal["api_key"]
    api_key: str = Field(repr=False, examples=["${API_KEY}"])
    name: str = "Authorization"
    location: Literal["header", "query"] = "header"


class BasicAuth(StrictModel):
    """User name and password."""

    type: Literal["http_basic"]
    username: str
    password: str = Field(repr=False, examples=["${API_PASSWORD}"])


class OAuth2Auth(StrictModel):
    """A token that `access_token_url` gives for a client's id and secret."""

    type: Literal["oauth2_client_credentials"]
    access_token_url: str
    client_id: str
    client_secret: str = Field(repr=False, examples=["${API_CLIENT_SECRET}"])
    access_token_request_data: Mapping[str, str] = Field(default={}, repr=False)
    default_token_expiration: Count = 3600
    """Seconds that a token is used for, where the answer does not say."""


Auth = Annotated[BearerAuth | ApiKeyAuth | BasicAuth | OAuth2Auth, Field(discriminator="type")]


class AutoPages(StrictModel):
    """Follows links to the next page; where an answer tells of more in another way, asks for a `paginator`."""

    type: Literal["auto"] = "auto"


class SinglePage(StrictModel):
    """One answer holds everything."""

    type: Literal["single_page"]


class JsonLinkPages(StrictModel):
    """The URL of the next page stands in the answer."""

    type: Literal["json_link"]
    next_url_path: str = "next"


class HeaderLinkPages(StrictModel):
    """The URL of the next page stands in the `Link` header."""

    type: Literal["header_link"]
    links_next_key: str = "next"


class HeaderCursorPages(StrictModel):
    """A header of the answer holds the cursor of the next page."""

    type: Literal["header_cursor"]
    cursor_key: str = "next"
    cursor_param: str = "cursor"


class _StoppingPages(StrictModel):
    has_more_path: str | None = None
    """Where the answer says true while there is more."""


class CursorPages(_StoppingPages):
    """The answer holds a cursor, which goes into a parameter (or the body) of the next request."""

    type: Literal["cursor"]
    cursor_path: str = "cursors.next"
    cursor_param: str | None = None
    cursor_body_path: str | None = None
    stop_after_empty_page: Flag = False


class OffsetPages(_StoppingPages):
    """So many rows from the so manyth on."""

    type: Literal["offset"]
    limit: int = Field(ge=1, examples=[100])
    offset: Count = 0
    offset_param: str | None = None
    offset_body_path: str | None = None
    limit_param: str | None = None
    limit_body_path: str | None = None
    total_path: str | None = "total"
    """Where the answer says how many rows there are; null where it does not."""
    maximum_offset: Count | None = None
    stop_after_empty_page: Flag = True


class NumberedPages(_StoppingPages):
    """Pages by number."""

    type: Literal["page_number"]
    base_page: Count = 0
    """The number of the first page."""
    page: Count | None = None
    """The page to begin at, where it is another."""
    page_param: str | None = None
    page_body_path: str | None = None
    total_path: str | None = "total"
    """Where the answer says how many pages there are; null where it does not."""
    maximum_page: Count | None = None
    stop_after_empty_page: Flag = True


Paginator = Annotated[
    AutoPages
    | SinglePage
    | JsonLinkPages
    | HeaderLinkPages
    | HeaderCursorPages
    | CursorPages
    | OffsetPages
    | NumberedPages,
    Field(discriminator="type"),
    short_for("type"),
]


class ResponseAction(StrictModel):
    """Answers that mean `no rows here` instead of an error."""

    status_code: int | None = None
    content: str | None = None
    """A text that the answer holds."""
    action: Literal["ignore"] = "ignore"

    @model_validator(mode="after")
    def _says_when(self) -> ResponseAction:
        if self.status_code is None and self.content is None:
            raise ValueError("says of no answer that it is to be ignored; write `status_code: 404`, or `content: …`")
        return self


class Endpoint(StrictModel):
    """What is asked of the API. Texts may hold `{resources.<parent>.<field>}` of a parent resource."""

    MERGED: ClassVar[tuple[str, ...]] = ("params", "headers", "json_body")
    """Keys that `resource_defaults` and a resource fill together."""

    path: str | None = None
    """Relative to `base_url`; the resource's name where absent."""
    method: Annotated[Literal["GET", "POST"], BeforeValidator(_upper)] = "GET"
    params: Mapping[str, Any] = Field(default={}, repr=False)
    headers: Mapping[str, str] = Field(default={}, repr=False)
    json_body: Mapping[str, Any] | None = Field(default=None, alias="json", repr=False)
    data: Mapping[str, Any] | str | None = Field(default=None, repr=False)
    data_selector: str | None = None
    """JSONPath of the rows in an answer; found by itself where absent."""
    on_data_missing: Literal["raise", "empty"] = "raise"
    """What an answer means in which `data_selector` finds nothing: a mistake, or that there are no rows."""
    paginator: Paginator | None = None
    auth: Auth | None = None
    response_actions: tuple[ResponseAction, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _no_incremental(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "incremental" in value:
            raise ValueError("holds `incremental`, which belongs to the resource: write it beside `endpoint`")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Endpoint:
        if self.json_body is not None and self.data is not None:
            raise ValueError("holds both `json` and `data`, and a request has one body. Remove one")
        for name, value in self.params.items():
            self._check_param(name, value)
        return self

    def parents(self) -> frozenset[str]:
        """Resources whose fields the requests need."""
        return frozenset(name for name, _ in self._fields())

    def fields_of(self, parent: str) -> frozenset[str]:
        """Those fields of that resource, as JSONPaths."""
        return frozenset(field for name, field in self._fields() if name == parent)

    def uses_incremental(self) -> bool:
        """Whether a request says `{incremental.start_value}` or the like."""
        return any("{incremental." in text for text in self._texts())

    def needs_start(self) -> bool:
        """Whether a request cannot be made without a value to begin at."""
        return any(map(_START.search, self._texts()))

    def unfilled(self) -> Iterator[str]:
        """A sentence for each placeholder of the path that no parameter fills, and the other way round."""
        try:
            names = [name for _, name, _, _ in string.Formatter().parse(self.path or "") if name]
        except ValueError as error:
            yield f"the path {self.path!r} is not understood ({error}); write {{{{ for a brace"
            return
        for name in names:
            if not name.startswith(("resources.", "incremental.")) and name not in self.params:
                yield (
                    f"nothing fills {{{name}}} in the path {self.path!r}; write `params: {{{name}: …}}`, or "
                    f"`{{resources.<parent>.{name}}}` for a field of another resource"
                )
        for name, value in self.params.items():
            if is_resolved(value) and name not in names:
                yield (
                    f"the parameter {name!r} is resolved for the path, and {self.path!r} has no {{{name}}}; for one "
                    f'of the URL write `{name}: "{{resources.{value["resource"]}.{value["field"]}}}"`'
                )

    def _fields(self) -> Iterator[tuple[str, str]]:
        for value in self.params.values():
            if is_resolved(value):
                yield value["resource"], value["field"]
        for text in self._texts():
            yield from PARENT.findall(text)

    def _texts(self) -> Iterator[str]:
        return _texts([self.path, self.params, self.headers, self.json_body, self.data])

    def _check_param(self, name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            return
        if value.get("type") == "incremental":
            raise ValueError(
                f"the parameter {name!r} is of type incremental; write `incremental: {{cursor_path: …, "
                f"start_param: {name}}}` beside `endpoint` instead"
            )
        if not is_resolved(value):
            raise ValueError(
                f"the parameter {name!r} is a mapping; write a value, or `{{type: resolve, resource: …, field: …}}`"
            )


EndpointOrPath = Annotated[Endpoint, short_for("path")]


def _texts(value: Any) -> Iterator[str]:
    """Each text in `value`, at any depth, keys of mappings too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts([*value, *value.values()])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def is_resolved(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and value.get("type") == "resolve"
        and set(value) == {"type", "resource", "field"}
        and all(isinstance(item, str) for item in value.values())
    )
