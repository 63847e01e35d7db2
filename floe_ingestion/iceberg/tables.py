"""Tables in a catalog: what they are called, how they are found, and what a new one begins with."""

from __future__ import annotations

from collections.abc import Mapping

from pyiceberg.catalog import Catalog, MetastoreCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from floe_ingestion.classify import lake_errors
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.spec import TableSpec

_NEW_TABLE_PROPERTIES: Mapping[str, str] = {
    "format-version": "2",
    "commit.retry.num-retries": "10",
    "commit.retry.min-wait-ms": "100",
    "commit.retry.max-wait-ms": "5000",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
    "write.parquet.compression-codec": "zstd",
}


def name_of(table: Table) -> str:
    """What people call the table."""
    return ".".join(table.name())


def load_table(catalog: Catalog, identifier: tuple[str, ...]) -> Table | None:
    """The table, or None if there is none (or no such namespace)."""
    with lake_errors(".".join(identifier)):
        try:
            return catalog.load_table(identifier)
        except NoSuchTableError:
            return None


def properties_of(table: Table | None, spec: TableSpec) -> dict[str, str]:
    """The properties of the table, or those that it will begin with."""
    return dict(table.properties) if table is not None else {**_NEW_TABLE_PROPERTIES, **spec.properties}


def ensure_namespace(catalog: Catalog, namespace: tuple[str, ...]) -> None:
    """Create `namespace`, the outer ones first, unless it is there.

    Raises `ConfigurationError` for several levels where the catalog knows one.
    """
    if len(namespace) > 1 and isinstance(catalog, MetastoreCatalog):
        raise ConfigurationError(
            f"{'.'.join(namespace)} is a schema in a schema, and this catalog knows one level only (rest and polaris "
            f"know more). Write e.g. `schema: {'_'.join(namespace)}`."
        )
    # Asked first: Polaris refuses the creation even of what exists to a principal without NAMESPACE_CREATE.
    if catalog.namespace_exists(namespace):
        return
    if len(namespace) > 1:  # REST catalogs want the parents to exist
        ensure_namespace(catalog, namespace[:-1])
    try:
        catalog.create_namespace(namespace)
    except Exception:
        # Another first writer, between the look and the leap. Not every catalog says so in pyiceberg's words: the
        # SQL catalog lets its database speak.
        if not catalog.namespace_exists(namespace):
            raise
