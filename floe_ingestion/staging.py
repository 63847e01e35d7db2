"""What is staged between a source and a commit: files in a private folder, and what they stand for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.naming import normalize_column
from floe_ingestion.spec import TableSpec

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import FileMetaData
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table import Table

    from floe_ingestion.verdict import Verdict


ColumnKind = Literal["timestamptz", "timestamp", "date", "text", "integer"]
"""What a partition column may hold; integers are seconds since 1970."""

Bound = datetime | date | str | int


@dataclass(frozen=True)
class Window:
    """The rows that a partitioned run is about: `start` <= column < `end`, or column in `values`."""

    column: str
    start: datetime | None = None
    end: datetime | None = None
    """Both with the time zone of the partitions; half open."""
    values: tuple[str, ...] = ()
    """The keys of static partitions; then there are no bounds."""
    strict: bool = False
    """Rows outside are an error; else they are left out and counted."""
    also: Window | None = None
    """A window of another column in which the rows lie as well, for partitions of several dimensions."""

    def in_table(self) -> Window:
        """This window with its column as the table calls it, and not the source."""
        also = self.also.in_table() if self.also is not None else None
        return replace(self, column=normalize_column(self.column), also=also)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that say whether a row lies in it."""
        return (self.column, *(self.also.columns if self.also is not None else ()))

    def bounds(self, kind: ColumnKind) -> tuple[Bound, Bound]:
        """Start and end of a time window in the terms of a column of `kind`.

        Raises `ConfigurationError` where such a column cannot tell the window's hours apart.
        """
        assert self.start is not None
        assert self.end is not None
        if kind in ("text", "date") and self != self.whole_days():
            raise ConfigurationError(
                f"Column {self.column!r} is {kind}, in which the hours of a window from {self.start} to {self.end} "
                f"cannot be told apart. Declare its type (`columns: {{{self.column}: timestamp}}`), or use partitions "
                f"of whole days."
            )
        return _bound(self.start, kind), _bound(self.end, kind)

    def whole_days(self) -> Window:
        """The smallest window of whole days around this one."""
        assert self.start is not None
        assert self.end is not None
        start = datetime.combine(self.start, time.min, self.start.tzinfo)
        end = datetime.combine(self.end, time.min, self.end.tzinfo)
        return replace(self, start=start, end=end if end == self.end else end + timedelta(days=1))


@dataclass(frozen=True)
class Provenance:
    """Which run writes, so that a retried step finds what it landed and history can tell."""

    run_id: str = ""
    asset_key: str = ""
    partition: str = ""
    """Partition key, or `first...last` for a range; empty outside partitioned runs."""
    continues: tuple[str, ...] = ()
    """Ids of the failed runs that this one goes on from: what they landed is not landed again."""


@dataclass(frozen=True)
class LoadRequest:
    """What a run asks an ingestion plugin to stage."""

    resources: tuple[str, ...] = ()
    """Names of the resources to load; empty means all of the source."""
    window: Window | None = None
    provenance: Mapping[str, Provenance] = field(default_factory=dict[str, Provenance])
    """By resource name; a resource that this very run has landed already is not extracted again."""
    log: Callable[[str], None] = lambda message: None
    """Takes one sentence at a time while a long load runs."""


@dataclass(frozen=True)
class StagedFile:
    """One Parquet file in the working folder, in the table's final types and field ids."""

    path: Path
    rows: int
    bytes: int
    partition: tuple[Any, ...]
    """Values of the partition spec's fields, in order; all rows of the file share them."""
    metadata: FileMetaData = field(repr=False)
    arrival: pa.Array | None = field(default=None, repr=False)
    """When each row came, counted over all files of the load; None where the files are in that order."""


@dataclass(frozen=True)
class ColumnFacts:
    """What the source says of a column beside its type."""

    description: str | None = None
    nullable: bool = True


FOREIGN_KEYS = "x-floe-foreign-keys"
"""The hint of dlt's under which a connector tells of them, as the fields of `ForeignKey` but for the last."""


