"""Reads PostgreSQL through DuckDB: rows travel as binary COPY and become Arrow in C++."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from floe_ingestion.errors import SourceRejected
from floe_ingestion.iceberg.settings import needs
from floe_ingestion.sources.sql_types import base_of, is_exact

if TYPE_CHECKING:
    import duckdb

    from floe_ingestion.sources.sql_database import Backend

_EXTENSION = "duckdb_extension_postgres_scanner"
_BATCH_BYTES = 4 * 1024 * 1024
"""Of Arrow. Batches by bytes keep memory the same for narrow and for wide tables."""
_ROWS = 2_048
"""What DuckDB has in hand at once."""
_LIBPQ_DRIVERS = frozenset({"psycopg", "psycopg2"})
"""Drivers whose options are those of libpq, as DuckDB's are."""
_ASK = "select * from postgres_query(?, ?)"
_LOADING = threading.Lock()
_NO_NUMBER = "__floe_no_number"
_PASSING = (
    *("terminating connection", "canceling statement", "closed the connection", "connection to server"),
    *("deadlock detected", "could not serialize", "out of memory", "No space left", "could not receive"),
)
"""Words of PostgreSQL's, where they are English, and of libpq's."""
_SEVERITIES = ("ERROR:", "FATAL:", "PANIC:")


class ReadFailed(Exception):
    """What PostgreSQL or libpq says; DuckDB hands on no SQLSTATE."""

    @property
    def of_the_moment(self) -> bool:
        """Whether it is known to be."""
        return any(words in str(self) for words in _PASSING)

    @property
    def may_pass(self) -> bool:
        """Whether trying again can help, or nobody knows."""
        return self.of_the_moment or not str(self).startswith("ERROR:")


def is_read_by_duckdb(choice: Backend, url: sa.URL) -> bool:
    """Whether DuckDB is to read; for `auto` wherever it is installed and understands the whole URL."""
    understood = url.get_backend_name() == "postgresql" and url.get_driver_name() in _LIBPQ_DRIVERS
    if choice == "duckdb":
        if not understood:
            raise SourceRejected(
                f"`backend: duckdb` reads PostgreSQL, by a URL that begins with postgresql:// or "
                f"postgresql+psycopg://, and this one begins with {url.drivername}://. Remove `backend`."
            )
        needs(_EXTENSION, "postgres", "`backend: duckdb`")
    return choice != "pyarrow" and understood and find_spec(_EXTENSION) is not None


def read_by_duckdb(url: sa.URL, query: str, snapshot: str | None = None) -> Iterator[pa.Table]:
    """What `query` selects, of the moment that an exported `snapshot` holds; raises `ReadFailed`."""
    with _attached(url) as (connection, name):
        connection.execute("begin")
        if snapshot is not None:
            connection.execute("call postgres_execute(?, ?)", [name, f"set transaction snapshot '{snapshot}'"])
        [(process,)] = connection.execute(_ASK, [name, "select pg_backend_pid()"]).fetchall()
        rows = connection.execute(_ASK, [name, query]).to_arrow_reader(_ROWS)
        try:
            yield from _by_bytes(rows)
        except GeneratorExit:
            _cancel(url, process)
            raise


def _cancel(url: sa.URL, process: int) -> None:
    """Let a server stop sending: what it sends has to be taken before a connection can end."""
    with suppress(ReadFailed), _attached(url) as (connection, name):
        connection.execute(_ASK, [name, f"select pg_cancel_backend({process})"]).fetchall()


@contextmanager
def _attached(url: sa.URL) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """A connection to PostgreSQL, and what DuckDB calls it."""
    import duckdb

    login, name = _conninfo(url), f"source_{uuid4().hex}"
    connection = _duckdb().cursor()
    try:
        connection.execute(f"attach {_quoted(login)} as {name} (type postgres, read_only)")
        yield connection, name
    except (duckdb.Error, OSError) as error:
        raise ReadFailed(_said(error, login)) from None  # it shows the login
    finally:
        with suppress(duckdb.Error):
            connection.rollback()  # by itself it would be tried as the connection ends, and end the process if it fails
        connection.close()
        with suppress(duckdb.Error), _duckdb().cursor() as other:
            other.execute(f"detach database if exists {name}")


