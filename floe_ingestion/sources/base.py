"""What a source connector is: a strict model of its `config`, and `build()`, which makes the dlt resource.

Connectors are found by the entry-point group `floe_ingestion.sources`, so that any package can add one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from floe_ingestion.spec import (
    Columns,
    Contract,
    IncrementalSpec,
    Names,
    Nested,
    StrictModel,
    TableSpec,
    WriteDisposition,
)
from floe_ingestion.spec_checks import Checks
from floe_ingestion.staging import Window

if TYPE_CHECKING:
    import pyarrow as pa
    from dlt.extract.resource import DltResource


class Usual(StrictModel):
    """What a connector that knows its API proposes for a resource.

    It holds where neither the resource nor its source says otherwise: the cursor not beside `partitions` or
    `replace`, which have no use for one, and without its lag beside `append`, which would land rows twice.
    """

    write_disposition: WriteDisposition | None = None
    primary_key: Names = ()
    columns: Columns = Field(default={})
    nested: Names = ()
    """Further columns, which hold objects or lists: text, unless these are to be structs."""
    incremental: IncrementalSpec | None = None


class ResourceSpec(StrictModel):
    """What every connector lets a resource say for itself; the rest of floe.yaml gives the defaults."""

    name: str = Field(min_length=1)
    table: str | None = None
    """The table's name, where it should differ from the resource's."""
    description: str | None = None
    write_disposition: WriteDisposition | None = None
    primary_key: Names = ()
    schema_contract: Contract | None = None
    nested: Nested | None = None
    """Objects and lists as JSON text (`json`), or as structs and lists (`struct`)."""
    columns: Columns = Field(default={})
    incremental: IncrementalSpec | None = None
    checks: Checks | None = None

    @property
    def usual(self) -> Usual:
        """What holds where floe.yaml says nothing."""
        return Usual()


def named(value: Any) -> Any:
    """A plain text in a list of resources is the name of one."""
    return {"name": value} if isinstance(value, str) else value


@dataclass(frozen=True)
class Extraction:
    """One table's part of a run, as a connector needs to know it."""

    table: TableSpec
    window: Window | None = None
    """What a partitioned run is about. A connector may ask its source for just that; rows outside of it are
    left out where they are staged, in the table's own types."""
    known: pa.Schema | None = None
    """The columns that the Iceberg table has already; None for a new one."""

    @property
    def cursor(self) -> IncrementalSpec | None:
        """What the load goes by; None without one, and in a partitioned run.

        The window of a partitioned run is kept where its rows are staged (`iceberg/writer.py`), by the types of
        the table and without any state: a backfill never moves a cursor.
        """
        return self.table.incremental if self.window is None else None


class SourceConnector(StrictModel, ABC):
    """The `config` of one source type."""

    kind: ClassVar[str]
    """The name in floe.yaml's `type`."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """Dagster's kinds (icons) beside `dlt` and `iceberg`."""
    extra: ClassVar[str | None] = None
    """The extra of this package that brings what the connector needs."""

    json_rows: ClassVar[bool] = False
    """Whether its rows hold nothing but what JSON can say, so that nobody has to look."""
    lists: ClassVar[bool] = False
    """Whether `listing` tells what there is, so that a sensor can look for changes."""

    @abstractmethod
    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        """What the source offers, in the order of the file; touches nothing outside."""

    @abstractmethod
    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        """The dlt resources of these tables, by resource name; called in a run, with variables expanded.

        Raises `SourceRejected` or `SourceUnavailable`; may connect.
        """

    def relative_to(self, folder: Path) -> SourceConnector:
        """This connector with its relative paths starting at `folder`, that of floe.yaml."""
        return self

    def check_connection(self) -> str:
        """One sentence on what answered; raises `SourceRejected` or `SourceUnavailable`."""
        return "nothing to connect to"

    def listing(self) -> Mapping[str, Any]:
        """The version of each thing that a load would read, by its name, without reading any; may connect."""
        return {}

    def key_of(self, resource: DltResource) -> tuple[str, ...]:
        """The key that the source itself knows, such as a database's primary key; may connect."""
        return ()

    def newest(self, extraction: Extraction) -> Any:
        """The newest value of the cursor in the source, where it can be had cheaply; None where not, or without rows.

        Asked after a load by cursor that brought no rows, to tell a source that was reset.
        """
        return None


def declared_key(resource: DltResource) -> tuple[str, ...]:
    """The primary key that a resource of dlt's tells of before any row."""
    columns = resource.compute_table_schema().get("columns", {})
    return tuple(name for name, column in columns.items() if column.get("primary_key"))


def incremental_of(extraction: Extraction) -> Any:
    """The dlt incremental of one table; None without a cursor, and in a partitioned run."""
    from floe_ingestion.sources.paging import PageCursor

    spec = extraction.cursor
    if spec is None:
        return None
    return PageCursor(
        spec.cursor_path,
        initial_value=spec.initial_value,
        end_value=spec.end_value,
        lag=spec.lag,
        row_order=spec.row_order,
        on_cursor_value_missing=spec.on_cursor_value_missing,
    )
