"""Tables of any database that SQLAlchemy speaks to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from floe_ingestion.classify import source_errors
from floe_ingestion.errors import SourceRejected
from floe_ingestion.formats import did_you_mean, number_of
from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector, declared_key, incremental_of, named
from floe_ingestion.sources.database_urls import below, naming_server, require_usable, valid_url
from floe_ingestion.spec import Names, TableSpec
from floe_ingestion.staging import FOREIGN_KEYS

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dlt.extract.resource import DltResource

Backend = Literal["auto", "pyarrow", "duckdb"]


_SHOWN = 20


def _listed(value: Any) -> Any:
    """A table by its name or as a mapping; not all of them by a sign for any."""
    table = named(value)
    name = table.get("name") if isinstance(table, Mapping) else None
    if isinstance(name, str) and name.strip() in ("*", "%"):
        raise ValueError(
            f"{name!r} is no table: each one is an asset, and nothing connects to find them. Name them, e.g. "
            f"`tables: [customers, products]`"
        )
    return table


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
    tables: tuple[Annotated[TableResource, BeforeValidator(_listed)], ...] = Field(min_length=1)
    """Named, because definitions never connect."""
    backend: Backend = "auto"
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
        return declared_key(resource)

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

        from floe_ingestion.sources.sql_queries import condition

        if extraction.table.incremental is None:
            return None
        where = self._table(extraction).where
        with self._connected() as connection:
            query = sa.select(sa.func.max(self._cursor_column(extraction.table, connection)))
            return connection.execute(query.where(condition(where)) if where else query).scalar()

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
        from floe_ingestion.sources.sql_queries import as_held

        cursor = extraction.cursor
        bounds = {"initial_value": cursor.initial_value, "end_value": cursor.end_value} if cursor else {}
        if cursor is None or not any(isinstance(value, (str, date)) for value in bounds.values()):
            return extraction
        with self._connected() as connection:
            column = self._cursor_column(extraction.table, connection)
        fitted = cursor.model_copy(update={name: as_held(column, value) for name, value in bounds.items()})
        return replace(extraction, table=extraction.table.model_copy(update={"incremental": fitted}))

    def _cursor_column(self, spec: TableSpec, connection: sa.Connection) -> sa.Column[Any]:
        from floe_ingestion.sources.sql_queries import cursor_column

        assert spec.incremental is not None
        return cursor_column(self._reflected(spec, connection), spec.incremental.cursor_path)

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
        from sqlalchemy import make_url

        from floe_ingestion.sources.sql_loader import DeclaredLoader
        from floe_ingestion.sources.sql_queries import cursor_column, narrowing, require_columns, require_order
        from floe_ingestion.sources.sql_types import complete, foreign_keys, hints

        table = self._table(extraction)
        reflected: list[sa.Table] = []

        def adapt(found: sa.Table) -> None:
            complete(found, self.connection_string, self._connected)
            require_columns(found, table.included_columns)
            if extraction.cursor is not None:
                require_order(cursor_column(found, extraction.cursor.cursor_path), self.connection_string)
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
            query_adapter_callback=narrowing(table.where, extraction.window),
        ).with_name(table.name)
        dialect = make_url(self.connection_string).get_backend_name()
        resource.apply_hints(
            # No columns at all would take away those that were reflected.
            columns={name: hint for each in reflected for name, hint in hints(each, dialect).items()} or None,
            # dlt's own `references` know one key to each table.
            additional_table_hints={FOREIGN_KEYS: [key for each in reflected for key in foreign_keys(each)]},
        )
        return resource
