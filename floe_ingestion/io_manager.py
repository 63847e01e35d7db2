"""Dagster's door to the tables: staged loads go in as one commit, tables come out as data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from floe_ingestion.errors import PermanentError
from floe_ingestion.resources import IcebergLakeResource
from floe_ingestion.retries import dagster_failures
from floe_ingestion.shown import first_rows, materialization_metadata, sentence
from floe_ingestion.staging import StagedTable, Window
from floe_ingestion.translator import PARTITION_COLUMN

if TYPE_CHECKING:
    from pyiceberg.table import Table


class IcebergIOManager(dg.ConfigurableIOManager):
    """Commits what ingestion assets stage, and loads tables for assets downstream.

    An asset downstream gets what its annotation says: `pyarrow.Table` (also without an annotation),
    `polars.DataFrame`, `polars.LazyFrame`, `pandas.DataFrame` or `pyiceberg.table.Table`; in a partitioned
    run, the rows of the upstream partitions.
    """

    lake: IcebergLakeResource = Field(default_factory=IcebergLakeResource)

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Land a `StagedTable`; its numbers become the metadata of the materialisation."""
        if not isinstance(obj, StagedTable):
            raise dg.Failure(
                f"{context.asset_key.to_user_string()}: the Iceberg IO manager lands what ingestion assets stage, "
                f"and was given a {type(obj).__name__}. Use another io_manager_key for this asset.",
                allow_retries=False,
            )
        from floe_ingestion.iceberg.commit import commit, load_table

        with dagster_failures(str(obj.table)):
            preview = first_rows(obj)  # the commit moves the files
            catalog = self.lake.connect()
            landed = commit(catalog, obj, obj.provenance, self.lake.staging_folder)
            context.log.info(sentence(landed, obj))
            for warning in obj.warnings:
                context.log.warning(warning)
            table = load_table(catalog, obj.table.identifier)
            single = context.has_asset_partitions and len(context.asset_partition_keys) == 1
            context.add_output_metadata(materialization_metadata(obj, landed, table, preview, single))

    def load_input(self, context: dg.InputContext) -> Any:
        """The upstream table, as the input's annotation asks for it."""
        from floe_ingestion.iceberg import read
        from floe_ingestion.iceberg.commit import load_table

        with dagster_failures(context.asset_key.to_user_string()):
            table = load_table(self.lake.connect(), tuple(context.asset_key.path))
            if table is None:
                raise PermanentError(
                    f"There is no table {'.'.join(context.asset_key.path)} yet. Materialize its asset first."
                )
            return read.as_type(table, context.dagster_type.typing_type, _filter(context, table))


def _filter(context: dg.InputContext, table: Table) -> Any:
    """The row filter of the upstream partitions; None for the whole table."""
    from floe_ingestion.iceberg.partition import window_filter

    metadata = context.upstream_output.definition_metadata if context.upstream_output is not None else {}
    column = metadata.get(PARTITION_COLUMN)
    if column is None or not context.has_asset_partitions:
        return None
    column = getattr(column, "value", column)
    if isinstance(context.asset_partitions_def, dg.TimeWindowPartitionsDefinition):
        bounds = context.asset_partitions_time_window
        return window_filter(Window(str(column), bounds.start, bounds.end), table.schema())
    return window_filter(Window(str(column), values=tuple(context.asset_partition_keys)), table.schema())
