"""How a table is partitioned, and which rows a partitioned run replaces.

The partition spec follows from the window, so that its files hold no other rows and replacing it is a
change of metadata only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timezone
from decimal import Context, Decimal, InvalidOperation
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg import types as ice
from pyiceberg.expressions import AlwaysFalse, AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, In, LessThan, Or
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec, partition_record_value
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    YearTransform,
)

from floe_ingestion.errors import ConfigurationError, PermanentError
from floe_ingestion.iceberg.types import plain
from floe_ingestion.spec import PartitionsSpec, TableSpec
from floe_ingestion.spec_terms import term_of
from floe_ingestion.staging import ColumnKind, Window

_DAY = r"^\d{4}-\d{2}-\d{2}"
"""How a text begins that compares as a time."""
_KINDS: tuple[tuple[tuple[type[ice.IcebergType], ...], ColumnKind], ...] = (
    ((ice.TimestamptzType,), "timestamptz"),
    ((ice.TimestampType,), "timestamp"),
    ((ice.DateType,), "date"),
    ((ice.StringType,), "text"),
    ((ice.IntegerType, ice.LongType), "integer"),
)
_TRANSFORMS: dict[str, type[Transform[Any, Any]]] = {
    "identity": IdentityTransform,
    "year": YearTransform,
    "month": MonthTransform,
    "day": DayTransform,
    "hour": HourTransform,
}


def partition_spec(spec: TableSpec, schema: Schema) -> PartitionSpec:
    """The Iceberg partition spec of a new table, from `partition_by`, else from `partitions`."""
    terms = [_parsed(spec, text) for text in spec.partition_by] or _of_window(spec, schema)
    fields: list[PartitionField] = []
    for number, (column, transform) in enumerate(terms):
        try:
            source = schema.find_field(column)
        except ValueError as error:
            raise ConfigurationError(
                f"{spec}: there is no column {column!r} to partition by. Its columns: {', '.join(schema.column_names)}."
            ) from error
        if not transform.can_transform(source.field_type):
            raise ConfigurationError(
                f"{spec}: {transform} cannot be taken of column {column!r}, which is {source.field_type}. "
                f"Write a column of another type, or `partition_by: [{column}]`."
            )
        name = column if isinstance(transform, IdentityTransform) else f"{column}_{_suffix(transform)}"
        fields.append(PartitionField(source.field_id, PARTITION_FIELD_ID_START + number, transform, name))
    return PartitionSpec(*fields)


def window_filter(window: Window | None, schema: Schema) -> BooleanExpression:
    """The rows of `window` as an Iceberg row filter; without one, all rows."""
    if window is None:
        return AlwaysTrue()
    if any(column not in schema.column_names for column in window.columns):
        window = window.in_table()
    type_ = schema.find_field(window.column).field_type
    if window.values:
        values = [_of_key(key, type_, window) for key in window.values]
        own = In(window.column, [each.isoformat() if isinstance(each, date) else each for each in values])
    else:
        start, end = (
            bound.isoformat() if isinstance(bound, date) else bound for bound in window.bounds(_kind(window, type_))
        )
        own = And(GreaterThanOrEqual(window.column, start), LessThan(window.column, end))
    return And(own, window_filter(window.also, schema))


def any_window_filter(windows: Sequence[Window], schema: Schema) -> BooleanExpression:
    """The rows that lie in one of `windows`; no row for none."""
    return reduce(Or, (window_filter(window, schema) for window in windows), AlwaysFalse())


def inside(window: Window, rows: pa.RecordBatch | pa.Table, schema: Schema) -> pa.Array:
    """Which of `rows` lie in `window`; null where a value that would tell it is null."""
    mask = window_mask(window, plain(rows.column(window.column)), schema.find_field(window.column).field_type)
    return mask if window.also is None else pc.and_kleene(mask, inside(window.also, rows, schema))


def window_mask(window: Window, values: pa.Array, type_: ice.IcebergType) -> pa.Array:
    """Which of `values` lie in `window`; null where the value is null, or a text that is no time."""
    if window.values:
        known = [_of_key(key, type_, window) for key in window.values]
        members = pa.array(known, values.type)
        return pc.if_else(pc.is_null(values), pa.scalar(None, pa.bool_()), pc.is_in(values, value_set=members))
    start, end = (pa.scalar(bound, values.type) for bound in window.bounds(_kind(window, type_)))
    if isinstance(type_, ice.StringType):
        values = pc.if_else(pc.match_substring_regex(values, _DAY), values, None)
    return pc.and_kleene(pc.greater_equal(values, start), pc.less(values, end))


def split(
    batch: pa.RecordBatch, spec: PartitionSpec, schema: Schema
) -> Iterator[tuple[tuple[Any, ...], pa.RecordBatch]]:
    """`batch` by partition: the values of the spec's fields, and the rows that share them."""
    if spec.is_unpartitioned():
        yield (), batch
        return
    names = [str(number) for number in range(len(spec.fields))]
    # Rows are told apart by the number of their value: NaN equals nothing, and -0.0 equals 0.0.
    values = [
        pc.dictionary_encode(_partition_values(batch, field, schema), null_encoding="encode") for field in spec.fields
    ]
    numbers = pa.table([column.indices for column in values], names=names)
    groups = numbers.group_by(names, use_threads=False).aggregate([]).to_pylist()
    for group in groups:
        partition = tuple(
            partition_record_value(field, column.dictionary[group[name]].as_py(), schema)
            for name, field, column in zip(names, spec.fields, values, strict=True)
        )
        yield partition, batch if len(groups) == 1 else batch.filter(_mask(values, [group[name] for name in names]))


