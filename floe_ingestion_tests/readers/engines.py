"""Engines that read Iceberg by themselves, in an environment of their own; each answers over a connection.

Run as a script: it knows nothing of this library, and imports what its environment holds.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from multiprocessing.connection import Client
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

Row = dict[str, Any]


class Spark:
    """Spark with Iceberg's own runtime."""

    def __init__(self) -> None:
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local[2]")
        for key, value in self._settings().items():
            builder = builder.config(key, value)
        self.session = builder.getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")

    @staticmethod
    def _settings() -> dict[str, str]:
        (package,) = importlib.util.find_spec("snowpark_connect_deps_iceberg").submodule_search_locations
        (runtime,) = Path(package).glob("jars/iceberg-spark-runtime-3.5_2.12-*.jar")
        driver = os.environ.get("POSTGRES_JDBC", "")
        return {
            "spark.jars": ",".join(str(jar) for jar in (runtime, driver) if jar),
            "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "1",
            # For so few rows, making code takes longer than running it.
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.memory": "1g",
            "spark.ui.enabled": "false",
        }

    def read(self, metadata: str, where: str = "true", *columns: str) -> list[Row]:
        """The rows of the table that a metadata file describes; `#files` after it gives Spark's view of them."""
        frame = self.session.read.format("iceberg").load(metadata)
        return self._rows(frame.where(where).selectExpr(*columns or ("*",)))

    def configure(self, key: str, value: str) -> None:
        self.session.conf.set(key, value)

    def sql(self, statement: str) -> list[Row]:
        return self._rows(self.session.sql(statement))

    def serve_metastore(self, folder: str, port: int) -> None:
        """Start the Hive metastore that Spark brings, in the same Java; it ends with it."""
        jvm: Any = self.session._jvm
        hive = jvm.org.apache.hadoop.hive
        settings = hive.conf.HiveConf(jvm.java.lang.Class.forName("org.apache.hadoop.hive.conf.HiveConf"))
        for key, value in {
            "javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={folder}/metastore;create=true",
            "datanucleus.schema.autoCreateAll": "true",
            "hive.metastore.schema.verification": "false",
            "hive.metastore.warehouse.dir": f"file://{folder}",
            # It does not know `timestamp with local time zone`, and would have to compare it.
            "hive.metastore.disallow.incompatible.col.type.changes": "false",
            # Locks, which pyiceberg commits under.
            "hive.support.concurrency": "true",
            "hive.txn.manager": "org.apache.hadoop.hive.ql.lockmgr.DbTxnManager",
        }.items():
            settings.set(key, value)
        hive.metastore.txn.TxnDbUtil.prepDb(settings)
        bridge = hive.shims.ShimLoader.getHadoopThriftAuthBridge()
        hive.metastore.MetaStoreUtils.startMetaStore(port, bridge, settings)

    @staticmethod
    def _rows(frame: Any) -> list[Row]:
        # The public ways to Arrow go through pandas, which changes values.
        return [row for batch in frame._collect_as_arrow() for row in batch.to_pylist()]


class Daft:
    """Daft, which reads the metadata by pyiceberg and the files by itself."""

    def read(self, metadata: str, *condition: Any) -> list[Row]:
        import daft

        frame = daft.read_iceberg(metadata)
        if condition:
            column, operator, value = condition
            met, value = daft.col(column), daft.lit(value)
            frame = frame.where({"=": met == value, "<": met < value, ">=": met >= value}[operator])
        return frame.to_arrow().to_pylist()


class ChDB:
    """ClickHouse in a process."""

    def __init__(self) -> None:
        import chdb

        os.chdir("/")  # it reads what lies below its working directory, and nothing else
        self.chdb, self.connection = chdb, chdb.connect()

    def read(self, metadata: str, where: str = "true") -> list[Row]:
        folder, _, file = unquote(urlsplit(metadata).path).rpartition("/metadata/")
        # It knows one type for texts and bytes: they come as bytes.
        settings = "output_format_arrow_string_as_string = 0, session_timezone = 'UTC'"
        source = f"icebergLocal('{folder}/', 'Parquet', SETTINGS iceberg_metadata_file_path = 'metadata/{file}')"
        try:
            answer = self.connection.query(f"select * from {source} where {where} settings {settings}", "ArrowStream")
        except Exception:
            # After a query that failed, the next one of the same connection finds no rows.
            self.connection.close()
            self.connection = self.chdb.connect()
            raise
        return pa.ipc.open_stream(answer.bytes()).read_all().to_pylist() if answer.size() else []


ENGINES = {engine.__name__: engine for engine in (Spark, Daft, ChDB)}


def main(kind: str, port: str) -> None:
    """Connect to whoever asks on `port`, and answer until they hang up."""
    with Client(("127.0.0.1", int(port)), authkey=bytes.fromhex(os.environ["FLOE_READERS_KEY"])) as asking:
        engine = ENGINES[kind]()
        while True:
            try:
                method, arguments = asking.recv()
            except EOFError:
                return
            try:
                asking.send((True, getattr(engine, method)(*arguments)))
            except Exception:
                asking.send((False, traceback.format_exc(limit=-3)))


if __name__ == "__main__":
    main(*sys.argv[1:])
