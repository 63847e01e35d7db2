"""What is judged and what comes of it: a table at one snapshot, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from floe_ingestion.formats import did_you_mean
from floe_ingestion.iceberg.history import Moment
from floe_ingestion.iceberg.inspection import Inspection, View, is_ordered
from floe_ingestion.staging import Landed, StagedTable, Window

if TYPE_CHECKING:
    from pyiceberg.types import NestedField

    from floe_ingestion.spec import TableSpec


@dataclass(frozen=True)
class Verdict:
    """What a check found."""

    passed: bool
    sentence: str
    """What was met, and what was expected."""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Numbers as numbers, times as times."""


@dataclass(frozen=True)
class Subject:
    """What is judged: a table behind a load, or as it is, and of a partitioned one the partition of the run."""

    name: str
    moment: Moment
    spec: TableSpec | None = None
    """What floe.yaml says about the table; None for a table of somebody else."""
    key: tuple[str, ...] = ()
    window: Window | None = None
    partition: str = ""
    staged: StagedTable | None = None
    landed: Landed | None = None
    """The load that is judged; None where a check is run by itself."""
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    @cached_property
    def rows(self) -> View:
        """The rows of the partition, or of the table."""
        return View(self.moment.table, self.window)

    @cached_property
    def all_rows(self) -> View:
        """The rows of the table, whichever partition they are in."""
        return self.rows if self.window is None else View(self.moment.table)

    @cached_property
    def rows_before(self) -> View | None:
        """The same rows before the load; None where nothing was there, or nobody can tell any more."""
        return View(self.moment.before, self.window) if self.moment.before is not None else None


class Unanswerable(Exception):
    """A check that does not fit the table."""


def field_of(column: str, look: Inspection, kind: str = "") -> NestedField | None:
    """The column; None for a table that is not there yet. Raises where the table is, and has no such column."""
    if look.view.table is None:
        return None
    found = look.view.field(column)
    if found is None:
        known = look.view.columns
        raise Unanswerable(
            f"there is no column {column!r}.{did_you_mean(column, known)} The table's columns: {', '.join(known)}"
        )
    if kind == "time" and str(found.field_type) not in ("date", "timestamp", "timestamptz"):
        raise Unanswerable(
            f"{column!r} is {found.field_type}, expected a time. Declare it: `columns: {{{column}: timestamptz}}`"
        )
    if kind == "ordered" and not is_ordered(found):
        raise Unanswerable(f"{column!r} is {found.field_type}, expected a number, a date or a time")
    if not found.field_type.is_primitive:
        raise Unanswerable(f"{column!r} is {found.field_type}, expected a column of plain values")
    return found
