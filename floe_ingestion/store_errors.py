"""What object stores and disks say when they fail: whether trying again can help, and what to do where it cannot."""

from __future__ import annotations

import errno
import re
import sqlite3
from dataclasses import dataclass

TRY_LATER_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})

_ARROW = re.compile(r"AWS Error (?P<code>[A-Z_]+)(?: \(HTTP status (?P<status>\d+)\))?")
_CLIENTS = frozenset({"botocore", "boto3", "aiobotocore", "aiohttp", "azure", "gcsfs", "thrift", "msrest"})
_TRY_LATER_CODES = frozenset(
    {
        # Of Arrow's S3 client,
        "NETWORK_CONNECTION",
        "INTERNAL_FAILURE",
        "REQUEST_EXPIRED",
        "REQUEST_TIMEOUT",
        "SERVICE_UNAVAILABLE",
        "SLOW_DOWN",
        "THROTTLING",
        "EXPIRED_TOKEN",
        # and of botocore's. A token that has expired is renewed by connecting again.
        "ExpiredToken",
        "ExpiredTokenException",
        "InternalError",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
_NO_BUCKET = "Create the bucket, or correct `bucket` in the storage's configuration."
_NO_ACCESS = "Check the storage's access key and secret, and what they are allowed to do."
_HINTS = {
    **dict.fromkeys(("NO_SUCH_BUCKET", "NoSuchBucket"), _NO_BUCKET),
    **dict.fromkeys(("ACCESS_DENIED", "AccessDenied", "403"), _NO_ACCESS),
    **dict.fromkeys(("INVALID_ACCESS_KEY_ID", "InvalidAccessKeyId", "INVALID_CLIENT_TOKEN_ID"), _NO_ACCESS),
    **dict.fromkeys(("SIGNATURE_DOES_NOT_MATCH", "SignatureDoesNotMatch"), _NO_ACCESS),
    **dict.fromkeys(
        ("REQUEST_TIME_TOO_SKEWED", "RequestTimeTooSkewed"), "This machine's clock differs from the server's: set it."
    ),
}
_UNREACHABLE = (
    "ConnectionError",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "HTTPClientError",
    "ClientConnectionError",
    "ServiceRequestError",
    "ServiceResponseError",
    "TTransportException",
    "TimeoutError",
)
"""Classes of the clients' errors for a server that did not answer, by name: importing them all would be slow."""

_FULL = "Free space there (or raise the quota), then run it again."
_READ_ONLY = "Make it writable, then run it again."
_DISK_HINTS = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EFBIG: _FULL, errno.EROFS: _READ_ONLY}
_SQLITE_HINTS = {"disk is full": _FULL, "readonly database": _READ_ONLY}


@dataclass(frozen=True)
class StoreVerdict:
    """Whether the same call may succeed later, and what to do."""

    transient: bool
    hint: str = ""


def verdict_on(error: BaseException) -> StoreVerdict | None:
    """What an error of an object store's client, or of a cloud's catalog, means; None for other errors."""
    if isinstance(error, OSError) and (met := _ARROW.search(str(error))):
        return _verdict(met["code"], int(met["status"] or 0))
    if type(error).__module__.partition(".")[0] not in _CLIENTS:
        return None
    names = {kind.__name__ for kind in type(error).__mro__}
    if "SSLError" in names:
        return StoreVerdict(False, "The server's certificate is not trusted here.")
    if not names.isdisjoint(_UNREACHABLE):
        return StoreVerdict(True)
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore's ClientError
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return _verdict(str(response.get("Error", {}).get("Code", "")), status)
    return _verdict("", next((each for each in map(error.__dict__.get, ("status_code", "status", "code")) if each), 0))


def disk_hint(error: BaseException) -> str | None:
    """What to do about a disk that takes nothing more, also where SQLite says so; None for other errors."""
    if isinstance(error, sqlite3.OperationalError):
        return next((hint for words, hint in _SQLITE_HINTS.items() if words in str(error)), None)
    return _DISK_HINTS.get(error.errno or 0) if isinstance(error, OSError) else None


def _verdict(code: str, status: object) -> StoreVerdict:
    known = int(status) if isinstance(status, (int, str)) and str(status).isdigit() else 0
    return StoreVerdict(code in _TRY_LATER_CODES or known in TRY_LATER_STATUS, _HINTS.get(code, ""))
