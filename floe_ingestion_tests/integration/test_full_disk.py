"""Disks that are full or read-only: told at once, the table as it was, and the next run completes it."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from floe_ingestion.errors import PermanentError
from floe_ingestion.pipeline import IngestionPipeline
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.integration.disks import Disk, disk, without_privileges
from floe_ingestion_tests.integration.lakehouses import Plugins, RemoteLake
from floe_ingestion_tests.integration.processes import load_orders, processes
from floe_ingestion_tests.lake import Lake

NAME = "raw.orders"
MERGE = {
    "incremental": {"cursor_path": "updated_at"},
    "destination": {"write_disposition": "merge", "merge_mode": "merge-on-read"},
}
PAGE = 4096
FULL = "Free space there"
READ_ONLY = "Make it writable"
PLACES = ["warehouse", "staging", "catalog"]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop.db")
    shop.sell(*((number, f"customer {number}", "1.50", "2024-01-01 00:00:00") for number in range(5)))
    return shop


@pytest.fixture
def orders(shop: Shop) -> IngestionPipeline:
    return shop.pipeline(NAME, **MERGE)


@pytest.fixture(params=PLACES)
def small(request: pytest.FixtureRequest, home: Path) -> Iterator[Disk]:
    """A disk of its own for the warehouse, for staged files, or for the SQLite catalog."""
    with disk(home / request.param) as mounted:
        yield mounted


@pytest.fixture
def lake(home: Path, small: Disk, orders: IngestionPipeline) -> RemoteLake:
    """With the orders loaded."""
    (home / "catalog").mkdir(parents=True, exist_ok=True)
    lake = RemoteLake(home, Plugins("sql", {"uri": f"sqlite:///{home}/catalog/catalog.db"}, "local", {}))
    lake.load(orders)
    return lake


def something_happens(shop: Shop, number: int) -> None:
    """An order is changed, one is new, so that the load writes rows and marks others as deleted."""
    moment = f"2024-02-01 {number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}"
    shop.change(number % 5, moment, customer=f"changed {number}")
    shop.sell((100 + number, f"customer {number}", "1.50", moment))


def stored(lake: Lake) -> set[Path]:
    """Data files, delete files and manifests. A table's own metadata file is begun last, and nothing names it."""
    files = [path for path in (lake.home / "warehouse").rglob("*") if path.is_file() and path.name != "ballast"]
    return {path for path in files if not path.name.endswith(".metadata.json")}


def test_a_disk_that_becomes_full_at_any_moment_costs_no_row(
    lake: RemoteLake, small: Disk, shop: Shop, orders: IngestionPipeline
) -> None:
    outcomes = []
    for number, pages in enumerate((0, 1, 2, 3, 4, 6, 8, 16, 48, 96)):
        something_happens(shop, number)
        before, files = lake.rows(NAME), stored(lake)
        small.fill(leave=pages * PAGE)
        outcomes.append(failure_of(lake, orders))
        if outcomes[-1] is not None:
            assert lake.rows(NAME) == before
            assert stored(lake) == files
            assert [path for path in lake.left_behind() if path.name != "ballast"] == []
        small.free()
        lake.load(orders)

        assert lake.rows(NAME) == shop.orders()
        if outcomes[-1] is None:
            break
    *failures, last = outcomes
    assert all(FULL in str(failure) for failure in failures)
    assert failures
    assert last is None


def failure_of(lake: RemoteLake, orders: IngestionPipeline) -> PermanentError | None:
    """What a load ends with that must not be tried again; None where it lands."""
    try:
        lake.load(orders)
    except PermanentError as error:
        return error
    return None


def test_a_disk_that_takes_nothing_is_told_at_once_and_costs_no_row(
    lake: RemoteLake, small: Disk, shop: Shop, orders: IngestionPipeline
) -> None:
    something_happens(shop, 1)
    before, files = lake.rows(NAME), stored(lake)
    lake.catalog.close()  # an open database keeps a disk from becoming read-only

    with small.read_only():
        with pytest.raises(PermanentError, match=READ_ONLY):
            lake.load(orders)
        assert lake.rows(NAME) == before
    assert stored(lake) == files

    lake.catalog.close()  # what SQLite has opened for reading it does not write to
    lake.load(orders)
    assert lake.rows(NAME) == shop.orders()


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that every user may write to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_may_not_be_written_to_is_told_at_once_and_costs_no_row(anybodys: Path) -> None:
    shop = Shop(anybodys / "shop.db")
    shop.sell((1, "ann", "1.50", "2024-01-01 00:00:00"))
    (anybodys / "shop.db").chmod(0o666)
    orders = shop.pipeline(NAME, **MERGE)
    Lake(anybodys / "of-root").load(orders)  # what is imported late may lie where nobody else may read
    lake = Lake(anybodys / "home")
    with without_privileges():
        lake.load(orders)
        something_happens(shop, 1)
        before, files = lake.rows(NAME), stored(lake)
        data = next(iter(lake.data_files())).parent
        data.chmod(0o555)
        with pytest.raises(PermanentError, match="Permission denied"):
            lake.load(orders)

        assert lake.rows(NAME) == before
        assert stored(lake) == files
        data.chmod(0o755)
        lake.load(orders)
        assert lake.rows(NAME) == shop.orders()


def test_a_process_killed_on_a_full_disk_neither_loses_a_row_nor_lands_one_twice(shop: Shop, home: Path) -> None:
    chance = random.Random(5)
    with disk(home) as small:
        load_orders(home, shop.url, MERGE)
        for number in range(6):
            something_happens(shop, number)
            small.fill(leave=chance.choice([0, 4, 12, 40]) * PAGE)
            load = processes().Process(target=load_orders, args=(home, shop.url, MERGE))
            load.start()
            time.sleep(chance.uniform(0.0, 0.8))
            load.kill()
            load.join()
        small.free()
        load_orders(home, shop.url, MERGE)

        assert Lake(home).rows(NAME) == shop.orders()