def get_ready(choice: Backend, url: sa.URL) -> None:
    """Let DuckDB load its extension, if it is to read, while Python imports and asks for what else is needed."""

    def load() -> None:
        with suppress(Exception):  # who reads meets it again
            _duckdb()

    if is_read_by_duckdb(choice, url):
        threading.Thread(target=load, name="floe-duckdb", daemon=True).start()


def _duckdb() -> duckdb.DuckDBPyConnection:
    """One for the process: it takes a fifth of a second to load the extension."""
    with _LOADING:
        return _loaded()


@cache
def _loaded() -> duckdb.DuckDBPyConnection:
    import duckdb

    # Nothing is asked of a network or of $HOME; who takes rows is the only thread.
    settings = {"threads": 1, "autoinstall_known_extensions": False, "secret_directory": "/nowhere"}
    connection = duckdb.connect(config=settings)  # type: ignore[arg-type]
    folder = Path(str(files(_EXTENSION))) / "extensions" / f"v{duckdb.__version__}"
    connection.load_extension(str(folder / "postgres_scanner.duckdb_extension"))
    connection.execute("set global timezone = 'UTC'")
    return connection


def _by_bytes(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """`batches` put together until they have some bytes."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= _BATCH_BYTES:
            yield pa.Table.from_batches(waiting).combine_chunks()
            waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


class Guard:
    """What DuckDB does not tell of the columns that it reads itself, and how it is known all the same.

    It makes 0 of a numeric that is NaN, and takes the blanks away at the end of char(n).
    """

    def __init__(self, table: sa.Table, instead: Mapping[str, Any]) -> None:
        """`instead` are the columns that arrive as something else."""
        read = {column.name: column for column in table.columns if column.name not in instead}
        self._table = table.name
        self._numerics = {name: column for name, column in read.items() if is_exact(base_of(column.type))}
        types = {name: base_of(column.type) for name, column in read.items()}
        self._widths = {name: type_.length for name, type_ in types.items() if isinstance(type_, sa.CHAR)}

    def selected(self) -> list[sa.ColumnElement[bool]]:
        """What is to be selected beside the columns: whether one of the row's numerics is no number."""
        found = [column == sa.literal_column("'NaN'") for column in self._numerics.values()]
        return [sa.or_(*found).label(_NO_NUMBER)] if found else []

    def restored(self, rows: pa.Table) -> pa.Table:
        """`rows` as PostgreSQL has them; raises `SourceRejected` for what is no number."""
        if _NO_NUMBER in rows.schema.names:
            self._require_numbers(rows)
            rows = rows.drop_columns([_NO_NUMBER])
        for name, width in self._widths.items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, pc.utf8_rpad(rows[name], width))
        return rows

    def _require_numbers(self, rows: pa.Table) -> None:
        wrong = rows.filter(rows[_NO_NUMBER]).slice(0, 1)
        names = [repr(name) for name in self._numerics if wrong.num_rows and wrong[name][0].as_py() == 0]
        if names:
            raise SourceRejected(
                f"Table {self._table!r}, column {' or '.join(names)}: a value is NaN, which no decimal can be. Correct "
                f"it, leave it out with `where`, or load the column as text from a view."
            )


def _conninfo(url: sa.URL) -> str:
    """`url` in libpq's words; the same options that SQLAlchemy would give to the driver."""
    _, options = url.get_dialect()().create_connect_args(url)
    quoted = {name: str(value).replace("\\", "\\\\").replace("'", "\\'") for name, value in options.items()}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _said(error: BaseException, login: str) -> str:
    """What PostgreSQL or libpq says, without what DuckDB puts around it: the login, and the query."""
    text = str(error).partition(f"\n\nLINE 1: {_ASK[:20]}")[0].replace(login, "…")
    _, prepared, refusal = text.rpartition('": ERROR:')
    if prepared:
        text = f"ERROR:{refusal}"
    starts = [text.index(severity) for severity in _SEVERITIES if severity in text]
    return " ".join(text[min(starts, default=0) :].split())
