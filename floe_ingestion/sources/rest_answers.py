"""Answers of an API: JSON or an error that says what came instead, and never a page passed over in silence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import orjson
from dlt.common import jsonpath
from dlt.sources.helpers.requests.retry import DEFAULT_RETRY_STATUS, Client
from dlt.sources.helpers.rest_client.paginators import (
    BasePaginator,
    OffsetPaginator,
    PageNumberPaginator,
    SinglePagePaginator,
)
from requests.adapters import HTTPAdapter
from requests.utils import get_encoding_from_headers, get_netrc_auth, guess_json_utf

from floe_ingestion.errors import IngestionError, SourceRejected, SourceUnavailable
from floe_ingestion.formats import number_of
from floe_ingestion.sources.exact import EXACT, may_hold_long_number
from floe_ingestion.sources.own_host import keep_at_home, stay_at

if TYPE_CHECKING:
    from requests import PreparedRequest, Request, Response, Session

_NO_CONTENT = 204
_PIECE = 1024 * 1024
_LONGEST_WORD = len("-Infinity")
_MORE_FLAGS = frozenset({"hasmore", "hasnext", "hasnextpage", "more"})
_TOTALS = frozenset({"total", "totalcount", "totalresults", "totalitems", "totalrecords", "totalrows"})


def session_of(attempts: int | None = None, retried: Sequence[int] = DEFAULT_RETRY_STATUS) -> Session:
    """dlt's session, whose answers are parsed once; `attempts` instead of what dlt's runtime configuration says.

    Answers with a status of `retried` are asked for again.
    """
    client = Client(raise_for_status=False, status_codes=retried)
    if attempts is None:
        client.configure()
    else:
        client = Client(raise_for_status=False, status_codes=retried, request_max_attempts=attempts)
    session: Any = client.session
    for scheme in ("http://", "https://"):
        session.mount(scheme, _WholeAnswers())
    environment = _Environment(session)
    session.merge_environment_settings, session.prepare_request = environment.settings, environment.prepared
    keep_at_home(session)
    send = session.send

    def send_and_parse(request: PreparedRequest, **kwargs: Any) -> Any:
        response = send(request, **kwargs)
        if response.ok:
            body = _parsed(response)
            # dlt asks for the JSON up to four times a page.
            response.json = lambda **_: body
        return response

    session.send = send_and_parse
    return session  # type: ignore[no-any-return]


class _WholeAnswers(HTTPAdapter):
    """Reads an answer in few steps: requests does it in pieces of 10 kB."""

    def send(self, request: PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any) -> Response:
        response = super().send(request, stream, *args, **kwargs)
        if not stream:
            response._content = b"".join(response.iter_content(_PIECE))
        return response


class _Environment:
    """What requests asks the environment for with each page, asked once for each host: proxies, certificates, login."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._settings_of, self._prepared = session.merge_environment_settings, session.prepare_request
        self._settings: dict[tuple[str, ...], Any] = {}
        self._logins: dict[tuple[str, ...], Any] = {}

    def settings(self, url: str, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """Takes the place of `merge_environment_settings`."""
        if proxies or stream is not None or verify is not None or cert is not None:
            return self._settings_of(url, proxies, stream, verify, cert)
        host = urlsplit(url)[:2]
        if host not in self._settings:
            self._settings[host] = self._settings_of(url, {}, stream, verify, cert)
        return {**self._settings[host], "proxies": dict(self._settings[host]["proxies"])}

    def prepared(self, request: Request) -> PreparedRequest:
        """Takes the place of `prepare_request`, which looks for a .netrc each time."""
        host = urlsplit(request.url)[:2]
        if not self._session.trust_env or request.auth or self._session.auth or "@" in host[1]:
            return self._prepared(request)
        if host not in self._logins:
            self._logins[host] = get_netrc_auth(request.url) or _no_login
        request.auth = self._logins[host]
        try:
            return self._prepared(request)
        finally:
            request.auth = None  # the next page may be another host's


def _no_login(request: PreparedRequest) -> PreparedRequest:
    return request


class Pages(BasePaginator):
    """A paginator of dlt's, and what dlt passes over: rows that are not where they should be, pages not asked for."""

    def __init__(self, inner: BasePaginator | None, data_selector: str | None = None, home: str | None = None) -> None:
        """`inner` is None to find one by the first answer; `data_selector` is one that has to find something.

        Credentials go to the host of `home`, or of the first request.
        """
        super().__init__()
        self.inner, self.data_selector = inner, data_selector
        self._home = self._given_home = home
        self._path = jsonpath.compile_path(data_selector) if data_selector else None
        self._given = inner
        self._seen: set[int] = set()
        self._most = 0

    @property
    def has_next_page(self) -> bool:
        return self._has_next_page and (self.inner is None or self.inner.has_next_page)

    def init_request(self, request: Request) -> None:
        self.inner, self._seen, self._most, self._has_next_page = self._given, set(), 0, True
        self._home = self._given_home or request.url
        stay_at(self._home, request)
        if self.inner is not None:
            self.inner.init_request(request)

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:
        if response.status_code == _NO_CONTENT:
            self._has_next_page = False
            return
        self._refuse_repetition(response)
        if self._path is not None and not jsonpath.find_values(self._path, response.json()):
            raise SourceRejected(
                f"{_place(response)}: there is nothing at data_selector {self.data_selector!r} in the answer "
                f"({_keys(response)}). Correct it, or write `on_data_missing: empty` if that means no rows."
            )
        if self.inner is None:
            self.inner = _found(response, data or [])
        if isinstance(self.inner, OffsetPaginator):
            self._refuse_short_pages(response, self.inner, len(data or ()))
        try:
            self.inner.update_state(response, data)
        except ValueError as error:
            # dlt's sentence quotes the whole answer.
            raise SourceRejected(
                f"{_place(response)}: the paginator {type(self.inner).__name__} does not find in the answer what it "
                f"goes by ({_keys(response)}). Write its `total_path` or `has_more_path`, or null for none."
            ) from error

    def update_request(self, request: Request) -> None:
        if self.inner is not None:
            self.inner.update_request(request)
        if self.has_next_page:
            stay_at(self._home or request.url, request)

    def _refuse_short_pages(self, response: Response, inner: OffsetPaginator, rows: int) -> None:
        """An API that gives fewer rows than it is asked for: the next page begins behind those that it kept."""
        first, most = inner.current_value == inner.initial_value, inner.value_step
        totals = jsonpath.find_values(inner.total_path, response.json()) if inner.total_path and first else []
        expected = min(most, int(totals[0]) - inner.current_value) if totals and str(totals[0]).isdecimal() else 0
        if 0 < rows < expected or (not first and 0 < rows <= self._most):
            raise SourceRejected(
                f"{_place(response)}: the API was asked for {number_of(most, 'row')} at once and gives "
                f"{self._most or rows}, although there are more, which would be passed over. Write `limit: "
                f"{self._most or rows}`, or `total_path: null` if its total counts what it does not show."
            )
        self._most = rows if first and rows < most else 0

    def _refuse_repetition(self, response: Response) -> None:
        request = response.request
        this = hash((request.method, request.url, request.body, response.content))
        if this in self._seen:
            raise SourceRejected(
                f"{_place(response)}: the next page was asked for and the same one came again, for ever. "
                f"Write the `paginator` that the API means, with the name of its parameter."
            )
        self._seen.add(this)


def _found(response: Response, rows: list[Any]) -> BasePaginator:
    """The paginator that an answer tells of without a doubt: links, or nothing more to ask for."""
    from dlt.sources.helpers.rest_client.detector import PaginatorFactory

    paginator, score = PaginatorFactory().create_paginator(response)
    if score == 1.0:
        return paginator
    told = _told_of_more(response.json(), rows)
    if isinstance(paginator, PageNumberPaginator):
        paginator.update_state(response, rows)
        told = told or ("a number of pages" if paginator.has_next_page else None)
    elif not isinstance(paginator, SinglePagePaginator):
        told = "the next page"
    if told:
        raise SourceRejected(
            f"{_place(response)}: the answer holds {number_of(len(rows), 'row')} and tells of {told}, and not how to "
            f"ask for the rest ({_keys(response)}). Write the `paginator`: page_number, offset or cursor with their "
            f"parameters, or single_page if this is all."
        )
    return SinglePagePaginator()


def _told_of_more(body: Any, rows: list[Any]) -> str | None:
    """What in the answer says that there are more rows than these."""
    if not isinstance(body, dict) or rows == [body]:
        return None
    for part in (body, *(value for value in body.values() if isinstance(value, dict))):
        for key, value in part.items():
            word = str(key).replace("_", "").replace("-", "").lower()
            if word in _MORE_FLAGS and value is True:
                return f"{key}: true"
            if word in _TOTALS and isinstance(value, int) and not isinstance(value, bool) and value > len(rows):
                return f"{key}: {value}"
    return None


def _parsed(response: Response) -> Any:
    if response.status_code == _NO_CONTENT:
        return []
    content = response.content
    long_numbers = may_hold_long_number(content)
    if not long_numbers:
        with suppress(ValueError):  # what it is too strict for, such as NaN or another encoding, is read below
            return orjson.loads(content)
    try:
        return json.loads(_text(response), strict=False, **(EXACT if long_numbers else {}))
    except (ValueError, LookupError, RecursionError) as error:
        raise _unreadable(response, error) from error


def _text(response: Response) -> str:
    """The answer in the charset that it names, or that of JSON; requests would write U+FFFD for what it cannot read."""
    named = "charset" in response.headers.get("Content-Type", "").lower()
    charset: Any = get_encoding_from_headers if named else guess_json_utf
    found = charset(response.headers if named else response.content)
    return response.content.decode(found or "utf-8").removeprefix("\ufeff")


def _unreadable(response: Response, error: Exception) -> IngestionError:
    kind = response.headers.get("Content-Type", "no content type")
    if response.content.lstrip()[:1] not in b"[{":  # or nothing at all
        return SourceRejected(
            f"{_place(response)}: JSON was expected, and {kind} came. Check base_url and path, and whether the API "
            f"wants a login."
        )
    if isinstance(error, RecursionError):
        return SourceRejected(f"{_place(response)}: the answer is nested too deep to be read.")
    if _breaks_off(error):
        return SourceUnavailable(
            f"{_place(response)}: the answer breaks off after {number_of(len(response.content), 'byte')}."
        )
    if isinstance(error, json.JSONDecodeError):
        return SourceRejected(f"{_place(response)}: the answer is no JSON: {error}.")
    return SourceRejected(
        f"{_place(response)}: the answer is not in the charset of its type, {kind} (of JSON, where it names none, "
        f"UTF-8). Correct the API's header Content-Type."
    )


def _breaks_off(error: Exception) -> bool:
    """Whether text that goes on could be JSON: the mistake is at its end."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg.startswith("Unterminated") or len(error.doc.rstrip()) - error.pos < _LONGEST_WORD
    return isinstance(error, UnicodeDecodeError) and error.reason == "unexpected end of data"


def _place(response: Response) -> str:
    """What was asked, without the query, which may hold a key."""
    url = urlsplit(response.url)
    host = url.netloc.rpartition("@")[2]
    return f"{response.request.method} {urlunsplit((url.scheme, host, url.path, '', ''))}"


def _keys(response: Response) -> str:
    body = response.json()
    return f"its keys: {', '.join(map(str, body))}" if isinstance(body, dict) else f"a {type(body).__name__}"
