"""The contract of a plugin that knows where data files live."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from floe_ingestion.plugins.metadata import PluginMetadata


class StoragePlugin(PluginMetadata):
    """Says where the warehouse is and how to reach its files; registered under the group `floe.storage`.

    `config` is the `plugins.storage.config` block of floe.yaml with its variables expanded, so it may hold
    secrets (never log it). An empty one asks for the plugin's documented default. Both methods only
    compute: they connect to nothing, and raise ConfigurationError for a missing or unknown setting.
    """

    @abstractmethod
    def warehouse(self, config: Mapping[str, Any]) -> str:
        """The folder that tables live under, as a URI without a trailing slash, e.g. `s3://lake/warehouse`."""

    @abstractmethod
    def file_io_properties(self, config: Mapping[str, Any]) -> dict[str, str]:
        """pyiceberg's FileIO properties, e.g. `{"s3.endpoint": …, "s3.region": …}`; empty if none are needed.

        They hold credentials: give them to the catalog, and never to a table's properties, metadata or logs.
        """
