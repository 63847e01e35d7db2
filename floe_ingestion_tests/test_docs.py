"""Everything that README.md and docs/ show is run here, or by .ci/run."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from floe_ingestion import load_spec
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.lake import Lake

pytestmark = pytest.mark.dagster

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "examples" / "quickstart" / "floe.yaml"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "sources").glob("*.md"))]
_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [match["text"] for match in _BLOCK.finditer(page.read_text("utf-8")) if match["language"] == language]


def commands(page: Path) -> list[str]:
    """The lines of its shell blocks."""
    return [line for block in blocks(page, "bash") for line in block.splitlines() if line and not line.startswith("#")]


@pytest.fixture
def quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user who has written the README's floe.yaml, with the sources that it names."""
    (tmp_path / "floe.yaml").write_bytes(QUICKSTART.read_bytes())
    shop = Shop(tmp_path / "shop.db")
    shop.sell((1, "ann", "10.50", "2026-01-01 10:00:00"), (2, "bob", "7.00", "2026-01-02 11:00:00"))
    shop.execute("create table customers (name text primary key)")
    shop.execute("insert into customers values ('ann'), ('bob')")
    clicks = tmp_path / "landing" / "clicks"
    clicks.mkdir(parents=True)
    moments = ["2026-01-01T08:00:00Z", "2026-01-03T09:30:00Z", "2026-01-04T00:00:00Z"]
    lines = [json.dumps({"page": "/", "clicked_at": moment}) for moment in moments]
    (clicks / "one.jsonl").write_text("\n".join(lines), "utf-8")
    monkeypatch.setenv("SHOP_DATABASE", shop.url)
    monkeypatch.delenv("FLOE_SPEC", raising=False)
    monkeypatch.delenv("FLOE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one line as a user would, with the programs of this environment first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        shlex.split(line), cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=240
    )


def test_the_floe_yaml_of_the_readme_is_the_file_under_examples():
    assert QUICKSTART.read_text("utf-8") in blocks(ROOT / "README.md", "yaml")


def test_the_floe_yaml_of_the_readme_is_short_and_right():
    assert len(QUICKSTART.read_text("utf-8").splitlines()) <= 25
    assert [str(table) for source in load_spec(QUICKSTART).sources for table in source.tables] == [
        "bronze.customers",
        "bronze.orders",
        "bronze.clicks",
    ]


def test_every_command_of_the_readme_works(quickstart):
    for line in commands(ROOT / "README.md"):
        if line.startswith("floe-ingestion "):
            result = run(line, quickstart)
            assert result.returncode == 0, f"{line}\n{result.stdout}\n{result.stderr}"

    lake = Lake(quickstart / ".floe")
    assert lake.values("bronze.orders") == [1, 2]
    assert len(lake.rows("bronze.clicks")) == 2


def test_every_other_command_of_the_readme_is_run_by_ci_or_by_a_test_of_its_own():
    others = {line for line in commands(ROOT / "README.md") if not line.startswith("floe-ingestion ")}
    ci = (ROOT / ".ci" / "run").read_text("utf-8")

    assert others == {
        "make demo",
        "make test",
        "make lakehouse",  # integration/test_lakehouse_example.py runs what it runs
        "make ui",  # integration/test_dagster_dev.py starts what it starts
        "pip install floe-ingestion",  # make wheel-test
        "dagster dev -m floe_ingestion.definitions",  # below, and integration/test_dagster_dev.py
    }
    run_by_ci = {target for line in ci.splitlines() if line.startswith("stage ") for target in line.split()}
    assert {"demo", "test", "wheel-test"} <= run_by_ci


def test_the_code_location_of_the_readme_loads_without_any_variable(quickstart, monkeypatch):
    monkeypatch.delenv("SHOP_DATABASE")

    result = run("dagster definitions validate -m floe_ingestion.definitions", quickstart)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("page", "block"),
    # Those of readers.md need other environments: readers/test_page.py runs them.
    [(page, block) for page in PAGES if page.name != "readers.md" for block in blocks(page, "python")],
    ids=lambda value: value.name if isinstance(value, Path) else value.splitlines()[0][:40],
)
def test_the_python_of_the_docs_runs(page, block, quickstart):
    exec(compile(block, str(page), "exec", dont_inherit=True), {"__name__": "docs"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_yaml_of_the_docs_is_right(page, tmp_path):
    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block)
        if "\n  sources:" in block:
            (tmp_path / "floe.yaml").write_text(block, "utf-8")
            assert load_spec(tmp_path / "floe.yaml").sources


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]

    assert missing == []


def test_every_test_that_a_promise_names_exists():
    named = re.findall(r"`([a-z_/]+\.py)`", (ROOT / "docs" / "promises.md").read_text("utf-8"))

    assert [name for name in named if not (ROOT / "floe_ingestion_tests" / name).exists()] == []
