"""The library as Dagster resources: where tables live, and the plugin that brings rows there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from floe_ingestion import lake
from floe_ingestion.errors import ConfigurationError, PermanentError
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of, stage
from floe_ingestion.plugins import IngestionPlugin
from floe_ingestion.staging import Landed, LoadRequest, Provenance, StagedTable
from floe_ingestion.version import __version__

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


class IcebergLakeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A catalog and a storage, by the names of their plugins.

    Without configuration: SQLite and a folder, both in `home`. Texts may hold `${VARIABLE}`, expanded when a
    run connects.
    """

    catalog: str = "sql"
    catalog_config: dict[str, Any] = {}  # noqa: RUF012  (a pydantic field)
    storage: str = "local"
    storage_config: dict[str, Any] = {}  # noqa: RUF012
    home: str = lake.DEFAULT_HOME
    place: str = "plugins"
    """Where this was written, for messages."""

    def connect(self) -> Catalog:
        """The pyiceberg catalog; raises errors of `floe_ingestion.errors`."""
        return lake.connect(
            self.catalog, self.catalog_config, self.storage, self.storage_config, Path(self.home), self.place
        )

    @property
    def staging_folder(self) -> Path:
        """Where loads are staged; on the local warehouse's own file system, so that a file is moved, not copied."""
        return Path(self.home).absolute() / "staging"


class DltIngestionResource(dg.ConfigurableResource, IngestionPlugin):  # type: ignore[type-arg]
    """`floe.ingestion: dlt`: runs any dlt source, stages its rows and lands them in Iceberg.

    Inside Dagster, assets call `stage` and the IO manager commits. Outside, `create_pipeline` and
    `run_pipeline` do both.
    """

    lake: IcebergLakeResource = Field(default_factory=IcebergLakeResource)
    base_folder: str = "."
    """Relative paths of sources start here."""

    @property
    def name(self) -> str:
        return "dlt"

    @property
    def version(self) -> str:
        return __version__

    @property
    def floe_api_version(self) -> str:
        return "1.0"

    @property
    def description(self) -> str:
        return "Lands dlt sources in Iceberg tables, the cursor in the same commit as the rows"

    def list_available_sources(self) -> list[str]:
        """Source types that `create_pipeline` takes, sorted."""
        from floe_ingestion.sources.registry import connector_names

        return list(connector_names())

    def create_pipeline(self, source: str, destination: str, config: dict[str, Any]) -> IngestionPipeline:
        """A pipeline from one source into `destination`; touches nothing yet.

        `source` is a type of `list_available_sources`. `destination` is `<schema>.<table>` for one resource
        or `<schema>` for many. `config` holds what floe.yaml writes under the source's `config`, or a whole
        entry of its `sources` (`name`, `config`, `incremental`, `partitions`, …), whose `destination` may
        hold everything but the place. Raises `ConfigurationError`, naming every mistake.
        """
        from floe_ingestion.loading import source_from

        if not config:
            raise ConfigurationError(
                f"create_pipeline({source!r}, …) was given no configuration, so there is nothing to load. "
                f"Pass what floe.yaml holds under the source's `config`."
            )
        return pipeline_of(source_from(source, destination, config), Path(self.base_folder))

    def run_pipeline(self, pipeline: Any) -> dict[str, Any]:
        """Load every table of `pipeline` and commit it.

        Returns `rows_loaded` and `tables_loaded` (what the commits added or updated, and how many tables
        were committed), `execution_time_s` (wall clock), and `tables`, one entry each. Raises errors of
        `floe_ingestion.errors`; tables before the failing one have landed.
        """
        from floe_ingestion.landing import land

        if not isinstance(pipeline, IngestionPipeline):
            raise PermanentError(
                f"run_pipeline takes what create_pipeline returned, and was given a {type(pipeline).__name__}."
            )
        if any(table.partitions is not None for table in pipeline.tables):
            # Without a window an append would bring every row again, each time.
            raise PermanentError(
                f"{pipeline.name} is partitioned, and run_pipeline has no partition to load. Materialize its assets "
                f"(`floe-ingestion run {pipeline.name} --partition …`), or leave `partitions` out."
            )
        began = time.monotonic()
        catalog, staging = self.lake.connect(), self.lake.staging_folder
        loads: list[tuple[Landed, tuple[str, ...]]] = []
        for staged in stage(pipeline, LoadRequest(), catalog, staging):
            loads.append((land(catalog, staged, Provenance(), staging), staged.warnings))
        return {
            "rows_loaded": sum(landed.rows_added + landed.rows_updated for landed, _ in loads),
            "tables_loaded": len(loads),
            "execution_time_s": time.monotonic() - began,
            "tables": {landed.table: _numbers(landed) | {"warnings": list(warnings)} for landed, warnings in loads},
        }

    def get_dagster_asset_config(self, source: str) -> dict[str, Any]:
        """What an asset of a source of this type starts from: kinds, and the defaults of floe.yaml."""
        from floe_ingestion.sources.registry import connector_class

        connector = connector_class(source)
        return {
            "source_type": source,
            "incremental_key": None,
            "write_disposition": "append",
            "primary_key": None,
            "kinds": ["dlt", "iceberg", *connector.kinds],
            "config_schema": connector.model_json_schema(),
        }

    def stage(self, pipeline: Any, request: LoadRequest) -> Iterator[StagedTable]:
        """Stage the requested tables; the IO manager commits each before the next is staged."""
        yield from stage(pipeline, request, self.lake.connect(), self.lake.staging_folder)

    def check_health(self) -> str:
        """Whether the catalog answers."""
        self.lake.connect().list_namespaces()
        return f"the {self.lake.catalog} catalog answers"


def _numbers(landed: Landed) -> dict[str, Any]:
    names = ("rows_added", "rows_updated", "rows_deleted", "rows_total", "snapshot_id", "load_id")
    return {name: getattr(landed, name) for name in names}
