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

    @property
    def knows_locations(self) -> bool:
        """Whether the catalog itself says where tables live; then no `warehouse` of the storage is given to it."""
        return False

    @abstractmethod
    def connect(self, config: Mapping[str, Any]) -> Catalog:
        """Open the catalog at run time; the caller owns the result and may connect more than once.

        `config` is the `plugins.catalog.config` block of floe.yaml with its variables expanded, so it may
        hold secrets (never log it). Beside the user's keys, which win, the run gives `home` (a folder of
        this machine), `warehouse` (the storage's, unless `knows_locations`) and `properties` (pyiceberg's
        FileIO properties, of the storage). Without a key of the user's, the documented default is asked for.

        Raises ConfigurationError for a missing or unknown setting, CatalogUnavailable where the catalog does
        not answer.
        """
