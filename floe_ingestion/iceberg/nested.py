"""What lies inside of columns, in structs, lists and maps: what is new there, and what must have a value."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg import types as ice

from floe_ingestion.iceberg.types import fields_of, with_elements

Path = tuple[str, ...]
"""Names of fields, from the column's value inwards; empty for that value itself."""


def split_new(existing: ice.IcebergType, incoming: ice.IcebergType) -> tuple[ice.IcebergType, dict[Path, str]]:
    """`incoming` without the fields that `existing` has not, and these with their types."""
    new: dict[Path, str] = {}

    def known(was: ice.IcebergType, comes: ice.IcebergType, path: Path) -> ice.IcebergType:
        if isinstance(was, ice.ListType) and isinstance(comes, ice.ListType):
            element = known(was.element_type, comes.element_type, (*path, "element"))
            # By its other name: pyiceberg takes a struct without fields for none.
            return ice.ListType(comes.element_id, element_type=element, element_required=comes.element_required)
        if not isinstance(was, ice.StructType) or not isinstance(comes, ice.StructType):
            return comes
        types = {field.name: field.field_type for field in was.fields}
        kept: list[ice.NestedField] = []
        for field in comes.fields:
            place = (*path, field.name)
            if field.name in types:
                inner = known(types[field.name], field.field_type, place)
                kept.append(ice.NestedField(field.field_id, field.name, inner, field.required, field.doc))
            else:
                new[place] = str(field.field_type)
        return ice.StructType(*kept)

    return known(existing, incoming, ()), new


def holding(values: pa.Array, path: Path) -> pa.BooleanArray:
    """Which of `values` have something at `path`, be it in one of their elements."""
    if not path:
        return values.is_valid()
    if pa.types.is_struct(values.type):
        return holding(pc.struct_field(values, path[0]), path[1:])
    owners = pc.list_parent_indices(values).filter(holding(pc.list_flatten(values), path[1:]))
    return pc.is_in(pa.array(range(len(values)), owners.type), value_set=owners)


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
    return with_elements(values, _filled(values.flatten()), values.type)


def _with_value(values: pa.Array, field: pa.Field) -> pa.Array:
    if field.nullable or not values.null_count:
        return values
    some = pa.array([None], pa.struct([field])).field(0)  # whatever Arrow puts below a null
    at = pc.if_else(values.is_null(), len(values), pa.arange(0, len(values)))
    return pa.concat_arrays([values, some]).take(at)


def _inside(type_: pa.DataType) -> list[pa.Field]:
    return [type_.item_field] if pa.types.is_map(type_) else fields_of(type_)


def _values_inside(values: pa.Array) -> list[pa.Array]:
    """Of each of `_inside`, what lies in those of `values` that are there."""
    there = values.take(pc.indices_nonzero(values.is_valid()))
    if pa.types.is_struct(values.type):
        return [there.field(n) for n in range(len(values.type))]
    return [there.items if pa.types.is_map(values.type) else there.flatten()]
