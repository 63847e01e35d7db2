"""The URL of a database: where its file lies and whether that is there, and which server does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from floe_ingestion.errors import SourceRejected, SourceUnavailable
from floe_ingestion.secrets import redact

_SQLITE = re.compile(r"(?P<head>sqlite(?:\+\w+)?:///)(?P<path>(?!:memory:|file:)[^?]+)(?P<query>.*)\Z")


def below(url: str, folder: Path) -> str:
    """`url` with the relative path of a SQLite file starting at `folder`."""
    match = _SQLITE.match(url)
    return f"{match['head']}{folder / match['path']}{match['query']}" if match is not None else url


def require_file(url: str) -> None:
    """Raise `SourceRejected` where there is no such SQLite file, which connecting would make."""
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
