"""The lakehouse that `make lakehouse` starts: what DuckDB reads there is what the shop's orders add up to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "examples" / "lakehouse" / "demo.py"
COUNTRIES = {1: "Norway", 2: "Portugal", 3: "Norway", 4: "Japan"}


def revenue(orders: dict[int, tuple[int, Decimal]]) -> list[tuple[str, int, Decimal]]:
    """Each country's orders and revenue, from customer and amount of each order."""
    of_country: dict[str, list[Decimal]] = defaultdict(list)
    for customer, amount in orders.values():
        of_country[COUNTRIES[customer]].append(amount)
    return [(country, len(amounts), sum(amounts, Decimal())) for country, amounts in sorted(of_country.items())]


def test_duckdb_reads_what_the_shop_sold_and_what_has_changed(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "DAGSTER_HOME": str(tmp_path / "unused")}

    done = subprocess.run([sys.executable, DEMO], env=environment, capture_output=True, text=True, timeout=200)

    assert done.returncode == 0, done.stdout + done.stderr
    orders = {number: (1 + number % 4, number * Decimal("1.25")) for number in range(1, 1001)}
    first = revenue(orders)
    orders[400] = (1, Decimal(0))
    orders[1001] = (4, Decimal("99.99"))
    found = re.findall(r"│ (\w+) +│ ([\d,]+) +│ ([\d,.]+) +│", done.stdout)
    assert [
        (country, int(count.replace(",", "")), Decimal(amount.replace(",", ""))) for country, count, amount in found
    ] == first + revenue(orders)
    folder = re.search(r"PostgreSQL: in (\S+)", done.stdout)
    assert folder is not None
    assert not Path(folder[1]).exists(), "nothing is left"
