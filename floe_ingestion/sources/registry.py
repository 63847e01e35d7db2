"""From the `type` of a source to its connector: entry points, read without an import, loaded when asked for.

The built-in connectors are known without installed metadata too, so that a plain checkout works. The errors
are `PluginError`s. One connector that is broken, or claimed twice, is in nobody else's way.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from floe_ingestion.errors import PluginError
from floe_ingestion.formats import did_you_mean
from floe_ingestion.plugins.errors import distribution_name, is_class
from floe_ingestion.sources.base import SourceConnector

GROUP = "floe_ingestion.sources"

_BUILT_IN = {
    "filesystem": "floe_ingestion.sources.filesystem:FilesystemConnector",
    "github": "floe_ingestion.sources.github:GithubConnector",
    "google_sheets": "floe_ingestion.sources.google_sheets:GoogleSheetsConnector",
    "rest_api": "floe_ingestion.sources.rest_api:RestApiConnector",
    "sql_database": "floe_ingestion.sources.sql_database:SqlDatabaseConnector",
    "stripe": "floe_ingestion.sources.stripe:StripeConnector",
}


_READ_BY = {
    **dict.fromkeys(("database", "postgres", "postgresql", "mysql", "mariadb", "sqlite", "mssql"), "sql_database"),
    **dict.fromkeys(("sql", "oracle", "sqlserver", "snowflake", "redshift"), "sql_database"),
    **dict.fromkeys(("csv", "json", "jsonl", "parquet", "file", "files", "s3", "gcs", "azure", "sftp"), "filesystem"),
    **dict.fromkeys(("api", "rest", "http", "https"), "rest_api"),
}
"""What people call a source by, and what reads it."""


class ConnectorNotFound(PluginError):
    """Nobody registers a connector of this name; `known` are those that there are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name, self.known = name, known
        reader = _READ_BY.get(name.lower())
        hint = f" Did you mean {reader!r}?" if reader in known else did_you_mean(name, known)
        super().__init__(
            f"{name!r} is no source connector.{hint} Write one of {', '.join(known)}; "
            f"a package of yours can add one by an entry point in {GROUP}."
        )


class ConnectorConflict(PluginError):
    """More than one distribution registers a connector of this name, or one takes a built-in's."""

    def __init__(self, name: str, claims: tuple[str, ...]) -> None:
        self.name, self.claims = name, claims
        super().__init__(
            f"The source connector {name!r} is claimed by {' and by '.join(claims)}, and only one may have "
            f"the name. Uninstall the other, or rename its entry point in {GROUP}."
        )


class ConnectorUnusable(PluginError):
    """A connector is registered and cannot be used."""

    def __init__(self, name: str, claim: str, problem: str) -> None:
        self.name = name
        super().__init__(f"The source connector {name!r} of {claim} {problem}")


def connector_names() -> tuple[str, ...]:
    """What `type` may be, sorted; imports no connector."""
    return tuple(sorted(_claims()))


def connector_class(name: str) -> type[SourceConnector]:
    """The connector called `name`, imported.

    Raises `ConnectorNotFound`, `ConnectorConflict` or `ConnectorUnusable`.
    """
    claims = _claims()
    if name not in claims:
        raise ConnectorNotFound(name, tuple(sorted(claims)))
    (value, claim), *others = claims[name].items()
    if others:
        raise ConnectorConflict(name, tuple(sorted(claims[name].values())))
    return _load(name, value, claim)


def _claims() -> dict[str, dict[str, str]]:
    """For each name what is registered for it, each value with who says so; one value where all is well."""
    claims = {name: {value: f"floe-ingestion, built in ({value})"} for name, value in _BUILT_IN.items()}
    for entry in entry_points(group=GROUP):
        # The same value twice is no conflict: our own entry points, or an editable install beside its build.
        claims.setdefault(entry.name, {}).setdefault(entry.value, f"{distribution_name(entry)} ({entry.value})")
    return claims


def _load(name: str, value: str, claim: str) -> type[SourceConnector]:
    module, _, attribute = (part.strip() for part in value.partition(":"))
    try:
        met: object = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # whatever a module of somebody else raises while it is imported
        said = f"{type(error).__name__}: {error}"
        raise ConnectorUnusable(
            name, claim, f"does not import ({said}). Install what it needs, or report it to its authors."
        ) from error
    if not (is_class(met) and issubclass(met, SourceConnector)):
        raise ConnectorUnusable(
            name, claim, "is absent, or no subclass of SourceConnector. Correct its entry point or class."
        )
    return met
