"""What floe.yaml may say, as frozen models: definition time only, no secret, no unknown key.

`loading.py` reads the file into these and resolves each source into `TableSpec`s, which is what the rest
of the library works with. Precedence of a setting: resource > source > defaults.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.formats import (
    ColumnName,
    CursorValue,
    Flag,
    Group,
    Moment,
    Number,
    OpTags,
    Owners,
    Pool,
    SchemaName,
    SourceName,
    TableName,
    TablePart,
    Tags,
    TimeZone,
    instant,
    mistake_of_place,
    one_or_many,
)
from floe_ingestion.naming import normalize_column
from floe_ingestion.spec_checks import Checks
from floe_ingestion.spec_runs import MaintenanceSpec as MaintenanceSpec
from floe_ingestion.spec_runs import RetrySpec as RetrySpec
from floe_ingestion.spec_runs import ScheduleSpec as ScheduleSpec
from floe_ingestion.spec_runs import StrictModel as StrictModel

WriteDisposition = Literal["append", "replace", "merge"]
MergeStrategy = Literal["upsert", "insert-only", "delete-insert", "scd2"]
MergeMode = Literal["auto", "merge-on-read", "copy-on-write"]
ContractMode = Literal["evolve", "freeze", "discard_value", "discard_row"]
PartitionType = Literal["hourly", "daily", "weekly", "monthly", "static"]


def _contract_word(value: Any) -> Any:
    return {"columns": value, "data_type": value} if isinstance(value, str) else value


def _column_word(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(one_or_many)]


class ContractSpec(StrictModel):
    """What happens when a source sends something that the table does not know.

    The short words (`schema_contract: freeze`) speak of columns and data types; `tables` says whether a
    table that does not exist yet may be created.
    """

    tables: Literal["evolve", "freeze"] = "evolve"
    columns: ContractMode = "evolve"
    data_type: ContractMode = "evolve"


Contract = Annotated[ContractSpec, BeforeValidator(_contract_word)]


class ColumnSpec(StrictModel):
    """A declared column: its Iceberg type (`long`, `decimal(10, 2)`, `timestamptz`, …) and what it means."""

    type: str | None = None
    description: str | None = None


Columns = Mapping[ColumnName, Annotated[ColumnSpec, BeforeValidator(_column_word)]]


class IncrementalSpec(StrictModel):
    """A cursor: each run loads the rows whose `cursor_path` lies at or behind the value last landed."""

    cursor_path: str = Field(min_length=1, examples=["updated_at"])
    initial_value: CursorValue | None = None
    end_value: CursorValue | None = None
    lag: Number | None = None
    """How far behind the last value each run starts again: seconds for times, days for dates, else units."""
    row_order: Literal["asc", "desc"] | None = None
    on_cursor_value_missing: Literal["raise", "include", "exclude"] = "raise"
    start_param: str | None = None
    """rest_api: the request parameter that takes the start value."""
    end_param: str | None = None


class PartitionsSpec(StrictModel):
    """How an asset is partitioned; materialising a partition replaces the rows of its own window."""

    type: PartitionType
    column: str = Field(min_length=1, examples=["created_at"])
    """The column that says to which partition a row belongs."""
    start: Moment | None = None
    end: Moment | None = None
    """Exclusive; open where absent."""
    timezone: TimeZone = "UTC"
    keys: Names = ()
    outside_window: Literal["drop", "error"] = "drop"
    """Rows that the source sends beside those it was asked for: left out and counted, or an error."""
    start_param: str | None = None
    """rest_api: the request parameter that takes the start of a window, as ISO text in UTC."""
    end_param: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> PartitionsSpec:
        mistakes = list(self._mistakes_of_static() if self.type == "static" else self._mistakes_of_time())
        if mistakes:
            raise ValueError(". ".join(mistakes))
        return self

    def _mistakes_of_static(self) -> Iterator[str]:
        if not self.keys:
            yield "static partitions need their `keys`, e.g. keys: [eu, us]"
        if self.start is not None or self.end is not None:
            yield "`start` and `end` belong to partitions by time; static ones follow from their `keys`"

    def _mistakes_of_time(self) -> Iterator[str]:
        start, end = self.start, self.end
        if start is None:
            yield f"{self.type} partitions need a `start`, e.g. start: 2024-01-01"
        elif end is not None and instant(end, self.timezone) <= instant(start, self.timezone):
            yield f"the end, {end}, is not after the start, {start}. Write an `end` after the `start`"
        if self.keys:
            yield f"`keys` belong to static partitions; {self.type} ones follow from `start` and `end`"


class DestinationSpec(StrictModel):
    """Where a source lands: `table` for one resource, `schema` for many."""

    table: TableName | None = None
    namespace: SchemaName | None = Field(default=None, alias="schema")
    table_prefix: TablePart = ""
    write_disposition: WriteDisposition | None = None
    merge_strategy: MergeStrategy = "upsert"
    merge_mode: MergeMode = "auto"
    """How rows leave their files: marked where they lie, written anew, or whichever suits the file."""
    hard_delete: str | None = None
    """A column whose true, or any value, says that the row's key is gone."""
    validity_columns: tuple[str, str] = ("valid_from", "valid_to")
    """scd2: from when to when a version of a row was the current one."""
    primary_key: Names = ()
    schema_contract: Contract | None = None
    columns: Columns = Field(default={})
    partition_by: Names = ()
    properties: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _one_place(self) -> DestinationSpec:
        if mistake := mistake_of_place(self.table, self.namespace, self.table_prefix):
            raise ValueError(mistake)
        return self


