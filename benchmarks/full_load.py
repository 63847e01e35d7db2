"""A full load of TPC-H lineitem from PostgreSQL: ours, dlt's own Iceberg path, ingestr, and the floor.

The floor is what nobody can beat who reads by ConnectorX: that in one thread, a Parquet writer in another, no
table. Each contender runs in a process of its own, interleaved; medians, and ratios to the floor. ingestr takes
part where its program is found (`pip install ingestr==1.1.19`, in an environment of its own, on the PATH).

    python benchmarks/full_load.py --scale 0.3333 --repeat 3
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from harness import Contender, compare
from source import fill, postgres

FLOOR = """
import queue, threading, connectorx as cx, pyarrow.parquet as pq
reader = cx.read_sql(URL, "select * from lineitem", return_type="arrow_stream", batch_size=100_000)
batches = queue.Queue(2)
def write():
    writer = None
    while (batch := batches.get()) is not None:
        writer = writer or pq.ParquetWriter(f"{FOLDER}/floor.parquet", batch.schema, compression="zstd")
        writer.write_batch(batch)
    writer.close()
thread = threading.Thread(target=write); thread.start()
for batch in reader: batches.put(batch)
batches.put(None); thread.join()
"""

OURS = """
from pathlib import Path
from floe_ingestion.iceberg.catalogs import SqlCatalogPlugin
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import pipeline_of, stage
from floe_ingestion.staging import LoadRequest, Provenance
home = Path(FOLDER) / "home"
catalog = SqlCatalogPlugin().connect({"home": str(home), "warehouse": f"file://{home}/warehouse"})
source = source_from("sql_database", "bronze", {
    "connection_string": URL, "tables": ["lineitem"], "backend": "duckdb"})
for staged in stage(pipeline_of(source, home), LoadRequest(), catalog, home / "staging"):
    assert commit(catalog, staged, Provenance(), home / "staging").rows_total == ROWS
"""

DLT = """
import os
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt
from dlt.sources.sql_database import sql_table
table = sql_table(URL, "lineitem", backend="connectorx", chunk_size=100_000,
                  backend_kwargs={"return_type": "arrow_stream", "batch_size": 100_000}, reflection_level="full")
pipeline = dlt.pipeline("bench", destination=dlt.destinations.filesystem(bucket_url=f"file://{FOLDER}/lake"),
                        dataset_name="bronze", pipelines_dir=f"{FOLDER}/pipelines")
pipeline.run(table, table_format="iceberg", loader_file_format="parquet")
"""

INGESTR = """
import os
os.environ |= {"INGESTR_DISABLE_TELEMETRY": "true", "TELEMETRY_DISABLED": "true"}
os.execv(INGESTR, [INGESTR, "ingest", "--yes", "--progress", "log", "--incremental-strategy", "replace",
    "--source-uri", URL + "?sslmode=disable", "--source-table", "public.lineitem", "--dest-table", "bronze.lineitem",
    "--dest-uri", f"iceberg+sqlite://{FOLDER}/catalog.db?catalog_name=bench&warehouse=file://{FOLDER}/warehouse"])
"""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.3333)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, postgres(Path(name)) as url:
        rows = fill(url, Path(name), arguments.scale)
        values: dict[str, object] = {"URL": url, "ROWS": rows}
        contenders = [Contender("floor", FLOOR), Contender("floe_ingestion", OURS), Contender("dlt → Iceberg", DLT)]
        if ingestr := shutil.which("ingestr"):
            values["INGESTR"] = ingestr
            contenders.append(Contender("ingestr", INGESTR))
        results = compare(contenders, values, arguments.repeat, Path(name))
        print(json.dumps({"rows": rows, "results": results}, indent=2))


if __name__ == "__main__":
    main()
