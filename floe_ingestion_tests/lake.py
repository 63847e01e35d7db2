"""The tables that tests land in, and what readers see there."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from floe_ingestion.iceberg.catalogs import SqlCatalogPlugin
from floe_ingestion.iceberg.storages import LocalStoragePlugin
from floe_ingestion.landing import land
from floe_ingestion.pipeline import IngestionPipeline, stage
from floe_ingestion.staging import Landed, LoadRequest, Provenance, StagedTable, Window

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]


class Lake:
    """A SQLite catalog and a warehouse folder in `home`, as the library makes them without configuration."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.staging_folder = home / "staging"

    @cached_property
    def catalog(self) -> Catalog:
        return self.connect()

    def connect(self) -> Catalog:
        """A connection of its own, as another process or thread would have it."""
        where = {"home": str(self.home)}
        return SqlCatalogPlugin().connect({**where, "warehouse": LocalStoragePlugin().warehouse(where)})

    def table(self, name: str) -> Table:
        """`<schema>.<table>`, as it is now."""
        return self.catalog.load_table(name)

    def rows(self, name: str) -> list[Row]:
        """All rows as pyiceberg reads them, sorted."""
        return in_order(self.table(name).scan().to_arrow().to_pylist())

    def values(self, name: str, column: str = "id") -> list[Any]:
        """One column, sorted."""
        return [
            row[column] for row in in_order(self.table(name).scan(selected_fields=(column,)).to_arrow().to_pylist())
        ]

    def duckdb_rows(self, name: str) -> list[Row]:
        """All rows as DuckDB reads them, sorted."""
        return duckdb_rows(self.table(name).metadata_location)

    def cursor(self, name: str) -> dict[str, Any]:
        """Last value of each cursor path that the table carries."""
        from floe_ingestion.iceberg import cursor as cursors

        return cursors.describe(cursors.current(self.table(name)))

    def files_of(self, name: str, row_filter: str = "true") -> set[str]:
        """Locations of the data files that hold, or may hold, such rows."""
        return {task.file.file_path for task in self.table(name).scan(row_filter).plan_files()}

    def data_files(self) -> set[Path]:
        """Every Parquet file in the warehouse, whether a snapshot names it or not."""
        return set((self.home / "warehouse").rglob("*.parquet"))

    def left_behind(self) -> list[Path]:
        """Whatever lies in the folder of staged files."""
        return sorted(self.staging_folder.rglob("*")) if self.staging_folder.exists() else []

    @contextmanager
    def staged(
        self, pipeline: IngestionPipeline, *, resource: str = "", window: Window | None = None, run: str = ""
    ) -> Iterator[StagedTable]:
        """The first table of a run, staged and not committed."""
        resources = (resource,) if resource else ()
        provenance = {table.resource: self.provenance(run) for table in pipeline.tables} if run else {}
        request = LoadRequest(resources, window, provenance)
        with closing(stage(pipeline, request, self.catalog, self.staging_folder)) as tables:  # type: ignore[type-var]
            yield next(tables)

    def commit(self, staged: StagedTable, run: str = "") -> Landed:
        """Commit what was staged, and publish it where it is audited."""
        return land(self.catalog, staged, self.provenance(run), self.staging_folder)

    def load(
        self, pipeline: IngestionPipeline, *, resource: str = "", window: Window | None = None, run: str = ""
    ) -> Landed:
        """Stage and commit one table, as a run of its asset does."""
        with self.staged(pipeline, resource=resource, window=window, run=run) as staged:
            return self.commit(staged, run)

    @staticmethod
    def provenance(run: str) -> Provenance:
        return Provenance(run_id=run, asset_key="an/asset") if run else Provenance()


def in_order(rows: list[Row]) -> list[Row]:
    """`rows` sorted by their values, column after column; nulls first."""
    return sorted(rows, key=lambda row: [_sortable(value) for value in row.values()])


def duckdb_rows(metadata_location: str) -> list[Row]:
    """The rows of a table as DuckDB reads them from its metadata file, sorted."""
    found = duckdb_connection().sql(f"select * from iceberg_scan('{metadata_location}')")
    return in_order(found.to_arrow_table().to_pylist())


@cache
def duckdb_connection() -> duckdb.DuckDBPyConnection:
    """Extensions come from their wheels: nothing is downloaded, nor copied to $HOME."""
    import duckdb

    connection = duckdb.connect()
    for name in ("avro", "httpfs", "iceberg"):
        folder = importlib.resources.files(f"duckdb_extension_{name}") / "extensions" / f"v{duckdb.__version__}"
        connection.load_extension(str(folder / f"{name}.duckdb_extension"))
    connection.execute("set timezone = 'UTC'")
    return connection


def _sortable(value: Any) -> tuple[bool, Any]:
    if isinstance(value, (Mapping, list)):
        return True, repr(value)
    return (False, 0) if value is None else (True, value)
