"""The built-in storage: a folder on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.plugins import StoragePlugin
from floe_ingestion.version import __version__


class LocalStoragePlugin(StoragePlugin):
    """Tables in a folder: `path`, or `warehouse` in `home`."""

    name = "local"
    version = __version__
    floe_api_version = "1.0"
    description = "A folder on this machine"

    def warehouse(self, config: Mapping[str, Any]) -> str:
        """The folder as a file URI."""
        path = config.get("path") or (Path(str(config["home"])) / "warehouse" if config.get("home") else None)
        if path is None:
            raise ConfigurationError("The local storage needs `path`, e.g. path: /data/warehouse.")
        return f"file://{Path(str(path)).absolute()}"

    def file_io_properties(self, config: Mapping[str, Any]) -> dict[str, str]:
        """None: local files need no credentials."""
        return {}
