"""Tables that other engines write to as well: each load goes on from what they left, and all read the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest

from examples.lakehouse.demo import attached
from floe_ingestion.iceberg.compact import compact
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion_tests.fake_sources import pipeline_of_rows, table_spec
from floe_ingestion_tests.iceberg.loads import load, private_folder
from floe_ingestion_tests.integration.lakehouses import Plugins, RemoteLake, rest, s3
from floe_ingestion_tests.integration.servers import SeaweedFS, free_ports, postgres_port
from floe_ingestion_tests.lake import Row, in_order
from floe_ingestion_tests.needs import missing
from floe_ingestion_tests.readers.asking import Engine
from floe_ingestion_tests.readers.tables import ON_READ, arrow, sale, sales

EVERYTHING = Packing(target_file_bytes=10_000_000, min_files=2, deleted_share=0.0)
MARKED = ", ".join(f"'write.{what}.mode' = 'merge-on-read'" for what in ("delete", "update", "merge"))


class Sales:
    """The rows that a table should hold, while several change it."""

    def __init__(self, lake: RemoteLake, read: Callable[[str], list[Row]], **settings: object) -> None:
        self.lake, self._read = lake, read
        self.spec = table_spec(lake.orders, **{**ON_READ, **settings})
        self.rows: dict[int, Row] = {}

    def merge(self, *rows: Row, **landing: int) -> None:
        """Load `rows` by their key."""
        load(self.lake, self.spec, arrow(list(rows)), key=("id",), **landing)
        self.expect(*rows)

    def compact(self) -> int:
        """Write everything anew; how many delete files went."""
        done = compact(self.lake.table(self.lake.orders), EVERYTHING, private_folder(self.lake))
        return done.delete_files_before - done.delete_files_after

    def expect(self, *rows: Row, without: tuple[int, ...] = ()) -> None:
        """From now on these are there as well, or instead."""
        self.rows.update({row["id"]: row for row in rows})
        for number in without:
            del self.rows[number]

    def check(self) -> None:
        """Both this library's scan and the other engine see what should be there."""
        expected = in_order(list(self.rows.values()))
        assert self.lake.rows(self.lake.orders) == expected
        assert in_order(self._read(self.lake.orders)) == expected


# Spark, through a catalog in PostgreSQL


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    if not Path(os.environ["POSTGRES_JDBC"]).exists():
        missing(
            f"There is no PostgreSQL driver for Java at {os.environ['POSTGRES_JDBC']}: install Debian's "
            f"libpostgresql-jdbc-java, or set POSTGRES_JDBC to the path of its jar."
        )
    with TemporaryDirectory(prefix="floe-pg-") as folder, postgres_port(Path(folder)) as number:
        yield number


@pytest.fixture
def with_spark(home: Path, port: int, spark: Engine) -> Sales:
    """A table that Spark finds as `lake.<its name>`."""
    uri = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    lake = RemoteLake(home, Plugins("sql", {"uri": uri, "name": "lake"}, "local", {}))
    spark.attach(
        "lake",
        type="jdbc",
        uri=f"jdbc:postgresql://127.0.0.1:{port}/postgres",
        warehouse=f"file://{home / 'warehouse'}",
        cache_enabled="false",
        **{"jdbc.user": "postgres", "jdbc.schema-version": "V1"},
    )
    return Sales(lake, lambda table: spark.sql(f"select * from lake.{table}"))


def test_what_spark_deletes_and_changes_stays_so(with_spark: Sales, spark: Engine) -> None:
    table = f"lake.{with_spark.lake.orders}"
    with_spark.merge(*sales(range(20)), cursor=19)

    spark.sql(
        f"alter table {table} set tblproperties ({MARKED})",
        f"delete from {table} where id in (3, 4)",
        f"update {table} set customer = 'spark', amount = 1.25 where id in (5, 6)",
        f"insert into {table} select 30, customer, amount, sold, at, tags from {table} where id = 7",
    )
    by_spark = [sale(number, customer="spark", amount=Decimal("1.25")) for number in (5, 6)]
    with_spark.expect(*by_spark, {**sale(7), "id": 30}, without=(3, 4))
    with_spark.check()
    assert with_spark.lake.cursor(with_spark.lake.orders) == {"id": 19}

    with_spark.merge(sale(4), sale(6, customer="again"), sale(30, tags=None), sale(31), cursor=31)
    with_spark.check()
    assert with_spark.compact() > 0
    with_spark.check()