class DefaultsSpec(StrictModel):
    """What holds for every source that does not say otherwise."""

    write_disposition: WriteDisposition | None = None
    schema_contract: Contract | None = None
    retry: RetrySpec | None = None
    schedule: ScheduleSpec | None = None
    maintenance: MaintenanceSpec | None = None
    checks: Checks | None = None
    group: Group | None = None


class SourceSpec(StrictModel):
    """One source of floe.yaml. `config` is checked by the connector that `type` names."""

    name: SourceName = Field(examples=["orders"])
    type: str = Field(examples=["rest_api"])
    description: str | None = None
    owners: Owners = ()
    tags: Tags = Field(default={})
    group: Group | None = None
    enabled: Flag = True
    config: Mapping[str, Any] = {}
    destination: DestinationSpec = Field(examples=["{schema: bronze}"])
    incremental: IncrementalSpec | None = None
    partitions: PartitionsSpec | None = None
    schedule: ScheduleSpec | None = None
    retry: RetrySpec | None = None
    maintenance: MaintenanceSpec | None = None
    checks: Checks | None = None
    pool: Pool | None = None
    """Dagster's concurrency pool of the source's assets; `source_<name>` where absent."""
    op_tags: OpTags = Field(default={})
    """What the engine that runs the source reads, such as `dagster-k8s/config`."""

    _place: str = PrivateAttr(default="floe.yaml")
    _tables: tuple[TableSpec, ...] = PrivateAttr(default=())

    @property
    def place(self) -> str:
        """File and YAML path of this source, for messages."""
        return self._place

    @property
    def tables(self) -> tuple[TableSpec, ...]:
        """What the source lands, one entry a resource."""
        return self._tables

    def as_entry(self) -> dict[str, Any]:
        """This source as an item of `sources`, variables unexpanded; `loading.source_from` reads it back."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    def resolved(self, place: str, tables: tuple[TableSpec, ...]) -> SourceSpec:
        """This source, knowing where it was written and what it lands."""
        copy = self.model_copy()
        copy._place, copy._tables = place, tables
        return copy


class TableSpec(StrictModel):
    """One resource landing in one Iceberg table, with every default resolved."""

    source: str
    source_type: str
    resource: str
    namespace: tuple[str, ...]
    name: str
    write_disposition: WriteDisposition = "append"
    merge_strategy: MergeStrategy = "upsert"
    merge_mode: MergeMode = "auto"
    hard_delete: str | None = None
    validity_columns: tuple[str, str] = ("valid_from", "valid_to")
    primary_key: tuple[str, ...] = ()
    """Empty for a merge whose key the source may know (a database) or that falls back to `id`."""
    schema_contract: ContractSpec = ContractSpec()
    columns: Columns = Field(default={})
    partition_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = {}
    incremental: IncrementalSpec | None = None
    partitions: PartitionsSpec | None = None
    more_partitions: tuple[PartitionsSpec, ...] = ()
    """Further dimensions; a partition is then a choice in each."""
    own_names: bool = False
    """Columns keep the names that they come with; else they become snake case."""
    checks: Checks = ()
    description: str | None = None

    def column(self, name: str) -> str:
        """What the table calls the column that comes as `name`."""
        return name if self.own_names else normalize_column(name)

    @property
    def identifier(self) -> tuple[str, ...]:
        """Namespace and name, as pyiceberg takes it; also the Dagster asset key."""
        return (*self.namespace, self.name)

    def __str__(self) -> str:
        return ".".join(self.identifier)


class PluginChoice(StrictModel):
    """One plugin by name, with its configuration; texts may hold `${VARIABLE}`."""

    type: str = Field(min_length=1, examples=["sql"])
    config: Mapping[str, Any] = {}


class PluginsSpec(StrictModel):
    """Which plugins the run uses. The default is dlt, a SQLite catalog and a local warehouse folder."""

    ingestion: PluginChoice = PluginChoice(type="dlt")
    catalog: PluginChoice = PluginChoice(type="sql")
    storage: PluginChoice = PluginChoice(type="local")


class Spec(StrictModel):
    """A whole floe.yaml, resolved."""

    path: str
    plugins: PluginsSpec = PluginsSpec()
    defaults: DefaultsSpec = DefaultsSpec()
    sources: tuple[SourceSpec, ...] = ()

    def source(self, name: str) -> SourceSpec:
        """The source called `name`."""
        for source in self.sources:
            if source.name == name:
                return source
        known = ", ".join(source.name for source in self.sources) or "none"
        raise ConfigurationError(f"{self.path} has no source {name!r}. Its sources: {known}.")


SourceSpec.model_rebuild()
