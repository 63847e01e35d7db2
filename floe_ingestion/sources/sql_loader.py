"""Reads one table, by DuckDB or by SQLAlchemy; what comes is what the database declares, whoever read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import sqlalchemy as sa
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.libs.pyarrow import (
    PyToArrowConversionException,
    get_py_arrow_datatype,
    py_arrow_to_table_schema_columns,
)
from dlt.sources.sql_database import TableLoader

from floe_ingestion.errors import SourceRejected, SourceUnavailable
from floe_ingestion.sources.ahead import read_ahead
from floe_ingestion.sources.postgres import Guard, ReadFailed, is_read_by_duckdb, read_by_duckdb
from floe_ingestion.sources.sql_types import base_of, caster, declared, quoted, written_out

if TYPE_CHECKING:
    from sqlalchemy.sql import Select

_PAGES = """
    select pages, relkind from pg_class, lateral (
        select max(pg_relation_size(part)) / current_setting('block_size')::int as pages
        from (select relid from pg_partition_tree(pg_class.oid) union all select pg_class.oid) as parts (part)
    ) as size where oid = cast(:table as regclass)
"""
_ROW_BYTES = """
    select pg_table_size(oid) / reltuples from pg_class where oid = cast(:table as regclass) and reltuples > 0
"""
_LONG_ROW, _LONG_ROWS = 32 * 1024, 16 * 1024 * 1024
"""Bytes of a row, from which on DuckDB's two thousand at once are too many, and of the rows that are read instead."""


