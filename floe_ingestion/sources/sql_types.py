"""Types as a database declares them: what its columns become, and which ones only the database itself can write."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.sql.sqltypes import _Binary

from floe_ingestion.errors import SourceRejected, UnsupportedType
from floe_ingestion.iceberg.types import cast, is_text
from floe_ingestion.sources.sqlite import read_as_declared, with_texts

_MYSQL = ("mysql", "mariadb")
_MOST_DIGITS = 38
_SIGNED_BITS = 63
_UNKNOWN_SCALE = 9
"""Of a numeric that is declared without digits, as dlt has it."""
_FIRST_DAY = date(1, 1, 1).toordinal() - date(1970, 1, 1).toordinal()
_LAST_DAY = date(9999, 12, 31).toordinal() - date(1970, 1, 1).toordinal()
_POSTGRES_READS: tuple[type[sa.types.TypeEngine[Any]], ...] = (
    sa.Integer,
    sa.Boolean,
    sa.LargeBinary,
    sa.Date,
    sa.DateTime,
)
"""Types of PostgreSQL's that every reader takes as they are; for numbers, texts, times and UUIDs see `_is_read`."""

_NUMERICS = """
    with recursive found (name, type, digits) as (
        select attname, atttypid, atttypmod from pg_attribute where attrelid = cast(:table as regclass) and attnum > 0
        union all
        select name, typbasetype, greatest(digits, typtypmod) from found join pg_type on oid = type and typtype = 'd'
    ) select name, format_type(type, digits) from found where type = cast('numeric' as regtype)
"""
_DIGITS = re.compile(r"numeric\((\d+),(-?\d+)\)")


def complete(table: sa.Table, connection: sa.Connection) -> None:
    """Give columns the types that they have, where SQLAlchemy does not reflect them in full.

    These are SQLite's by their names, PostgreSQL's domains with their digits, and floating point numbers of MySQL, of
    which it would make decimals of ten digits.
    """
    for column in table.columns:
        if isinstance(column.type, sa.Float):
            column.type.asdecimal = False
    if connection.dialect.name == "sqlite":
        with_texts(table, connection)
    elif any(isinstance(column.type, postgresql.DOMAIN) for column in table.columns):
        _with_digits(table, connection)


def _with_digits(table: sa.Table, connection: sa.Connection) -> None:
    name = quoted(table)
    for column, type_ in connection.execute(sa.text(_NUMERICS), {"table": name}):
        match = _DIGITS.fullmatch(type_)
        if match and column in table.c and isinstance(table.c[column].type, postgresql.DOMAIN):
            table.c[column].type = sa.Numeric(int(match[1]), int(match[2]))


def quoted(table: sa.Table) -> str:
    """The table's name as PostgreSQL reads it from a text; the driver's own dialect would double each %."""
    dialect: Any = postgresql.dialect
    return str(dialect(paramstyle="named").identifier_preparer.format_table(table))


def declared(table: sa.Table, dialect: str) -> dict[str, pa.DataType]:
    """The Arrow type of each column whose declaration leaves no doubt, by name; raises `UnsupportedType`."""
    found = {column.name: _arrow(column, dialect) for column in table.columns}
    return {name: type_ for name, type_ in found.items() if type_ is not None}


def hints(table: sa.Table, dialect: str) -> dict[str, Any]:
    """What dlt is told of the columns beside what it reflects: the types that they land as, and their comments.

    A load that brings no row has no other types, and would widen those of the table.
    """
    found: dict[str, Any] = {column.name: {} for column in table.columns}
    for name, hint in py_arrow_to_table_schema_columns(pa.schema(list(declared(table, dialect).items()))).items():
        found[name] = {key: value for key, value in hint.items() if key not in ("name", "nullable")}
    for column in table.columns:
        found[column.name] |= {"description": column.comment} if column.comment else {}
    return {name: hint for name, hint in found.items() if hint}


