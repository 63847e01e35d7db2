"""The built-in catalog: pyiceberg's SQL catalog, on SQLite unless told otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from floe_ingestion.errors import CatalogUnavailable, ConfigurationError
from floe_ingestion.plugins import CatalogPlugin
from floe_ingestion.version import __version__

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_SQLITE_LOCK_SECONDS = 60
_FIRST_START_ATTEMPTS = 5


class SqlCatalogPlugin(CatalogPlugin):
    """Tables in a database: `uri` is a SQLAlchemy URL; without it, `catalog.db` in `home`."""

    name = "sql"
    version = __version__
    floe_api_version = "1.0"
    description = "Iceberg catalog in SQLite or PostgreSQL"

    def connect(self, config: Mapping[str, Any]) -> Catalog:
        """A pyiceberg SqlCatalog.

        `config` holds `warehouse`, `home` and FileIO properties beside what the user wrote. Raises
        `CatalogUnavailable` when the database does not answer.
        """
        from pyiceberg.catalog.sql import SqlCatalog
        from sqlalchemy.exc import OperationalError, ProgrammingError

        properties = {key: str(value) for key, value in config.items() if key not in ("home", "name")}
        properties["uri"] = self._uri(config)
        for attempt in range(_FIRST_START_ATTEMPTS):
            try:
                return SqlCatalog(str(config.get("name", "floe")), **properties)
            except (OperationalError, ProgrammingError) as error:
                # Two first writers create the catalog's own tables at once: the loser finds them made.
                if "already exists" not in str(error) or attempt == _FIRST_START_ATTEMPTS - 1:
                    raise CatalogUnavailable(f"The SQL catalog does not answer: {error.orig}") from error
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")

    def check_health(self) -> str:
        """Nothing to ask before `connect` says which database it is."""
        return "a SQL catalog is checked by connecting to it"

    @staticmethod
    def _uri(config: Mapping[str, Any]) -> str:
        if uri := config.get("uri"):
            if str(uri).startswith("sqlite") and "timeout=" not in str(uri):
                # Without it a second process meets "database is locked" after five seconds.
                return f"{uri}{'&' if '?' in str(uri) else '?'}timeout={_SQLITE_LOCK_SECONDS}"
            return str(uri)
        if not (home := config.get("home")):
            raise ConfigurationError("The sql catalog needs `uri`, e.g. uri: sqlite:///catalog.db.")
        folder = Path(str(home)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder / 'catalog.db'}?timeout={_SQLITE_LOCK_SECONDS}"
