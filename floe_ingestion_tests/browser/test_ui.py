"""What a person does in Dagster's web page, done in a real browser: look, click, backfill, and read the numbers.

Needs Chromium (CHROMIUM, `/usr/bin/chromium` by default) and is run by `make test-browser`. A picture of each page
that a test ends on is left in SCREENSHOTS.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from floe_ingestion_tests.dagster_fixtures import Project
from floe_ingestion_tests.integration.live_dagster import Dagster, dagster_dev

pytestmark = [pytest.mark.dagster, pytest.mark.timeout(300)]

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", "build/screenshots")).absolute()
LONGEST_RUN = 120_000
"""Milliseconds; Dagster's daemon looks for backfills every 30 seconds."""
expect.set_options(timeout=30_000)
# Without a network Chromium would go on trying to reach its makers.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

SPEC = """
ingestion:
  sources:
    - name: shop
      type: sql_database
      config: {connection_string: "${SHOP_URL}", tables: [{name: orders, incremental: {cursor_path: id}}]}
      destination: {schema: bronze}
      checks:
        - {type: not_null, columns: [id]}
        - {type: row_count, min: 100}
    - name: site
      type: sql_database
      config: {connection_string: "${SHOP_URL}", tables: [visits]}
      destination: {schema: bronze}
      partitions: {type: daily, column: at, start: 2024-03-01, end: 2024-03-11}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"), SPEC)
    project.sql(
        "create table orders (id integer primary key, note text)",
        "insert into orders values (1, 'tea'), (2, null)",
        "create table visits (id integer, at timestamp)",
        *(f"insert into visits values ({day}, '2024-03-{day:02d} 12:00:00')" for day in range(1, 11)),
    )
    return project


@pytest.fixture(scope="module")
def dagster(project: Project) -> Iterator[Dagster]:
    with dagster_dev(project.folder, SHOP_URL=f"sqlite:///{project.database}") as dagster:
        dagster.ask("mutation { setNuxSeen }")  # its welcome dialog would lie over every page
        yield dagster


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, dagster: Dagster, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page whose addresses start at Dagster's."""
    page = browser.new_context(base_url=dagster.url, viewport={"width": 1500, "height": 1100}).new_page()
    page.set_default_timeout(30_000)
    yield page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{request.node.name}.png", full_page=True)
    page.context.close()


def seen_after_a_run(page: Page, text: str) -> None:
    """Dagster shows the metadata of a new materialisation when its page is opened again."""
    until = time.monotonic() + LONGEST_RUN / 1000
    wanted = page.get_by_text(text, exact=True).first
    while not wanted.is_visible() and time.monotonic() < until:
        page.wait_for_timeout(3000)
        page.reload()
        page.get_by_text("Metadata", exact=True).first.wait_for()
    expect(wanted).to_be_visible()


def test_the_code_location_loads(page: Page) -> None:
    page.goto("/locations")

    expect(page.get_by_text("floe_ingestion.definitions").first).to_be_visible()
    expect(page.get_by_text("Loaded", exact=True)).to_be_visible()


def test_the_lineage_shows_where_a_table_comes_from(page: Page) -> None:
    page.goto("/assets/bronze/orders?view=lineage")

    graph = page.locator("svg")
    expect(graph.get_by_text("orders", exact=True)).to_have_count(2)
    page.goto("/assets/bronze/orders")
    page.get_by_role("link", name="source / shop / orders").first.click()
    expect(page).to_have_url(re.compile("/assets/source/shop/orders"))


def test_a_click_materializes_a_table_and_its_numbers_appear_as_plots(page: Page, project: Project) -> None:
    page.goto("/assets/bronze/orders")
    page.get_by_role("button", name="Materialize").first.click()

    seen_after_a_run(page, "rows added")
    expect(page.get_by_text("Row count")).to_be_visible()
    expect(page.get_by_text("snapshot id", exact=True)).to_be_visible()
    page.get_by_role("button", name="Plots").click()
    expect(page.locator("canvas").first).to_be_visible()
    assert project.rows("bronze.orders", "id") == [1, 2]


def test_checks_pass_and_one_fails_red_with_its_numbers(page: Page) -> None:
    page.goto("/assets/bronze/orders?view=checks")

    expect(page.get_by_text("not_null_id").first).to_be_visible()
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(1)
    page.get_by_text("row_count").first.click()
    expect(page.get_by_text("2 rows, expected at least 100")).to_be_visible()
    red = page.get_by_text("Failed", exact=True).last.evaluate("element => getComputedStyle(element).color")
    strength = [int(value) for value in re.findall(r"\d+", red)[:3]]
    assert strength[0] > 2 * max(strength[1:]), f"the colour is {red}"


def test_a_backfill_of_five_partitions_is_launched_from_the_dialog(page: Page, project: Project) -> None:
    page.goto("/assets/bronze/visits")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_placeholder("ex: 2024-03-01").fill("[2024-03-02...2024-03-06]")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Launch backfill").click()

    page.goto("/assets/bronze/visits?view=partitions")
    expect(page.get_by_text("Materialized (5)")).to_be_visible(timeout=LONGEST_RUN)
    assert project.rows("bronze.visits", "id") == [2, 3, 4, 5, 6]