def foreign_keys(table: sa.Table) -> list[dict[str, Any]]:
    """What was reflected of the references to other tables, but for those of columns that are left out.

    A table of the same schema goes by its name alone.
    """
    found: list[dict[str, Any]] = []
    for constraint in table.foreign_key_constraints:
        columns = list(constraint.column_keys)
        targets = [element.target_fullname.rpartition(".") for element in constraint.elements]
        if all(name in table.c for name in columns):
            other = targets[0][0].removeprefix(f"{table.schema}.")
            found.append({"columns": columns, "table": other, "referenced": [target[2] for target in targets]})
    return sorted(found, key=lambda key: [list(table.c.keys()).index(name) for name in key["columns"]])


def written_out(table: sa.Table, dialect: str, by_duckdb: bool) -> dict[str, sa.ColumnElement[Any]]:
    """What is selected in the place of columns that a reader cannot take: their text, as the database writes it."""
    if dialect in _MYSQL:
        # Python's sets have no order, and of 100 hours, which is a time to MySQL, dlt makes four in the morning. Of
        # JSON's null Python's reader would make none.
        as_text = (mysql.SET, sa.Time, sa.JSON)
        return {column.name: sa.cast(column, sa.CHAR) for column in table.columns if isinstance(column.type, as_text)}
    if dialect == "sqlite":
        return {column.name: told for column in table.columns if (told := read_as_declared(column)) is not None}
    if dialect != "postgresql":
        return {}
    made: dict[str, sa.ColumnElement[Any]] = {}
    for column in table.columns:
        type_ = base_of(column.type)
        if isinstance(type_, sa.ARRAY):
            made[column.name] = sa.cast(sa.func.to_json(column), sa.Text)
        elif isinstance(type_, postgresql.OID):
            made[column.name] = sa.cast(column, sa.BigInteger)
        elif isinstance(type_, postgresql.INET):
            made[column.name] = sa.func.abbrev(column, type_=sa.Text)
        elif by_duckdb and isinstance(type_, sa.CHAR) and type_.length is None:
            # Of a domain: how many blanks DuckDB takes away is not known here, and a cast would take them, too.
            made[column.name] = sa.func.textin(sa.func.bpcharout(column), type_=sa.Text)
        elif not _is_read(type_, by_duckdb):
            made[column.name] = sa.cast(column, sa.Text)
    return made


def caster(types: Mapping[str, pa.DataType], table: str) -> Callable[[pa.Table], pa.Table]:
    """Makes of a batch what the database declares."""

    def as_declared(rows: pa.Table) -> pa.Table:
        arrays = [
            _cast(rows.column(index), types.get(name), table, name) for index, name in enumerate(rows.schema.names)
        ]
        return pa.table(arrays, names=rows.schema.names)

    return as_declared


def _cast(values: pa.ChunkedArray, type_: pa.DataType | None, table: str, name: str) -> pa.ChunkedArray:
    if type_ is None:
        return values
    try:
        if pa.types.is_time(type_) and is_text(values.type):
            # Arrow reads no times of a day, but those of a date.
            values = pc.binary_join_element_wise("1970-01-01T", values.cast(pa.string()), "").cast(pa.timestamp("us"))
        found = values if values.type == type_ else cast(values, type_)
        _require_years(found)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SourceRejected(
            f"Table {table!r}, column {name!r}: a value does not fit {type_}, which is its declared type: {error}. "
            f"Correct it, leave it out with `where`, or load the column as text from a view."
        ) from error
    return found


def _require_years(values: pa.ChunkedArray) -> None:
    """Infinity, and years that no reader of the table can show, arrive as dates far out."""
    if not (pa.types.is_date(values.type) or pa.types.is_timestamp(values.type)):
        return
    bounds = pc.min_max(values.cast(pa.date32()))
    least, greatest = (bounds[side].cast(pa.int32()).as_py() for side in ("min", "max"))
    if least is not None and not (least >= _FIRST_DAY and greatest <= _LAST_DAY):
        raise pa.ArrowInvalid("it is infinite, or before the year 1, or after the year 9999")


