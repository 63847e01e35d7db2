"""Dagster's door to the tables: what assets stage or return goes in as one commit, and comes out as asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from floe_ingestion.asset_page import first_rows, show
from floe_ingestion.asset_tables import identifier_of, provenance_of, rows_of_partitions, table_of, upstream_metadata
from floe_ingestion.errors import PermanentError
from floe_ingestion.pipeline import private_folder
from floe_ingestion.resources import IcebergLakeResource
from floe_ingestion.retries import dagster_failures, is_last_attempt
from floe_ingestion.spec_stored import ReadSettings, settings_of
from floe_ingestion.staging import Landed, StagedTable
from floe_ingestion.storing import KNOWN, batches_of, stage_rows

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


class IcebergIOManager(dg.ConfigurableIOManager):
    """Stores what assets return, commits what ingestion assets stage, and loads tables for assets downstream.

    An asset may return Arrow, Polars, pandas or DuckDB rows, and its key names the table. An asset downstream
    gets what its annotation says: `pyarrow.Table` (also without an annotation), `pyarrow.RecordBatchReader`,
    `polars.DataFrame`, `pandas.DataFrame`, `duckdb.DuckDBPyRelation`, `pyiceberg.table.DataScan` and more; in a
    partitioned run, the rows of the upstream partitions. What the metadata of assets and inputs may say about
    it stands in `spec_stored.py`.
    """

    lake: IcebergLakeResource = Field(default_factory=IcebergLakeResource)
    schema_name: str = "public"
    """The schema of assets whose key has one part."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Land rows, or a `StagedTable`; its numbers become the metadata of the materialisation."""
        if obj is None:
            context.log.info("Nothing was returned, and nothing is stored.")
            return
        place = context.asset_key.to_user_string() if context.has_asset_key else context.name
        with dagster_failures(place, last=is_last_attempt(context)):
            if isinstance(obj, StagedTable):
                self._land(context, obj)
            else:
                self._store(context, obj)

    def load_input(self, context: dg.InputContext) -> Any:
        """The upstream table, as the input's annotation and metadata ask for it."""
        from floe_ingestion.iceberg import read
        from floe_ingestion.iceberg.tables import load_table

        name = context.asset_key.to_user_string()
        with dagster_failures(name):
            settings = settings_of(ReadSettings, context.definition_metadata, f"The metadata of the input {name}")
            upstream = upstream_metadata(context)
            identifier = identifier_of(context.asset_key, upstream.get("floe/table"), self.schema_name)
            table = load_table(self.lake.connect(), identifier)
            if table is None:
                raise PermanentError(f"There is no table {'.'.join(identifier)} yet. Materialize its asset first.")
            rows = rows_of_partitions(context, upstream, table)
            return read.as_type(table, context.dagster_type.typing_type, rows, read.Part(**settings.model_dump()))

    def _store(self, context: dg.OutputContext, rows: Any) -> None:
        batches = batches_of(rows)
        if batches is None:
            raise PermanentError(
                f"The Iceberg IO manager was given a {type(rows).__name__}. Return {KNOWN}, or nothing, or use "
                f"another io_manager_key for this asset."
            )
        spec, window = table_of(context, self.schema_name)
        catalog = self.lake.connect()
        with private_folder(self.lake.staging_folder) as folder:
            staged = stage_rows(batches, spec, window, provenance_of(context), catalog, folder)
            self._land(context, staged, catalog)

    def land(self, staged: StagedTable, catalog: Catalog | None = None) -> Landed:
        """Commit what was staged, unless that has been done; what it made is left in its receipt.

        Raises errors of `floe_ingestion.errors`, among them `GateFailed` for a load that stays on its branch.
        """
        from floe_ingestion.iceberg.tables import load_table
        from floe_ingestion.landing import land

        receipt = staged.receipt
        if receipt.landed is None:
            catalog = catalog or self.lake.connect()
            receipt.preview = first_rows(staged)  # the commit moves the files
            receipt.landed = land(catalog, staged, staged.provenance, self.lake.staging_folder)
            receipt.table = load_table(catalog, staged.table.identifier)
        return receipt.landed

    def _land(self, context: dg.OutputContext, staged: StagedTable, catalog: Catalog | None = None) -> None:
        show(context, staged, self.land(staged, catalog))
