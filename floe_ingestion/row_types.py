"""Rows as Arrow, column by column: each value becomes what dlt's own typing would make of it, at many times its speed.

dlt types value after value, as it normalises rows. Here a page is turned by columns: where all values of one are of
the type that it has already, Arrow takes them at once; only what deviates goes value by value through dlt's rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.data_types.type_helpers import coerce_value, py_type_to_sc_type
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.json import custom_encode, json
from dlt.common.libs.pyarrow import get_py_arrow_datatype
from dlt.common.schema.utils import autodetect_sc_type, new_table, standard_type_detections
from dlt.common.time import normalize_timezone

from floe_ingestion.errors import SourceRejected
from floe_ingestion.iceberg.schema import DLT_COLUMNS
from floe_ingestion.naming import normalize_column
from floe_ingestion.sources.paging import values_of

if TYPE_CHECKING:
    from dlt.common.schema import Schema

    from floe_ingestion.spec import TableSpec

Row = Mapping[str, Any]

_NOTHING = type(None)
_PLAIN = frozenset({_NOTHING, str, int, float, bool, dict, list, Decimal, datetime, date, bytes})
"""Types whose values dlt hands on as they are. Of others (models, enumerations, …) it makes something else first."""
_NAMELESS = "_empty"
_EXACT_IN_DOUBLE = 2**53
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def are_plain(rows: Iterable[Row]) -> bool:
    """Whether all values are such as `RowTypes` takes."""
    kinds = set(map(type, chain.from_iterable(map(dict.values, rows))))  # type: ignore[arg-type]
    return kinds <= _PLAIN and all(type(name) is str for name in set(chain.from_iterable(rows)))


class RowTypes:
    """The types of a load's columns: those that `schema` has, and those that the first value of a column decides.

    What is decided is written into `schema`, so that rows which dlt types itself are typed alike.
    """

    def __init__(self, spec: TableSpec, schema: Schema, hints: Mapping[str, Any] | None = None) -> None:
        """`hints` are the columns that the source itself tells of, in dlt's words."""
        self._spec, self._schema = spec, schema
        self._capabilities = DestinationCapabilitiesContext.generic_capabilities()
        self._columns: dict[str, dict[str, Any]] = {}
        told = {normalize_column(name): column for name, column in (hints or {}).items()}
        for columns in (schema.tables.get(spec.name, {}).get("columns", {}), told):
            for name, column in columns.items():
                self._columns[name] = {**self._columns.get(name, {}), **column, "name": name}
        self._never_null = {name for name, column in told.items() if column.get("nullable") is False}
        self._types: dict[str, pa.DataType] = {}
        self.names: dict[str, str] = {}
        """The column of each name that rows have had."""

    def table(self, rows: list[dict[str, Any]]) -> pa.Table:
        """`rows`, all of them plain, as one table; a column of nothing but nulls stays one without type.

        Raises `SourceRejected` where a value fits no column.
        """
        names = self._named(rows)
        if len(set(names.values())) < len(names):
            rows = [{names[name]: value for name, value in row.items()} for row in rows]
            names = {name: name for name in names.values()}
        arrays: dict[str, pa.Array] = {}
        for name, column in names.items():
            if column not in DLT_COLUMNS:
                self._take(column, values_of(name, rows), arrays)
        return pa.table(arrays or {"_dlt_id": pa.nulls(len(rows))})

    def _named(self, rows: list[dict[str, Any]]) -> dict[str, str]:
        """The column of each name that occurs."""
        names: dict[str, str] = dict.fromkeys(chain.from_iterable(rows), "")
        for name in names:
            if name not in self.names:
                self.names[name] = normalize_column(name) if name.strip() else _NAMELESS
            names[name] = self.names[name]
        return names

    def _take(self, name: str, values: list[Any], arrays: dict[str, pa.Array]) -> None:
        """Put `values` into `arrays`; what the column cannot take into another one beside it."""
        kinds = set(map(type, values))
        column = self._columns.get(name, {})
        if _NOTHING in kinds and name in self._never_null:
            raise SourceRejected(f"{self._spec}: rows have no value for {name!r}, which the source says is never null.")
        kinds.discard(_NOTHING)
        if not kinds:
            arrays.setdefault(name, pa.nulls(len(values)))
            return
        if not column.get("data_type"):
            column = self._decide(name, self._first_type(values, kinds))
        try:
            arrays[name] = self._at_once(name, column["data_type"], values, kinds)
        except _Deviating:
            self._one_by_one(name, values, arrays)

    def _first_type(self, values: list[Any], kinds: set[type]) -> str:
        # dlt goes by the first value alone, and puts 10.5 beside a column that began with 10.
        if kinds == {int, float} and all(abs(value) <= _EXACT_IN_DOUBLE for value in values if type(value) is int):
            return "double"
        return _type_of(_within_64_bits(next(value for value in values if value is not None)))

    def _decide(self, name: str, type_: str, variant: bool = False) -> dict[str, Any]:
        column = {**self._columns.get(name, {}), "name": name, "data_type": type_}
        if variant:
            column["variant"] = True
        self._columns[name] = column
        self._schema.update_table(new_table(self._spec.name, columns=[column]))  # type: ignore[list-item]
        return column

    def _arrow(self, name: str) -> pa.DataType:
        if name not in self._types:
            self._types[name] = get_py_arrow_datatype(self._columns[name], self._capabilities, "UTC")  # type: ignore[arg-type]
        return self._types[name]

    def _at_once(self, name: str, type_: str, values: list[Any], kinds: set[type]) -> pa.Array:
        """All values in one step, where none of them changes; raises `_Deviating`."""
        if not any(kinds <= taken for taken in _TAKEN.get(type_, ())):
            raise _Deviating
        arrow = self._arrow(name)
        try:
            if type_ == "json":
                return _texts_of(values).cast(arrow)
            if kinds == {str} and type_ == "timestamp":
                return _instants(pa.array(values, pa.string()), arrow)
            if kinds == {str} and type_ == "date":
                return pa.array(values, pa.string()).cast(arrow)
            return pa.array(values, arrow)
        except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError, TypeError) as error:
            raise _Deviating from error

    def _one_by_one(self, name: str, values: list[Any], arrays: dict[str, pa.Array]) -> None:
        """As dlt does it, with a column beside this one for each type that does not fit it."""
        columns: dict[str, list[Any]] = {name: [None] * len(values)}
        for index, value in enumerate(values):
            if value is not None:
                place, typed = self._placed(name, _within_64_bits(value))
                columns.setdefault(place, [None] * len(values))[index] = typed
        for place, typed in columns.items():
            try:
                arrays[place] = self._array(place, typed)
            except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError) as error:
                raise SourceRejected(
                    f"{self._spec}: a value of {place!r} does not fit its column ({self._arrow(place)}): {error}. "
                    f"Correct the source, or declare another type for a new table: `columns: {{{name}: string}}`."
                ) from error

    def _placed(self, name: str, value: Any, variant: bool = False) -> tuple[str, Any]:
        """The column for `value`, and what it is there."""
        kind = py_type_to_sc_type(type(value))
        if not self._columns.get(name, {}).get("data_type"):
            self._decide(name, kind if variant else _type_of(value), variant)
        column = self._columns[name]
        type_ = column["data_type"]
        try:
            typed = coerce_value(type_, kind, value)
            if type_ == "bigint" and not _SMALLEST <= typed <= _LARGEST:
                raise ValueError(value)
        except (ValueError, SyntaxError) as error:
            if variant:
                raise SourceRejected(
                    f"{self._spec}: {_shown(value)} fits neither the column {name.rpartition('__')[0]!r} nor "
                    f"{name!r}, which is {type_}. Correct it in the source."
                ) from error
            return self._placed(f"{name}__v_{kind}", value, variant=True)
        return name, normalize_timezone(typed, column.get("timezone", True)) if type_ == "timestamp" else typed

    def _array(self, name: str, values: list[Any]) -> pa.Array:
        if self._columns[name]["data_type"] == "json":
            values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        arrow = self._arrow(name)
        try:
            return pa.array(values, arrow)
        except (pa.ArrowInvalid, OverflowError):
            if arrow != pa.int32():
                raise
            return pa.array(values, pa.int64())  # the column widens, where its contract allows that


