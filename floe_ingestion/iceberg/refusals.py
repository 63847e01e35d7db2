"""Which errors of a commit mean that it was refused, and not that nobody knows."""

from __future__ import annotations

from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    BadRequestError,
    ForbiddenError,
    OAuthError,
    TooManyRequestsError,
    UnauthorizedError,
)

from floe_ingestion.store_errors import disk_hint, verdict_on

_REFUSED_BY_CATALOG = (
    AuthorizationExpiredError,
    BadRequestError,
    ForbiddenError,
    OAuthError,
    TooManyRequestsError,
    UnauthorizedError,
)


def was_refused(error: BaseException) -> bool:
    """Whether the catalog, or the storage that its metadata was to be written to, has said no.

    So has a disk that takes nothing more, and a manifest to build upon that has expired meanwhile.
    """
    if isinstance(error, (*_REFUSED_BY_CATALOG, PermissionError, FileNotFoundError)):
        return True
    if any(disk_hint(link) is not None for link in (error, error.__cause__) if link is not None):
        return True
    verdict = verdict_on(error)
    return verdict is not None and not verdict.transient
