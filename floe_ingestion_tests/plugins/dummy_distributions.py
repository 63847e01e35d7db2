"""Real distributions for the registry to find: a dist-info folder and modules in a folder on sys.path."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from floe_ingestion.plugins import PluginType

_BASES = {
    PluginType.INGESTION: "IngestionPlugin",
    PluginType.CATALOG: "CatalogPlugin",
    PluginType.STORAGE: "StoragePlugin",
}

_METHODS = {
    PluginType.INGESTION: """
    def list_available_sources(self): return ["nothing"]
    def create_pipeline(self, source, destination, config): return (source, destination, config)
    def run_pipeline(self, pipeline): return {"rows_loaded": 0, "tables_loaded": 0, "execution_time_s": 0.0}
    def get_dagster_asset_config(self, source): return {"source_type": source}
""",
    PluginType.CATALOG: """
    def connect(self, config): raise NotImplementedError
""",
    PluginType.STORAGE: """
    def warehouse(self, config): return "file:///nowhere"
    def file_io_properties(self, config): return {}
""",
}


def install(
    folder: Path,
    distribution: str,
    entry_points: Mapping[PluginType, str],
    modules: Mapping[str, str] | None = None,
) -> None:
    """Install `distribution` into `folder` as pip would leave it there.

    `entry_points` holds the lines of each group, e.g. `dummy = dummy_module:Dummy`; `modules` holds sources
    by their paths below `folder`.
    """
    info = folder / f"{distribution.replace('-', '_')}-1.2.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2.3\n")
    sections = (f"[{plugin_type.group}]\n{lines}\n" for plugin_type, lines in entry_points.items())
    (info / "entry_points.txt").write_text("\n".join(sections))
    for path, source in (modules or {}).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))


def plugin_source(plugin_type: PluginType, body: str = 'floe_api_version = "1.0"') -> str:
    """A module that holds a `Dummy`, a working plugin of this type unless `body` makes it another."""
    base = _BASES.get(plugin_type, "PluginMetadata")
    methods = _METHODS.get(plugin_type, "")
    head = f"from floe_ingestion.plugins import {base}\n\nclass Dummy({base}):\n"
    attributes = f'name = "dummy"\nversion = "1.2.3"\n{textwrap.dedent(body)}\n'
    return head + textwrap.indent(attributes, "    ") + methods
