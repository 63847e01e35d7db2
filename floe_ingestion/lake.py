"""Where tables live: a catalog and a storage plugin, with their configuration, connected when a run asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from floe_ingestion.classify import lake_errors
from floe_ingestion.plugins import PluginRegistry, PluginType
from floe_ingestion.secrets import expand

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

DEFAULT_HOME = ".floe"
"""Folder of the embedded catalog, the local warehouse and staged files."""


def connect(
    catalog: str,
    catalog_config: Mapping[str, Any],
    storage: str,
    storage_config: Mapping[str, Any],
    home: Path,
    place: str = "plugins",
) -> Catalog:
    """The pyiceberg catalog that these plugins make; variables are expanded here.

    Raises `MissingVariable`, `PluginError`, `CatalogUnavailable` or `PermanentError`.
    """
    registry = PluginRegistry()
    catalog_plugin = registry.get(PluginType.CATALOG, catalog)
    storage_plugin = registry.get(PluginType.STORAGE, storage)
    where = {"home": str(home)}
    stored = where | expand(dict(storage_config), f"{place}.storage.config")
    written = expand(dict(catalog_config), f"{place}.catalog.config")
    # Of what the storage says, a catalog that knows where tables live needs only how to reach the files.
    warehouse = {} if catalog_plugin.knows_locations else {"warehouse": storage_plugin.warehouse(stored)}
    properties = {**storage_plugin.file_io_properties(stored), **written.pop("properties", {})}
    with lake_errors(f"the {catalog} catalog"):
        return catalog_plugin.connect({**where, **warehouse, **written, "properties": properties})
