"""Loads in processes of their own, which start quickly because a clean server has imported everything."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from datetime import datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from floe_ingestion.errors import TransientError
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import pipeline_of
from floe_ingestion.staging import Window
from floe_ingestion_tests.fake_sources import pipeline_of_rows
from floe_ingestion_tests.lake import Lake

_PRELOADED = ["dlt", "dlt.sources.sql_database", "pyarrow.parquet", "pyiceberg.catalog.sql", __name__]
_ATTEMPTS = 30


def processes() -> ForkServerContext:
    """Makes processes that have imported what a load needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def run_all(*calls: tuple[Callable[..., None], tuple[Any, ...]]) -> list[int | None]:
    """Run all at once; their exit codes."""
    context = processes()
    started = [context.Process(target=function, args=arguments) for function, arguments in calls]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    return [process.exitcode for process in started]


def load_orders(home: Path, url: str, entry: dict[str, Any], start: str = "", end: str = "") -> None:
    """Load `orders`, in a window if there is one, again after what a retry policy would try again."""
    pipeline = pipeline_of(source_from("sql_database", "raw.orders", _entry(url, entry)), home)
    window = Window("updated_at", _moment(start), _moment(end)) if start else None
    _until_landed(lambda: Lake(home).load(pipeline, window=window))


def append_rows(home: Path, rows: list[dict[str, Any]]) -> None:
    """Append `rows` to a table of numbers."""
    _until_landed(lambda: Lake(home).load(pipeline_of_rows(rows)))


def _until_landed(load: Callable[[], Any]) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            load()
            return
        except TransientError:
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.1)


def _entry(url: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {"config": {"connection_string": url, "tables": ["orders"]}, **entry}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
