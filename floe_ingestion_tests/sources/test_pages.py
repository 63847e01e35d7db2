"""The pages of docs/sources: their tables follow from the models, and what their floe.yaml says lands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from floe_ingestion.cli import main
from floe_ingestion.loading import load_spec
from floe_ingestion.pipeline import pipeline_of
from floe_ingestion.sources.registry import _BUILT_IN
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.http_server import Asked, serving
from floe_ingestion_tests.lake import Lake
from floe_ingestion_tests.option_tables import brought_up_to_date, pages
from floe_ingestion_tests.sources.fake_github import TOKEN, github
from floe_ingestion_tests.sources.fake_sheets import sheets
from floe_ingestion_tests.sources.fake_stripe import KEY, stripe

PAGES = pages()
Answering = Callable[[Path, dict[str, Any]], AbstractContextManager[dict[str, str]]]
"""Makes what a page's source reads, points `config` at it, and gives the variables."""


@contextmanager
def a_shop(folder: Path, config: dict[str, Any]) -> Iterator[dict[str, str]]:
    shop = Shop(folder / "shop.db")
    shop.sell((1, "ann", "10.50", "2026-01-01 10:00:00"))
    shop.execute("create table prices (id integer primary key, price numeric(10, 2))")
    shop.execute("insert into prices values (1, 2.5)")
    yield {"SHOP_DATABASE": shop.url}


@contextmanager
def tickets(folder: Path, config: dict[str, Any]) -> Iterator[dict[str, str]]:
    def rows(asked: Asked) -> list[dict[str, Any]]:
        return [{"id": 1, "updated_at": "2026-01-01T00:00:00Z"}] if asked.params["page"] == "1" else []

    with serving() as api:
        api.route("/v1/tickets", rows)
        api.route("/v1/tickets/1/comments", rows)
        config["base_url"] = f"{api.url}/v1"
        yield {"TICKETS_TOKEN": "t0psecret"}


@contextmanager
def files(folder: Path, config: dict[str, Any]) -> Iterator[dict[str, str]]:
    for name in ("events", "archive/2025"):
        (folder / "landing" / name).mkdir(parents=True)
    (folder / "landing" / "events" / "one.csv").write_text("id;size\n1;NA\n")
    pq.write_table(pa.table({"id": [1]}), folder / "landing" / "archive" / "2025" / "one.parquet")
    yield {}


@contextmanager
def repositories(folder: Path, config: dict[str, Any]) -> Iterator[dict[str, str]]:
    with github() as hub:
        for name in config["repositories"]:
            hub.repository(name)
        first = config["repositories"][0]
        for resource in ("issues", "pull_requests", "stargazers"):
            hub.add(first, resource)
        hub.add_commit(first, "abc", "2026-01-01T00:00:00Z")
        config["base_url"] = hub.url
        yield {"GITHUB_TOKEN": TOKEN}


@contextmanager
def an_account(folder: Path, config: dict[str, Any]) -> Iterator[dict[str, str]]:
    with stripe() as account:
        for resource in ("customers", "subscriptions", "charges", "events"):
            account.add(resource, "one")
        config["base_url"] = account.url
        yield {"STRIPE_API_KEY": KEY}


@contextmanager
def a_spreadsheet(folder: Path, config: dict[str, Any]) -> Iterator[dict[str, str]]:
    with sheets() as book:
        book.sheets["orders"] = [["id"], [1]]
        book.sheets["Targets 2026"] = [[], [None, "day", "amount"], [None, date(2026, 1, 1), 19.99]]
        book.sheets["Rates"] = [["EUR", 1.5]]
        book.named["exchange_rates"] = {"sheetId": 2, "endRowIndex": 1, "endColumnIndex": 2}
        config["base_url"] = book.url
        yield {"GOOGLE_SERVICE_ACCOUNT": book.key()}


ANSWERING: dict[str, Answering] = {
    "filesystem": files,
    "github": repositories,
    "google_sheets": a_spreadsheet,
    "rest_api": tickets,
    "sql_database": a_shop,
    "stripe": an_account,
}


def test_every_built_in_connector_has_a_page() -> None:
    assert PAGES.keys() == _BUILT_IN.keys() == ANSWERING.keys()


@pytest.mark.parametrize("name", PAGES)
def test_the_options_of_a_page_are_those_of_the_model(name: str) -> None:
    page = PAGES[name].read_text("utf-8")

    assert page == brought_up_to_date(name, page), "Run `make options`."


def test_the_command_line_shows_the_options() -> None:
    shown = CliRunner().invoke(main, ["options", "github"])

    assert shown.exit_code == 0
    assert shown.output in PAGES["github"].read_text("utf-8")
    assert "Did you mean 'github'?" in CliRunner().invoke(main, ["options", "gihub"]).stderr


@pytest.mark.parametrize("name", PAGES)
def test_the_floe_yaml_of_a_page_lands(name: str, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = PAGES[name].read_text("utf-8").partition("```yaml\n")[2].partition("```")[0]
    written = yaml.safe_load(block)
    (source,) = written["ingestion"]["sources"]
    with ANSWERING[name](tmp_path, source["config"]) as variables:
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        (tmp_path / "floe.yaml").write_text(yaml.safe_dump(written), "utf-8")
        spec = load_spec(tmp_path / "floe.yaml").sources[0]
        for table in spec.tables:
            lake.load(pipeline_of(spec, tmp_path), resource=table.resource)

    assert [lake.table(str(table)).scan().count() for table in spec.tables] == [1] * len(spec.tables)
