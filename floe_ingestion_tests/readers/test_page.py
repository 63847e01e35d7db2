"""The blocks of docs/readers.md, each as its reader runs it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from floe_ingestion_tests.lake import Lake
from floe_ingestion_tests.readers.asking import PYTHON, QUICK_JAVA
from floe_ingestion_tests.readers.conftest import need_java
from floe_ingestion_tests.readers.tables import Written
from floe_ingestion_tests.test_docs import ROOT, blocks, quickstart, run  # noqa: F401  (a fixture)

FIRST, *BLOCKS = blocks(ROOT / "docs" / "readers.md", "python")
ELSEWHERE = ("pyspark", "daft", "chdb")
"""What is installed in the readers' environment alone."""
RUNTIME = """
from importlib.util import find_spec
from pathlib import Path
package, = find_spec("snowpark_connect_deps_iceberg").submodule_search_locations
runtime, = map(str, Path(package).glob("jars/iceberg-spark-runtime-3.5_2.12-*.jar"))
"""


def test_the_first_block_finds_the_table(quickstart: Path) -> None:  # noqa: F811
    done = run("floe-ingestion run shop", quickstart)
    assert done.returncode == 0, done.stderr
    names: dict[str, Any] = {}

    exec(FIRST, names)

    assert names["table"].metadata_location == names["metadata"]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"import (\w+)", block + "import scan")[0])
def test_a_block_finds_the_rows_of_ten_and_more(
    block: str, written_lake: Lake, written: dict[str, Written], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    table = written_lake.table(written["merged"].name)
    expected = len([row for row in written["merged"].rows if row["amount"] is not None and row["amount"] >= 10])
    assert expected > 0

    if not any(f"import {name}" in block or f"from {name}" in block for name in ELSEWHERE):
        names = {"table": table, "metadata": table.metadata_location}
        exec(block, names)
        assert len(names["rows"]) == expected
        return
    if "pyspark" in block:
        need_java()
    code = f"metadata = {table.metadata_location!r}\n{RUNTIME}\n{block}\nprint('found', len(rows))"
    done = subprocess.run(
        [os.environ[PYTHON], "-c", code], env={**os.environ, **QUICK_JAVA}, capture_output=True, text=True, timeout=200
    )
    assert f"found {expected}\n" in done.stdout, done.stdout + done.stderr


def test_spark_is_attached_as_the_page_says() -> None:
    """`test_writers.py` attaches it so."""
    (properties,) = blocks(ROOT / "docs" / "readers.md", "properties")
    told = {line.split()[0].removeprefix("spark.sql.catalog.lake.") for line in properties.splitlines()}

    attaching = (Path(__file__).with_name("test_writers.py")).read_text("utf-8")
    for key in told - {"spark.sql.extensions", "spark.sql.catalog.lake"}:
        assert f'"{key}":' in attaching or f"{key}=" in attaching, key