def _mask(columns: list[pa.DictionaryArray], numbers: list[int]) -> pa.Array:
    same = [pc.equal(column.indices, number) for column, number in zip(columns, numbers, strict=True)]
    return reduce(pc.and_, same)


def _partition_values(batch: pa.RecordBatch, field: PartitionField, schema: Schema) -> pa.Array:
    name = schema.find_column_name(field.source_id)
    assert name is not None
    # A dot leads into a struct, unless it belongs to the name that an asset of its own gave the column.
    first, *inner = [name] if name in batch.schema.names else name.split(".")
    column: pa.Array = batch.column(first)
    for part in inner:
        column = pc.struct_field(column, part)
    if pa.types.is_large_binary(column.type):
        column = column.cast(pa.binary())  # pyiceberg truncates no other
    values = plain(field.transform.pyarrow_transform(schema.find_type(field.source_id))(column))
    if isinstance(field.transform, TruncateTransform):
        _refuse_overflow(column, values, field, schema)
    return values


def _refuse_overflow(column: pa.Array, values: pa.Array, field: PartitionField, schema: Schema) -> None:
    """Truncating goes down, below the least number of a type too: integers come out at its other end.

    Readers, pyiceberg and Java's alike, would look for such a row in a partition that it is not in.
    """
    if pa.types.is_integer(column.type):
        wrong = pc.greater(values, column)
    elif pa.types.is_decimal(column.type):
        digits, scale = column.type.precision, column.type.scale
        wrong = pc.less(values, pa.scalar(Decimal(1 - 10**digits).scaleb(-scale, Context(prec=digits)), column.type))
    else:
        return
    for value in column.filter(wrong).slice(0, 1):
        name, type_ = schema.find_column_name(field.source_id), schema.find_type(field.source_id)
        raise PermanentError(
            f"Column {name!r} holds {value}, and {field.transform} of it lies below the least {type_}, so that no "
            f"reader would find the row. Nothing was written. Correct it in the source, declare a wider type under "
            f"`columns`, or partition the table by something else, such as `bucket(16, {name})`."
        )


def _of_window(spec: TableSpec, schema: Schema) -> list[tuple[str, Transform[Any, Any]]]:
    dimensions = (*([spec.partitions] if spec.partitions is not None else ()), *spec.more_partitions)
    return [term for partitions in dimensions for term in _of_dimension(spec, partitions, schema)]