@dataclass(frozen=True)
class ForeignKey:
    """Columns of a table that name a row of another one, by the names that they have where they land."""

    columns: tuple[str, ...]
    table: str
    """As the source calls it."""
    referenced: tuple[str, ...]
    landed: tuple[str, ...] = ()
    """Namespace and name of the table that it lands in, where the same source loads it."""


@dataclass(frozen=True)
class StagedTable:
    """One load of one table, ready to be committed."""

    table: TableSpec
    files: tuple[StagedFile, ...] = ()
    schema: Schema | None = None
    """What the files hold, with Iceberg field ids; None when neither rows nor columns are known."""
    partition_spec: PartitionSpec | None = None
    key: tuple[str, ...] = ()
    """Columns that identify a row, where the table is merged or replaced by key."""
    window: Window | None = None
    cursor_before: str | None = None
    cursor: str | None = None
    """dlt's state of the resource, encoded (`iceberg/cursor.py`), before and after this load."""
    provenance: Provenance = Provenance()
    landed_before: bool = False
    """This run had landed it already; nothing was extracted and nothing is to be written."""
    rejected: StagedTable | None = None
    """The rows that the contract kept out, for the table `<name>__rejected`."""
    given_up: tuple[str, ...] | None = None
    """For rejected rows: the loads whose rows of before leave (`iceberg/rejects.py`)."""
    says: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the snapshot says beside what every one says."""
    rows_read: int | None = None
    """What the source gave, counted before anything was left out; None where nobody counted."""
    discarded: Mapping[str, int] = field(default_factory=dict[str, int])
    """Rows that were read and left out, by reason."""
    facts: Mapping[str, ColumnFacts] = field(default_factory=dict[str, ColumnFacts])
    """By column, where the source knows them."""
    foreign_keys: tuple[ForeignKey, ...] = ()
    """What the source says of them."""
    came_as: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the source calls each column that this load brought."""
    warnings: tuple[str, ...] = ()
    """What somebody should look at, though nothing failed."""
    seconds: float = 0.0
    """How long extraction and staging took."""
    load_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    receipt: Receipt = field(default_factory=lambda: Receipt(), compare=False, repr=False)

    @property
    def cursor_column(self) -> str | None:
        """What the table calls the column that the load went by."""
        return normalize_column(self.table.incremental.cursor_path) if self.table.incremental else None

    @property
    def rows(self) -> int:
        """Rows in the staged files."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Size of the staged files on disk."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True)
class Landed:
    """What a commit made, read from its own snapshot."""

    table: str
    snapshot_id: int | None
    """None when there was nothing to commit and no snapshot yet."""
    load_id: str
    rows_added: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    rows_unchanged: int = 0
    """Rows of a merge that the table held already, value by value; they were not written."""
    rows_marking: int = 0
    """Staged rows of a merge that only said that their key is gone."""
    rows_total: int = 0
    """Live rows of the whole table behind this commit."""
    files_added: int = 0
    bytes_added: int = 0
    metadata_location: str = ""
    columns_added: Sequence[str] = ()
    columns_changed: Sequence[str] = ()
    already_landed: bool = False
    duplicates_dropped: int = 0


@dataclass
class Receipt:
    """Where the IO manager leaves what its commit made, for the step that goes on with it: its checks."""

    landed: Landed | None = None
    table: Table | None = None
    """As it was loaded behind the commit; it may have moved on."""
    preview: str = ""
    verdicts: dict[str, Verdict] = field(default_factory=dict[str, "Verdict"])
    """Of the checks that were judged before the load was published."""


def _bound(moment: datetime, kind: ColumnKind) -> Bound:
    if kind == "timestamptz":
        return moment.astimezone(timezone.utc)
    if kind == "integer":
        return int(moment.timestamp())
    if kind == "timestamp":
        return moment.replace(tzinfo=None)
    # As text a date sorts before every time of that day, whatever separates the two.
    return moment.date() if kind == "date" else moment.date().isoformat()
