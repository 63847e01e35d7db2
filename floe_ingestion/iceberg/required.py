"""Columns, and fields inside of them, that a table requires to have a value."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc


def missing(columns: Iterable[pa.Array], fields: Iterable[pa.Field]) -> tuple[str, int] | None:
    """The first required field that has no value somewhere, and how often; None where all have theirs."""
    for values, field in zip(columns, fields, strict=True):
        if not field.nullable and values.null_count:
            return field.name, values.null_count
        inside = _values_inside(values) if requires_inside(field.type) else []
        if inside and (found := missing(inside, _inside(field.type))) is not None:
            return f"{field.name}.{found[0]}", found[1]
    return None


def requires_inside(type_: pa.DataType) -> bool:
    """Whether anything inside of values of `type_` is required."""
    return any(not field.nullable or requires_inside(field.type) for field in _inside(type_))


def filled(rows: pa.RecordBatch) -> pa.RecordBatch:
    """`rows` with some value in the required fields of structs that are null themselves.

    Nobody reads it, but Parquet takes no null there, not even one that the struct stands for.
    """
    if not any(requires_inside(field.type) for field in rows.schema):
        return rows
    return pa.RecordBatch.from_arrays([_filled(values) for values in rows.columns], schema=rows.schema)


def _filled(values: pa.Array) -> pa.Array:
    if pa.types.is_map(values.type) or not requires_inside(values.type):
        return values
    if pa.types.is_struct(values.type):
        children = [_filled(_with_value(values.field(n), field)) for n, field in enumerate(values.type)]
        return pa.StructArray.from_arrays(children, fields=list(values.type), mask=values.is_null())
    lengths = pc.fill_null(pc.list_value_length(values), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths).cast(pa.int64())])
    elements = _filled(values.flatten())
    return pa.LargeListArray.from_arrays(offsets, elements, mask=values.is_null()).cast(values.type)


def _with_value(values: pa.Array, field: pa.Field) -> pa.Array:
    if field.nullable or not values.null_count:
        return values
    some = pa.array([None], pa.struct([field])).field(0)  # whatever Arrow puts below a null
    at = pc.if_else(values.is_null(), len(values), pa.arange(0, len(values)))
    return pa.concat_arrays([values, some]).take(at)


def _inside(type_: pa.DataType) -> list[pa.Field]:
    if pa.types.is_struct(type_):
        return list(type_)
    if pa.types.is_map(type_):
        return [type_.item_field]
    return [type_.value_field] if pa.types.is_list(type_) or pa.types.is_large_list(type_) else []


def _values_inside(values: pa.Array) -> list[pa.Array]:
    """Of each of `_inside`, what lies in those of `values` that are there."""
    there = values.take(pc.indices_nonzero(values.is_valid()))
    if pa.types.is_struct(values.type):
        return [there.field(n) for n in range(len(values.type))]
    return [there.items if pa.types.is_map(values.type) else there.flatten()]
