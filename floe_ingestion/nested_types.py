"""Objects and lists as structs and lists of Iceberg: what lies inside is typed, held and named as columns are."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.data_types.type_helpers import py_type_to_sc_type
from dlt.common.json import json

if TYPE_CHECKING:
    from floe_ingestion.row_types import RowTypes

ELEMENT = "element"
"""What Iceberg calls the values of a list."""
_NESTED = (dict, list)
_NO_FIELDS: dict[str, Any] = {}


class NestedColumn:
    """A column of objects, or one of lists; `inner` types the fields of the ones, the elements of the others."""

    def __init__(self, inner: RowTypes, holds: type) -> None:
        self._inner, self._holds = inner, holds

    def split(self, values: list[Any]) -> tuple[pa.Array, list[Any] | None]:
        """`values` as one array, and those that do not fit it in their places; None where all do.

        An empty list is no object and an empty object no list, but neither says anything: such a one is null.
        """
        aside: list[Any] | None = None
        if not set(map(type, values)) <= {self._holds, type(None)}:
            aside = [None if type(value) is self._holds or is_empty(value) else value for value in values]
            values = [value if type(value) is self._holds else None for value in values]
        if self._holds is dict:
            return self._objects(values), aside
        lists, mixed = self._lists(values)
        for position in mixed:
            aside = aside or [None] * len(values)
            aside[position] = values[position]
        return lists, aside

    def _objects(self, values: list[Any]) -> pa.Array:
        missing = None in values
        fields = self._inner.columns([value or _NO_FIELDS for value in values] if missing else values)
        if not fields and (name := self._inner.any_name) is not None:
            fields = {name: pa.nulls(len(values))}  # an object all the same, and no null
        if not fields:
            return pa.nulls(len(values))
        mask = pa.array([value is None for value in values]) if missing else None
        return pa.StructArray.from_arrays(list(fields.values()), names=list(fields), mask=mask)

    def _lists(self, values: list[Any]) -> tuple[pa.Array, set[int]]:
        """The lists, and the positions of those whose elements are not all of the one type that a list has."""
        if self._inner.any_name is None and (first := next(filter(_is_uniform, values), None)) is not None:
            self._inner.typed(ELEMENT, first)  # a mixed list that comes before must not decide
        arrays = self._inner.typed(ELEMENT, _elements(values))
        mixed: set[int] = set()
        if set(arrays) - {ELEMENT}:
            mixed = _lists_of([array for name, array in arrays.items() if name != ELEMENT], values)
            values = [None if position in mixed else value for position, value in enumerate(values)]
            arrays = self._inner.typed(ELEMENT, _elements(values))
        lengths = pa.array([0, *(len(value) if value else 0 for value in values)], pa.int32())
        mask = pa.array([value is None for value in values]) if None in values else None
        return pa.ListArray.from_arrays(pc.cumulative_sum(lengths), arrays[ELEMENT], mask=mask), mixed


def is_nested(type_: pa.DataType) -> bool:
    """Whether columns of such a type of the table take objects, or lists."""
    return bool(pa.types.is_struct(type_) or pa.types.is_list(type_) or pa.types.is_large_list(type_))


def is_empty(value: Any) -> bool:
    """Whether `value` is an object or a list in which nothing has a type."""
    return type(value) in _NESTED and not value


def first_telling(values: Iterable[Any]) -> Any:
    """The first of `values` that has a type; None for none."""
    return next((value for value in values if value is not None and not is_empty(value)), None)


def plain(value: Any) -> Any:
    """What dlt makes of values such as tuples, sets and models; those that are no nested ones are as they were."""
    try:
        nested = py_type_to_sc_type(type(value)) == "json"
    except TypeError:
        nested = True
    return json.loads(json.dumps(value)) if nested else value


def _is_uniform(value: Any) -> bool:
    kinds = set(map(type, value or ())) - {type(None)}
    return len(kinds) == 1 and first_telling(value) is not None


def _elements(values: list[Any]) -> list[Any]:
    return list(chain.from_iterable(filter(None, values)))


def _lists_of(asides: list[pa.Array], values: list[Any]) -> set[int]:
    """The positions of the lists that have an element in one of `asides`."""
    owners = [position for position, value in enumerate(values) for _ in value or ()]
    return {owners[index] for aside in asides for index in pc.indices_nonzero(aside.is_valid()).to_pylist()}
