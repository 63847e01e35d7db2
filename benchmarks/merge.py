"""A merge of random keys into a table: ours beside pyiceberg's own upsert.

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
notes = pa.array(["old"] * TABLE_ROWS)
old = pa.table({"id": np.arange(TABLE_ROWS), "amount": random.random(TABLE_ROWS), "note": notes})
half = MERGED_ROWS // 2
keys = np.concatenate([random.choice(TABLE_ROWS, half, replace=False), np.arange(half) + 10 * TABLE_ROWS])
new = pa.table({"id": keys, "amount": np.zeros(2 * half), "note": pa.array(["new"] * 2 * half)})
"""

OURS = (
    _DATA
    + """
from floe_ingestion.iceberg.commit import commit, load_table
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.writer import write_files
from floe_ingestion.spec import TableSpec
from floe_ingestion.staging import Provenance, StagedTable

def load(rows, disposition):
    spec = TableSpec(source="s", source_type="python", resource="o", namespace=("bench",), name="orders",
                     write_disposition=disposition)
    table = load_table(catalog, spec.identifier)
    plan = SchemaPlan(spec, table.transaction() if table is not None else None, ("id",))
    files = write_files(home, plan, rows.to_batches())
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


def main() -> None:
    """Run and print; `measured` is the merge alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    values = {"TABLE_ROWS": arguments.rows, "MERGED_ROWS": arguments.keys}
    with tempfile.TemporaryDirectory() as name:
        contenders = [Contender("floe_ingestion", OURS), Contender("pyiceberg upsert", PYICEBERG)]
        print(json.dumps(compare(contenders, values, arguments.repeat, Path(name)), indent=2))


if __name__ == "__main__":
    main()
