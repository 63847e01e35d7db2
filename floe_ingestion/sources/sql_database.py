"""Tables of any database that SQLAlchemy speaks to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from floe_ingestion.classify import source_errors
from floe_ingestion.errors import SourceRejected
from floe_ingestion.formats import did_you_mean, instant, number_of
from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector, incremental_of
from floe_ingestion.sources.databases import below, listed, naming_server, require_usable, valid_url
from floe_ingestion.sources.instants import as_moment, as_text
from floe_ingestion.sources.sqlite_times import between, query_by_cursor
from floe_ingestion.spec import Names, TableSpec
from floe_ingestion.staging import FOREIGN_KEYS, ColumnKind, Window

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dlt.extract.resource import DltResource


_SHOWN = 20


class TableResource(ResourceSpec):
    """One table or view."""

    included_columns: Names = ()
    """Only these columns; empty for all."""
    where: str | None = None
    """A condition in the database's own SQL, such as `deleted_at is null`."""
    parallel: int = Field(default=1, ge=1, le=64)
    """Into how many ranges of its pages the table is split, each read on a connection of its own."""


class SqlDatabaseConnector(SourceConnector):
    """`type: sql_database`."""

    kind: ClassVar[str] = "sql_database"
    kinds: ClassVar[tuple[str, ...]] = ("sql",)
    extra: ClassVar[str | None] = "postgres"

    connection_string: Annotated[str, AfterValidator(valid_url)] = Field(min_length=1, repr=False)
    """A SQLAlchemy URL, usually `${VARIABLE}`."""
    database_schema: str | None = Field(default=None, alias="schema")
    """The database schema that the tables are in; the connection's default where absent."""
    tables: tuple[Annotated[TableResource, BeforeValidator(listed)], ...] = Field(min_length=1)
    """Named, because definitions never connect."""
    backend: Literal["auto", "pyarrow", "duckdb"] = "auto"
    """`auto` reads PostgreSQL by DuckDB, several times as fast, where the extra `postgres` is installed."""
    chunk_size: int = Field(default=50_000, ge=1)
    """Rows a batch, at most."""

    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        return self.tables

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        from sqlalchemy.exc import NoSuchTableError

        require_usable(self.connection_string)
        with naming_server(self.connection_string):
            try:
                return {extraction.table.resource: self._resource(extraction) for extraction in extractions}
            except NoSuchTableError:
                self.check_connection()  # which names those that there are
                raise

    def relative_to(self, folder: Path) -> SqlDatabaseConnector:
        """A SQLite file with a relative path lies below `folder`."""
        return self.model_copy(update={"connection_string": below(self.connection_string, folder)})

    def key_of(self, resource: DltResource) -> tuple[str, ...]:
        columns = resource.compute_table_schema().get("columns", {})
        return tuple(name for name, column in columns.items() if column.get("primary_key"))

    def check_connection(self) -> str:
        import sqlalchemy as sa

        with source_errors(self.kind), self._connected() as connection:
            inspector, schema, dialect = sa.inspect(connection), self.database_schema, connection.dialect.name
            known = {*inspector.get_table_names(schema), *inspector.get_view_names(schema)}
            known |= {*inspector.get_materialized_view_names(schema)} if dialect == "postgresql" else set()
        if missing := [table.name for table in self.tables if table.name not in known]:
            some = [*sorted(known)[:_SHOWN], *(["…"] if len(known) > _SHOWN else [])]
            raise SourceRejected(
                f"The database has no table {', '.join(missing)}{f' in {schema!r}' if schema else ''}."
                f"{did_you_mean(missing[0], known)} Correct the name, or the `schema`. There are: "
                f"{', '.join(some) or 'none'}."
            )
        return f"{dialect} answers, with {'all ' * (len(self.tables) > 1)}{number_of(len(self.tables), 'table')}"

    def newest(self, extraction: Extraction) -> Any:
        """`max` of the cursor column, under the resource's own condition."""
        import sqlalchemy as sa

        if extraction.table.incremental is None:
            return None
        where = self._table(extraction).where
        with self._connected() as connection:
            query = sa.select(sa.func.max(self._cursor_column(extraction.table, connection)))
            return connection.execute(query.where(_condition(where)) if where else query).scalar()

    def timeless_text(self, extraction: Extraction) -> str | None:
        """A text of the window's column, where that is text and no row has one that begins like a day."""
        import sqlalchemy as sa

        assert extraction.window is not None
        with self._connected() as connection:
            column = self._reflected(extraction.table, connection).c[extraction.window.column]
            if not isinstance(column.type, sa.String):
                return None
            some = sa.select(column).where(column.is_not(None)).limit(1)
            days = connection.execute(some.where(column.like("____-__-__%"))).scalar()
            return connection.execute(some).scalar() if days is None else None

    def _fitted(self, extraction: Extraction) -> Extraction:
        """With the first and last value of the cursor as its column holds them, however they were written."""
        incremental = extraction.table.incremental
        values = {"initial_value": incremental.initial_value, "end_value": incremental.end_value} if incremental else {}
        if incremental is None or not any(isinstance(value, (str, date)) for value in values.values()):
            return extraction
        with self._connected() as connection:
            column = self._cursor_column(extraction.table, connection)
        fitted = incremental.model_copy(update={name: _as_held(column, value) for name, value in values.items()})
        return replace(extraction, table=extraction.table.model_copy(update={"incremental": fitted}))

    def _cursor_column(self, spec: TableSpec, connection: sa.Connection) -> sa.Column[Any]:
        assert spec.incremental is not None
        return _cursor_of(self._reflected(spec, connection), spec.incremental.cursor_path)

    def _reflected(self, spec: TableSpec, connection: sa.Connection) -> sa.Table:
        import sqlalchemy as sa

        return sa.Table(spec.resource, sa.MetaData(), schema=self.database_schema, autoload_with=connection)

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        import sqlalchemy as sa

        require_usable(self.connection_string)
        engine = sa.create_engine(self.connection_string)
        try:
            with naming_server(self.connection_string), engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def _table(self, extraction: Extraction) -> TableResource:
        return next(table for table in self.tables if table.name == extraction.table.resource)

    def _resource(self, extraction: Extraction) -> DltResource:
        from dlt.sources.sql_database import sql_table
        from sqlalchemy import make_url as url_of

        from floe_ingestion.sources.domains import complete, require_order
        from floe_ingestion.sources.sql_loader import DeclaredLoader
        from floe_ingestion.sources.sql_types import foreign_keys, hints

        table = self._table(extraction)
        reflected: list[sa.Table] = []

        def adapt(found: sa.Table) -> None:
            complete(found, self.connection_string, self._connected)
            _check_columns(found, table)
            if extraction.cursor is not None:
                require_order(_cursor_of(found, extraction.cursor.cursor_path), self.connection_string)
            reflected.append(found)

        resource = sql_table(
            credentials=self.connection_string,
            table=table.name,
            schema=self.database_schema,
            incremental=incremental_of(self._fitted(extraction)),
            chunk_size=self.chunk_size,
            backend="pyarrow",
            backend_kwargs={"choice": self.backend, "parallel": table.parallel},
            table_loader_class=DeclaredLoader,
            reflection_level="full_with_precision",
            included_columns=list(table.included_columns) or None,
            table_adapter_callback=adapt,
            query_adapter_callback=_narrowed(table, extraction.window),
        ).with_name(table.name)
        dialect = url_of(self.connection_string).get_backend_name()
        resource.apply_hints(
            # No columns at all would take away those that were reflected.
            columns={name: hint for each in reflected for name, hint in hints(each, dialect).items()} or None,
            # dlt's own `references` know one key to each table.
            additional_table_hints={FOREIGN_KEYS: [key for each in reflected for key in foreign_keys(each)]},
        )
        return resource


