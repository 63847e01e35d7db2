"""What floe.yaml may say, as frozen models: definition time only, no secret, no unknown key.

`loading.py` reads the file into these and resolves each source into `TableSpec`s, which is what the rest
of the library works with. Precedence of a setting: resource > source > defaults.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.formats import (
    AtLeastOne,
    ColumnName,
    CursorValue,
    Flag,
    Group,
    Number,
    OpTags,
    Owners,
    Pool,
    SchemaName,
    SourceName,
    TableName,
    TablePart,
    Tags,
    did_you_mean,
    mistake_of_place,
    short_for,
)
from floe_ingestion.naming import normalize_column
from floe_ingestion.spec_checks import Checks, Publish
from floe_ingestion.spec_partitions import Name as Name
from floe_ingestion.spec_partitions import Names as Names
from floe_ingestion.spec_partitions import PartitionsSpec as PartitionsSpec
from floe_ingestion.spec_plugins import PluginChoice as PluginChoice
from floe_ingestion.spec_plugins import PluginsSpec as PluginsSpec
from floe_ingestion.spec_runs import Automation, FreshnessSpec, ScheduleSpec, SensorSpec
from floe_ingestion.spec_runs import MaintenanceSpec as MaintenanceSpec
from floe_ingestion.spec_runs import RetrySpec as RetrySpec
from floe_ingestion.spec_runs import StrictModel as StrictModel
from floe_ingestion.spec_terms import ColumnType, PartitionTerms

WriteDisposition = Literal["append", "replace", "merge"]
MergeStrategy = Literal["upsert", "insert-only", "delete-insert", "scd2"]
MergeMode = Literal["auto", "merge-on-read", "copy-on-write"]
Nested = Literal["json", "struct"]
"""Whether objects and lists of JSON rows land as their text, or as structs and lists."""
ContractMode = Literal["evolve", "freeze", "discard_value", "discard_row"]
_OF_MERGES = ("merge_strategy", "merge_mode", "hard_delete", "validity_columns")


class ContractSpec(StrictModel):
    """What happens when a source sends something that the table does not know.

    The short words (`schema_contract: freeze`) speak of columns and data types; `tables` says whether a
    table that does not exist yet may be created.
    """

    tables: Literal["evolve", "freeze"] = "evolve"
    columns: ContractMode = "evolve"
    data_type: ContractMode = "evolve"


Contract = Annotated[ContractSpec, short_for("columns", "data_type")]


class ColumnSpec(StrictModel):
    """A declared column: its Iceberg type (`long`, `decimal(10, 2)`, `timestamptz`, …) and what it means."""

    type: ColumnType | None = None
    description: str | None = None


Columns = Mapping[ColumnName, Annotated[ColumnSpec, short_for("type")]]


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
    nested: Nested | None = None
    columns: Columns = Field(default={})
    partition_by: PartitionTerms = ()
    properties: Mapping[str, str] = {}
    publish: Publish = "direct"
    """`audit`: on a branch, until the checks that are marked `gate: true` hold."""

    def mistake_of_merge(self, dispositions: Collection[WriteDisposition]) -> str | None:
        """What is said of merges though none of the tables, which land by these, is merged."""
        said = [key for key in _OF_MERGES if key in self.model_fields_set]
        if not said or not dispositions or "merge" in dispositions:
            return None
        return (
            f"says {', '.join(f'`{key}`' for key in said)}, and nothing is merged. Write `write_disposition: merge` too"
        )

    @model_validator(mode="after")
    def _one_place(self) -> DestinationSpec:
        if mistake := mistake_of_place(self.table, self.namespace, self.table_prefix):
            raise ValueError(mistake)
        return self


class DefaultsSpec(StrictModel):
    """What holds for every source that does not say otherwise."""

    write_disposition: WriteDisposition | None = None
    schema_contract: Contract | None = None
    nested: Nested | None = None
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
    incremental: IncrementalSpec | None = Field(default=None, examples=["{cursor_path: updated_at}"])
    partitions: PartitionsSpec | None = None
    schedule: ScheduleSpec | None = Field(default=None, examples=["{cron: 0 6 * * *}"])
    sensor: SensorSpec | None = None
    automation: Automation | None = None
    freshness: FreshnessSpec | None = None
    retry: RetrySpec | None = Field(default=None, examples=["{max_retries: 3}"])
    maintenance: MaintenanceSpec | None = None
    checks: Checks | None = None
    pool: Pool | None = None
    """Dagster's concurrency pool of the source's assets; `source_<name>` where absent."""
    op_tags: OpTags = Field(default={})
    """What the engine that runs the source reads, such as `dagster-k8s/config`."""
    concurrency: AtLeastOne | None = None
    """How many steps of its pool may run at once; `floe-ingestion pools --apply` tells Dagster."""

    _place: str = PrivateAttr(default="floe.yaml")
    _tables: tuple[TableSpec, ...] = PrivateAttr(default=())
    _lines: Mapping[str, int] = PrivateAttr(default={})

    @property
    def place(self) -> str:
        """File and YAML path of this source, for messages."""
        return self._place

    @property
    def pool_name(self) -> str:
        """The pool of its assets."""
        return self.pool or f"source_{self.name}"

    @property
    def tables(self) -> tuple[TableSpec, ...]:
        """What the source lands, one entry a resource."""
        return self._tables

    @property
    def lines(self) -> Mapping[str, int]:
        """Where in its file each resource stands, by name; empty for a source that stands in no file."""
        return self._lines

    def as_entry(self) -> dict[str, Any]:
        """This source as an item of `sources`, variables unexpanded; `loading.source_from` reads it back."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    def resolved(self, place: str, tables: tuple[TableSpec, ...], lines: Mapping[str, int] | None = None) -> SourceSpec:
        """This source, knowing where it was written and what it lands."""
        copy = self.model_copy()
        copy._place, copy._tables, copy._lines = place, tables, lines or {}
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
    nested: Nested = "json"
    columns: Columns = Field(default={})
    declared: tuple[str, ...] | None = None
    """Those of `columns` that rows are expected to have; None for all of them."""
    partition_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = {}
    incremental: IncrementalSpec | None = None
    partitions: PartitionsSpec | None = None
    more_partitions: tuple[PartitionsSpec, ...] = ()
    """Further dimensions; a partition is then a choice in each."""
    own_names: bool = False
    """Columns keep the names that they come with; else they become snake case."""
    checks: Checks = ()
    publish: Publish = "direct"
    description: str | None = None

    @field_validator("validity_columns")
    @classmethod
    def _as_in_the_table(cls, names: tuple[str, str]) -> tuple[str, str]:
        return normalize_column(names[0]), normalize_column(names[1])

    def column(self, name: str) -> str:
        """What the table calls the column that comes as `name`."""
        return name if self.own_names else normalize_column(name)

    @property
    def keeps_versions(self) -> bool:
        """Whether a merge keeps every version of a row (`scd2`)."""
        return self.write_disposition == "merge" and self.merge_strategy == "scd2"

    @property
    def identifier(self) -> tuple[str, ...]:
        """Namespace and name, as pyiceberg takes it; also the Dagster asset key."""
        return (*self.namespace, self.name)

    def __str__(self) -> str:
        return ".".join(self.identifier)


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
        names = [source.name for source in self.sources]
        owner = next((each.name for each in self.sources for t in each.tables if name in (t.resource, str(t))), None)
        hint = f" The table {name} is one of the source {owner!r}." if owner else did_you_mean(name, names)
        known = ", ".join(names) or "none"
        raise ConfigurationError(f"{self.path} has no source {name!r}.{hint} Its sources: {known}.")


SourceSpec.model_rebuild()
