"""An incremental load that merges, from PostgreSQL to the commit: ours beside ingestr.

Each loads TPC-H lineitem first; then comes a table with new rows, half of them with keys that are there already. What
is measured is that second load: of ours within the process, of ingestr its command. ingestr's program must be on the
PATH (`pip install ingestr==1.1.19`, in an environment of its own).

    python benchmarks/merge_load.py --scale 0.3333 --keys 20000 --repeat 3
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from harness import Contender, compare
from source import fill, postgres

_KEY = ("l_orderkey", "l_linenumber")

OURS = """
import time
from pathlib import Path
from floe_ingestion.iceberg.catalogs import SqlCatalogPlugin
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import pipeline_of, stage
from floe_ingestion.staging import LoadRequest, Provenance
home = Path(FOLDER) / "home"
catalog = SqlCatalogPlugin().connect({"home": str(home), "warehouse": f"file://{home}/warehouse"})

def load(table, disposition):
    source = source_from("sql_database", "bronze", {"config": {"connection_string": URL, "tables": [
        {"name": table, "table": "lineitem", "write_disposition": disposition, "primary_key": KEY}]}})
    for staged in stage(pipeline_of(source, home), LoadRequest(), catalog, home / "staging"):
        return commit(catalog, staged, Provenance(), home / "staging")

load("lineitem", "append")
began = time.perf_counter()
landed = load("changes", "merge")
print(f"merge: {time.perf_counter() - began:.3f}")
assert landed.rows_added + landed.rows_updated + landed.rows_unchanged == CHANGES and landed.rows_total == TOTAL, landed
"""

INGESTR = """
import os, subprocess, time
os.environ |= {"INGESTR_DISABLE_TELEMETRY": "true", "TELEMETRY_DISABLED": "true"}

def load(table, strategy):
    subprocess.run([INGESTR, "ingest", "--yes", "--progress", "log", "--incremental-strategy", strategy,
        *(word for name in KEY for word in ("--primary-key", name)),
        "--source-uri", URL + "?sslmode=disable", "--source-table", f"public.{table}",
        "--dest-table", "bronze.lineitem",
        "--dest-uri", f"iceberg+sqlite://{FOLDER}/catalog.db?catalog_name=bench&warehouse=file://{FOLDER}/warehouse"],
        check=True, stdout=subprocess.DEVNULL)

load("lineitem", "append")
began = time.perf_counter()
load("changes", "merge")
print(f"merge: {time.perf_counter() - began:.3f}")
"""


def main() -> None:
    """Run and print; `measured seconds` is the load that merges."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.3333)
    parser.add_argument("--keys", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, postgres(Path(name)) as url:
        rows = fill(url, Path(name), arguments.scale)
        changes = _change(url, arguments.keys)
        values: dict[str, object] = {"URL": url, "KEY": _KEY, "CHANGES": changes, "TOTAL": rows + changes // 2}
        contenders = [Contender("floe_ingestion", OURS)]
        if ingestr := shutil.which("ingestr"):
            values["INGESTR"] = ingestr
            contenders.append(Contender("ingestr", INGESTR))
        results = compare(contenders, values, arguments.repeat, Path(name))
        print(json.dumps({"rows": rows, "changes": changes, "results": results}, indent=2))


def _change(url: str, keys: int) -> int:
    """Make a table `changes`: random rows with other comments, and as many of keys that are new; how many."""
    import psycopg

    with psycopg.connect(url) as connection:
        connection.execute("drop table if exists changes")
        connection.execute("select setseed(0.5)")
        connection.execute(
            "create table changes as select * from lineitem order by random() limit %s", (keys // 2,), prepare=False
        )
        connection.execute("update changes set l_comment = 'changed'")
        connection.execute("insert into changes select * from changes")
        connection.execute(
            "update changes set l_orderkey = l_orderkey + 1000000000 where ctid in "
            "(select max(ctid) from changes group by l_orderkey, l_linenumber)"
        )
        (count,) = connection.execute("select count(*) from changes").fetchone()
    return int(count)


if __name__ == "__main__":
    main()