class _Deviating(Exception):
    """Values are not all of their column's type."""


_TAKEN: dict[str, tuple[frozenset[type], ...]] = {
    "text": (frozenset({str}),),
    "bigint": (frozenset({int}),),
    "double": (frozenset({int, float}),),
    "bool": (frozenset({bool}),),
    "timestamp": (frozenset({str}), frozenset({datetime})),
    "date": (frozenset({str}), frozenset({date})),
    "decimal": (frozenset({Decimal}),),
    "binary": (frozenset({bytes}),),
    "json": (frozenset({dict, list}),),
}
"""Types of Python's whose values Arrow makes of a column's type what dlt makes of them."""


def _type_of(value: Any) -> str:
    kind = type(value)
    detected: Any = autodetect_sc_type(standard_type_detections(), kind, value)
    return str(detected or py_type_to_sc_type(kind))


def _within_64_bits(value: Any) -> Any:
    """A longer integer as a decimal, as JSON's are read (`sources/exact.py`)."""
    return Decimal(value) if type(value) is int and not _SMALLEST <= value <= _LARGEST else value


def _instants(texts: pa.StringArray, type_: pa.DataType) -> pa.Array:
    """ISO texts that all have an offset, or none of them: no offset means UTC."""
    in_utc = pa.timestamp("us", "UTC")
    try:
        instants = texts.cast(in_utc)
    except pa.ArrowInvalid:
        instants = pc.assume_timezone(texts.cast(pa.timestamp("us")), "UTC")
    return instants.cast(type_)


def _texts_of(values: list[Any]) -> pa.BinaryArray:
    """JSON as dlt writes it, by what its own function comes to in the end."""
    dumps, encode, option = orjson.dumps, custom_encode, orjson.OPT_NON_STR_KEYS
    return pa.array([None if value is None else dumps(value, encode, option) for value in values], pa.binary())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