def _check_columns(reflected: sa.Table, table: TableResource) -> None:
    """What floe.yaml names is there; dlt leaves a missing column out in silence."""
    if missing := [name for name in table.included_columns if name not in reflected.c]:
        raise SourceRejected(
            f"Table {reflected.name!r} has no column {', '.join(map(repr, missing))}. "
            f"Correct `included_columns`, which names it. The others are there."
        )


def _cursor_of(table: sa.Table, path: str) -> sa.Column[Any]:
    if path not in table.c:
        raise SourceRejected(
            f"Table {table.name!r} has no column {path!r} to load by. "
            f"Write `incremental: {{cursor_path: …}}` with one of: {', '.join(table.c.keys())}."
        )
    return table.c[path]


def _narrowed(resource: TableResource, window: Window | None) -> Any:
    """What narrows dlt's query: the user's condition, and the window of a partitioned run."""

    def narrow(query: Any, table: sa.Table, incremental: Any, engine: sa.Engine) -> Any:

        if engine.dialect.name == "sqlite" and incremental is not None:
            query = query_by_cursor(query, table, incremental)
        if window is not None:
            query = query.where(_window_condition(table, window, engine.dialect.name))
        if resource.where:
            query = query.where(_condition(resource.where))
        return query

    return narrow


def _condition(where: str) -> Any:
    """The user's condition as it is: with colons that name no parameter, and a comment that ends with its line."""
    import sqlalchemy as sa

    return sa.literal_column(f"({where}\n)", sa.Boolean())


def _window_condition(table: sa.Table, window: Window, dialect: str) -> Any:
    import sqlalchemy as sa

    if window.column not in table.c:
        raise SourceRejected(
            f"Table {table.name!r} has no column {window.column!r} to partition by. "
            f"Write `partitions: {{column: …}}` with one of: {', '.join(table.c.keys())}."
        )
    column = table.c[window.column]
    if window.values:
        return column.in_([int(value) if isinstance(column.type, sa.Integer) else value for value in window.values])
    kind = _kind(column)
    # Of texts and dates whole days are asked for; which rows are of the window, the table's type decides.
    start, end = (window.whole_days() if kind in ("text", "date") else window).bounds(kind)
    if dialect == "sqlite" and isinstance(start, datetime) and isinstance(end, datetime):
        return between(column, start, end)
    return sa.and_(column >= start, column < end)


def _as_held(column: sa.Column[Any], value: Any) -> Any:
    """A date, a time or its text in the terms of `column`; a date is its midnight, and no offset means UTC."""
    import sqlalchemy as sa

    if isinstance(column.type, sa.String):
        return as_text(value)
    moment = as_moment(value)
    if isinstance(column.type, sa.DateTime) and isinstance(moment, date):
        exact = instant(moment, "UTC")
        return exact if column.type.timezone else exact.replace(tzinfo=None)
    if isinstance(column.type, sa.Date) and isinstance(moment, datetime):
        return moment.date()
    return moment


def _kind(column: sa.Column[Any]) -> ColumnKind:
    import sqlalchemy as sa

    type_ = column.type
    if isinstance(type_, sa.DateTime):
        return "timestamptz" if type_.timezone else "timestamp"
    for sql_type, kind in ((sa.Date, "date"), (sa.String, "text"), (sa.Integer, "integer")):
        if isinstance(type_, sql_type):
            return kind  # type: ignore[return-value]
    raise SourceRejected(f"Column {column.name!r} is {type_}; partitions need a date, a time, text or an integer.")
