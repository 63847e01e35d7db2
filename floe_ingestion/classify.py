"""What other libraries raise, as one of our errors: a sentence, and whether trying again can help."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

from floe_ingestion.errors import (
    CatalogUnavailable,
    IngestionError,
    PermanentError,
    SourceRejected,
    SourceUnavailable,
    TransientError,
)
from floe_ingestion.secrets import leaks, redact
from floe_ingestion.store_errors import TRY_LATER_STATUS, disk_hint, verdict_on

_MISTAKES = (
    ArithmeticError,
    StopIteration,
    TypeError,
    AttributeError,
    KeyError,
    IndexError,
    ValueError,
    AssertionError,
    ImportError,
    NameError,
    NotImplementedError,
    RecursionError,
)
_REFUSED_WORDS = (
    "authentication failed",
    "password",
    "access denied",
    "permission denied",
    "does not exist",
    "no such table",
    "no such column",
    "no such function",
    "syntax error",
    "unknown database",
    "unable to open database file",
    "unknown column",
    "command denied",
)
_OF_THE_MOMENT = ("locked", "busy", "interrupted", "disk i/o error", "schema has changed")
"""What SQLite, all of whose errors are operational ones, says of what can pass."""
_REFUSED_STATES = frozenset({"0A", "22", "28", "3D", "3F", "42"})
"""Classes of SQLSTATE: not supported, bad data, who asks, no such database or schema, what is asked."""
_TRY_LATER_STATES = frozenset({"08", "40", "53", "55", "57"})
"""Connection, rollback (deadlock, serialisation), resources, locks, an operator or a timeout stepped in."""
_OF_CONNECTIONS = frozenset({"OperationalError", "InterfaceError", "TimeoutError", "DisconnectionError"})
"""Errors of SQLAlchemy."""
_NEVER_SENT = frozenset(
    {"InvalidHeader", "InvalidProxyURL", "InvalidSchema", "InvalidURL", "LocationParseError", "MissingSchema"}
)
"""Errors of requests and urllib3 about what was to be sent."""

_CATALOG_HINTS = {
    "OAuthError": "Check `credential` (client id:secret), `scope` and `oauth2_server_uri`.",
    "UnauthorizedError": "Check the catalog's `credential`, or renew its `token`.",
    "ForbiddenError": "Check who asks, and that this principal has the privileges that a load needs (docs/polaris.md).",
}

_EXTRAS = {
    "MySQLdb": "Write mysql+pymysql:// in the URL, and install pymysql: pip install 'floe-ingestion[mysql]'.",
    "adlfs": "Install it: pip install 'floe-ingestion[azure]'.",
    "gcsfs": "Install it: pip install 'floe-ingestion[gcs]'.",
    "psycopg": "Install it: pip install 'floe-ingestion[postgres]'.",
    "pymysql": "Install it: pip install 'floe-ingestion[mysql]'.",
    "s3fs": "Install it: pip install 'floe-ingestion[s3]'.",
}


def classify(error: BaseException, place: str) -> IngestionError:
    """`error` as one of ours; `place` says what was being done. Secrets are hidden in the sentence.

    Raise the result `from cause_of(error)`, so that a traceback does not show what the sentence hides.
    """
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, IngestionError):
            if leaks(str(link)):  # what a connector says of its own configuration, such as a folder that is not there
                link.args = (redact(str(link)),)
            return link
    for link in reversed(chain):
        if any(_tells_more(outer, link) for outer in chain):
            continue
        if (found := _of_library(link, place)) is not None:
            return found
    root = chain[-1]
    permanent = isinstance(root, _MISTAKES) or _is_final(root)
    return (PermanentError if permanent else TransientError)(_sentence(place, root))


@contextmanager
def source_errors(place: str) -> Iterator[None]:
    """Errors of a source, and of what asks it, as ours: whatever they are, those of Rust drivers too."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        found = classify(error, place)
        if found is error:
            raise
        raise found from cause_of(error)


@contextmanager
def lake_errors(place: str) -> Iterator[None]:
    """Errors of a catalog or of its storage as ours: `CatalogUnavailable` where trying again can help."""
    try:
        yield
    except Exception as error:
        found = classify(error, place)
        if found is error:
            raise
        # The libraries are those of sources, too, and here it is no source that failed.
        if isinstance(found, SourceUnavailable):
            found = CatalogUnavailable(str(found))
        elif isinstance(found, SourceRejected):
            found = PermanentError(str(found))
        raise found from cause_of(error)


def cause_of(error: BaseException) -> BaseException | None:
    """`error`, unless its chain would print a secret."""
    return None if any(leaks(str(link)) for link in _chain(error)) else error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def is_panic(error: BaseException) -> bool:
    """Whether Rust code, such as Polars', has broken down: it raises what is no `Exception`."""
    return _library(error) == "pyo3_runtime"


