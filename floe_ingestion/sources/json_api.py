"""Asking an API whose ways are known: rate limits waited for, refusals in words, a login for its own host alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator

from floe_ingestion.errors import SourceRejected, SourceUnavailable
from floe_ingestion.secrets import redact
from floe_ingestion.store_errors import TRY_LATER_STATUS

if TYPE_CHECKING:
    from requests import PreparedRequest, Response, Session

_TOO_MANY = 429
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_PAUSE = 60.0


def _checked_url(value: str) -> str:
    if value.startswith("${"):
        return value
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"{value!r} is no URL of an API. Write e.g. https://api.example.com/v1")
    if url.username or url.password:
        raise ValueError("holds a user name or password. Write the credentials where the connector has a key for them")
    if url.scheme == "http" and url.hostname not in _LOOPBACK:
        raise ValueError(f"{value!r} would send the credentials unencrypted. Write https://…")
    return value.rstrip("/")


ApiUrl = Annotated[str, AfterValidator(_checked_url)]
"""Where an API is: https, or http on this machine."""


@dataclass(frozen=True)
class JsonApi:
    """One API as a connector asks it."""

    base_url: str
    login: Callable[[PreparedRequest], PreparedRequest] = field(repr=False)
    """Adds the credentials to a request."""
    advice: Callable[[Response], str]
    """What to do about a refusal, as a sentence; may be empty."""
    patience: float
    """Seconds that a request waits for a rate limit to pass before it gives up."""
    limited: Callable[[Response], bool] = lambda response: response.status_code == _TOO_MANY
    """Whether an answer means that too much was asked."""
    attempts: int | None = None
    """How often a request that fails is sent; by dlt's runtime configuration where absent."""

    def ask(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        empty: frozenset[int] = frozenset(),
    ) -> Response:
        """The answer to one request; `path` may be a whole URL of the same host.

        A status of `empty` is an answer, too. Raises `SourceRejected` or `SourceUnavailable`.
        """
        waited, tries, url = 0.0, 0, self._url(path)
        while True:
            response = self._session.request(
                method, url, params=dict(params or {}), headers=dict(headers or {}), auth=self.login
            )
            if response.ok or response.status_code in empty:
                return response
            if not self.limited(response):
                raise self._refusal(response)
            pause = _pause_of(response, tries)
            if waited + pause > self.patience or self.attempts == 1:
                raise SourceUnavailable(
                    f"{_place(response)}: {response.status_code}, the rate limit is used up for {pause:.0f} s more"
                    f"{_said(response)}. The run is tried again then; ask for less, or less often.",
                    retry_after=pause,
                )
            time.sleep(pause)
            waited, tries = waited + pause, tries + 1

    def linked(
        self, path: str, params: Mapping[str, Any], headers: Mapping[str, str], *, empty: frozenset[int] = frozenset()
    ) -> Iterator[Response]:
        """The pages of a list, as the `Link` headers of the answers lead from one to the next."""
        response = self.ask(path, params, headers, empty=empty)
        yield response
        while following := response.links.get("next", {}).get("url"):
            # The link holds the parameters.
            response = self.ask(following, None, headers, empty=empty)
            yield response

    @cached_property
    def _session(self) -> Session:
        from floe_ingestion.sources.rest_answers import session_of

        return session_of(self.attempts, retried=sorted(TRY_LATER_STATUS - {_TOO_MANY}))

    def _url(self, path: str) -> str:
        if "://" not in path:
            return f"{self.base_url}/{path.lstrip('/')}"
        ours, theirs = urlsplit(self.base_url), urlsplit(path)
        if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
            raise SourceRejected(
                f"{self.base_url}: the next page is said to be at {theirs.scheme}://{theirs.netloc}, and the "
                f"credentials are not sent to another host. Correct `base_url`."
            )
        return path

    def _refusal(self, response: Response) -> SourceRejected | SourceUnavailable:
        sentence = f"{_place(response)}: {response.status_code} {response.reason}{_said(response)}."
        if response.status_code in TRY_LATER_STATUS:
            return SourceUnavailable(sentence, _asked_pause(response))
        return SourceRejected(f"{sentence} {redact(self.advice(response))}".rstrip())


def bearer(token: str) -> Callable[[PreparedRequest], PreparedRequest]:
    """A login with a token; with none where it is empty."""

    def login(request: PreparedRequest) -> PreparedRequest:
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return login


def _pause_of(response: Response, tries: int) -> float:
    """Seconds until the API answers again: as it says, or twice as long each time.

    At least a second more each time, so that an API that says 0 for ever is not asked for ever.
    """
    pause = _asked_pause(response)
    return min(2.0**tries, _LONGEST_PAUSE) if pause is None else max(pause, float(tries))


def _asked_pause(response: Response) -> float | None:
    """The seconds that an answer asks to wait: `Retry-After`, or GitHub's time at which a limit is reset."""
    after = response.headers.get("Retry-After", "").strip()
    if after.isdigit():
        return float(after)
    if after:
        try:
            return max(parsedate_to_datetime(after).timestamp() - time.time(), 0.0)
        except (ValueError, TypeError):
            return None
    reset = response.headers.get("x-ratelimit-reset", "")
    if response.headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        # A second more: the limit is reset at some time in that second.
        return max(float(reset) - time.time(), 0.0) + 1
    return None


def message_of(response: Response) -> str:
    """What the API says about a refusal."""
    try:
        body = response.json()
    except ValueError:
        return ""
    error = body.get("error", body) if isinstance(body, dict) else None
    said = error.get("message") if isinstance(error, dict) else error
    return said if isinstance(said, str) else ""


def _said(response: Response) -> str:
    message = message_of(response)
    return f" ({redact(' '.join(message.split())).rstrip('.')})" if message else ""


def _place(response: Response) -> str:
    """What was asked, without the query."""
    return f"{response.request.method} {response.url.partition('?')[0]}"
