"""Engines in their own environment, asked from this one; and what all readers are asked for."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from floe_ingestion_tests.lake import Row

PYTHON = "FLOE_READERS_PYTHON"
"""The variable that names the Python of the readers' environment; `make test-readers` sets it."""

QUICK_JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
"""For a Java that does not live long: its CPU time halves."""

_SCRIPT = Path(__file__).with_name("engines.py")


class EngineFailed(Exception):
    """An engine raised; tells what."""


@dataclass(frozen=True)
class Filter:
    """Rows whose `column` is so to `value`."""

    column: str
    operator: str
    value: Any

    def sql(self, dialect: str) -> str:
        quote = "`" if dialect == "spark" else '"'
        return f"{quote}{self.column}{quote} {self.operator} {_literal(self.value, dialect)}"

    def holds(self, row: Row) -> bool:
        met = row[self.column]
        if met is None:
            return False
        return {"=": met == self.value, "<": met < self.value, ">=": met >= self.value}[self.operator]


def _literal(value: Any, dialect: str) -> str:
    clickhouse = dialect == "chdb"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime):
        return f"toDateTime64('{value:%F %T.%f}', 6, 'UTC')" if clickhouse else f"timestamp '{value}'"
    if isinstance(value, date):
        return f"toDate32('{value}')" if clickhouse else f"date '{value}'"
    if isinstance(value, Decimal):
        return f"toDecimal64('{value}', 2)" if clickhouse else f"cast('{value}' as decimal(10, 2))"
    return str(value)


class Engine:
    """One of `engines.py`, in a process of its own."""

    def __init__(self, connection: Connection, log: Path) -> None:
        self._connection, self._log = connection, log

    def read(self, metadata: str, *where: Any) -> list[Row]:
        return self._ask("read", metadata, *where)

    def attach(self, catalog: str, **settings: str) -> None:
        """Let Spark know an Iceberg catalog; `_` in a setting stands for `-`."""
        self._ask("configure", f"spark.sql.catalog.{catalog}", "org.apache.iceberg.spark.SparkCatalog")
        for key, value in settings.items():
            self._ask("configure", f"spark.sql.catalog.{catalog}.{key.replace('_', '-')}", value)

    def serve_metastore(self, folder: Path, port: int) -> None:
        """Let Spark be a Hive metastore as well."""
        self._ask("serve_metastore", str(folder), port)

    def sql(self, *statements: str) -> list[Row]:
        """The rows of the last statement."""
        rows: list[Row] = []
        for statement in statements:
            rows = self._ask("sql", statement)
        return rows

    def _ask(self, method: str, *arguments: Any) -> list[Row]:
        try:
            self._connection.send((method, arguments))
            done, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise EngineFailed(f"it ended:\n{self._log.read_text()[-4000:]}") from error
        if not done:
            raise EngineFailed(answer)
        rows: list[Row] = answer
        return rows


@contextmanager
def engine(kind: str, folder: Path) -> Iterator[Engine]:
    """An engine that runs, gone afterwards; `folder` takes what it prints and keeps."""
    key = secrets.token_bytes(16)
    environment = {**os.environ, **QUICK_JAVA, "FLOE_READERS_KEY": key.hex(), "TZ": "UTC", "HOME": str(folder)}
    log = folder / "printed"
    with Listener(("127.0.0.1", 0), authkey=key) as listener, log.open("wb") as printed:
        port = str(listener.address[1])
        process = subprocess.Popen(
            [os.environ[PYTHON], str(_SCRIPT), kind, port],
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        try:
            with _accepted(listener, process, log) as connection:
                yield Engine(connection, log)
            process.wait(30)  # nobody asks any more: it ends by itself, and its children with it
        finally:
            process.kill()
            process.wait()


def _accepted(listener: Listener, process: subprocess.Popen[bytes], log: Path) -> Connection:
    # It connects before it starts its engine, or ends with an error; `accept` would wait for ever.
    listener._listener._socket.settimeout(1)  # type: ignore[attr-defined]
    while True:
        try:
            return listener.accept()
        except TimeoutError:
            if process.poll() is not None:
                raise EngineFailed(f"it did not start:\n{log.read_text()[-4000:]}") from None