def _of_dimension(spec: TableSpec, partitions: PartitionsSpec, schema: Schema) -> list[tuple[str, Transform[Any, Any]]]:
    column = spec.column(partitions.column)
    try:
        type_ = schema.find_field(column).field_type
    except ValueError as error:
        raise ConfigurationError(
            f"{spec}: rows have no column {partitions.column!r}, which says to which partition they belong. "
            f"Write `partitions: {{column: …}}` with one of: {', '.join(schema.column_names)}."
        ) from error
    if partitions.by_keys:
        return [(column, IdentityTransform())]
    if not isinstance(type_, (ice.DateType, ice.TimestampType, ice.TimestamptzType)):
        return []  # text and numbers: an identity partition would make a file of every moment
    if partitions.type == "hourly" and isinstance(type_, ice.DateType):
        raise ConfigurationError(f"{spec}: hourly partitions need a time, and {partitions.column!r} is a date.")
    return [(column, _granularity(partitions.type, partitions.timezone, type_))]


def _granularity(type_: str, zone: str, column: ice.IcebergType) -> Transform[Any, Any]:
    # Iceberg's days are days of UTC; a window of another zone only lines up with hours.
    if type_ == "hourly" or (isinstance(column, ice.TimestamptzType) and zone != "UTC"):
        return HourTransform()
    return MonthTransform() if type_ == "monthly" else DayTransform()


def _parsed(spec: TableSpec, text: str) -> tuple[str, Transform[Any, Any]]:
    try:
        term = term_of(text)
    except ValueError as error:
        raise ConfigurationError(f"{spec}: partition_by {error}.") from error
    if term.function == "bucket":
        return term.column, BucketTransform(num_buckets=term.number)
    if term.function == "truncate":
        return term.column, TruncateTransform(width=term.number)
    return term.column, _TRANSFORMS[term.function]()


def _suffix(transform: Transform[Any, Any]) -> str:
    if isinstance(transform, BucketTransform):
        return "bucket"
    return "trunc" if isinstance(transform, TruncateTransform) else str(transform)


def _kind(window: Window, type_: ice.IcebergType) -> ColumnKind:
    for types, kind in _KINDS:
        if isinstance(type_, types):
            return kind
    raise ConfigurationError(
        f"Column {window.column!r} is {type_}; partitions need a date, a time, text or an integer."
    )


def _of_key(key: str, type_: ice.IcebergType, window: Window) -> Any:
    """The value of the column in the rows of a partition that is called `key`."""
    try:
        if isinstance(type_, (ice.TimestampType, ice.TimestamptzType)):
            return _moment(key, type_)
        if isinstance(type_, ice.DecimalType):
            return _exact(Decimal(key), type_)
        for types, read in _READ:
            if isinstance(type_, types):
                return read(key)
    except (ValueError, KeyError, InvalidOperation) as error:
        raise ConfigurationError(
            f"The partition {key!r} is no value of column {window.column!r}, which is {type_}. Write the partition's "
            f"key as a row has it there, or `column:` with another column."
        ) from error
    # Such as uuid, which neither pyiceberg nor Arrow finds rows by.
    raise ConfigurationError(
        f"Column {window.column!r} is {type_}, whose values cannot be the keys of partitions. Choose a column of text, "
        f"numbers, dates or timestamps, or make it text with `columns: {{{window.column}: string}}`."
    )


_READ: tuple[tuple[tuple[type[ice.IcebergType], ...], Callable[[str], Any]], ...] = (
    ((ice.StringType,), str),
    ((ice.IntegerType, ice.LongType), int),
    ((ice.FloatType, ice.DoubleType), float),
    ((ice.BooleanType,), lambda key: {"true": True, "false": False}[key.lower()]),
    ((ice.DateType,), date.fromisoformat),
)
"""What makes a value of the key of a partition, by the type of its column."""


def _moment(key: str, type_: ice.IcebergType) -> datetime:
    moment = datetime.fromisoformat(key.replace("Z", "+00:00"))
    if isinstance(type_, ice.TimestamptzType):
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    if moment.tzinfo is not None:
        raise ValueError("the column's times have no offset")
    return moment


def _exact(value: Decimal, type_: ice.DecimalType) -> Decimal:
    """`value` with the digits of the column behind the point, as Iceberg compares them."""
    exact = value.quantize(Decimal(1).scaleb(-type_.scale))
    if exact != value:
        raise ValueError("the column has fewer digits behind the point")
    return exact
