"""Issues, pull requests, commits and more of GitHub's repositories."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from floe_ingestion.classify import source_errors
from floe_ingestion.formats import Count, one_or_many
from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector, Usual, named
from floe_ingestion.sources.github_login import AppLogin, GithubApp
from floe_ingestion.sources.github_resources import LISTINGS, Listing, ResourceName
from floe_ingestion.sources.instants import as_utc
from floe_ingestion.sources.json_api import ApiUrl, JsonApi, bearer, message_of
from floe_ingestion.sources.part_cursors import PartCursor, mark_of

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource
    from requests import Response

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_OURS = frozenset({"sort", "direction", "since", "per_page", "page"})
_VERSION = "2022-11-28"
_EMPTY_REPOSITORY = frozenset({409})
"""What the commits of a repository without any are answered with."""

Row = dict[str, Any]


def _checked_repository(value: str) -> str:
    if "${" not in value and not _REPOSITORY.fullmatch(value):
        raise ValueError(f"{value!r} is no repository. Write <owner>/<name>, such as 'apache/iceberg'")
    return value


Repository = Annotated[str, AfterValidator(_checked_repository)]


class GithubResource(ResourceSpec):
    """One list of each repository."""

    name: ResourceName
    params: Mapping[str, str] = {}
    """What else the API is asked with, such as `sha` for the commits of a branch, or `labels` for issues."""

    @field_validator("params")
    @classmethod
    def _leaves_the_order(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if taken := sorted(_OURS.intersection(value)):
            raise ValueError(f"holds {', '.join(taken)}, which follows from the resource and its cursor. Remove it")
        return value

    @property
    def usual(self) -> Usual:
        return LISTINGS[self.name].usual


class GithubConnector(SourceConnector):
    """`type: github`.

    Each resource is read of every repository, one after the other, and a column `repository` tells whose a row is.
    Each repository has a cursor of its own.
    """

    kind: ClassVar[str] = "github"
    json_rows: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("github",)

    repositories: Annotated[tuple[Repository, ...], BeforeValidator(one_or_many)] = Field(
        min_length=1, examples=["[apache/iceberg]"]
    )
    """One or several, as `<owner>/<name>`."""
    resources: tuple[Annotated[GithubResource, BeforeValidator(named)], ...] = Field(
        min_length=1, examples=["[issues]"]
    )
    """What to load of them."""
    token: str | None = Field(default=None, min_length=1, repr=False, examples=["${GITHUB_TOKEN}"])
    """A personal access token; without it (and without `app`) public repositories answer 60 requests an hour."""
    app: GithubApp | None = None
    """A GitHub App instead of a token; needs the extra `github-app`."""
    base_url: ApiUrl = "https://api.github.com"
    """Of GitHub Enterprise Server: `https://<host>/api/v3`."""
    max_wait_seconds: Count = 300
    """How long a request waits for a rate limit to pass. After that the run fails and is tried again later."""

    @model_validator(mode="after")
    def _one_login(self) -> GithubConnector:
        if self.token is not None and self.app is not None:
            raise ValueError("holds both `token` and `app`. Remove one")
        return self

    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        return self.resources

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        return {extraction.table.resource: self._resource(extraction) for extraction in extractions}

    def check_connection(self) -> str:
        with source_errors(self.base_url):
            api = self._api(attempts=1)
            for repository in self.repositories:
                api.ask(f"repos/{repository}")
        return f"{self.base_url} answers, and shows {', '.join(self.repositories)}"

    def _resource(self, extraction: Extraction) -> DltResource:
        import dlt

        from floe_ingestion.sources.known_columns import with_known_columns

        resource = next(each for each in self.resources if each.name == extraction.table.resource)

        def rows() -> Iterator[list[Row]]:
            api = self._api()
            # What GitHub leaves out of all rows is a column all the same.
            absent = dict.fromkeys((*resource.usual.columns, *resource.usual.nested))
            for repository in self.repositories:
                for page in _Reading(api, repository, resource, extraction).pages():
                    yield [{**absent, **row, "repository": repository} for row in page]

        return with_known_columns(dlt.resource(rows, name=resource.name), extraction, LISTINGS[resource.name].nested)

    def _api(self, attempts: int | None = None) -> JsonApi:
        def api(login: Any) -> JsonApi:
            return JsonApi(self.base_url, login, _advice, self.max_wait_seconds, limited=_limited, attempts=attempts)

        login = AppLogin(self.app, self.repositories[0], api) if self.app is not None else bearer(self.token or "")
        return api(login)


class _Reading:
    """One resource of one repository in one run."""

    def __init__(self, api: JsonApi, repository: str, resource: GithubResource, extraction: Extraction) -> None:
        self._api, self._repository, self._resource = api, repository, resource
        self._listing = LISTINGS[resource.name]
        cursor = extraction.cursor
        self._cursor = PartCursor(repository, cursor) if cursor is not None else None
        self._start = as_utc(self._start_of(extraction))
        """Where this run begins by the field that the API goes by; None for the very beginning."""

    def pages(self) -> Iterator[list[Row]]:
        before: set[str] = set()
        for page in self._rows():
            # What changes while it is read moves to the front, and pushes rows of this page to the next one.
            marks = {mark_of(row): row for row in page}
            fresh = [row for mark, row in marks.items() if mark not in before]
            before = set(marks)
            yield list(self._cursor.new(fresh)) if self._cursor is not None else fresh
            if page and self._is_too_old(page[-1]):
                return

    @property
    def _path(self) -> str:
        return f"repos/{self._repository}/{self._listing.path}".rstrip("/")

    def _rows(self) -> Iterator[list[Row]]:
        if self._resource.name == "reactions":
            yield from self._reactions()
            return
        shaped = _SHAPED.get(self._resource.name, dict)
        for page in self._pages(self._listing, self._path, self._since):
            yield [shaped(row) for row in page]

    def _pages(self, listing: Listing, path: str, since: str | None = None) -> Iterator[list[Row]]:
        params = {**listing.params, **self._resource.params, **({"since": since} if since else {})}
        if listing.path:  # a list, and not the repository itself
            params["per_page"] = "100"
        headers = {"Accept": listing.accept, "X-GitHub-Api-Version": _VERSION}
        for answer in self._api.linked(path, params, headers, empty=_EMPTY_REPOSITORY):
            body: Any = answer.json() if answer.ok else []
            found = body[listing.rows_at] if listing.rows_at else body
            yield found if isinstance(found, list) else [found]

    def _reactions(self) -> Iterator[list[Row]]:
        """Those of each issue that has any: a reaction does not change its issue's `updated_at`."""
        issues = LISTINGS["issues"]
        for page in self._pages(issues, f"repos/{self._repository}/{issues.path}"):
            for issue in page:
                if issue.get("reactions", {}).get("total_count", 1):
                    number = issue["number"]
                    for found in self._pages(self._listing, self._path.format(number=number)):
                        yield [{**row, "issue_number": number} for row in found]

    @property
    def _since(self) -> str | None:
        """What the API is asked to begin at: a second early, because it speaks of what came after."""
        if not self._listing.has_since or self._start is None:
            return None
        return (self._start - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _start_of(self, extraction: Extraction) -> Any:
        by = self._listing.newest_first_by or self._listing.cursor
        cursor, window = extraction.cursor, extraction.window
        if self._cursor is not None and cursor is not None and cursor.cursor_path == by:
            return self._cursor.start
        return window.start if window is not None and window.column == by else None

    def _is_too_old(self, row: Row) -> bool:
        """Whether this row, and with it all behind, came before this run begins."""
        by, start = self._listing.newest_first_by, self._start
        value = as_utc(row.get(by)) if by is not None else None
        return start is not None and value is not None and value < start


def _with_user(row: Row) -> Row:
    """A star with who gave it in columns of their own."""
    user = row.get("user") or {}
    return {**row, "user_id": user.get("id"), "user_login": user.get("login")}


def _with_times(row: Row) -> Row:
    """A commit with what is asked of it most in columns of their own."""
    commit = row["commit"]
    author, committer = commit.get("author") or {}, commit.get("committer") or {}
    moments = {"authored_at": author.get("date"), "committed_at": committer.get("date")}
    return {**row, "message": commit.get("message"), **moments}


_SHAPED: Mapping[str, Callable[[Row], Row]] = {"commits": _with_times, "stargazers": _with_user}


def _limited(response: Response) -> bool:
    """Whether GitHub has had too many requests: it says so by 403, too, for both of its limits."""
    if response.status_code == 429:
        return True
    if response.status_code != 403:
        return False
    said = "rate limit" in message_of(response).lower()
    return said or "Retry-After" in response.headers or response.headers.get("x-ratelimit-remaining") == "0"


def _advice(response: Response) -> str:
    status = response.status_code
    if status == 401:
        return "Check `token` (or `app`): whether it is whole, and whether it has expired."
    if status == 404 and (match := re.search(r"/repos/([^/]+/[^/]+)", response.url)):
        return f"There is no repository {match[1]}, or the token may not see it. Check `repositories` and its scopes."
    if status == 403:
        return "Check what the token is allowed to read, and whether the organisation has authorised it."
    if status == 410:
        return "This is switched off in the repository. Remove the resource, or the repository."
    return ""
