"""How long a code location of many tables takes to load, and how much memory; nothing is connected.

Each shape is loaded in a process of its own; the import of Dagster and dlt, which every code location pays, is
told apart.

    python benchmarks/definitions.py --repeat 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SHAPES = {"1 source of 1,000 tables": (1, 1000), "100 sources of 10 tables": (100, 10)}

LOAD = """
import json, resource, sys, time
began = time.perf_counter()
import dagster, dagster_dlt
from floe_ingestion import build_definitions
imported = time.perf_counter()
definitions = build_definitions(sys.argv[1])
repository = definitions.get_repository_def()
assets = len(repository.asset_graph.get_all_asset_keys())
done = time.perf_counter()
print(json.dumps({"import": imported - began, "load": done - imported, "cpu": time.process_time(), "assets": assets,
                  "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        for name, (sources, tables) in SHAPES.items():
            file = Path(folder) / "floe.yaml"
            file.write_text(floe_yaml(sources, tables))
            found = [measured(file) for _ in range(repeat)]
            median = {key: statistics.median(each[key] for each in found) for key in found[0]}
            print(
                f"{name}: import {median['import']:.1f} s, load {median['load']:.1f} s, CPU {median['cpu']:.1f} s, "
                f"{median['mb']:.0f} MB, {median['assets']:.0f} assets"
            )


def measured(file: Path) -> dict[str, float]:
    """One load in a fresh process."""
    told = subprocess.run(
        [sys.executable, "-c", LOAD, str(file)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "DAGSTER_DISABLE_TELEMETRY": "1"},
    ).stdout
    result: dict[str, float] = json.loads(told.splitlines()[-1])
    return result


def floe_yaml(sources: int, tables: int) -> str:
    lines = ["ingestion:", "  sources:"]
    for source in range(sources):
        lines += [
            f"    - name: source_{source}",
            "      type: sql_database",
            "      config:",
            "        connection_string: ${DATABASE}",
            "        tables:",
        ]
        for table in range(tables):
            lines.append(
                f"          - {{name: table_{table}, incremental: {{cursor_path: updated_at}}, primary_key: id}}"
            )
        lines += [
            f"      destination: {{schema: bronze_{source}, write_disposition: merge}}",
            '      schedule: {cron: "0 6 * * *"}',
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