class DeclaredLoader(TableLoader):
    """A loader of dlt's; `backend_kwargs` are `choice` (a `Backend`) and `parallel`, a number of ranges."""

    def load_rows(self, backend_kwargs: dict[str, Any] | None = None) -> Iterator[pa.Table]:
        """Tables of `chunk_size` rows or fewer; of a table without rows one that has its columns."""
        given = backend_kwargs or {}
        choice, parallel = given.get("choice", "auto"), int(given.get("parallel", 1))
        by_duckdb = is_read_by_duckdb(choice, self.engine.url)
        if by_duckdb and choice == "auto" and parallel == 1:
            by_duckdb = not self._takes_few_at_once()
        dialect = self.engine.dialect.name
        types = declared(self.table, dialect)
        instead = written_out(self.table, dialect, by_duckdb)
        # What dlt makes of values of SQLAlchemy's. Of texts it is told no type: it would make it in its own way.
        untold = instead if dialect != "sqlite" else {}
        told = {name: type_ for name, type_ in types.items() if name not in untold}
        hints = py_arrow_to_table_schema_columns(pa.schema(list(told.items())))
        self.columns = {**self.columns, **hints, **{name: {"name": name} for name in untold}}
        guard = Guard(self.table, instead) if by_duckdb else None
        query = self._selecting(instead, guard.selected() if guard else [])
        as_declared = caster(types, str(self.table.name))
        came = False
        for rows in self._read(query, by_duckdb, parallel):
            came = True
            yield as_declared(guard.restored(rows) if guard else rows)
        if not came:
            yield self._empty(types)

    def _selecting(
        self, instead: dict[str, sa.ColumnElement[Any]], beside: list[sa.ColumnElement[bool]]
    ) -> Select[Any]:
        """The query, with other expressions in the place of some columns, and some beside them."""
        query = self.make_query()
        chosen = [
            instead[column.name].label(column.name) if column.name in instead else column
            for column in self.table.columns
        ]
        return query.with_only_columns(*chosen, *beside) if instead or beside else query  # type: ignore[union-attr, return-value]

    def _read(self, query: Select[Any], by_duckdb: bool, parallel: int) -> Iterator[pa.Table]:
        if parallel > 1:
            return self._read_in_ranges(query, by_duckdb, parallel)
        return self._read_by_duckdb([query]) if by_duckdb else self._read_by_sqlalchemy(query)

    def _read_by_sqlalchemy(self, query: Select[Any]) -> Iterator[pa.Table]:
        try:
            yield from self._load_rows(query, {})
        except PyToArrowConversionException as error:
            no_day = ", or is MySQL's 0000-00-00" if self.engine.dialect.name in ("mysql", "mariadb") else ""
            raise SourceRejected(
                f"Table {self.table.name!r}, column {error.field_name!r}: a value is not of its declared type"
                f"{no_day}: {error.__cause__}. Correct it, leave it out with `where`, or load the column as text "
                f"from a view."
            ) from error
        except Exception as error:
            if type(error).__name__ != "DataError" or getattr(error, "sqlstate", None):
                raise
            raise self._time_of_none(error) from error

    def _time_of_none(self, error: Exception) -> SourceRejected:
        """psycopg cannot read infinity, years before 1 and 24:00, and does not say of which column they are."""
        times = (sa.Date, sa.DateTime, sa.Time)
        names = ", ".join(repr(column.name) for column in self.table.columns if isinstance(base_of(column.type), times))
        return SourceRejected(
            f"Table {self.table.name!r}, one of the columns {names}: {error}. `backend: auto` (with the extra "
            f"`postgres`) says which. Correct it, leave it out with `where`, or load the column as text from a view."
        )

    def _read_by_duckdb(self, queries: list[Select[Any]], snapshot: str | None = None) -> Iterator[pa.Table]:
        texts = map(self._as_text, queries)
        try:
            for rows in read_ahead(*(read_by_duckdb(self.engine.url, text, snapshot) for text in texts)):
                for begin in range(0, rows.num_rows, self.chunk_size):
                    yield rows.slice(begin, self.chunk_size)
        except ReadFailed as error:
            if not error.of_the_moment:
                self._ask_for_a_row(queries[0])
            raise (SourceUnavailable if error.may_pass else SourceRejected)(
                f"Table {self.table.name!r}: {error}"
            ) from None

    def _ask_for_a_row(self, query: Select[Any]) -> None:
        """Raise what SQLAlchemy's driver says of it: that has a SQLSTATE, by which retries are decided."""
        with self.engine.connect() as connection:
            connection.execute(query.limit(1)).all()

    def _read_in_ranges(self, query: Select[Any], by_duckdb: bool, parallel: int) -> Iterator[pa.Table]:
        """Ranges of the table's pages on connections of their own, all of which see the database of one moment."""
        ordered: Any = self.row_order
        if not by_duckdb or self.engine.dialect.name != "postgresql" or ordered:
            raise SourceRejected(
                f"Table {self.table.name!r}: `parallel` is for PostgreSQL read by DuckDB (the extra `postgres`), and "
                f"not for rows in an order. Remove it, or write `backend: auto` and no `row_order`."
            )
        with self._snapshot() as (connection, snapshot):
            ranges = _ranges(self._pages(connection), parallel)
            yield from self._read_by_duckdb([query.where(sa.text(condition)) for condition in ranges], snapshot)

    def _takes_few_at_once(self) -> bool:
        """Whether rows are so long that few of them are to be read at once, as SQLAlchemy's driver can and will."""
        with self.engine.connect() as connection, suppress(sa.exc.DBAPIError):  # not every server that speaks so knows
            size = connection.execute(sa.text(_ROW_BYTES), {"table": quoted(self.table)}).scalar() or 0
            if size > _LONG_ROW:
                self.chunk_size = max(1, min(self.chunk_size, int(_LONG_ROWS / size)))
                return True
        return False

    def _pages(self, connection: sa.Connection) -> int:
        """Of the table, or of the largest of its partitions; nobody rewrites them while the transaction lasts."""
        connection.execute(sa.select(sa.literal(1)).select_from(self.table).limit(0))  # takes the lock of a reader
        pages, kind = connection.execute(sa.text(_PAGES), {"table": quoted(self.table)}).one()
        if kind not in ("r", "p", "m"):
            raise SourceRejected(
                f"Table {self.table.name!r} is a view or a foreign table, and has no pages to split. Remove `parallel`."
            )
        return int(pages)

    @contextmanager
    def _snapshot(self) -> Iterator[tuple[sa.Connection, str]]:
        with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield connection, str(connection.execute(sa.select(sa.func.pg_export_snapshot())).scalar_one())

    def _as_text(self, query: Select[Any]) -> str:
        # The driver's own dialect would write %% for each %, which only the driver takes back.
        kind: Any = type(self.engine.dialect)
        dialect = kind(paramstyle="named")
        return str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))

    def _empty(self, types: dict[str, pa.DataType]) -> pa.Table:
        capabilities = DestinationCapabilitiesContext.generic_capabilities()
        found = {}
        for column in self.table.columns:
            hint = self.columns.get(column.name, {})
            reflected = get_py_arrow_datatype(hint, capabilities, "UTC") if hint.get("data_type") else pa.null()
            found[column.name] = types.get(column.name, reflected)
        return pa.schema(list(found.items())).empty_table()


def _ranges(pages: int, count: int) -> list[str]:
    """Conditions that share out the rows by the page that they are on, each row to one of them."""
    bounds = [pages * number // count for number in range(1, count)]
    starts = [f"ctid >= '({page},0)'" for page in bounds]
    ends = [f"ctid < '({page},0)'" for page in bounds]
    return [" and ".join(filter(None, pair)) for pair in zip(["", *starts], [*ends, ""], strict=True)]
