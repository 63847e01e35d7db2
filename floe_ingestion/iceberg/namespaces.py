"""Namespaces made where they are missing, by principals that may not be allowed to make one."""

from __future__ import annotations

from pyiceberg.catalog import Catalog, MetastoreCatalog

from floe_ingestion.errors import ConfigurationError


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
