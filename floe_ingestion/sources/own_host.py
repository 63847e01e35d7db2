"""Credentials go to the API that they are for, and not to another host that an answer names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from requests.sessions import SessionRedirectMixin

from floe_ingestion.errors import SourceRejected
from floe_ingestion.secrets import leaks

if TYPE_CHECKING:
    from requests import PreparedRequest, Request, Response, Session

_HARMLESS = frozenset(
    {"accept", "accept-encoding", "accept-language", "connection", "content-length", "content-type", "user-agent"}
)
"""Headers that hold no credentials."""
_MADE_ANEW = frozenset({"cookie", "proxy-authorization"})
"""Headers that requests has written for the other host by then."""
_is_elsewhere: Callable[[str, str], bool] = SessionRedirectMixin().should_strip_auth


def keep_at_home(session: Session) -> None:
    """Follow redirects to other hosts without any credentials; requests leaves out `Authorization` alone."""
    rebuild: Callable[[Any, Any], None] = session.rebuild_auth

    def rebuild_auth(request: PreparedRequest, response: Response) -> None:
        if _is_elsewhere(response.request.url or "", request.url or ""):
            for name in [name for name in request.headers if name.lower() not in _HARMLESS | _MADE_ANEW]:
                del request.headers[name]
        rebuild(request, response)

    session.rebuild_auth = rebuild_auth  # type: ignore[method-assign]


def stay_at(home: str, request: Request) -> None:
    """Raise `SourceRejected` if `request` would bring credentials to another host than that of `home`."""
    if not _is_elsewhere(home, request.url):
        return
    ours, theirs = urlsplit(home), urlsplit(request.url)
    if ours.scheme == "https" and theirs.scheme == "http" and ours.netloc == theirs.netloc and theirs.port is None:
        # What an API behind a proxy says of itself.
        request.url = f"https{request.url[4:]}"
        return
    told = any(name.lower() not in _HARMLESS for name in request.headers or ())
    if request.auth or told or leaks(f"{request.params} {request.json} {request.data}"):
        raise SourceRejected(
            f"{ours.scheme}://{ours.netloc.rpartition('@')[2]}: what is asked for next is said to be at "
            f"{theirs.scheme}://{theirs.netloc.rpartition('@')[2]}, and credentials are not sent to another host. "
            f"Correct `base_url`, or write a `paginator` that follows no links."
        )
