"""Logging in to Google with a service account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from floe_ingestion.errors import ConfigurationError, SourceRejected, SourceUnavailable
from floe_ingestion.secrets import hide, redact

if TYPE_CHECKING:
    from requests import PreparedRequest

_SCOPE = "https://www.googleapis.com/auth/spreadsheets.readonly"
_WHAT = "Write the whole JSON of a service account's key, or the path of its file."


class ServiceAccount:
    """Adds a token to requests, and renews it before it expires."""

    def __init__(self, credentials: str) -> None:
        """`credentials` is the JSON of a key, or the path of a file with it."""
        self._credentials = _credentials(_key(credentials))
        self.email: str = self._credentials.service_account_email

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        from google.auth import exceptions
        from google.auth.transport.requests import Request

        if not self._credentials.valid:
            try:
                self._credentials.refresh(Request())
            except exceptions.RefreshError as error:
                raise _refusal(self.email, error) from None
            except exceptions.TransportError as error:
                raise SourceUnavailable(f"Google gives no token: {redact(str(error))}.") from None
            hide(self._credentials.token)
        request.headers["Authorization"] = f"Bearer {self._credentials.token}"
        return request


def is_json(credentials: str) -> bool:
    """Whether a text is a key itself, and no path."""
    return credentials.lstrip().startswith("{")


def _key(credentials: str) -> dict[str, Any]:
    text = credentials
    if not is_json(credentials):
        try:
            text = Path(credentials).expanduser().read_text("utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no path"
            raise ConfigurationError(f"The file of `credentials` cannot be read ({reason}). {_WHAT}") from None
    try:
        key = json.loads(text)
    except ValueError:
        raise ConfigurationError(f"`credentials` is no JSON. {_WHAT}") from None
    if not isinstance(key, dict) or key.get("type") != "service_account":
        raise ConfigurationError(f"`credentials` is no key of a service account. {_WHAT}")
    for name in ("private_key", "private_key_id"):
        if isinstance(key.get(name), str):
            hide(key[name])
    return key


def _credentials(key: dict[str, Any]) -> Any:
    try:
        from google.oauth2 import service_account
    except ImportError as error:
        raise ConfigurationError(
            "A google_sheets source needs google-auth. Install it: pip install 'floe-ingestion[google-sheets]'."
        ) from error
    credentials: Any = service_account.Credentials
    try:
        return credentials.from_service_account_info(key, scopes=[_SCOPE])
    except (ValueError, KeyError):  # google-auth's sentence may quote the key
        raise ConfigurationError(f"`credentials` is not complete, or its private key is none. {_WHAT}") from None


def _refusal(email: str, error: Any) -> SourceRejected | SourceUnavailable:
    said = redact(str(error.args[0] if error.args else error)).rstrip(".")
    if error.retryable:
        return SourceUnavailable(f"Google gives {email} no token: {said}.")
    return SourceRejected(f"Google gives {email} no token: {said}. Check that the key was not deleted or disabled.")
