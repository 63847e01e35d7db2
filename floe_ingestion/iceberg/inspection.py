"""What the rows of a table are like, answered from the statistics in its manifests wherever these can tell.

A manifest says of each data file how many rows and nulls it has, and between what its values lie. That is
enough unless rows were deleted from the file, the file holds rows of other windows too, or a bound is cut
short, as those of texts are: then the one column that is asked about is read, of that file alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.expressions.visitors import _StrictMetricsEvaluator
from pyiceberg.table import FileScanTask, Table
from pyiceberg.types import (
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    LongType,
    NestedField,
    PrimitiveType,
    TimestampType,
    TimestamptzType,
)
from pyiceberg.utils.datetime import days_to_date, micros_to_timestamp, micros_to_timestamptz

from floe_ingestion.iceberg.data_files import raw_batches
from floe_ingestion.iceberg.deletes import deleted_positions, live_rows_of, told_by_one
from floe_ingestion.iceberg.partition import inside, window_filter
from floe_ingestion.naming import normalize_column
from floe_ingestion.staging import Window

_ORDERED = (IntegerType, LongType, FloatType, DoubleType, DecimalType, DateType, TimestampType, TimestamptzType)
"""Types whose bounds are the values themselves."""


class View:
    """The rows of a table as it is at its current snapshot, or those of a window; the files are listed once."""

    def __init__(self, table: Table | None, window: Window | None = None) -> None:
        self.table = table
        known = window is None or all(column in self.columns for column in window.columns)
        self.window = window if window is None or known else window.in_table()

    @property
    def columns(self) -> list[str]:
        """Names of the columns; none without a table."""
        return [field.name for field in self.table.schema().fields] if self.table is not None else []

    def field(self, column: str) -> NestedField | None:
        """The column that floe.yaml calls `column`; None where there is none."""
        name = column if column in self.columns else normalize_column(column)
        return self.table.schema().find_field(name) if self.table is not None and name in self.columns else None

    @cached_property
    def tasks(self) -> list[FileScanTask]:
        """The data files that hold the rows, each with its delete files."""
        snapshot = self.table.current_snapshot() if self.table is not None else None
        if self.table is None or snapshot is None:
            return []
        predicate = window_filter(self.window, self.table.schema())
        return list(self.table.scan(row_filter=predicate, snapshot_id=snapshot.snapshot_id).plan_files())

    def inside(self, task: FileScanTask) -> bool:
        """Whether every row of the file is one of these."""
        return task.residual == AlwaysTrue() or (self._evaluator is not None and self._evaluator.eval(task.file))

    @cached_property
    def _evaluator(self) -> _StrictMetricsEvaluator | None:
        if self.window is None or self.table is None:
            return None
        return _StrictMetricsEvaluator(self.table.schema(), window_filter(self.window, self.table.schema()))


@dataclass
class Effort:
    """Files that had to be opened, because manifests did not say it."""

    data_files: int = 0
    delete_files: int = 0


class Inspection:
    """Questions about the rows of a view, and what it took to answer them."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._effort = Effort()

    @property
    def files_read(self) -> int:
        """Data files that were opened."""
        return self._effort.data_files

    @property
    def answered_from(self) -> str:
        """`metadata` where no file was opened but manifests."""
        if self._effort.data_files:
            return "rows"
        return "metadata and delete files" if self._effort.delete_files else "metadata"

    def beside(self, view: View) -> Inspection:
        """The same about another view; what it takes is counted here."""
        other = Inspection(view)
        other._effort = self._effort
        return other

    @property
    def most_rows(self) -> int:
        """No more rows than these, deleted ones among them; nothing is read."""
        return sum(task.file.record_count for task in self.view.tasks)

    def rows(self) -> int:
        """How many rows there are."""
        return sum(self._rows_of(task) for task in self.view.tasks)

    def nulls(self, field: NestedField) -> int:
        """How many rows have no value in the column."""
        found = 0
        for task in self.view.tasks:
            known = (task.file.null_value_counts or {}).get(field.field_id)
            if known == 0:
                continue
            if known is not None and self._is_whole(task):
                found += known
            else:
                found += sum(batch.column(0).null_count for batch in self.batches(task, [field.name]))
        return found

    def least(self, field: NestedField) -> Any:
        """The smallest value of an ordered column; None without any."""
        return self._extreme(field, largest=False)

    def greatest(self, field: NestedField) -> Any:
        """The largest value of an ordered column; None without any."""
        return self._extreme(field, largest=True)

    def batches(self, task: FileScanTask, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Columns of the rows of one file: without what is deleted, and what belongs to other windows."""
        view = self.view
        assert view.table is not None
        self._effort.data_files += 1
        window = view.window if not view.inside(task) else None
        wanted = list(dict.fromkeys([*names, *(window.columns if window is not None else ())]))
        deleted = deleted_positions(task, view.table.io)
        start = 0
        for batch in raw_batches(view.table, task, wanted):
            kept = pa.repeat(pa.scalar(True), batch.num_rows)
            if window is not None:
                kept = pc.fill_null(inside(window, batch, view.table.schema()), False)
            if len(deleted):
                here = pa.arange(start, start + batch.num_rows)
                kept = pc.and_(kept, pc.invert(pc.is_in(here, value_set=deleted)))
            start += batch.num_rows
            yield batch.select(list(names)).filter(kept)

    def _rows_of(self, task: FileScanTask) -> int:
        if not self.view.inside(task):
            assert self.view.window is not None
            return sum(batch.num_rows for batch in self.batches(task, self.view.window.columns))
        assert self.view.table is not None
        if told_by_one(task) is None:
            self._effort.delete_files += len(task.delete_files)
        return live_rows_of(task, self.view.table.io)

    def _is_whole(self, task: FileScanTask) -> bool:
        """Whether the statistics of the file speak of exactly the rows that count."""
        return not task.delete_files and self.view.inside(task)

    def _extreme(self, field: NestedField, *, largest: bool) -> Any:
        """Files in the order in which they can hold it; none is read that cannot."""
        best: Any = None
        doubtful: list[tuple[Any, FileScanTask]] = []
        for task in self.view.tasks:
            if _has_no_value(task, field):
                continue
            bound = _bound(task, field, largest=largest)
            if bound is not None and self._is_whole(task):
                best = _further(best, bound, largest)
            else:
                doubtful.append((bound, task))
        unknown = [task for bound, task in doubtful if bound is None]
        known = sorted((each for each in doubtful if each[0] is not None), key=lambda each: each[0], reverse=largest)
        for task in unknown:
            best = _further(best, self._extreme_of(task, field, largest), largest)
        for bound, task in known:
            if best is not None and _further(best, bound, largest) == best:
                break
            best = _further(best, self._extreme_of(task, field, largest), largest)
        return best

    def _extreme_of(self, task: FileScanTask, field: NestedField, largest: bool) -> Any:
        best: Any = None
        for batch in self.batches(task, [field.name]):
            found = (pc.max if largest else pc.min)(batch.column(0)).as_py()
            best = _further(best, found, largest)
        return best


def is_ordered(field: NestedField) -> bool:
    """Whether `least` and `greatest` can be asked of the column."""
    return isinstance(field.field_type, _ORDERED)


def comparable(value: Any) -> Any:
    """Times without an offset are times of UTC, and a date is its midnight, so that all of them compare."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
    return datetime(value.year, value.month, value.day, tzinfo=timezone.utc) if isinstance(value, date) else value


def _further(best: Any, value: Any, largest: bool) -> Any:
    if value is None or best is None:
        return best if value is None else value
    return max(best, value) if largest else min(best, value)


def _has_no_value(task: FileScanTask, field: NestedField) -> bool:
    nulls = (task.file.null_value_counts or {}).get(field.field_id)
    return nulls is not None and nulls == (task.file.value_counts or {}).get(field.field_id)


def _bound(task: FileScanTask, field: NestedField, *, largest: bool) -> Any:
    """What the manifest says that no value of the file goes beyond; None where it says nothing."""
    bounds = task.file.upper_bounds if largest else task.file.lower_bounds
    packed = (bounds or {}).get(field.field_id)
    if packed is None or not is_ordered(field):
        return None
    assert isinstance(field.field_type, PrimitiveType)
    value: Any = from_bytes(field.field_type, packed)
    if value != value:  # NaN, which some writers put there, bounds nothing
        return None
    if isinstance(field.field_type, DateType):
        return days_to_date(value)
    if isinstance(field.field_type, TimestamptzType):
        return micros_to_timestamptz(value)
    return micros_to_timestamp(value) if isinstance(field.field_type, TimestampType) else value
