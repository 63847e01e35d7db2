"""Which Arrow types Iceberg carries, how they widen, and how values are cast without loss."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg import types as ice

from floe_ingestion.errors import UnsupportedType

_LARGEST_DECIMAL = 38


def carried(type_: pa.DataType, column: str) -> pa.DataType | None:
    """The Arrow type in which Iceberg carries `type_`; None while nothing but nulls is known.

    Raises `UnsupportedType` where no Iceberg type can hold the values.
    """
    types = pa.types
    if types.is_null(type_):
        return None
    if types.is_dictionary(type_):
        return carried(type_.value_type, column)
    if isinstance(type_, pa.BaseExtensionType) and type_.extension_name != "arrow.uuid":
        return carried(type_.storage_type, column)
    if types.is_duration(type_) or types.is_interval(type_):
        raise UnsupportedType(column, str(type_), "Select it as a number of seconds or as text instead.")
    if types.is_nested(type_):
        return _carried_nested(type_, column)
    if types.is_decimal(type_):
        return _carried_decimal(type_, column)
    return next((carrier(type_) for is_such, carrier in _CARRIERS if is_such(type_)), type_)


def widened(existing: ice.IcebergType, incoming: ice.IcebergType) -> ice.IcebergType | None:
    """The type that holds both, reachable from `existing` by Iceberg's own promotions; None if there is none.

    Equal to `existing`, field ids included, where that holds what comes in already.
    """
    if existing == incoming:
        return existing
    if isinstance(existing, ice.StructType) and isinstance(incoming, ice.StructType):
        return _widened_struct(existing, incoming)
    if isinstance(existing, ice.ListType) and isinstance(incoming, ice.ListType):
        element = widened(existing.element_type, incoming.element_type)
        return element and ice.ListType(existing.element_id, element, existing.element_required)
    if isinstance(existing, ice.MapType) and isinstance(incoming, ice.MapType):
        return _widened_map(existing, incoming)
    return _widened_primitive(existing, incoming)


def cast(values: pa.Array | pa.ChunkedArray, type_: pa.DataType) -> pa.Array | pa.ChunkedArray:
    """`values` as `type_`; raises `pa.ArrowInvalid` where a value would change."""
    if isinstance(values, pa.ChunkedArray):
        return pa.chunked_array([cast(chunk, type_) for chunk in values.chunks], type=type_)
    if values.type == type_:
        return values
    if pa.types.is_struct(type_) and pa.types.is_struct(values.type):
        return _cast_struct(values, type_)
    if _is_list(type_) and _is_list(values.type):
        # Not by Arrow's own cast: of a slice of a list view, 26.0 makes wrong lists.
        return with_elements(values, cast(values.flatten(), type_.value_type), type_)
    if pa.types.is_decimal(type_) and pa.types.is_integer(values.type):
        # Arrow asks for room for every possible integer; only the values that are there have to fit.
        values = values.cast(pa.decimal128(_LARGEST_DECIMAL, type_.scale))
    if pa.types.is_dictionary(values.type):
        values = _decoded(values)
    if isinstance(type_, pa.UuidType) and is_text(values.type):
        raise pa.ArrowInvalid("text cannot be cast to uuid")
    if isinstance(values.type, pa.UuidType) and is_text(type_):
        # Arrow would take the 16 bytes for those of a text.
        return pa.array([str(value) if value is not None else None for value in values.to_pylist()], type_)
    return values.cast(type_)


def plain(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array of what Arrow groups and compares by: of a uuid, its bytes."""
    whole = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return whole.storage if isinstance(whole, pa.ExtensionArray) else whole


def fields_of(type_: pa.DataType) -> list[pa.Field]:
    """The fields inside of a type, under Iceberg's names for them; none inside of a plain one."""
    if pa.types.is_struct(type_):
        return list(type_)
    if pa.types.is_map(type_):
        return [type_.key_field.with_name("key"), type_.item_field.with_name("value")]
    lists = pa.types.is_list(type_) or pa.types.is_large_list(type_)
    return [type_.value_field.with_name("element")] if lists else []


def with_elements(values: pa.Array, elements: pa.Array, type_: pa.DataType) -> pa.Array:
    """Lists of `type_` that are as long as `values`, of what `elements` has in a row."""
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths).cast(pa.int64())])
    made = pa.LargeListArray.from_arrays(offsets, elements, mask=values.is_null())
    return made.cast(type_) if made.type != type_ else made


def _carried_timestamp(type_: pa.DataType) -> pa.DataType:
    return pa.timestamp("us", "UTC" if type_.tz else None)


def _carried_integer(type_: pa.DataType) -> pa.DataType:
    if pa.types.is_uint64(type_):
        return pa.decimal128(20, 0)  # values above 2^63 do not fit a long
    if type_.bit_width < 32 or pa.types.is_int32(type_):
        return pa.int32()
    return pa.int64()


_CARRIERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], pa.DataType]], ...] = (
    (pa.types.is_integer, _carried_integer),
    (pa.types.is_float16, lambda _: pa.float32()),
    (pa.types.is_timestamp, _carried_timestamp),
    (pa.types.is_time, lambda _: pa.time64("us")),
    (pa.types.is_date, lambda _: pa.date32()),
    (pa.types.is_large_string, lambda _: pa.string()),
    (pa.types.is_string_view, lambda _: pa.string()),
    (pa.types.is_large_binary, lambda _: pa.binary()),
    (pa.types.is_binary_view, lambda _: pa.binary()),
)


def _carried_decimal(type_: pa.DataType, column: str) -> pa.DataType:
    scale = max(type_.scale, 0)  # hundreds and thousands, which a negative scale counts, are whole numbers
    precision = type_.precision - type_.scale + scale
    if precision > _LARGEST_DECIMAL:
        raise UnsupportedType(column, str(type_), f"Declare it as text, or with at most {_LARGEST_DECIMAL} digits.")
    return pa.decimal128(precision, scale)


def _carried_nested(type_: pa.DataType, column: str) -> pa.DataType | None:
    if pa.types.is_struct(type_):
        fields = [(field, carried(field.type, f"{column}.{field.name}")) for field in type_]
        known = [pa.field(field.name, inner) for field, inner in fields if inner is not None]
        return pa.struct(known) if known else None
    if pa.types.is_map(type_):
        key, item = carried(type_.key_type, f"{column}.key"), carried(type_.item_type, f"{column}.value")
        return pa.map_(key, item) if key is not None and item is not None else None
    if _is_list(type_):
        element = carried(type_.value_type, f"{column}.element")
        return pa.list_(element) if element is not None else None
    raise UnsupportedType(column, str(type_), "Select it as text instead.")


def is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _is_list(type_: pa.DataType) -> bool:
    types = pa.types
    lists = (
        types.is_list,
        types.is_large_list,
        types.is_fixed_size_list,
        types.is_list_view,
        types.is_large_list_view,
    )
    return any(is_such(type_) for is_such in lists)


def _widened_struct(existing: ice.StructType, incoming: ice.StructType) -> ice.IcebergType | None:
    arriving = {field.name: field for field in incoming.fields}
    fields: list[ice.NestedField] = []
    for field in existing.fields:
        met = arriving.pop(field.name, None)
        inner = widened(field.field_type, met.field_type) if met else field.field_type
        if inner is None:
            return None
        fields.append(ice.NestedField(field.field_id, field.name, inner, field.required, field.doc))
    return ice.StructType(*fields, *arriving.values())


def _widened_map(existing: ice.MapType, incoming: ice.MapType) -> ice.IcebergType | None:
    value = widened(existing.value_type, incoming.value_type)
    if value is None or widened(existing.key_type, incoming.key_type) != existing.key_type:
        return None
    return ice.MapType(existing.key_id, existing.key_type, existing.value_id, value, existing.value_required)


def _widened_primitive(existing: ice.IcebergType, incoming: ice.IcebergType) -> ice.IcebergType | None:
    whole = (ice.IntegerType, ice.LongType)
    if isinstance(existing, whole) and isinstance(incoming, whole):
        return ice.LongType()
    floating = (ice.FloatType, ice.DoubleType)
    if isinstance(existing, floating) and isinstance(incoming, floating):
        return ice.DoubleType()
    if isinstance(existing, (*floating, ice.DecimalType)) and isinstance(incoming, whole):
        return existing
    if isinstance(existing, ice.DecimalType) and isinstance(incoming, ice.DecimalType):
        return _widened_decimal(existing, incoming)
    if isinstance(existing, (ice.TimestampType, ice.TimestamptzType)) and isinstance(incoming, ice.DateType):
        return existing
    if isinstance(existing, ice.BinaryType) and isinstance(incoming, ice.FixedType):
        return existing
    return None


def _widened_decimal(existing: ice.DecimalType, incoming: ice.DecimalType) -> ice.DecimalType | None:
    if incoming.scale > existing.scale:
        return None  # Iceberg widens precision only; the scale of a column is for ever
    digits = max(existing.precision - existing.scale, incoming.precision - incoming.scale)
    if digits + existing.scale > _LARGEST_DECIMAL:
        return None
    return ice.DecimalType(digits + existing.scale, existing.scale)


def _decoded(values: pa.DictionaryArray) -> pa.Array:
    # Arrow takes no elements of views, by which libraries such as Polars hold categories.
    kind, dictionary = values.dictionary.type, values.dictionary
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        dictionary = dictionary.cast(pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary())
    return dictionary.take(values.indices)


def _cast_struct(values: pa.Array, type_: pa.DataType) -> pa.Array:
    known = {field.name for field in values.type}
    children = [
        cast(pc.struct_field(values, field.name), field.type)
        if field.name in known
        else pa.nulls(len(values), field.type)
        for field in type_
    ]
    return pa.StructArray.from_arrays(children, fields=list(type_), mask=values.is_null())
