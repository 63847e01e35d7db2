"""The contract of a plugin that knows an Iceberg catalog."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from floe_ingestion.plugins.metadata import PluginMetadata

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


class CatalogPlugin(PluginMetadata):
    """Gives an Iceberg catalog; registered under the entry-point group `floe.catalogs`.

    Namespaces and tables are registered through the pyiceberg catalog that `connect` gives: a plugin has no
    second way to create one. A plugin overrides `check_health` to ask its catalog for something cheap.
    """

    @abstractmethod
    def connect(self, config: Mapping[str, Any]) -> Catalog:
        """Open the catalog at run time; the caller owns the result and may connect more than once.

        `config` is the `plugins.catalog.config` block of floe.yaml with its variables expanded, so it may
        hold secrets (never log it). An empty one asks for the plugin's documented default.

        Raises ConfigurationError for a missing or unknown setting, CatalogUnavailable where the catalog does
        not answer.
        """