def test_what_spark_merges_and_adds_stays_so(with_spark: Sales, spark: Engine) -> None:
    table = f"lake.{with_spark.lake.orders}"
    with_spark.merge(*sales(range(10)))

    spark.sql(
        f"alter table {table} set tblproperties ({MARKED})",
        f"""merge into {table} as t using (select * from {table} where id < 4) as s on t.id = s.id + 2
            when matched and t.id = 2 then delete
            when matched then update set customer = s.customer""",
    )
    by_spark = [sale(number, customer=sale(number - 2)["customer"]) for number in (3, 4, 5)]
    with_spark.expect(*by_spark, without=(2,))
    with_spark.check()

    with_spark.merge(sale(2), sale(3), sale(10))
    with_spark.check()


def test_a_table_that_spark_partitioned_anew_is_merged_into(with_spark: Sales, spark: Engine) -> None:
    table = f"lake.{with_spark.lake.orders}"
    with_spark.merge(*sales(range(10)))

    spark.sql(
        f"alter table {table} add partition field bucket(2, id)",
        f"call lake.system.rewrite_data_files(table => '{table}', options => map('rewrite-all', 'true'))",
    )
    with_spark.check()
    with_spark.merge(sale(1, amount=None), sale(20))
    with_spark.check()
    with_spark.compact()
    with_spark.check()


def test_a_table_of_sparks_own_takes_loads(with_spark: Sales, spark: Engine) -> None:
    table = f"lake.{with_spark.lake.orders}"
    spark.sql(
        f"create namespace if not exists lake.{with_spark.lake.namespace}",
        f"""create table {table} (id bigint not null, customer string, amount decimal(10, 2), sold date, at timestamp,
            tags array<string>) using iceberg partitioned by (bucket(2, id), months(sold))
            tblproperties ({MARKED}, 'write.distribution-mode' = 'none')""",
        f"""insert into {table} values
            (1, 'ann', 1.50, date '2024-01-01', timestamp '2024-01-01 12:00:00', array('a')),
            (2, null, null, null, null, null),
            (3, 'eve', -0.01, date '2024-03-01', timestamp '1960-01-01 00:00:00.000001', array())""",
        f"delete from {table} where id = 3",
    )
    noon = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
    with_spark.expect(
        sale(1, customer="ann", amount=Decimal("1.50"), sold=date(2024, 1, 1), at=noon, tags=["a"]),
        sale(2, customer=None, amount=None, sold=None, at=None, tags=None),
    )
    with_spark.check()

    with_spark.merge(sale(2), sale(3), sale(4))
    with_spark.check()
    with_spark.compact()
    with_spark.check()


def test_what_spark_tidies_up_is_still_there(with_spark: Sales, spark: Engine) -> None:
    """Its compaction, its expiry and its removal of orphans, on tables of ours."""
    table = f"lake.{with_spark.lake.orders}"
    with_spark.merge(*sales(range(10)))
    for number in range(3):
        with_spark.merge(sale(number, customer=f"change {number}"), sale(20 + number))

    with_spark.merge(sale(0), sale(30), cursor=30)
    spark.sql(
        f"call lake.system.rewrite_data_files(table => '{table}', options => map('delete-file-threshold', '1'))",
        f"call lake.system.rewrite_manifests('{table}')",
        f"call lake.system.expire_snapshots(table => '{table}', older_than => timestamp '2100-01-01')",
        f"call lake.system.remove_orphan_files(table => '{table}')",
    )
    with_spark.check()
    assert with_spark.lake.cursor(with_spark.lake.orders) == {"id": 30}
    with_spark.merge(sale(1), sale(31), cursor=31)
    with_spark.check()


# Spark, through a Hive metastore


