"""Tables for readers in Python: Arrow, Polars, pandas, DuckDB, or pyiceberg's own table and scan."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, get_origin

from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression
from pyiceberg.expressions.parser import parse
from pyiceberg.expressions.visitors import bind
from pyiceberg.schema import Schema
from pyiceberg.table import DataScan, Table

from floe_ingestion.errors import PermanentError
from floe_ingestion.formats import did_you_mean
from floe_ingestion.iceberg.tables import name_of

_NEWEST = 5
_NO_FIELD = re.compile("field with name (.+), case_sensitive")


@dataclass(frozen=True)
class Part:
    """Which part of a table is read, and as of when; all of it, as it is now, by default."""

    columns: tuple[str, ...] = ()
    row_filter: str | None = None
    """As pyiceberg writes it: `total > 10 and region = 'eu'`."""
    snapshot_id: int | None = None
    as_of: datetime | None = None
    ref: str | None = None
    """A tag or a branch."""


_ALL = Part()


def as_type(table: Table, wanted: Any, row_filter: BooleanExpression | None = None, part: Part = _ALL) -> Any:
    """The rows of `part` where `row_filter` holds, as the type `wanted`; Arrow for none in particular.

    Raises `PermanentError` for a type that no table can become, and for what the table does not have.
    """
    if wanted is Table:
        return _whole(table, part)
    if wanted in (None, Any, object):
        return scan(table, row_filter, part).to_arrow()
    kind = get_origin(wanted) or wanted
    module, name = getattr(kind, "__module__", ""), getattr(kind, "__qualname__", str(kind))
    convert = _CONVERSIONS.get((module.partition(".")[0].lstrip("_"), name))
    if convert is None:
        raise PermanentError(
            f"A table cannot be loaded as {module}.{name}. Annotate the input as pyarrow.Table, "
            f"pyarrow.RecordBatchReader, pyarrow.dataset.Dataset, polars.DataFrame, polars.LazyFrame, "
            f"pandas.DataFrame, duckdb.DuckDBPyRelation, list, pyiceberg.table.Table or pyiceberg.table.DataScan."
        )
    return convert(scan(table, row_filter, part))


def scan(table: Table, row_filter: BooleanExpression | None = None, part: Part = _ALL) -> DataScan:
    """A scan of the rows of `part` where `row_filter` holds; nothing is read yet."""
    snapshot_id = _snapshot_id(table, part)
    schema = table.scan(snapshot_id=snapshot_id).projection()
    unknown = [name for name in part.columns if name not in schema.column_names]
    if unknown:
        raise _no_column(table, unknown[0], schema)
    asked = AlwaysTrue() if part.row_filter is None else _parsed(table, part.row_filter, schema)
    return table.scan(
        row_filter=And(row_filter or AlwaysTrue(), asked),
        selected_fields=part.columns or ("*",),
        snapshot_id=snapshot_id,
    )


def _whole(table: Table, part: Part) -> Table:
    if part != _ALL:
        raise PermanentError(
            f"{name_of(table)}: a pyiceberg Table is always the whole of it. Annotate the input as "
            f"pyiceberg.table.DataScan to get a part, or leave out what chooses one."
        )
    return table


def _snapshot_id(table: Table, part: Part) -> int | None:
    """The snapshot that `part` is of; None for the current one."""
    if part.snapshot_id is not None:
        snapshot, asked = table.snapshot_by_id(part.snapshot_id), f"no snapshot {part.snapshot_id}"
    elif part.ref is not None:
        snapshot, asked = table.snapshot_by_name(part.ref), f"no tag or branch {part.ref!r}"
    elif part.as_of is not None:
        moment = int(part.as_of.timestamp() * 1000)
        snapshot, asked = table.snapshot_as_of_timestamp(moment), f"no snapshot of {part.as_of.isoformat()} or before"
    else:
        return None
    if snapshot is None:
        raise PermanentError(f"{name_of(table)} has {asked}. {_moments(table)}")
    return snapshot.snapshot_id


def _moments(table: Table) -> str:
    """What there is to travel to, newest first."""
    newest = sorted(table.metadata.snapshots, key=lambda each: each.timestamp_ms, reverse=True)[:_NEWEST]
    told = [f"{each.snapshot_id} ({_time(each.timestamp_ms)})" for each in newest]
    refs = ", ".join(sorted(table.metadata.refs)) or "none"
    return f"Its newest snapshots: {', '.join(told) or 'none'}; its tags and branches: {refs}."


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="seconds")


def _parsed(table: Table, text: str, schema: Schema) -> BooleanExpression:
    example = "\"total > 10 and region = 'eu'\""
    try:
        expression = parse(text)
    except Exception:  # the parser's own error, a page of grammar
        raise PermanentError(
            f"{name_of(table)}: the row filter {text!r} is not understood. Write it as pyiceberg does, e.g. {example}."
        ) from None
    try:
        bind(schema, expression, case_sensitive=True)
    except (ValueError, TypeError) as error:
        if missing := _NO_FIELD.search(str(error)):
            raise _no_column(table, missing[1], schema) from error
        raise PermanentError(
            f"{name_of(table)}: the row filter {text!r} does not fit the types of its columns: {error}. "
            f"Write numbers plainly and texts in single quotes, e.g. {example}."
        ) from error
    return expression


def _no_column(table: Table, name: str, schema: Schema) -> PermanentError:
    known = [field.name for field in schema.fields]
    return PermanentError(
        f"{name_of(table)} has no column {name!r}.{did_you_mean(name, known)} Its columns: {', '.join(known)}."
    )


def _to_lazy_frame(rows: DataScan) -> Any:
    return rows.to_polars().lazy()


def _to_relation(rows: DataScan) -> Any:
    import duckdb

    # Of the default connection, so that `duckdb.sql("select … from <the input>")` finds it; of a table, because
    # a relation is read as often as it is asked, and a reader only once.
    return duckdb.from_arrow(rows.to_arrow())


def _to_dataset(rows: DataScan) -> Any:
    import pyarrow.dataset

    return pyarrow.dataset.dataset(rows.to_arrow())


_CONVERSIONS: dict[tuple[str, str], Callable[[DataScan], Any]] = {
    ("pyarrow", "Table"): DataScan.to_arrow,
    ("pyarrow", "RecordBatchReader"): DataScan.to_arrow_batch_reader,
    ("pyarrow", "Dataset"): _to_dataset,
    ("polars", "DataFrame"): DataScan.to_polars,
    ("polars", "LazyFrame"): _to_lazy_frame,
    ("pandas", "DataFrame"): DataScan.to_pandas,
    ("duckdb", "DuckDBPyRelation"): _to_relation,
    ("builtins", "list"): lambda rows: rows.to_arrow().to_pylist(),
    ("pyiceberg", "DataScan"): lambda rows: rows,
}
