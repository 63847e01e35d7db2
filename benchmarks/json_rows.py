"""Rows of JSON by cursor, from an HTTP API and from a file: ours into Iceberg, and dlt's own path to Parquet.

Eight fields a row: a key, words, numbers, two times, a list. The API answers from memory, in a process of its own.
Each contender runs in a process of its own, interleaved; medians.

    python benchmarks/json_rows.py --rows 500000 --repeat 3
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from harness import Contender, compare

PAGE = 1_000

_OURS = """
import time
from pathlib import Path
from floe_ingestion.iceberg.catalogs import SqlCatalogPlugin
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import pipeline_of, stage
from floe_ingestion.staging import LoadRequest, Provenance
home = Path(FOLDER) / "home"
catalog = SqlCatalogPlugin().connect({"home": str(home), "warehouse": f"file://{home}/warehouse"})
source = source_from(*SOURCE)
began = time.perf_counter()
for staged in stage(pipeline_of(source, home), LoadRequest(), catalog, home / "staging"):
    assert commit(catalog, staged, Provenance(), home / "staging").rows_total == ROWS
print(f"merge: {time.perf_counter() - began}")
"""
OURS_HTTP = (
    """
SOURCE = ("rest_api", "bronze.events", {
    "config": {"base_url": URL, "resources": [{"name": "events", "endpoint": {"path": "events", "paginator": {
        "type": "page_number", "base_page": 0, "total_path": "pages"}, "data_selector": "rows"}}]},
    "incremental": {"cursor_path": "updated_at"}})
"""
    + _OURS
)
OURS_FILE = (
    """
SOURCE = ("filesystem", "bronze.events", {
    "config": {"bucket_url": FILES, "resources": [{"name": "events", "file_glob": "*.jsonl"}]},
    "incremental": {"cursor_path": "updated_at"}})
"""
    + _OURS
)

_DLT = """
import os, time
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt
pipeline = dlt.pipeline("bench", destination=dlt.destinations.filesystem(bucket_url=f"file://{FOLDER}/lake"),
                        dataset_name="bronze", pipelines_dir=f"{FOLDER}/pipelines")
resource.max_table_nesting = 0
began = time.perf_counter()
pipeline.run(resource, loader_file_format="parquet")
print(f"merge: {time.perf_counter() - began}")
assert pipeline.last_trace.last_normalize_info.row_counts["events"] == ROWS
"""
DLT_HTTP = (
    """
from dlt.sources.rest_api import rest_api_resources
(resource,) = rest_api_resources({"client": {"base_url": URL}, "resources": [{"name": "events", "endpoint": {
    "path": "events", "paginator": {"type": "page_number", "base_page": 0, "total_path": "pages"},
    "data_selector": "rows", "incremental": {"cursor_path": "updated_at"}}}]})
"""
    + _DLT
)
DLT_FILE = (
    """
import dlt
from dlt.sources.filesystem import filesystem, read_jsonl
resource = (filesystem(bucket_url=FILES, file_glob="*.jsonl") | read_jsonl()).with_name("events")
resource.apply_hints(incremental=dlt.sources.incremental("updated_at"))
"""
    + _DLT
)


def rows_of(page: int) -> list[dict[str, Any]]:
    """The rows of one page."""
    moment = datetime(2024, 1, 1) + timedelta(minutes=page)
    return [
        {
            "id": page * PAGE + number,
            "name": f"customer {number * 7919 % 1000}",
            "amount": round(number * 1.37, 2),
            "active": number % 3 == 0,
            "created_at": f"{moment.isoformat()}Z",
            "updated_at": f"{(moment + timedelta(milliseconds=number)).isoformat()}Z",
            "tags": ["a", f"t{number % 10}"],
            "note": None if number % 4 else f"note {number}",
        }
        for number in range(PAGE)
    ]


def _serve(port: Any, pages: int) -> None:
    bodies = [json.dumps({"pages": pages, "rows": rows_of(page)}).encode() for page in range(pages)]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = bodies[int(parse_qs(urlsplit(self.path).query)["page"][0])]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.put(server.server_port)
    server.serve_forever()


@contextmanager
def api(pages: int) -> Iterator[str]:
    """An API of so many pages; its URL."""
    port: Any = multiprocessing.Queue()
    process = multiprocessing.Process(target=_serve, args=(port, pages), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=120)}/"
    finally:
        process.terminate()


def main() -> None:
    """Run and print; `measured seconds` and `rows a second` are of the load alone, its commit included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    pages = arguments.rows // PAGE
    rows = pages * PAGE
    with tempfile.TemporaryDirectory() as name:
        files = Path(name) / "files"
        files.mkdir()
        with (files / "rows.jsonl").open("w") as out:
            out.writelines(json.dumps(row) + "\n" for page in range(pages) for row in rows_of(page))
        found = {}
        with api(pages) as url:
            values = {"URL": url, "FILES": str(files), "ROWS": rows}
            for kind, ours, theirs in (("HTTP", OURS_HTTP, DLT_HTTP), ("jsonl", OURS_FILE, DLT_FILE)):
                contenders = [Contender("floe_ingestion", ours), Contender("dlt to Parquet", theirs)]
                found[kind] = compare(contenders, values, arguments.repeat, Path(name))
                for medians in found[kind].values():
                    medians["rows a second"] = round(rows / medians["measured seconds"])
    print(json.dumps({"rows": rows, "results": found}, indent=2))


if __name__ == "__main__":
    main()