@pytest.fixture(scope="module")
def metastore(spark: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    (port,) = free_ports(1)
    spark.serve_metastore(tmp_path_factory.mktemp("hive"), port)
    return f"thrift://127.0.0.1:{port}"


def test_a_table_of_a_hive_metastore_is_shared_with_spark(home: Path, metastore: str, spark: Engine) -> None:
    plugins = Plugins("hive", {"uri": metastore}, "local", {})
    lake = RemoteLake(home, plugins)
    spark.attach("hive", type="hive", uri=metastore, warehouse=f"file://{home / 'warehouse'}", cache_enabled="false")
    shared = Sales(lake, lambda table: spark.sql(f"select * from hive.{table}"))
    shared.merge(*sales(range(10)), cursor=9)
    shared.check()

    spark.sql(
        f"alter table hive.{lake.orders} set tblproperties ({MARKED})",
        f"delete from hive.{lake.orders} where id = 3",
    )
    shared.expect(without=(3,))
    shared.check()
    shared.merge(sale(3), sale(4, customer="again"), sale(10), cursor=10)
    shared.check()
    assert lake.cursor(lake.orders) == {"id": 10}

    # Two that were staged on the same table, and two that both make one.
    for table in (f"{lake.namespace}.appended", f"{lake.namespace}.appended", f"{lake.namespace}.first"):
        one, other = ([{"id": number}] for number in (1, 2))
        with lake.staged(pipeline_of_rows(one, table)) as first, lake.staged(pipeline_of_rows(other, table)) as second:
            lake.commit(first)
            lake.commit(second)
    assert lake.values(f"{lake.namespace}.appended") == [1, 1, 2, 2]
    assert lake.values(f"{lake.namespace}.first") == [1, 2]


# DuckDB, through a REST catalog and S3


@pytest.fixture(scope="module")
def duckdb_lake(seaweed: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with attached(seaweed, tmp_path_factory.mktemp("extensions")) as connection:
        connection.execute("set timezone = 'UTC'")
        yield connection


@pytest.fixture
def with_duckdb(home: Path, seaweed: SeaweedFS, duckdb_lake: duckdb.DuckDBPyConnection) -> Sales:
    lake = RemoteLake(home, Plugins("rest", rest(seaweed.rest), "s3", s3(seaweed.s3)))
    return Sales(lake, lambda table: duckdb_lake.sql(f"select * from lake.{table}").to_arrow_table().to_pylist())


def test_what_duckdb_deletes_and_changes_stays_so(with_duckdb: Sales, duckdb_lake: duckdb.DuckDBPyConnection) -> None:
    table = f"lake.{with_duckdb.lake.orders}"
    with_duckdb.merge(*sales(range(20)), cursor=19)

    duckdb_lake.execute(f"delete from {table} where id in (3, 4)")
    duckdb_lake.execute(f"update {table} set customer = 'duck', amount = 1.25 where id in (5, 6)")
    duckdb_lake.execute(f'insert into {table} select 30, customer, amount, sold, "at", tags from {table} where id = 7')
    by_duckdb = [sale(number, customer="duck", amount=Decimal("1.25")) for number in (5, 6)]
    with_duckdb.expect(*by_duckdb, {**sale(7), "id": 30}, without=(3, 4))
    with_duckdb.check()
    assert with_duckdb.lake.cursor(with_duckdb.lake.orders) == {"id": 19}

    with_duckdb.merge(sale(4), sale(6, customer="again"), sale(30, tags=None), sale(31), cursor=31)
    with_duckdb.check()
    assert with_duckdb.compact() > 0
    with_duckdb.check()


def test_a_table_of_duckdbs_own_takes_loads(with_duckdb: Sales, duckdb_lake: duckdb.DuckDBPyConnection) -> None:
    table = f"lake.{with_duckdb.lake.orders}"
    duckdb_lake.execute(f"create schema lake.{with_duckdb.lake.namespace}")
    duckdb_lake.register("given", arrow(sales(range(4))))
    duckdb_lake.execute(f"create table {table} as select * from given")
    duckdb_lake.execute(f"delete from {table} where id = 2")
    with_duckdb.expect(*sales((0, 1, 3)))
    with_duckdb.check()

    with_duckdb.merge(sale(1, amount=None), sale(2), sale(5))
    with_duckdb.check()
    with_duckdb.compact()
    with_duckdb.check()
