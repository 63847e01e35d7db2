"""The platform's plugin contracts and the registry that finds who implements them.

Plain Python: importing this package imports neither dagster, dlt, pyiceberg nor pyarrow.
"""

from floe_ingestion.errors import PluginError
from floe_ingestion.plugins.catalog import CatalogPlugin
from floe_ingestion.plugins.errors import (
    PluginAttributeMissing,
    PluginConflict,
    PluginImportFailed,
    PluginIncompatible,
    PluginMistyped,
    PluginModuleMissing,
    PluginNotConstructible,
    PluginNotFound,
    PluginUnusable,
)
from floe_ingestion.plugins.ingestion import IngestionPlugin, StagingPlugin
from floe_ingestion.plugins.metadata import HealthStatus, PluginMetadata, PluginType
from floe_ingestion.plugins.registry import FLOE_API_VERSION, PluginRegistry
from floe_ingestion.plugins.storage import StoragePlugin

__all__ = [
    "FLOE_API_VERSION",
    "CatalogPlugin",
    "HealthStatus",
    "IngestionPlugin",
    "PluginAttributeMissing",
    "PluginConflict",
    "PluginError",
    "PluginImportFailed",
    "PluginIncompatible",
    "PluginMetadata",
    "PluginMistyped",
    "PluginModuleMissing",
    "PluginNotConstructible",
    "PluginNotFound",
    "PluginRegistry",
    "PluginType",
    "PluginUnusable",
    "StagingPlugin",
    "StoragePlugin",
]
