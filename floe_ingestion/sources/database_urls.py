"""The URL of a database: where its file lies and whether that is there, and which server does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from floe_ingestion.errors import SourceRejected, SourceUnavailable
from floe_ingestion.secrets import redact

_SQLITE = re.compile(r"(?P<head>sqlite(?:\+\w+)?:///)(?P<path>(?!:memory:|file:)[^?]+)(?P<query>.*)\Z")


def valid_url(url: str) -> str:
    """A database's URL, or one with variables, of which nothing is known yet."""
    scheme, separator, _ = url.partition("://")
    if "$" not in url and not separator:
        raise ValueError(
            "is no URL of a database. Write e.g. `postgresql://user@host/database` or `sqlite:///folder/file.db`, and "
            "what is secret as ${VARIABLE}"
        )
    if scheme == "postgres":
        raise ValueError("begins with postgres://, which SQLAlchemy does not know. Write postgresql://")
    return url


def below(url: str, folder: Path) -> str:
    """`url` with the relative path of a SQLite file starting at `folder`."""
    match = _SQLITE.match(url)
    return f"{match['head']}{folder / match['path']}{match['query']}" if match is not None else url


def require_usable(url: str) -> None:
    """Raise `SourceRejected` where its port is no number, or there is no such SQLite file: connecting would make it."""
    from sqlalchemy import make_url

    try:
        make_url(url)
    except ValueError:  # it says what it met, which may be a part of the password
        raise SourceRejected(
            "The port in `connection_string` is no number, or no host stands behind the password. "
            "Write e.g. postgresql://user@host:5432/database."
        ) from None
    match = _SQLITE.match(url)
    if match is not None and not Path(match["path"]).exists():
        raise SourceRejected(
            f"There is no file {match['path']}, which `connection_string` names. Correct the path; a relative one "
            f"starts at the folder of floe.yaml."
        )


@contextmanager
def naming_server(url: str) -> Iterator[None]:
    """Errors of MySQL's driver about a server that cannot be reached name no port; these do."""
    try:
        yield
    except Exception as error:
        if "Can't connect to MySQL server" not in str(error):
            raise
        from sqlalchemy import make_url

        place = make_url(url)
        raise SourceUnavailable(
            f"The MySQL server {place.host or 'localhost'}:{place.port or 3306} cannot be reached: "
            f"{redact(str(getattr(error, 'orig', None) or error))}"
        ) from error
