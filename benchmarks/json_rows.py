"""Rows of JSON by cursor, from an HTTP API and from a file: ours into Iceberg, and dlt's own path to Parquet.

Eight fields a row: a key, words, numbers, two times, a list. The API answers from memory, in a process of its own.
Each contender runs in a process of its own, interleaved; medians. Each loads a few rows first, so that what is measured
is the work on rows, and neither imports nor first connections: CPU seconds of the process, with all of its threads.

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
WARM = 5
"""Pages of the first load."""

_OURS = """
import time
from pathlib import Path
from floe_ingestion.iceberg.catalogs import SqlCatalogPlugin
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import pipeline_of, stage
from floe_ingestion.staging import LoadRequest, Provenance

def load(where, rows):
    home = Path(FOLDER) / f"home{rows}"
    catalog = SqlCatalogPlugin().connect({"home": str(home), "warehouse": f"file://{home}/warehouse"})
    source = source_from(*source_at(where))
    began = time.process_time()
    for staged in stage(pipeline_of(source, home), LoadRequest(), catalog, home / "staging"):
        assert commit(catalog, staged, Provenance(), home / "staging").rows_total == rows
    return time.process_time() - began

load(*FEW)
print(f"merge: {load(*ALL)}")
"""
OURS_HTTP = (
    """
source_at = lambda where: ("rest_api", "bronze.events", {
    "config": {"base_url": where, "resources": [{"name": "events", "endpoint": {"path": "events", "paginator": {
        "type": "page_number", "base_page": 0, "total_path": "pages"}, "data_selector": "rows"}}]},
    "incremental": {"cursor_path": "updated_at"}})
"""
    + _OURS
)
OURS_FILE = (
    """
source_at = lambda where: ("filesystem", "bronze.events", {
    "config": {"bucket_url": where, "resources": [{"name": "events", "file_glob": "*.jsonl"}]},
    "incremental": {"cursor_path": "updated_at"}})
"""
    + _OURS
)

_DLT = """
import os, time
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt

def load(where, rows):
    resource = resource_at(where)
    resource.max_table_nesting = 0
    lake = dlt.destinations.filesystem(bucket_url=f"file://{FOLDER}/lake{rows}")
    pipeline = dlt.pipeline("bench", destination=lake, dataset_name="bronze", pipelines_dir=f"{FOLDER}/pipelines{rows}")
    began = time.process_time()
    pipeline.run(resource, loader_file_format="parquet")
    took = time.process_time() - began
    assert pipeline.last_trace.last_normalize_info.row_counts["events"] == rows
    pipeline.deactivate()
    return took

load(*FEW)
print(f"merge: {load(*ALL)}")
"""
DLT_HTTP = (
    """
from dlt.sources.rest_api import rest_api_resources
def resource_at(where):
    (resource,) = rest_api_resources({"client": {"base_url": where}, "resources": [{"name": "events", "endpoint": {
        "path": "events", "paginator": {"type": "page_number", "base_page": 0, "total_path": "pages"},
        "data_selector": "rows", "incremental": {"cursor_path": "updated_at"}}}]})
    return resource
"""
    + _DLT
)
DLT_FILE = (
    """
import dlt
from dlt.sources.filesystem import filesystem, read_jsonl
def resource_at(where):
    resource = (filesystem(bucket_url=where, file_glob="*.jsonl") | read_jsonl()).with_name("events")
    resource.apply_hints(incremental=dlt.sources.incremental("updated_at"))
    return resource
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


def files_of(folder: Path, pages: int) -> str:
    """A folder with one file of so many pages."""
    folder.mkdir()
    with (folder / "rows.jsonl").open("w") as out:
        out.writelines(json.dumps(row) + "\n" for page in range(pages) for row in rows_of(page))
    return str(folder)


def main() -> None:
    """Run and print; `measured seconds` and `rows a second` are CPU time of the load alone, its commit included."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    pages = arguments.rows // PAGE
    with tempfile.TemporaryDirectory() as name, api(pages) as url, api(WARM) as small:
        folder = Path(name)
        places = {"HTTP": (small, url), "jsonl": (files_of(folder / "few", WARM), files_of(folder / "all", pages))}
        programs = {"HTTP": (OURS_HTTP, DLT_HTTP), "jsonl": (OURS_FILE, DLT_FILE)}
        found = {}
        for kind, (ours, theirs) in programs.items():
            few, everything = places[kind]
            values = {"FEW": (few, WARM * PAGE), "ALL": (everything, pages * PAGE)}
            contenders = [Contender("floe_ingestion", ours), Contender("dlt to Parquet", theirs)]
            found[kind] = compare(contenders, values, arguments.repeat, folder)
            for medians in found[kind].values():
                medians["rows a second"] = round(pages * PAGE / medians["measured seconds"])
    print(json.dumps({"rows": pages * PAGE, "results": found}, indent=2))


if __name__ == "__main__":
    main()