def _arrow(column: sa.Column[Any], dialect: str) -> pa.DataType | None:
    type_ = base_of(column.type)
    if isinstance(type_, (sa.Numeric, sa.Float)):
        return _decimal_or_double(column.name, type_, dialect)
    if isinstance(type_, sa.Integer):
        return _integer(type_, dialect)
    if isinstance(type_, mysql.BIT):
        return pa.decimal128(20, 0) if (type_.length or 1) > _SIGNED_BITS else pa.int64()
    if isinstance(type_, sa.DateTime):
        return pa.timestamp("us", "UTC" if type_.timezone else None)
    if isinstance(type_, sa.Time) and dialect in ("postgresql", *_MYSQL):
        return pa.string() if type_.timezone else pa.time64("us")
    for sql_type, arrow in _SIMPLE:
        if isinstance(type_, sql_type):
            return arrow
    return pa.string() if dialect == "postgresql" else None


_SIMPLE: tuple[tuple[type[sa.types.TypeEngine[Any]], pa.DataType], ...] = (
    (sa.String, pa.string()),
    (sa.Boolean, pa.bool_()),
    (_Binary, pa.binary()),
    (sa.Date, pa.date32()),
    (sa.Uuid, pa.string()),
    (sa.JSON, pa.string()),
    (sa.ARRAY, pa.string()),
    (postgresql.OID, pa.int64()),
    (mysql.YEAR, pa.int64()),
)


def base_of(type_: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """The type below a domain."""
    while isinstance(type_, postgresql.DOMAIN):
        type_ = type_.data_type
    return type_


def is_exact(type_: sa.types.TypeEngine[Any]) -> bool:
    """Whether it is of decimals that are declared with as many digits as Arrow's have, none of them implied."""
    if not isinstance(type_, sa.Numeric) or not type_.asdecimal or type_.precision is None:
        return False
    return 0 <= (type_.scale or 0) <= type_.precision <= _MOST_DIGITS


def _is_read(type_: sa.types.TypeEngine[Any], by_duckdb: bool) -> bool:
    if isinstance(type_, (sa.Numeric, sa.Float)):
        # As text, numerics are read at several times the speed, and one that is no number is refused by its column.
        return not type_.asdecimal or (by_duckdb and is_exact(type_))
    if isinstance(type_, sa.Time):
        # Arrow has no 24:00, and would wrap it round.
        return not type_.timezone and not by_duckdb
    if isinstance(type_, sa.Uuid):
        return not by_duckdb
    if isinstance(type_, sa.String):
        # What is no more than a String are the internal types "char" and name.
        return not isinstance(type_, sa.Enum) and type(type_) is not sa.String
    return isinstance(type_, _POSTGRES_READS)


def _decimal_or_double(name: str, type_: sa.Numeric[Any] | sa.Float[Any], dialect: str) -> pa.DataType | None:
    if not type_.asdecimal:
        return pa.float32() if isinstance(type_, sa.REAL) and dialect == "postgresql" else pa.float64()
    digits, scale = type_.precision, getattr(type_, "scale", None) or 0
    if digits is None:
        return pa.decimal128(_MOST_DIGITS, _UNKNOWN_SCALE) if dialect == "postgresql" else None
    if digits - min(scale, 0) > _MOST_DIGITS:
        raise UnsupportedType(
            name,
            str(type_),
            f"Load it as text from a view, or leave it out with `included_columns`: {_MOST_DIGITS} "
            f"digits are the most.",
        )
    return pa.decimal128(max(digits - min(scale, 0), scale), max(scale, 0))  # numeric(3, 5) is of fractions alone


def _integer(type_: sa.Integer, dialect: str) -> pa.DataType:
    unsigned = getattr(type_, "unsigned", False)
    if dialect == "sqlite" or isinstance(type_, sa.BigInteger):
        return pa.decimal128(20, 0) if unsigned else pa.int64()
    return pa.int64() if unsigned else pa.int32()
