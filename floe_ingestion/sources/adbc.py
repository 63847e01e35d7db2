"""Reads PostgreSQL through ADBC: rows travel as binary COPY and become Arrow in C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Literal

import pyarrow as pa
import sqlalchemy as sa

from floe_ingestion.errors import SourceRejected
from floe_ingestion.iceberg.settings import needs

Backend = Literal["auto", "pyarrow", "adbc"]

_BATCH_BYTES = 4 * 1024 * 1024
"""Of the rows as they travel. Batches by bytes keep memory the same for narrow and for wide tables."""
_LIBPQ_DRIVERS = frozenset({"psycopg", "psycopg2"})
"""Drivers whose options are those of libpq, as ADBC's are."""


def is_read_by_adbc(choice: Backend, url: sa.URL) -> bool:
    """Whether ADBC is to read; for `auto` wherever it is installed and understands the whole URL."""
    understood = url.get_backend_name() == "postgresql" and url.get_driver_name() in _LIBPQ_DRIVERS
    if choice == "adbc":
        if not understood:
            raise SourceRejected(
                f"`backend: adbc` reads PostgreSQL, by a URL that begins with postgresql:// or postgresql+psycopg://, "
                f"and this one begins with {url.drivername}://. Remove `backend`."
            )
        needs("adbc_driver_postgresql", "postgres", "`backend: adbc`")
    return choice != "pyarrow" and understood and find_spec("adbc_driver_postgresql") is not None


def read_by_adbc(url: sa.URL, query: str, first: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
    """What `query` selects, on a connection of its own that has executed `first` before."""
    # By its lower interface: the one of DB-API imports Polars wherever it is installed, and its reader loses the
    # SQLSTATE of an error in the middle (issue 1523 of apache/arrow-adbc).
    from adbc_driver_manager import AdbcConnection, AdbcStatement
    from adbc_driver_manager._reader import AdbcRecordBatchReader
    from adbc_driver_postgresql import StatementOptions, connect

    with connect(_conninfo(url)) as database, AdbcConnection(database) as connection:
        for text in first:
            with AdbcStatement(connection) as statement:
                statement.set_sql_query(text)
                statement.execute_update()
        with AdbcStatement(connection) as statement:
            statement.set_options(**{StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(_BATCH_BYTES)})
            statement.set_sql_query(query)
            stream, _ = statement.execute_query()
            with AdbcRecordBatchReader._import_from_c(stream.address) as batches:
                yield from batches


def _conninfo(url: sa.URL) -> str:
    """`url` in libpq's words; the same options that SQLAlchemy would give to the driver."""
    _, options = url.get_dialect()().create_connect_args(url)
    quoted = {name: str(value).replace("\\", "\\\\").replace("'", "\\'") for name, value in options.items()}
    return " ".join(f"{name}='{value}'" for name, value in quoted.items())