def _is_final(error: BaseException) -> bool:
    """Whether dlt itself raised the error, and not to say that it is of this moment."""
    if _library(error) != "dlt":
        return False
    from dlt.common.exceptions import TransientException

    return not isinstance(error, TransientException)


def _tells_more(outer: BaseException, error: BaseException) -> bool:
    """Whether `outer` was made of `error` by who knows more: pyiceberg what a status means, urllib3 the host."""
    if outer.__cause__ is not error:
        return False
    of_host = isinstance(error, (TimeoutError, ConnectionError)) and _library(outer) == "urllib3"
    return of_host or (_library(outer) == "pyiceberg" and _library(error) == "requests")


def _library(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]


def _of_library(error: BaseException, place: str) -> IngestionError | None:
    module = _library(error)
    if (hint := disk_hint(error)) is not None:
        return PermanentError(f"{_sentence(place, error)}. {hint}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        how = _EXTRAS.get(error.name, "Install it where runs are executed.")
        return PermanentError(f"{place}: the Python package {error.name!r} is needed, and not installed. {how}")
    if module == "requests" or module == "urllib3":
        return _of_http(error, place)
    if module == "sqlalchemy":
        return _of_database(error, place)
    if module == "pyiceberg":
        return _of_catalog(error, place)
    if is_panic(error):
        return _of_panic(error, place)
    if (verdict := verdict_on(error)) is not None:
        kind = SourceUnavailable if verdict.transient else SourceRejected
        return kind(f"{_sentence(place, error)} {verdict.hint}".rstrip())
    if isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)):
        return SourceRejected(_sentence(place, error))
    if isinstance(error, (TimeoutError, ConnectionError)):
        return SourceUnavailable(_sentence(place, error))
    return None


def _of_http(error: BaseException, place: str) -> IngestionError:
    response = getattr(error, "response", None)
    if response is None:
        never_sent = type(error).__name__ in _NEVER_SENT or "CERTIFICATE_VERIFY_FAILED" in str(error)
        return (SourceRejected if never_sent else SourceUnavailable)(_sentence(place, error))
    status = int(response.status_code)
    if status in TRY_LATER_STATUS:
        return SourceUnavailable(_sentence(place, error), _seconds(str(response.headers.get("Retry-After", ""))))
    return SourceRejected(_sentence(place, error))


def _seconds(after: str) -> float | None:
    """What `Retry-After` asks for: seconds, or the moment until which to wait."""
    if after.strip().isdigit():
        return float(after)
    try:
        return max(parsedate_to_datetime(after).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError):
        return None


def _of_database(error: BaseException, place: str) -> IngestionError:
    from sqlalchemy import exc

    original = getattr(error, "orig", None) or error
    state = str(getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or "")[:2]
    if state in _REFUSED_STATES:
        return SourceRejected(_sentence(place, original))
    transient = state in _TRY_LATER_STATES or any(kind.__name__ in _OF_CONNECTIONS for kind in type(error).__mro__)
    said = str(original).lower()
    if _library(original) == "sqlite3":
        transient = any(word in said for word in _OF_THE_MOMENT)
    if transient and not any(word in said for word in _REFUSED_WORDS):
        return SourceUnavailable(_sentence(place, original))
    if isinstance(error, exc.NoSuchTableError):
        return SourceRejected(f"{place}: there is no table {str(error)!r}. Check its name, and the `schema` it is in.")
    if isinstance(error, exc.NoSuchModuleError):
        dialect = str(error).rpartition(":")[2]
        return SourceRejected(
            f"{place}: SQLAlchemy knows no database {dialect!r}. Write e.g. postgresql:// or mysql+pymysql://, or "
            f"install the package that brings it."
        )
    if isinstance(error, exc.ArgumentError):
        return SourceRejected(
            f"{place}: the connection string is no database URL. Write e.g. postgresql://user:password@host/database."
        )
    return SourceRejected(_sentence(place, original))


def _of_panic(error: BaseException, place: str) -> IngestionError:
    said = redact(str(error).partition("\n")[0])
    refused = any(word in said.lower() for word in _REFUSED_WORDS)
    return (SourceRejected if refused else SourceUnavailable)(f"{place}: {said}")


def _of_catalog(error: BaseException, place: str) -> IngestionError:
    from pyiceberg import exceptions as ice

    try_later = (
        ice.ServerError,
        ice.ServiceUnavailableError,
        ice.TooManyRequestsError,
        ice.AuthorizationExpiredError,
        ice.CommitStateUnknownException,
        ice.CommitFailedException,
        ice.WaitingForLockException,
    )
    if isinstance(error, try_later):
        return CatalogUnavailable(_sentence(place, error))
    hint = _CATALOG_HINTS.get(type(error).__name__, "")
    return PermanentError(f"{_sentence(place, error)} {hint}".rstrip())


def _sentence(place: str, error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return redact(f"{place}: {type(error).__name__}: {text}")
