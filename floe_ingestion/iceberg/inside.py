"""What lies inside of structs and lists, and is new there: a contract decides on it as it does on columns."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg import types as ice

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
