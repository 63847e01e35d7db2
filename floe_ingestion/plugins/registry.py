"""From a plugin's name to the plugin: entry points, read without an import and loaded when asked for."""

from __future__ import annotations

import importlib
import inspect
import operator
import re
import threading
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, overload

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
    distribution_name,
    is_class,
)
from floe_ingestion.plugins.ingestion import IngestionPlugin
from floe_ingestion.plugins.metadata import PluginMetadata, PluginType
from floe_ingestion.plugins.storage import StoragePlugin

FLOE_API_VERSION = "1.0"
"""The contract version that this platform speaks; a plugin's must have the same major and no later minor."""

_CONTRACTS: Mapping[PluginType, Any] = {
    PluginType.INGESTION: IngestionPlugin,
    PluginType.CATALOG: CatalogPlugin,
    PluginType.STORAGE: StoragePlugin,
}


class PluginRegistry:
    """Finds the installed plugins of all types; imports one only when asked for it, and keeps what it made.

    What it raises is always a `PluginError`. A plugin that is broken, or claimed twice, is in no other's way.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[PluginType, str], PluginMetadata] = {}
        # Reentrant, because a plugin's constructor may ask for another plugin.
        self._lock = threading.RLock()

    def discover(self) -> dict[PluginType, tuple[str, ...]]:
        """Sorted names of the registered plugins for each of the types, without importing one."""
        return {plugin_type: self.names(plugin_type) for plugin_type in PluginType}

    def names(self, plugin_type: PluginType) -> tuple[str, ...]:
        """Sorted names of the registered plugins of one type, without importing one."""
        return tuple(sorted(_claims(plugin_type)))

    def entry_point(self, plugin_type: PluginType, name: str) -> EntryPoint:
        """Who registers the name, without importing it; raises PluginNotFound or PluginConflict."""
        return _find(plugin_type, name)

    @overload
    def get(self, plugin_type: Literal[PluginType.INGESTION], name: str) -> IngestionPlugin: ...
    @overload
    def get(self, plugin_type: Literal[PluginType.CATALOG], name: str) -> CatalogPlugin: ...
    @overload
    def get(self, plugin_type: Literal[PluginType.STORAGE], name: str) -> StoragePlugin: ...
    @overload
    def get(self, plugin_type: PluginType, name: str) -> PluginMetadata: ...
    def get(self, plugin_type: PluginType, name: str) -> PluginMetadata:
        """The plugin of this name: imported and constructed the first time, the same instance from then on.

        It is neither configured nor started. Raises the PluginError that says what is in the way; a failure
        is not kept, so that asking again looks again.
        """
        with self._lock:
            if (plugin_type, name) not in self._made:
                self._made[plugin_type, name] = _construct(plugin_type, _find(plugin_type, name))
            return self._made[plugin_type, name]

    def get_class(self, plugin_type: PluginType, name: str) -> type[PluginMetadata]:
        """The plugin's class, imported and checked but not constructed.

        A `floe_api_version` that is a property can only be read from an instance; `get` checks that too.
        """
        return _load_class(plugin_type, _find(plugin_type, name))


def _claims(plugin_type: PluginType) -> dict[str, list[EntryPoint]]:
    """Who claims which name: one entry point for each, more where they differ in distribution or value."""
    claims: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for entry in entry_points(group=plugin_type.group):
        # A distribution found twice on sys.path comes once: importlib.metadata leaves the later ones out.
        claim = (distribution_name(entry), entry.value)
        claims.setdefault(entry.name, {}).setdefault(claim, entry)
    return {name: list(claimed.values()) for name, claimed in claims.items()}


def _find(plugin_type: PluginType, name: str) -> EntryPoint:
    claims = _claims(plugin_type)
    if name not in claims:
        by = {each: " and ".join(sorted(map(distribution_name, claimed))) for each, claimed in claims.items()}
        raise PluginNotFound(plugin_type, name, known=by)
    if len(claims[name]) > 1:
        raise PluginConflict(plugin_type, name, claims[name])
    return claims[name][0]


def _construct(plugin_type: PluginType, entry: EntryPoint) -> PluginMetadata:
    plugin_class = _load_class(plugin_type, entry)
    try:
        plugin = plugin_class()
        api_version = plugin.floe_api_version
    except Exception as error:
        raise PluginNotConstructible(plugin_type, entry, error) from error
    _check_api_version(plugin_type, entry, api_version)
    return plugin


def _load_class(plugin_type: PluginType, entry: EntryPoint) -> type[PluginMetadata]:
    contract: type[PluginMetadata] = _CONTRACTS.get(plugin_type, PluginMetadata)
    met = _load(plugin_type, entry)
    if not is_class(met) or not issubclass(met, contract):
        raise PluginMistyped(plugin_type, entry, met, contract)
    # Where the class says it, before the constructor runs: of another API, it could fail for a lesser reason.
    declared = inspect.getattr_static(met, "floe_api_version")
    if isinstance(declared, str):
        _check_api_version(plugin_type, entry, declared)
    return met


def _load(plugin_type: PluginType, entry: EntryPoint) -> object:
    """What the entry point names; `EntryPoint.load` cannot tell a failing import from a missing attribute."""
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name and f"{entry.module}.".startswith(f"{error.name}."):
            raise PluginModuleMissing(plugin_type, entry, error.name) from error
        raise PluginImportFailed(plugin_type, entry, error) from error
    except Exception as error:
        raise PluginImportFailed(plugin_type, entry, error) from error
    try:
        return operator.attrgetter(entry.attr)(module) if entry.attr else module
    except AttributeError as error:
        raise PluginAttributeMissing(plugin_type, entry) from error


def _check_api_version(plugin_type: PluginType, entry: EntryPoint, met: object) -> None:
    written_for = re.fullmatch(r"(\d+)\.(\d+)", met) if isinstance(met, str) else None
    major, minor = map(int, FLOE_API_VERSION.split("."))
    if written_for is None or int(written_for[1]) != major or int(written_for[2]) > minor:
        raise PluginIncompatible(plugin_type, entry, met, FLOE_API_VERSION)
