"""A whole lakehouse on this machine: PostgreSQL into Iceberg on S3, read by DuckDB. Run by `make lakehouse`."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console
    from servers import SeaweedFS

HERE = Path(__file__).resolve().parent
SPEC = HERE / "floe.yaml"

sys.path.insert(0, str(HERE))

SHOP = """
create table customers (id integer primary key, name text not null, country text not null);
create table orders (
    id integer primary key, customer_id integer not null references customers, amount numeric(10, 2) not null,
    updated_at timestamptz not null);
insert into customers values (1, 'Ann', 'Norway'), (2, 'Bob', 'Portugal'), (3, 'Eve', 'Norway'), (4, 'Zoë', 'Japan');
insert into orders
    select n, 1 + mod(n, 4), n * 1.25, timestamptz '2026-01-01 00:00Z' + n * interval '1 minute'
    from generate_series(1, 1000) as n;
"""
NEXT_DAY = """
update orders set amount = 0, updated_at = '2026-01-02 00:00Z' where id = 400;
insert into orders values (1001, 4, 99.99, '2026-01-02 00:01Z');
"""
REVENUE = """
select country, count(*) as orders, sum(amount) as revenue
from lake.bronze.orders join lake.bronze.customers on customers.id = customer_id
group by country order by country
"""


def main() -> int:
    """Start the servers, ingest, query, ingest what has changed, query again; the exit code."""
    # Not in this folder: PostgreSQL does not run as root, and may not be let in here.
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="floe-lakehouse-")))
        from rich.console import Console
        from servers import postgres, seaweedfs

        console = Console(soft_wrap=True)
        with console.status("Starting PostgreSQL and SeaweedFS …"):
            shop = stack.enter_context(postgres(folder / "postgres"))
            lake = stack.enter_context(seaweedfs(folder / "seaweedfs"))
        configure(shop, lake, folder)
        console.print(f"Iceberg REST catalog: {lake.rest}   S3: {lake.s3}   PostgreSQL: in {folder}")
        connection = stack.enter_context(attached(lake, folder / "extensions"))
        for day, changes in (("the first day", SHOP), ("the next day", NEXT_DAY)):
            execute(shop, changes)
            if not ingest(console, day):
                return 1
            show(console, connection, day)
    return 0


def configure(shop: str, lake: SeaweedFS, folder: Path) -> None:
    """The variables of floe.yaml, as a deployment would set them."""
    from servers import KEY, SECRET

    os.environ.update(
        SHOP_DATABASE=shop,
        CATALOG_URI=lake.rest,
        CATALOG_CREDENTIAL=f"{KEY}:{SECRET}",
        S3_ENDPOINT=lake.s3,
        S3_KEY=KEY,
        S3_SECRET=SECRET,
        FLOE_HOME=str(folder / "floe"),
        DAGSTER_DISABLE_TELEMETRY="1",
        RUNTIME__DLTHUB_TELEMETRY="false",
    )
    os.environ.pop("DAGSTER_HOME", None)  # an instance that is forgotten with the lakehouse


def execute(shop: str, statements: str) -> None:
    """Run SQL in the source."""
    import sqlalchemy as sa

    engine = sa.create_engine(shop)
    with engine.begin() as connection:
        connection.exec_driver_sql(statements)
    engine.dispose()


def ingest(console: Console, day: str) -> bool:
    """Materialise both tables; whether they landed."""
    from floe_ingestion.running import run_sources

    with console.status(f"Ingesting {day} …"):
        (result,) = run_sources(str(SPEC), quiet=True)
    console.print("\n".join([f"\n[bold]{day.capitalize()}[/bold]", *(f"  {line}" for line in result.lines())]))
    return result.success


def attached(lake: SeaweedFS, extensions: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB with the catalog attached as `lake`; its extensions come as wheels and are unpacked into a folder."""
    import duckdb
    from duckdb_extensions import import_extension
    from servers import KEY, REGION, SECRET, WAREHOUSE

    connection = duckdb.connect(config={"extension_directory": str(extensions)})
    for name in ("avro", "httpfs", "iceberg"):
        import_extension(name, con=connection)
        connection.load_extension(name)
    connection.execute(
        f"create secret files (type s3, key_id '{KEY}', secret '{SECRET}', region '{REGION}', "
        f"endpoint '{lake.s3.removeprefix('http://')}', use_ssl false, url_style 'path')"
    )
    connection.execute(
        f"create secret catalog (type iceberg, client_id '{KEY}', client_secret '{SECRET}', "
        f"oauth2_server_uri '{lake.rest}/v1/oauth/tokens')"
    )
    connection.execute(
        f"attach '{WAREHOUSE}' as lake (type iceberg, endpoint '{lake.rest}', secret catalog, "
        f"access_delegation_mode 'none')"
    )
    return connection


def show(console: Console, connection: duckdb.DuckDBPyConnection, day: str) -> None:
    """The revenue of each country, as DuckDB finds it in the lakehouse."""
    from rich.table import Table

    shown = Table("country", "orders", "revenue", title=f"What DuckDB reads after {day}")
    for country, orders, revenue in connection.execute(REVENUE).fetchall():
        shown.add_row(country, f"{orders:,}", f"{revenue:,}")
    console.print(shown)


if __name__ == "__main__":
    sys.exit(main())
