"""Keys by number: each distinct key of a load has one, and rows of a table are found by it.

Look-ups in sets of values take a third of the time and of the memory of a join, or of grouping by key.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = "__floe_number"


class KeyIndex:
    """The distinct keys among rows, numbered in the order in which they first come."""

    def __init__(self, keys: pa.Table, names: Sequence[str]) -> None:
        """`names` are the key's columns in `keys`; no key is null."""
        self._names = tuple(names)
        self._known: list[pa.Array] = []
        """For each column its values; behind each but the first the pairs of what was numbered before and its own."""
        self.numbers = self._numbered(keys)
        """The number of each row's key."""
        self.count = len(self._known[-1])
        """How many keys there are."""

    def found(self, rows: pa.Table, name: str) -> pa.Table:
        """Those of `rows` whose key is known, with its number as the column `name`."""
        known = iter(self._known)
        rows = _known_only(rows, pc.index_in(rows[self._names[0]], value_set=next(known)))
        for column in self._names[1:]:
            values = next(known)
            rows = _known_only(rows, _paired(rows[_NUMBER], pc.index_in(rows[column], value_set=values), len(values)))
            rows = _known_only(rows, pc.index_in(rows[_NUMBER], value_set=next(known)))
        return rows.rename_columns([*rows.column_names[:-1], name])

    def _numbered(self, keys: pa.Table) -> pa.ChunkedArray:
        numbers = self._learned(keys[self._names[0]])
        for name in self._names[1:]:
            own = self._learned(keys[name])
            numbers = self._learned(_paired(numbers, own, len(self._known[-1])))
        return numbers

    def _learned(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        self._known.append(pc.unique(values))
        return pc.index_in(values, value_set=self._known[-1])


def _paired(numbers: pa.ChunkedArray, others: pa.ChunkedArray, count: int) -> pa.ChunkedArray:
    """One number for two, of which the second is below `count`."""
    return pc.add(pc.multiply(numbers.cast(pa.int64()), count), others.cast(pa.int64()))


def _known_only(rows: pa.Table, numbers: pa.ChunkedArray) -> pa.Table:
    if _NUMBER in rows.column_names:
        rows = rows.drop_columns([_NUMBER])
    return rows.append_column(_NUMBER, numbers).filter(pc.is_valid(numbers))
