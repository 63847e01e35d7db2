"""Tables of any database that SQLAlchemy speaks to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from floe_ingestion.classify import source_errors
from floe_ingestion.errors import SourceRejected
from floe_ingestion.formats import did_you_mean, number_of
from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector, declared_key, incremental_of, named
from floe_ingestion.sources.database_urls import below, naming_server, require_usable, valid_url
from floe_ingestion.spec import Names
from floe_ingestion.staging import FOREIGN_KEYS

if TYPE_CHECKING:
    import sqlalchemy as sa
    from dlt.extract.resource import DltResource

Backend = Literal["auto", "pyarrow", "duckdb"]


_SHOWN = 20
"""Tables that a message names at most."""


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

        from floe_ingestion.sources.sql_queries import condition, cursor_column

        if extraction.cursor is None:
            return None
        where = self._table(extraction).where
        with self._connected() as connection:
            table = self._reflected(extraction.table.resource, connection)
            query = sa.select(sa.func.max(cursor_column(table, extraction.cursor.cursor_path)))
            return connection.execute(query.where(condition(where)) if where else query).scalar()

    def timeless_text(self, extraction: Extraction) -> str | None:
        """A text of the window's column, where that is text and no row has one that begins like a day."""
        import sqlalchemy as sa

        assert extraction.window is not None
        with self._connected() as connection:
            column = self._reflected(extraction.table.resource, connection).c[extraction.window.column]
            if not isinstance(column.type, sa.String):
                return None
            some = sa.select(column).where(column.is_not(None)).limit(1)
            days = connection.execute(some.where(column.like("____-__-__%"))).scalar()
            return connection.execute(some).scalar() if days is None else None

    def _reflected(self, name: str, connection: sa.Connection) -> sa.Table:
        import sqlalchemy as sa
        from dlt.sources.sql_database.helpers import default_engine_adapter_callback

        metadata = sa.MetaData(schema=self.database_schema)
        default_engine_adapter_callback(connection.engine, metadata)  # for numbers of Oracle's
        return sa.Table(name, metadata, autoload_with=connection, resolve_fks=False)

    def _engine(self) -> sa.Engine:
        from dlt.sources.sql_database import engine_from_credentials

        require_usable(self.connection_string)
        return engine_from_credentials(self.connection_string, may_dispose_after_use=True)

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        engine = self._engine()
        try:
            with naming_server(self.connection_string), engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def _table(self, extraction: Extraction) -> TableResource:
        return next(table for table in self.tables if table.name == extraction.table.resource)

    def _resource(self, extraction: Extraction) -> DltResource:
        from dlt.sources.sql_database import sql_table

        from floe_ingestion.sources.postgres import get_ready
        from floe_ingestion.sources.sql_loader import DeclaredLoader
        from floe_ingestion.sources.sql_queries import cursor_column, fitted, narrowing, require_columns, require_order
        from floe_ingestion.sources.sql_types import complete, foreign_keys, hints

        table, engine = self._table(extraction), self._engine()
        get_ready(self.backend, engine.url)
        with naming_server(self.connection_string), engine.connect() as connection:
            reflected, dialect = self._reflected(table.name, connection), connection.dialect.name
            complete(reflected, connection)
        require_columns(reflected, table.included_columns)
        resource = sql_table(
            credentials=engine,
            table=table.name,
            schema=self.database_schema,
            metadata=reflected.metadata,  # dlt asks the database for no table that is there
            incremental=incremental_of(fitted(extraction, reflected)),
            chunk_size=self.chunk_size,
            backend="pyarrow",
            backend_kwargs={"choice": self.backend, "parallel": table.parallel},
            table_loader_class=DeclaredLoader,
            reflection_level="full_with_precision",
            included_columns=list(table.included_columns) or None,
            query_adapter_callback=narrowing(table.where, extraction.window),
        ).with_name(table.name)
        # Of what was reflected, dlt has taken out by now what is not included.
        if extraction.cursor is not None:
            require_order(cursor_column(reflected, extraction.cursor.cursor_path), dialect)
        resource.apply_hints(
            columns=hints(reflected, dialect) or None,  # no columns at all would take away those that were reflected
            additional_table_hints={FOREIGN_KEYS: foreign_keys(reflected)},  # dlt's `references` know one to each table
        )
        return resource
