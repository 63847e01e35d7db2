"""Processes that are killed, and many at once: every row is there, and none twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from floe_ingestion.iceberg import audit
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.integration.processes import append_rows, load_orders, processes, run_all
from floe_ingestion_tests.lake import Lake

_KILLS = 50
_APPEND = {"incremental": {"cursor_path": "updated_at"}}
_MERGE = {**_APPEND, "destination": {"write_disposition": "merge"}}
_GATED = {"destination": {"publish": "audit"}, "checks": [{"type": "row_count", "min": 1, "gate": True}]}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop.db")


@pytest.mark.parametrize(
    ("entry", "kills"),
    [(_APPEND, _KILLS), (_MERGE, _KILLS), ({**_APPEND, **_GATED}, _KILLS // 4)],
    ids=["append", "merge", "audit"],
)
def test_a_process_killed_at_any_moment_neither_loses_a_row_nor_lands_one_twice(shop, tmp_path, entry, kills):
    chance = random.Random(7)
    for number in range(kills):
        shop.sell(*(_order(number * 10 + i) for i in range(10)))
        load = processes().Process(target=load_orders, args=(tmp_path, shop.url, entry))
        load.start()
        time.sleep(chance.uniform(0.0, 0.8))
        load.kill()
        load.join()
    load_orders(tmp_path, shop.url, entry)
    table = Lake(tmp_path).table("raw.orders")
    for left in audit.branches(table):
        audit.drop(table, left.branch)

    assert Lake(tmp_path).rows("raw.orders") == shop.orders()
    assert list(table.metadata.refs) == ["main"]


def test_a_process_killed_while_it_replaces_a_partition_leaves_it_whole(shop, tmp_path):
    shop.sell(*(_order(number) for number in range(200)))
    day = (tmp_path, shop.url, _daily(), "2026-01-01T00:00+00:00", "2026-01-02T00:00+00:00")
    load_orders(*day)
    chance = random.Random(11)
    for _ in range(_KILLS // 2):
        load = processes().Process(target=load_orders, args=day)
        load.start()
        time.sleep(chance.uniform(0.0, 0.8))
        load.kill()
        load.join()
        assert Lake(tmp_path).rows("raw.orders") == shop.orders()


@pytest.mark.parametrize("more", [{}, _GATED], ids=["at once", "audit"])
def test_eight_processes_on_eight_partitions_land_each_its_own(shop, tmp_path, more):
    shop.sell(*((day * 100 + i, "ann", "1.00", f"2026-01-{day:02d} 10:00:00") for day in range(1, 9) for i in range(9)))

    codes = run_all(*((load_orders, (tmp_path, shop.url, {**_daily(), **more}, *_bounds(day))) for day in range(1, 9)))

    assert codes == [0] * 8
    assert Lake(tmp_path).rows("raw.orders") == shop.orders()
    assert list(Lake(tmp_path).table("raw.orders").metadata.refs) == ["main"]


def test_eight_processes_on_one_partition_land_it_once(shop, tmp_path):
    shop.sell(*((i, "ann", "1.00", "2026-01-01 10:00:00") for i in range(50)))

    codes = run_all(*((load_orders, (tmp_path, shop.url, _daily(), *_bounds(1))) for _ in range(8)))

    assert codes == [0] * 8
    assert Lake(tmp_path).rows("raw.orders") == shop.orders()


def test_eight_processes_from_one_cursor_land_its_rows_once(shop, tmp_path):
    shop.sell(*(_order(number) for number in range(100)))

    codes = run_all(*((load_orders, (tmp_path, shop.url, _APPEND)) for _ in range(8)))

    assert codes == [0] * 8
    assert Lake(tmp_path).rows("raw.orders") == shop.orders()


def test_eight_appenders_that_each_bring_a_new_column_keep_every_value(tmp_path):
    codes = run_all(*((append_rows, (tmp_path, [{"id": i, f"column_{i}": f"value {i}"}])) for i in range(8)))

    assert codes == [0] * 8
    assert [row[f"column_{row['id']}"] for row in Lake(tmp_path).rows("raw.numbers")] == [
        f"value {i}" for i in range(8)
    ]


def _order(number: int) -> tuple[int, str, str, str]:
    return (
        number,
        f"customer {number}",
        f"{number}.50",
        f"2026-01-01 {number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}",
    )


def _daily() -> dict[str, object]:
    return {"partitions": {"type": "daily", "column": "updated_at", "start": "2026-01-01"}}


def _bounds(day: int) -> tuple[str, str]:
    return f"2026-01-{day:02d}T00:00+00:00", f"2026-01-{day + 1:02d}T00:00+00:00"
