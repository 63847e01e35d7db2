"""Tables written once, and the engines that read them; run by `make test-readers`, which makes their environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import Table

from floe_ingestion_tests.integration.conftest import seaweed  # noqa: F401  (a fixture)
from floe_ingestion_tests.lake import Lake, Row
from floe_ingestion_tests.needs import missing
from floe_ingestion_tests.readers.asking import Engine, Filter, engine
from floe_ingestion_tests.readers.in_process import read_by_duckdb, read_by_polars, read_by_pyiceberg
from floe_ingestion_tests.readers.tables import Written, write_all


@pytest.fixture(scope="session")
def written_lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(tmp_path_factory.mktemp("written"))


@pytest.fixture(scope="session")
def written(written_lake: Lake) -> dict[str, Written]:
    """Every table, by what is special about it."""
    return write_all(written_lake)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    need_java()
    with engine("Spark", tmp_path_factory.mktemp("spark")) as started:
        yield started


@pytest.fixture(scope="session")
def daft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine("Daft", tmp_path_factory.mktemp("daft")) as started:
        yield started


@pytest.fixture(scope="session")
def chdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine("ChDB", tmp_path_factory.mktemp("chdb")) as started:
        yield started


def need_java() -> None:
    """Spark does not run without; CI must have it."""
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and (Path(home) / "bin" / "java").exists()):
        missing("There is no Java on this machine, which Spark needs: install a JRE 17, or set JAVA_HOME.")


@dataclass(frozen=True)
class Reader:
    """An engine by its name, and how it reads the rows of a table where a filter holds."""

    name: str
    read: Callable[[Table, Filter | None], list[Row]]


@pytest.fixture(params=["pyiceberg", "duckdb", "polars-native", "polars-pyiceberg", "spark", "daft", "chdb"])
def reader(request: pytest.FixtureRequest) -> Reader:
    """Each of them."""
    name: str = request.param
    if name == "pyiceberg":
        return Reader(name, read_by_pyiceberg)
    if name == "duckdb":
        return Reader(name, read_by_duckdb)
    if name.startswith("polars"):
        return Reader(name, lambda table, where: read_by_polars(table, where, name.partition("-")[2]))
    asked: Engine = request.getfixturevalue(name)
    return Reader(name, lambda table, where: asked.read(table.metadata_location, *_condition(name, where)))


def _condition(name: str, where: Filter | None) -> tuple[Any, ...]:
    if where is None:
        return ()
    return (where.column, where.operator, where.value) if name == "daft" else (where.sql(name),)
