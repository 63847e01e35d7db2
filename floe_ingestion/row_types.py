"""Rows as Arrow, column by column: each value becomes what dlt's own typing would make of it, at many times its speed.

dlt types value after value, as it normalises rows. Here a page is turned by columns: where all values of one are of
the type that it has already, Arrow takes them at once; only what deviates goes value by value through dlt's rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from dlt.common.data_types.type_helpers import coerce_value, py_type_to_sc_type
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.json import json
from dlt.common.libs.pyarrow import get_py_arrow_datatype
from dlt.common.schema.utils import new_table
from dlt.common.time import normalize_timezone

from floe_ingestion.errors import SourceRejected
from floe_ingestion.facts import schema_of
from floe_ingestion.iceberg.columns import declared_columns
from floe_ingestion.iceberg.schema import DLT_COLUMNS
from floe_ingestion.iceberg.types import fields_of
from floe_ingestion.naming import normalize_column
from floe_ingestion.nested_types import NestedColumn, first_telling, is_empty, is_nested, plain
from floe_ingestion.sources.exact import LARGEST, SMALLEST, within_64_bits
from floe_ingestion.sources.paging import values_of
from floe_ingestion.value_types import EXACT_IN_DOUBLE, PLAIN, TAKEN, instants, shown, texts_of, type_of

if TYPE_CHECKING:
    from dlt.common.schema import Schema

    from floe_ingestion.spec import TableSpec

_NOTHING = type(None)
_NESTING = frozenset({dict, list})
_NAMELESS = "_empty"


class RowTypes:
    """The types of a load's columns: those that `schema` has, and those that the first value of a column decides.

    What is decided is written into `schema`, so that rows which dlt types itself are typed alike.
    """

    def __init__(
        self,
        spec: TableSpec,
        schema: Schema,
        hints: Mapping[str, Any] | None = None,
        known: pa.Schema | None = None,
        path: str = "",
    ) -> None:
        """`hints` are the columns that the source itself tells of, in dlt's words; `known` those that there are.

        With a `path` these are the fields of what lies there.
        """
        self._spec, self._schema, self._path = spec, schema, path
        self._capabilities = DestinationCapabilitiesContext.generic_capabilities()
        self._nests = bool(path) or spec.nested == "struct"
        self._textual = set() if path else {name for name, column in declared_columns(spec).items() if column.type}
        """Columns in which objects and lists are JSON all the same."""
        self._textual |= {field.name for field in known or () if not is_nested(field.type)}
        told = {normalize_column(name): column for name, column in (hints or {}).items()}
        self._never_null = {name for name, column in told.items() if column.get("nullable") is False}
        self._columns: dict[str, dict[str, Any]] = {}
        for columns in (schema.tables.get(spec.name, {}).get("columns", {}), told):
            for name, column in columns.items():
                open_ = self._nests and column.get("data_type") == "json" and name not in self._textual
                type_ = {"data_type": None} if open_ else {}  # whether of objects or of lists, its values say
                self._columns[name] = {**self._columns.get(name, {}), **column, "name": name, **type_}
        self._types: dict[str, pa.DataType] = {}
        self._nested: dict[str, NestedColumn] = {}
        for field in known or ():
            if is_nested(field.type):
                self._nest(field.name, dict if pa.types.is_struct(field.type) else list, fields_of(field.type))
        self.names: dict[str, str] = {}
        """The column of each name that rows have had."""

    @property
    def any_name(self) -> str | None:
        """A column whose type is known; None where none is."""
        typed = (name for name, column in self._columns.items() if column.get("data_type"))
        return next(chain(self._nested, typed), None)

    def table(self, rows: list[dict[str, Any]]) -> pa.Table:
        """`rows`, all of them plain, as one table; a column of nothing but nulls stays one without type.

        Raises `SourceRejected` where a value fits no column.
        """
        return pa.table(self.columns(rows) or {"_dlt_id": pa.nulls(len(rows))})

    def columns(self, rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
        """`rows` by their columns."""
        names = self._named(rows)
        if len(set(names.values())) < len(names):
            rows = [self._renamed(row, names) for row in rows]
            names = {name: name for name in names.values()}
        arrays: dict[str, pa.Array] = {}
        for name, column in names.items():
            if self._path or column not in DLT_COLUMNS:
                self._take(column, values_of(name, rows), arrays)
        return arrays

    def typed(self, name: str, values: list[Any]) -> dict[str, pa.Array]:
        """The column `name` of `values`, and those beside it for what does not fit."""
        arrays: dict[str, pa.Array] = {}
        self._take(name, values, arrays)
        return arrays

    def _named(self, rows: list[dict[str, Any]]) -> dict[str, str]:
        """The column of each name that occurs."""
        # In the order in which they come; most rows have the names of the first one, which takes half the time to see.
        first = rows[0] if rows else {}
        alike = len(set().union(*rows)) == len(first)
        names: dict[str, str] = dict.fromkeys(first if alike else chain.from_iterable(rows), "")
        for name in names:
            if name not in self.names:
                text = str(name)  # of what lies inside of a value, names may be numbers
                self.names[name] = normalize_column(text) if text.strip() else _NAMELESS
            names[name] = self.names[name]
        return names

    def _renamed(self, row: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
        renamed: dict[str, Any] = {}
        for name, value in row.items():
            column = names[name]
            # Of the names that become one column one may have a value, or all the same.
            if renamed.get(column) is None:
                renamed[column] = value
            elif value is not None and value != renamed[column]:
                raise self._refusal_of(column, row, names)
        if self._path and len(renamed) < len(row):
            twice = next(name for name in renamed if sum(names[each] == name for each in row) > 1)
            raise self._refusal_of(twice, row, names)
        return renamed

    def _refusal_of(self, column: str, row: dict[str, Any], names: dict[str, str]) -> SourceRejected:
        key = "".join(f" whose {name!r} is {shown(row[name])}" for name in self._spec.primary_key if name in row)
        place = f"in {self._path!r} one object" if self._path else f"a row{key}"
        alike = " and ".join(f"{each!r} ({shown(row[each])})" for each in row if names[each] == column)
        instead = f"keep the objects as JSON: {self._as_text(column)}" if self._path else "send the same in both"
        return SourceRejected(
            f"{self._spec}: {place} has {alike}, which become one column, {column!r}. Rename one in the source, "
            f"or {instead}."
        )

    def _as_text(self, name: str) -> str:
        """How floe.yaml says that the column of `name` is to be text."""
        return f"`columns: {{{self._at(name).partition('.')[0]}: string}}`"

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _take(self, name: str, values: list[Any], arrays: dict[str, pa.Array]) -> None:
        """Put `values` into `arrays`; what the column cannot take into another one beside it."""
        kinds = set(map(type, values))
        column = self._columns.get(name, {})
        if _NOTHING in kinds and name in self._never_null:
            raise SourceRejected(f"{self._spec}: rows have no value for {name!r}, which the source says is never null.")
        kinds.discard(_NOTHING)
        if not kinds <= PLAIN:
            values = [value if value is None or type(value) in PLAIN else plain(value) for value in values]
            kinds = set(map(type, values)) - {_NOTHING}
        if kinds & _NESTING and self._may_nest(name):
            values, kinds = self._begun(name, values)
        if not kinds:
            arrays.setdefault(name, pa.nulls(len(values)))
            return
        if name in self._nested:
            arrays[name], aside = self._nested[name].split(values)
            if aside is not None:
                self._one_by_one(name, aside, arrays)
            return
        if not column.get("data_type"):
            column = self._decide(name, self._first_type(values, kinds))
        try:
            arrays[name] = self._at_once(name, column["data_type"], values, kinds)
        except _Deviating:
            self._one_by_one(name, values, arrays)

    def _may_nest(self, name: str) -> bool:
        """Whether the column is still to be what its first value is, be it of objects or of lists."""
        undecided = name not in self._nested and not self._columns.get(name, {}).get("data_type")
        return self._nests and undecided and name not in self._textual

    def _begun(self, name: str, values: list[Any]) -> tuple[list[Any], set[type]]:
        """Decide by the first value that is not empty; what is empty before a column has its type is null."""
        first = first_telling(values)
        if type(first) in _NESTING:
            self._nest(name, type(first))
        else:
            values = [None if is_empty(value) else value for value in values]
        return values, set(map(type, values)) - {_NOTHING}

    def _nest(self, name: str, holds: type, fields: Iterable[pa.Field] = ()) -> None:
        known = pa.schema(fields)
        inner = RowTypes(self._spec, schema_of(self._spec, known), known=known, path=self._at(name))
        self._nested[name] = NestedColumn(inner, holds)

    def _first_type(self, values: list[Any], kinds: set[type]) -> str:
        # dlt goes by the first value alone, and puts 10.5 beside a column that began with 10.
        if kinds == {int, float} and all(abs(value) <= EXACT_IN_DOUBLE for value in values if type(value) is int):
            return "double"
        return type_of(within_64_bits(next(value for value in values if value is not None)))

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
        if not any(kinds <= taken for taken in TAKEN.get(type_, ())):
            raise _Deviating
        arrow = self._arrow(name)
        try:
            if type_ == "json":
                return texts_of(values).cast(arrow)
            if kinds == {str} and type_ == "timestamp":
                return instants(pa.array(values, pa.string()), arrow)
            if kinds == {str} and type_ == "date":
                return pa.array(values, pa.string()).cast(arrow)
            return pa.array(values, arrow)
        except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError, TypeError) as error:
            raise _Deviating from error

    def _one_by_one(self, name: str, values: list[Any], arrays: dict[str, pa.Array]) -> None:
        """As dlt does it, with a column beside this one for each type that does not fit it."""
        columns: dict[str, list[Any]] = {} if name in self._nested else {name: [None] * len(values)}
        for index, value in enumerate(values):
            if value is not None:
                place, typed = self._placed(name, within_64_bits(value))
                columns.setdefault(place, [None] * len(values))[index] = typed
        for place, typed in columns.items():
            try:
                arrays[place] = self._array(place, typed)
            except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError, TypeError) as error:
                raise SourceRejected(
                    f"{self._spec}: a value of {self._at(place)!r} does not fit its column ({self._arrow(place)}): "
                    f"{error}. Correct the source, or declare another type for a new table: {self._as_text(name)}."
                ) from error

    def _placed(self, name: str, value: Any, variant: bool = False) -> tuple[str, Any]:
        """The column for `value`, and what it is there."""
        kind = py_type_to_sc_type(type(value))
        if name in self._nested:
            return self._placed(f"{name}__v_{kind}", value, variant=True)
        if not self._columns.get(name, {}).get("data_type"):
            self._decide(name, kind if variant else type_of(value), variant)
        column = self._columns[name]
        type_ = column["data_type"]
        try:
            typed = coerce_value(type_, kind, value)
            rounded = type_ == "double" and kind == "bigint" and typed != value
            if rounded or (type_ == "bigint" and not SMALLEST <= typed <= LARGEST):
                raise ValueError(value)
        except (ValueError, SyntaxError) as error:
            if variant:
                raise SourceRejected(
                    f"{self._spec}: {shown(value)} fits neither the column {self._at(name).rpartition('__')[0]!r} nor "
                    f"{self._at(name)!r}, which is {type_}. Correct it in the source."
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
