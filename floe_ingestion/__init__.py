"""Databases, APIs and files into Apache Iceberg tables, as Dagster assets."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from floe_ingestion.version import __version__

if TYPE_CHECKING:
    from floe_ingestion.assets import dlt_asset
    from floe_ingestion.checks import table_checks
    from floe_ingestion.component import FloeIngestionComponent
    from floe_ingestion.definitions import build_definitions
    from floe_ingestion.io_manager import IcebergIOManager
    from floe_ingestion.loading import load_spec
    from floe_ingestion.resources import DltIngestionResource, IcebergLakeResource

_HOMES = {
    "DltIngestionResource": "floe_ingestion.resources",
    "FloeIngestionComponent": "floe_ingestion.component",
    "IcebergIOManager": "floe_ingestion.io_manager",
    "IcebergLakeResource": "floe_ingestion.resources",
    "build_definitions": "floe_ingestion.definitions",
    "dlt_asset": "floe_ingestion.assets",
    "load_spec": "floe_ingestion.loading",
    "table_checks": "floe_ingestion.checks",
}

__all__ = [
    "DltIngestionResource",
    "FloeIngestionComponent",
    "IcebergIOManager",
    "IcebergLakeResource",
    "__version__",
    "build_definitions",
    "dlt_asset",
    "load_spec",
    "table_checks",
]


def __getattr__(name: str) -> Any:
    # Dagster and dlt take seconds to import: whoever asks for a name pays for it, not `import floe_ingestion`.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # where `dg` looks for components
