"""The code location: reads floe.yaml and assembles what Dagster loads. The only module with effects.

The file is the one that the environment variable FLOE_SPEC names, else `floe.yaml` in the current folder.
Loading it touches nothing: no network, no database, no secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from floe_ingestion.assets import source_assets
from floe_ingestion.io_manager import IcebergIOManager
from floe_ingestion.lake import DEFAULT_HOME
from floe_ingestion.loading import load_spec
from floe_ingestion.maintenance_jobs import maintenance_jobs, maintenance_schedules
from floe_ingestion.plugins import IngestionPlugin, PluginRegistry, PluginType
from floe_ingestion.resources import DltIngestionResource, IcebergLakeResource
from floe_ingestion.schedules import source_job, source_schedule
from floe_ingestion.secrets import expand
from floe_ingestion.sensors import source_sensors
from floe_ingestion.spec import Spec
from floe_ingestion.translator import IO_MANAGER_KEY

SPEC_VARIABLE = "FLOE_SPEC"
HOME_VARIABLE = "FLOE_HOME"
DEFAULT_SPEC = "floe.yaml"


def build_definitions(
    spec: str | os.PathLike[str] | Spec,
    home: str | os.PathLike[str] | None = None,
    resources: Mapping[str, Any] | None = None,
) -> dg.Definitions:
    """Everything that a floe.yaml describes, for a code location of its own or merged into another.

    `home` is where the embedded catalog, the warehouse and staged files live; by default the environment
    variable FLOE_HOME, else `.floe` beside the file. `resources` takes those of another file with the same
    `plugins` (`definitions.resources`), without which the two cannot be merged. Raises `ConfigurationError` with
    all mistakes of the file.
    """
    spec = spec if isinstance(spec, Spec) else load_spec(spec)
    file = Path(spec.path).resolve()
    folder, lake = file.parent, lake_of(spec, home)
    enabled = [source for source in spec.sources if source.enabled]
    jobs = {source.name: source_job(source) for source in enabled}
    schedules = [source_schedule(source, jobs[source.name]) for source in enabled]
    upkeep = maintenance_jobs(enabled, lake)
    resources = resources or {"ingestion": _ingestion(spec, lake, folder), IO_MANAGER_KEY: IcebergIOManager(lake=lake)}
    return dg.Definitions(
        assets=[asset for source in enabled for asset in source_assets(source, file)],
        jobs=[*jobs.values(), *upkeep],
        schedules=[*filter(None, schedules), *maintenance_schedules(enabled, upkeep)],
        sensors=[sensor for source in enabled for sensor in source_sensors(source, jobs[source.name], folder)],
        resources=resources,
    )


def lake_of(spec: Spec, home: str | os.PathLike[str] | None = None) -> IcebergLakeResource:
    """The catalog and storage that `plugins` names."""
    home = Path(home or home_in(Path(spec.path).resolve().parent)).absolute()
    return IcebergLakeResource(
        catalog=spec.plugins.catalog.type,
        catalog_config=dict(spec.plugins.catalog.config),
        storage=spec.plugins.storage.type,
        storage_config=dict(spec.plugins.storage.config),
        home=str(home),
        place=f"{spec.path}: plugins",
    )


def home_in(folder: Path) -> Path:
    """Where the embedded catalog lives, unless somebody says otherwise: where FLOE_HOME says, else in `folder`."""
    return Path(os.environ.get(HOME_VARIABLE) or folder / DEFAULT_HOME)


def _ingestion(spec: Spec, lake: IcebergLakeResource, folder: Path) -> Any:
    choice = spec.plugins.ingestion
    if choice.type == "dlt":
        plugin = DltIngestionResource(lake=lake, base_folder=str(folder))
        plugin.configure(choice.config)  # it takes none, and says so
        return plugin

    @dg.resource(description=f"the ingestion plugin {choice.type}")
    def ingestion(_: dg.InitResourceContext) -> Iterator[IngestionPlugin]:
        plugin = PluginRegistry().get(PluginType.INGESTION, choice.type)
        plugin.configure(expand(dict(choice.config), f"{spec.path}: plugins.ingestion.config"))
        plugin.startup()
        try:
            yield plugin
        finally:
            plugin.shutdown()

    return ingestion


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev` loads."""
    return build_definitions(os.environ.get(SPEC_VARIABLE) or DEFAULT_SPEC)
