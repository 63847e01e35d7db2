"""Logging in to GitHub as an app."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.iceberg.settings import needs
from floe_ingestion.secrets import hide
from floe_ingestion.sources.json_api import JsonApi, bearer
from floe_ingestion.spec import StrictModel

if TYPE_CHECKING:
    from requests import PreparedRequest

_BEFORE_IT_EXPIRES = 300.0
_LONGEST_ASSERTION = 540


class GithubApp(StrictModel):
    """A GitHub App, as an installation of which the source asks."""

    app_id: str = Field(min_length=1, coerce_numbers_to_str=True, examples=["12345"])
    """The app's id, or its client id."""
    private_key: str = Field(min_length=1, repr=False, examples=["${GITHUB_APP_KEY}"])
    """The text of the PEM file; line breaks may be written as \\n."""
    installation_id: str | None = Field(default=None, coerce_numbers_to_str=True)
    """Which installation; that of the first repository where absent."""


class AppLogin:
    """Adds the token of an installation to requests, and renews it before its hour is over."""

    def __init__(self, app: GithubApp, repository: str, api: Callable[[Any], JsonApi]) -> None:
        """`api` makes the API with a login, to ask for the token with."""
        self._app, self._repository, self._api = app, repository, api
        self._token, self._expires = "", 0.0

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if time.time() > self._expires - _BEFORE_IT_EXPIRES:
            self._renew()
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def _renew(self) -> None:
        api = self._api(bearer(self._assertion()))
        number = self._app.installation_id
        if number is None:
            number = api.ask(f"repos/{self._repository}/installation").json()["id"]
        granted = api.ask(f"app/installations/{number}/access_tokens", method="POST").json()
        self._token = granted["token"]
        hide(self._token)
        self._expires = datetime.fromisoformat(granted["expires_at"].replace("Z", "+00:00")).timestamp()

    def _assertion(self) -> str:
        needs("jwt", "github-app", "Logging in as a GitHub App")
        import jwt

        now = int(time.time())
        # A minute ago, because GitHub refuses what comes from the future of its clock.
        claims = {"iat": now - 60, "exp": now + _LONGEST_ASSERTION, "iss": self._app.app_id}
        try:
            signed = jwt.encode(claims, self._app.private_key.replace("\\n", "\n"), algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise ConfigurationError(
                "app.private_key is no RSA key that can be read. Give the whole text of the PEM file that GitHub made."
            ) from error
        hide(signed)
        return signed
