"""Whether the plugins that a floe.yaml chooses exist, and whether the built-in ones know what `config` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from floe_ingestion.errors import PluginError
from floe_ingestion.mistakes.report import Report
from floe_ingestion.plugins import PluginRegistry, PluginType
from floe_ingestion.spec import PluginChoice, PluginsSpec

_BUILT_IN = "floe_ingestion.iceberg."
"""Where the catalogs and storages are whose import is known to bring nothing heavy."""
_TYPES = (
    ("ingestion", PluginType.INGESTION),
    ("catalog", PluginType.CATALOG),
    ("storage", PluginType.STORAGE),
)


def check_choices(plugins: PluginsSpec, report: Report) -> None:
    """Note each plugin that nobody registers, and what is wrong with the `config` of a built-in one.

    What another distribution brings is not imported: it checks its `config` itself, in the run.
    """
    registry = PluginRegistry()
    for key, plugin_type in _TYPES:
        if key in plugins.model_fields_set:
            _check(getattr(plugins, key), key, plugin_type, registry, report)


def _check(choice: PluginChoice, key: str, plugin_type: PluginType, registry: PluginRegistry, report: Report) -> None:
    try:
        entry = registry.entry_point(plugin_type, choice.type)
    except PluginError as error:
        report.add(("plugins", key, "type"), str(error).rstrip("."))
        return
    at = ("plugins", key, "config")
    report.check_variables(choice.config, at)
    if entry.module.startswith(_BUILT_IN):
        schema = registry.get(plugin_type, choice.type).get_config_schema()
        assert schema is not None
        report.validated(schema, _spelled(choice.config), at, expanded=False)
    elif (plugin_type, choice.type) == (PluginType.INGESTION, "dlt"):
        for name in choice.config:
            report.add((*at, name), "is no known key: the plugin 'dlt' takes no configuration. Remove it")


def _spelled(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """With `_` for `-` in its keys, as the built-in plugins read them, so that a mistake is found at its key."""
    spelled = {key.replace("-", "_"): value for key, value in config.items()}
    return spelled if len(spelled) == len(config) else config
