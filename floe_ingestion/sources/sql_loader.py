"""Reads one table, by ConnectorX or by SQLAlchemy; what comes is what the database declares, whoever read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import sqlalchemy as sa
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.libs.pyarrow import get_py_arrow_datatype, py_arrow_to_table_schema_columns
from dlt.sources.sql_database import TableLoader

from floe_ingestion.errors import SourceRejected
from floe_ingestion.sources.ahead import read_ahead
from floe_ingestion.sources.sql_types import caster, declared, without_rounding, written_out

if TYPE_CHECKING:
    from sqlalchemy.sql import Select

Backend = Literal["auto", "pyarrow", "connectorx"]

_SHARED_OPTIONS = frozenset({"application_name", "connect_timeout", "sslmode"})
"""What may stand in the query of a URL that psycopg and ConnectorX understand alike."""


def is_read_by_connectorx(choice: Backend, url: sa.URL) -> bool:
    """Whether ConnectorX is to read; for `auto`, where it is installed and known to carry every type right."""
    if choice != "auto":
        return choice == "connectorx"
    # It knows nothing of Unix sockets, which have no host or name a folder in the query.
    reachable = bool(url.host) and set(url.query) <= _SHARED_OPTIONS
    return url.get_backend_name() == "postgresql" and reachable and find_spec("connectorx") is not None


_COLUMN = re.compile(r"FromSql\((\d+)\), cause: Some\((.*?)\) ?\}")
"""In what ConnectorX says, the number of the column that a value is in, and what is wrong with it."""


class DeclaredLoader(TableLoader):
    """A loader of dlt's; `backend_kwargs` are `choice` (a `Backend`) and `parallel`, a number of ranges."""

    def load_rows(self, backend_kwargs: dict[str, Any] | None = None) -> Iterator[pa.Table]:
        """Tables of `chunk_size` rows; of a table without rows one that has its columns."""
        given = backend_kwargs or {}
        by_connectorx = is_read_by_connectorx(given.get("choice", "auto"), self.engine.url)
        dialect = self.engine.dialect.name
        without_rounding(self.table)
        types = declared(self.table, dialect)
        instead = written_out(self.table, dialect, by_connectorx)
        # What dlt makes of values of SQLAlchemy's. Of texts it is told no type: it would make it in its own way.
        told = {name: type_ for name, type_ in types.items() if name not in instead}
        hints = py_arrow_to_table_schema_columns(pa.schema(list(told.items())))
        self.columns = {**self.columns, **hints, **{name: {"name": name} for name in instead}}
        query = self._selecting(instead)
        as_declared = caster(types, str(self.table.name))
        came = False
        for rows in self._read(query, by_connectorx, int(given.get("parallel", 1))):
            came = True
            yield as_declared(rows)
        if not came:
            yield self._empty(types)

    def _selecting(self, instead: dict[str, sa.ColumnElement[Any]]) -> Select[Any]:
        """The query, with other expressions in the place of some columns."""
        query = self.make_query()
        chosen = [
            instead[column.name].label(column.name) if column.name in instead else column
            for column in self.table.columns
        ]
        return query.with_only_columns(*chosen) if instead else query  # type: ignore[union-attr, return-value]

    def _read(self, query: Select[Any], by_connectorx: bool, parallel: int) -> Iterator[pa.Table]:
        if parallel > 1:
            yield from self._read_in_ranges(query, by_connectorx, parallel)
        elif by_connectorx:
            yield from self._read_by_connectorx([self._as_text(query)])
        else:
            yield from self._load_rows(query, {})

    def _read_by_connectorx(self, queries: list[str], first: list[str] | None = None) -> Iterator[pa.Table]:
        import connectorx

        reader = connectorx.read_sql(
            self.get_connection_url(),
            queries,
            return_type="arrow_stream",
            batch_size=self.chunk_size,
            pre_execution_query=first,
        )
        try:
            for batch in read_ahead(reader):
                yield pa.Table.from_batches([batch])
        except BaseException as error:  # ConnectorX breaks down with what is no Exception
            if (match := _COLUMN.search(str(error))) is None:
                raise
            name = list(self.table.columns)[int(match[1])].name
            raise SourceRejected(
                f"Table {self.table.name!r}, column {name!r}: ConnectorX cannot read a value ({match[2]}). Correct it, "
                f"leave it out with `where`, or write `backend: pyarrow`."
            ) from error

    def _read_in_ranges(self, query: Select[Any], by_connectorx: bool, parallel: int) -> Iterator[pa.Table]:
        """Ranges of the primary key on connections of their own, all of which see the database of one moment."""
        ordered: Any = self.row_order
        if not by_connectorx or self.engine.dialect.name != "postgresql" or ordered:
            raise SourceRejected(
                f"Table {self.table.name!r}: `parallel` is for PostgreSQL read by ConnectorX (the extra `sql`), and "
                f"not for rows in an order. Remove it, or write `backend: connectorx` and no `row_order`."
            )
        key = self._key_to_split()
        with self._snapshot() as (connection, snapshot):
            least, greatest = connection.execute(sa.select(sa.func.min(key), sa.func.max(key))).one()
            queries = [self._as_text(query.where(part)) for part in _ranges(key, least, greatest, parallel)]
            begin = ["begin isolation level repeatable read", f"set transaction snapshot '{snapshot}'"]
            yield from self._read_by_connectorx(queries, begin)

    def _key_to_split(self) -> sa.Column[Any]:
        keys = [column for column in self.table.primary_key if isinstance(column.type, sa.Integer)]
        if len(self.table.primary_key) != 1 or not keys:
            raise SourceRejected(
                f"Table {self.table.name!r} has no primary key of one integer column to split it by. Remove `parallel`."
            )
        return keys[0]

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


def _ranges(key: sa.Column[Any], least: Any, greatest: Any, count: int) -> list[Any]:
    """Conditions that share out the rows by `key`, each row to one of them."""
    if least is None or greatest == least:
        return [sa.true()]
    width = -(-(greatest - least + 1) // count)
    begins = range(least, greatest + 1, width)
    return [sa.and_(key >= begin, key < begin + width) for begin in begins]
