"""Customers, charges, invoices and more of a Stripe account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator

from floe_ingestion.classify import source_errors
from floe_ingestion.errors import SourceRejected, SourceUnavailable
from floe_ingestion.formats import Count
from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector, Usual, named
from floe_ingestion.sources.instants import as_utc, cursor_arguments
from floe_ingestion.sources.json_api import ApiUrl, JsonApi, bearer
from floe_ingestion.sources.stripe_resources import LISTINGS, TIMES, Listing, ResourceName

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource
    from requests import Response

_OURS = frozenset({"limit", "starting_after", "ending_before"})
_MOST_ROWS = "100"

Row = dict[str, Any]


class StripeResource(ResourceSpec):
    """One list of the account."""

    name: ResourceName
    params: Mapping[str, str] = {}
    """What else the API is asked with, such as `status: open` for invoices, or `expand[]: data.customer`."""

    @field_validator("params")
    @classmethod
    def _leaves_the_order(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if taken := sorted(key for key in value if key in _OURS or key.partition("[")[0] == "created"):
            raise ValueError(f"holds {', '.join(taken)}, which follows from the pages and the cursor. Remove it")
        return value

    @property
    def usual(self) -> Usual:
        return LISTINGS[self.name].usual


class StripeConnector(SourceConnector):
    """`type: stripe`.

    Times, which Stripe writes as seconds after 1970, become `timestamptz`. Amounts stay in the currency's smallest
    unit. A cursor on `created` brings what is new, and not what has changed since: see docs/sources/stripe.md.
    """

    kind: ClassVar[str] = "stripe"
    json_rows: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("stripe",)

    api_key: str = Field(min_length=1, repr=False, examples=["${STRIPE_API_KEY}"])
    """A secret or restricted key; a restricted one that may read is enough."""
    resources: tuple[Annotated[StripeResource, BeforeValidator(named)], ...] = Field(
        min_length=1, examples=["[customers]"]
    )
    """What to load."""
    account: str | None = Field(default=None, min_length=1, examples=["acct_123"])
    """The connected account to ask for, for platforms."""
    api_version: str = Field(default="2026-10-28.endive", pattern=r"^(\d{4}-\d{2}-\d{2}(\.\w+)?|\$\{.*)$")
    """What version of the API answers, whatever the account's default is."""
    base_url: ApiUrl = "https://api.stripe.com/v1"
    max_wait_seconds: Count = 300
    """How long a request waits for a rate limit to pass. After that the run fails and is tried again later."""

    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        return self.resources

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        return {extraction.table.resource: self._resource(extraction) for extraction in extractions}

    def check_connection(self) -> str:
        name = self.resources[0].name
        with source_errors(self.base_url):
            self._api(attempts=1).ask(LISTINGS[name].path, {"limit": "1"}, self._headers)
        return f"{self.base_url} answers, and lists {name} in version {self.api_version}"

    def _resource(self, extraction: Extraction) -> DltResource:
        import dlt

        from floe_ingestion.sources.known_columns import with_known_columns

        resource = next(each for each in self.resources if each.name == extraction.table.resource)
        listing, cursor = LISTINGS[resource.name], _cursor_of(extraction)

        def rows() -> Iterator[list[Row]]:
            # What Stripe, or an older version of its API, leaves out of all rows is a column all the same.
            absent = dict.fromkeys((*resource.usual.columns, *resource.usual.nested))
            params = {**listing.params, **resource.params, **_narrowed(extraction, listing, cursor)}
            for page in _pages(self._api(), listing.path, params, self._headers):
                yield [{**absent, **_with_times(row)} for row in page]

        made = with_known_columns(dlt.resource(rows, name=resource.name), extraction, listing.nested)
        if cursor is not None:
            made.add_step(cursor)
        return made

    @property
    def _headers(self) -> dict[str, str]:
        account = {"Stripe-Account": self.account} if self.account else {}
        return {"Stripe-Version": self.api_version, **account}

    def _api(self, attempts: int | None = None) -> JsonApi:
        return JsonApi(self.base_url, bearer(self.api_key), _advice, self.max_wait_seconds, attempts=attempts)


def _pages(api: JsonApi, path: str, params: Mapping[str, str], headers: Mapping[str, str]) -> Iterator[list[Row]]:
    """The pages of a list, newest first, each asked for behind the last row of the one before."""
    after: str | None = None
    while True:
        behind = {"starting_after": after} if after is not None else {}
        try:
            body = api.ask(path, {**params, "limit": _MOST_ROWS, **behind}, headers).json()
        except SourceRejected as error:
            if after is not None and f"'{after}'" in str(error):
                raise SourceUnavailable(
                    f"{path}: {after}, the last row of a page, was deleted while the list was read. The next attempt "
                    f"reads it anew."
                ) from error
            raise
        rows = body.get("data") if isinstance(body, dict) else None
        if not isinstance(rows, list):
            raise SourceRejected(f"{path}: a list of Stripe was expected in `data`, and something else came.")
        yield rows
        if not body.get("has_more"):
            return
        if not rows or rows[-1]["id"] == after:
            raise SourceRejected(f"{path}: there is said to be more behind {after}, and nothing new comes.")
        after = rows[-1]["id"]


def _with_times(row: Row) -> Row:
    return {key: _moment(value) if key in TIMES else value for key, value in row.items()}


def _moment(value: Any) -> Any:
    """Seconds after 1970 as the time that they mean; anything else as it is."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return datetime.fromtimestamp(value, timezone.utc) if is_number else value


def _cursor_of(extraction: Extraction) -> Any:
    """dlt's incremental, on rows whose times are times; None without a cursor, and in a partitioned run."""
    from floe_ingestion.sources.paging import PageCursor

    spec = extraction.cursor
    if spec is None:
        return None
    arguments = cursor_arguments(spec)
    if spec.cursor_path in TIMES:
        bounds = {"initial_value": _bound(spec.initial_value), "end_value": _bound(spec.end_value)}
        arguments |= {key: value for key, value in bounds.items() if value is not None}
        arguments["last_value_func"] = max
    return PageCursor(**arguments)


def _bound(value: Any) -> Any:
    """A bound of floe.yaml as a moment: a date is its midnight in UTC, a number is Stripe's."""
    return _moment(value) if isinstance(value, int) else as_utc(value)


def _narrowed(extraction: Extraction, listing: Listing, cursor: Any) -> dict[str, str]:
    """What the API is asked to leave out: what was created before or after this run's part."""
    spec, window = extraction.cursor, extraction.window
    start: Any = None
    end: Any = None
    if spec is not None and spec.cursor_path == listing.created:
        start, end = cursor.start_value, cursor.end_value
    elif window is not None and window.column == listing.created:
        start, end = window.start, window.end
    bounds = {"created[gte]": start, "created[lt]": end}
    return {param: str(int(bound.timestamp())) for param, bound in bounds.items() if isinstance(bound, datetime)}


def _advice(response: Response) -> str:
    if response.status_code == 401:
        return "Check `api_key`: whether it is whole, not rolled, and of the right mode (live or test)."
    if response.status_code == 403:
        return "Check what the key may read, and `account`."
    return ""
