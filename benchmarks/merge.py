"""A merge of random keys into a table: ours beside pyiceberg's own upsert and dlt's.

Each contender builds its table first and measures the merge alone, in a process of its own.

    python benchmarks/merge.py --rows 2000000 --keys 20000 --repeat 3
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from harness import Contender, compare

_DATA = """
import time
import numpy as np
import pyarrow as pa
from pathlib import Path
from floe_ingestion.iceberg.catalogs import SqlCatalogPlugin
home = Path(FOLDER)
catalog = SqlCatalogPlugin().connect({"home": str(home), "warehouse": f"file://{home}/warehouse"})
random = np.random.default_rng(0)
words = pa.array([f"{word} {number}" for word in ("carefully", "quickly", "slyly") for number in range(40_000)])

def rows(keys):
    # As wide as lineitem: the key, 4 integers, 4 decimals, 3 dates, 4 texts.
    count = len(keys)
    whole = lambda high: pa.array(random.integers(0, high, count))
    money = lambda: whole(10_000_000).cast(pa.int32()).cast(pa.decimal128(15, 2))
    day = lambda: whole(20_000).cast(pa.int32()).cast(pa.date32())
    text = lambda high: words.take(whole(high))
    made = [pa.array(keys), *(whole(1_000_000) for _ in range(4)), *(money() for _ in range(4)),
            *(day() for _ in range(3)), text(3), text(4), text(7), text(120_000)]
    return pa.table(made, names=["id", *(f"column_{number}" for number in range(1, 16))])

half = MERGED_ROWS // 2
old = rows(np.arange(TABLE_ROWS))
new = rows(np.concatenate([random.choice(TABLE_ROWS, half, replace=False), np.arange(half) + 10 * TABLE_ROWS]))
"""

OURS = (
    _DATA
    + """
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.tables import load_table
from floe_ingestion.iceberg.writer import WriteSettings, write_files
from floe_ingestion.spec import TableSpec
from floe_ingestion.staging import Provenance, StagedTable

def load(rows, disposition):
    spec = TableSpec(source="s", source_type="python", resource="o", namespace=("bench",), name="orders",
                     write_disposition=disposition)
    table = load_table(catalog, spec.identifier)
    plan = SchemaPlan(spec, table.transaction() if table is not None else None, ("id",))
    files = write_files(home, plan, rows.to_batches(), WriteSettings())
    return commit(catalog, StagedTable(spec, files, plan.schema, plan.partition_spec, ("id",)), Provenance(), home)

for start in range(0, TABLE_ROWS, TABLE_ROWS // 8):
    load(old.slice(start, TABLE_ROWS // 8), "append")
began = time.perf_counter()
landed = load(new, "merge")
print(f"merge: {time.perf_counter() - began:.3f}")
assert (landed.rows_added, landed.rows_updated) == (half, half), landed
"""
)

PYICEBERG = (
    _DATA
    + """
catalog.create_namespace("bench")
table = catalog.create_table("bench.orders", old.schema)
for start in range(0, TABLE_ROWS, TABLE_ROWS // 8):
    table.append(old.slice(start, TABLE_ROWS // 8))
began = time.perf_counter()
result = table.upsert(new, join_cols=["id"])
print(f"merge: {time.perf_counter() - began:.3f}")
assert (result.rows_inserted, result.rows_updated) == (half, half), result
"""
)

DLT = (
    _DATA
    + """
import os
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt
pipeline = dlt.pipeline("bench", destination=dlt.destinations.filesystem(bucket_url=f"file://{FOLDER}/lake"),
                        dataset_name="bronze", pipelines_dir=f"{FOLDER}/pipelines")

def load(rows, disposition):
    pipeline.run([rows], table_name="orders", write_disposition=disposition, primary_key="id",
                 table_format="iceberg", loader_file_format="parquet")

for start in range(0, TABLE_ROWS, TABLE_ROWS // 8):
    load(old.slice(start, TABLE_ROWS // 8), "append")
began = time.perf_counter()
load(new, {"disposition": "merge", "strategy": "upsert"})
print(f"merge: {time.perf_counter() - began:.3f}")
from dlt.common.libs.pyiceberg import get_iceberg_tables
table = get_iceberg_tables(pipeline, "orders")["orders"]
assert table.scan().count() == TABLE_ROWS + half
"""
)


def main() -> None:
    """Run and print; `measured` is the merge alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    values = {"TABLE_ROWS": arguments.rows, "MERGED_ROWS": arguments.keys}
    with tempfile.TemporaryDirectory() as name:
        contenders = [
            Contender("floe_ingestion", OURS),
            Contender("pyiceberg upsert", PYICEBERG),
            Contender("dlt upsert", DLT),
        ]
        print(json.dumps(compare(contenders, values, arguments.repeat, Path(name)), indent=2))


if __name__ == "__main__":
    main()
