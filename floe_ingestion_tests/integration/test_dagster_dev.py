"""A live `dagster dev`, asked over GraphQL as its web page asks: assets, runs, and two backfills at once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest
from pyiceberg.exceptions import NoSuchTableError

from floe_ingestion_tests.dagster_fixtures import Project
from floe_ingestion_tests.http_server import Asked, HttpServer, serving
from floe_ingestion_tests.integration.live_dagster import LONGEST_WAIT, Dagster, dagster_dev

pytestmark = pytest.mark.dagster

FIVE_DAYS = [f"2024-03-{day:02d}" for day in range(2, 7)]
DAYS = FIVE_DAYS[:3]
SPEC = """
ingestion:
  sources:
    - name: shop
      type: sql_database
      config: {connection_string: "${SHOP_URL}", tables: [{name: orders, incremental: {cursor_path: id}}]}
      destination: {schema: bronze}
    - name: site
      type: sql_database
      config: {connection_string: "${SHOP_URL}", tables: [visits]}
      destination: {schema: bronze}
      partitions: {type: daily, column: at, start: 2024-03-01, end: 2024-03-11}
    - name: log
      type: sql_database
      config: {connection_string: "${SHOP_URL}", tables: [{name: visits, table: pages}]}
      destination: {schema: bronze}
      partitions: {type: daily, column: at, start: 2024-03-01, end: 2024-03-11, max_partitions_per_run: 2}
    - name: feed
      type: rest_api
      config: {base_url: "${FEED_URL}", resources: [readings]}
      destination: {schema: bronze}
      partitions: {type: static, column: region, keys: [eu, us]}
      retry: {max_retries: 0}
    - name: drop
      type: filesystem
      config: {bucket_url: landing, resources: [{name: clicks, file_glob: "*.jsonl"}]}
      destination: {schema: bronze, write_disposition: replace}
      sensor: {minimum_interval_seconds: 1, enabled: true}
"""


@pytest.mark.timeout(600)
def test_a_live_dagster_runs_backfills_and_senses_what_floe_yaml_asks_for(tmp_path: Path) -> None:
    project = Project(tmp_path, SPEC)
    project.sql(
        "create table orders (id integer primary key)",
        "insert into orders values (1), (2)",
        "create table visits (id integer, at timestamp)",
        *(f"insert into visits values ({day}, '2024-03-{day:02d} 12:00:00')" for day in range(1, 11)),
    )
    (tmp_path / "landing").mkdir()

    with (
        serving() as feed,
        dagster_dev(tmp_path, SHOP_URL=f"sqlite:///{project.database}", FEED_URL=feed.url) as dagster,
    ):
        assert loaded_locations(dagster) == {"floe_ingestion.definitions": "RepositoryLocation"}
        assert asset_keys(dagster) == {
            *("bronze/orders", "bronze/visits", "bronze/pages", "bronze/readings", "bronze/clicks"),
            *("source/shop/orders", "source/site/visits", "source/log/visits", "source/feed/readings"),
            "source/drop/clicks",
        }
        # Dagster's daemon takes its time, and then starts all at once: what it has to do with goes first.
        repeated = [dagster.backfill(DAYS, "bronze", "visits") for _ in range(2)]
        split = dagster.backfill(FIVE_DAYS, "bronze", "pages")
        (tmp_path / "landing" / "one.jsonl").write_text('{"id": 1}\n')

        a_run_lands_what_is_new(dagster, project)
        two_runs_of_one_source_overlap(dagster, project, feed)
        repeated_backfills_end_with_the_same_rows(dagster, project, repeated)
        a_backfill_is_split_into_runs(dagster, project, split)
        files_are_loaded_as_they_come(dagster, project)


def a_run_lands_what_is_new(dagster: Dagster, project: Project) -> None:
    for new, rows in ((2, 2), (0, 2)):
        run = dagster.materialize("bronze", "orders")
        assert dagster.finished(run) == "SUCCESS"
        shown = dagster.metadata("bronze", "orders")
        assert (shown["run"], shown["rows added"], shown["dagster/row_count"]) == (run, new, rows)
    assert project.rows("bronze.orders", "id") == [1, 2]
    assert len(project.snapshots("bronze.orders")) == 1, "the second run found nothing new"


def two_runs_of_one_source_overlap(dagster: Dagster, project: Project, feed: HttpServer) -> None:
    """Each of the two is answered only while the other one asks, too: in turns, both would fail."""
    both = Barrier(2)

    def readings(asked: Asked) -> list[dict[str, str]]:
        both.wait(LONGEST_WAIT)
        return [{"region": "eu"}, {"region": "us"}]

    feed.route("/readings", readings)
    together = [dagster.materialize_partition("ingest_feed", key) for key in ("eu", "us")]

    assert [dagster.finished(run) for run in together] == ["SUCCESS", "SUCCESS"]
    assert project.rows("bronze.readings", "region") == ["eu", "us"]


def repeated_backfills_end_with_the_same_rows(dagster: Dagster, project: Project, backfills: list[str]) -> None:
    runs = [run for backfill in backfills for run in dagster.runs_of(backfill)]
    assert [dagster.finished(run) for run in runs] == ["SUCCESS", "SUCCESS"], "one run for each backfill"
    assert project.rows("bronze.visits", "id") == [2, 3, 4]
    snapshots = project.snapshots("bronze.visits")
    assert {snapshot.run_id for snapshot in snapshots} == set(runs)
    assert [snapshot.partition for snapshot in snapshots] == [f"{DAYS[0]}...{DAYS[-1]}"] * 2
    assert [(snapshot.rows_added, snapshot.rows_total) for snapshot in snapshots] == [(3, 3), (3, 3)]
    assert dagster.metadata("bronze", "visits")["rows added"] == 3


def a_backfill_is_split_into_runs(dagster: Dagster, project: Project, backfill: str) -> None:
    runs = dagster.wait_for(lambda: found if len(found := dagster.runs_of(backfill)) >= 3 else None)
    assert [dagster.finished(run) for run in runs] == ["SUCCESS"] * 3
    assert project.rows("bronze.pages", "id") == [2, 3, 4, 5, 6]
    landed = sorted(snapshot.partition for snapshot in project.snapshots("bronze.pages"))
    assert landed == ["2024-03-02...2024-03-03", "2024-03-04...2024-03-05", "2024-03-06"]


def files_are_loaded_as_they_come(dagster: Dagster, project: Project) -> None:
    """Nobody starts these runs but the sensor."""
    dagster.wait_for(lambda: clicks(project) == [1])
    (project.folder / "landing" / "two.jsonl").write_text('{"id": 2}\n')
    dagster.wait_for(lambda: clicks(project) == [1, 2])


def clicks(project: Project) -> list[int]:
    with suppress(NoSuchTableError):
        return project.rows("bronze.clicks", "id")
    return []


def loaded_locations(dagster: Dagster) -> dict[str, str]:
    entries = dagster.ask(
        "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename } } } } }"
    )["workspaceOrError"]["locationEntries"]
    return {entry["name"]: entry["locationOrLoadError"]["__typename"] for entry in entries}


def asset_keys(dagster: Dagster) -> set[str]:
    return {
        "/".join(node["assetKey"]["path"]) for node in dagster.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]
    }
