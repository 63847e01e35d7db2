"""The contract of a plugin that ingests: it runs a source's pipeline, and may stage rows for our commit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from floe_ingestion.plugins.metadata import PluginMetadata

if TYPE_CHECKING:
    from floe_ingestion.staging import LoadRequest, StagedTable


class IngestionPlugin(PluginMetadata):
    """Runs ingestion pipelines; registered under the entry-point group `floe.ingestion`.

    A plugin that lands through our Iceberg commit also offers `stage` (see `StagingPlugin`); one that
    writes by itself, such as an external service, leaves that out and its asset only reports.
    """

    @abstractmethod
    def list_available_sources(self) -> list[str]:
        """The source types that `create_pipeline` accepts, sorted, e.g. `["rest_api", "sql_database"]`."""

    @abstractmethod
    def create_pipeline(self, source: str, destination: str, config: dict[str, Any]) -> Any:
        """Prepare a pipeline and touch nothing yet: no network, no database.

        `source` is one of `list_available_sources()`, `destination` is where rows go, `config` is the
        source's own configuration. What comes back is the plugin's own object, meant for its `run_pipeline`
        and `stage` only.

        Raises PermanentError for an unknown source or a configuration that cannot work.
        """

    @abstractmethod
    def run_pipeline(self, pipeline: Any) -> dict[str, Any]:
        """Run what `create_pipeline` prepared, to its end, and report measured numbers.

        The report holds at least `rows_loaded` (int), `tables_loaded` (int) and `execution_time_s` (float,
        seconds of wall clock).

        Raises TransientError where trying again can help, PermanentError where it cannot.
        """

    @abstractmethod
    def get_dagster_asset_config(self, source: str) -> dict[str, Any]:
        """What an asset of this source shows: `source_type`, `incremental_key`, `write_disposition` and such.

        Read at definition time: it neither connects nor reads a secret. Raises PermanentError for an
        unknown source.
        """


@runtime_checkable
class StagingPlugin(Protocol):
    """What an `IngestionPlugin` offers too when its rows land through our Iceberg commit.

    A plugin that writes by itself leaves it out and its asset only reports. `isinstance(plugin,
    StagingPlugin)` tells the two apart; it looks at the method's presence, not at its signature.
    """

    def stage(self, pipeline: Any, request: LoadRequest) -> Iterator[StagedTable]:
        """Run `pipeline` and give each table's staged files as soon as it is complete; commit nothing.

        The files are Parquet, already in the types of the Iceberg table.

        Raises TransientError where trying again can help, PermanentError where it cannot.
        """
        ...
