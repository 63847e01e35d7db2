"""pyiceberg's REST catalog with what it leaves out: time limits, typed failures, an endpoint that can be reached."""

from __future__ import annotations

from typing import Any

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.io import FileIO
from pyiceberg.typedef import EMPTY_DICT, Properties
from requests import PreparedRequest, RequestException, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import SSLError

from floe_ingestion.errors import CatalogUnavailable, PermanentError
from floe_ingestion.secrets import redact

_DELEGATION = "X-Iceberg-Access-Delegation"
_CONNECT_SECONDS = 10.0


class RestClient(RestCatalog):
    """A REST catalog whose requests end, and that keeps the client's storage endpoint where told to."""

    def __init__(
        self,
        name: str,
        properties: dict[str, Any],
        own_endpoint: dict[str, str],
        delegation: bool,
        timeout: float,
    ) -> None:
        self._own_endpoint, self._delegation, self._timeout = own_endpoint, delegation, timeout
        super().__init__(name, **properties)

    def _config_headers(self, session: Session) -> None:
        # The first thing that pyiceberg does with a session, before it asks for a token.
        session.mount("http://", _Adapter(self._timeout))
        session.mount("https://", _Adapter(self._timeout))
        super()._config_headers(session)
        if not self._delegation:  # pyiceberg always asks for it
            session.headers.pop(_DELEGATION, None)

    def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:
        return super()._load_file_io({**properties, **self._own_endpoint}, location)


class _Adapter(HTTPAdapter):
    """Limits how long an answer may take, and says which server did not give one."""

    def __init__(self, timeout: float) -> None:
        self._seconds = timeout
        super().__init__()

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        kwargs["timeout"] = (min(_CONNECT_SECONDS, self._seconds), self._seconds)
        where = str(request.url).partition("?")[0]
        try:
            return super().send(request, *args, **kwargs)
        except SSLError as error:
            raise PermanentError(
                redact(f"The certificate of the catalog at {where} is not trusted: {error}")
            ) from error
        except RequestException as error:
            what = redact(f"{type(error).__name__}: {error}")
            raise CatalogUnavailable(f"The catalog does not answer at {where}: {what}") from error
