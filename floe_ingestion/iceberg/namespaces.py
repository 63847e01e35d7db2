"""Namespaces made where they are missing, by principals that may not be allowed to make one."""

from __future__ import annotations

from contextlib import suppress

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError


def ensure_namespace(catalog: Catalog, namespace: tuple[str, ...]) -> None:
    """Create `namespace`, the outer ones first, unless it is there."""
    # Asked first: Polaris refuses the creation even of what exists to a principal without NAMESPACE_CREATE.
    if catalog.namespace_exists(namespace):
        return
    if len(namespace) > 1:  # REST catalogs want the parents to exist
        ensure_namespace(catalog, namespace[:-1])
    with suppress(NamespaceAlreadyExistsError):  # another first writer, between the look and the leap
        catalog.create_namespace(namespace)
