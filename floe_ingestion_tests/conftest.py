"""What every test gets: an environment without telemetry, and a lake of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Before anything imports dlt or dagster; also for processes that tests start.
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["DAGSTER_DISABLE_TELEMETRY"] = "1"

from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.lake import Lake

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of the catalog, the warehouse and staged files."""
    return tmp_path / "home"


@pytest.fixture
def lake(home: Path) -> Lake:
    """The tables in `home`, and the loads that land in them."""
    return Lake(home)


@pytest.fixture
def catalog(lake: Lake) -> Catalog:
    """The pyiceberg catalog of `lake`: SQLite and a folder, as without any configuration."""
    return lake.catalog


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A SQLite database to load from."""
    return Shop(tmp_path / "shop.db")
