"""A live `dagster dev`, asked over GraphQL as its web page asks: assets, runs, and two backfills at once."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier

import pytest

from floe_ingestion_tests.dagster_fixtures import Project
from floe_ingestion_tests.http_server import Asked, serving
from floe_ingestion_tests.integration.live_dagster import LONGEST_WAIT, Dagster, dagster_dev

pytestmark = pytest.mark.dagster

DAYS = ["2024-03-02", "2024-03-03", "2024-03-04"]
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
    - name: feed
      type: rest_api
      config: {base_url: "${FEED_URL}", resources: [readings]}
      destination: {schema: bronze}
      partitions: {type: static, column: region, keys: [eu, us]}
      retry: {max_retries: 0}
"""


@pytest.mark.timeout(600)
def test_a_live_dagster_runs_assets_and_partitions_side_by_side_and_repeated_backfills_end_with_the_same_rows(
    tmp_path: Path,
) -> None:
    project = Project(tmp_path, SPEC)
    project.sql(
        "create table orders (id integer primary key)",
        "insert into orders values (1), (2)",
        "create table visits (id integer, at timestamp)",
        *(f"insert into visits values ({day}, '2024-03-{day:02d} 12:00:00')" for day in range(1, 11)),
    )

    with (
        serving() as feed,
        dagster_dev(tmp_path, SHOP_URL=f"sqlite:///{project.database}", FEED_URL=feed.url) as dagster,
    ):
        assert loaded_locations(dagster) == {"floe_ingestion.definitions": "RepositoryLocation"}
        assert asset_keys(dagster) == {
            "bronze/orders",
            "bronze/visits",
            "bronze/readings",
            "source/feed/readings",
            "source/shop/orders",
            "source/site/visits",
        }

        # Dagster's daemon takes its time, and then starts both at once: the runs go first.
        backfills = [dagster.backfill(DAYS, "bronze", "visits") for _ in range(2)]
        for new, rows in ((2, 2), (0, 2)):
            run = dagster.materialize("bronze", "orders")
            assert dagster.finished(run) == "SUCCESS"
            shown = dagster.metadata("bronze", "orders")
            assert (shown["run"], shown["rows added"], shown["dagster/row_count"]) == (run, new, rows)
        assert project.rows("bronze.orders", "id") == [1, 2]
        assert len(project.snapshots("bronze.orders")) == 1, "the second run found nothing new"

        # Each of two runs of one source is answered only while the other one asks, too: in turns, both would fail.
        both = Barrier(2)

        def readings(asked: Asked) -> list[dict[str, str]]:
            both.wait(LONGEST_WAIT)
            return [{"region": "eu"}, {"region": "us"}]

        feed.route("/readings", readings)
        together = [dagster.materialize_partition("ingest_feed", key) for key in ("eu", "us")]
        assert [dagster.finished(run) for run in together] == ["SUCCESS", "SUCCESS"]
        assert project.rows("bronze.readings", "region") == ["eu", "us"]

        runs = [run for backfill in backfills for run in dagster.runs_of(backfill)]
        assert [dagster.finished(run) for run in runs] == ["SUCCESS", "SUCCESS"], "one run for each backfill"
        assert project.rows("bronze.visits", "id") == [2, 3, 4]
        snapshots = project.snapshots("bronze.visits")
        assert {snapshot.run_id for snapshot in snapshots} == set(runs)
        assert [snapshot.partition for snapshot in snapshots] == [f"{DAYS[0]}...{DAYS[-1]}"] * 2
        assert [(snapshot.rows_added, snapshot.rows_total) for snapshot in snapshots] == [(3, 3), (3, 3)]
        assert dagster.metadata("bronze", "visits")["rows added"] == 3


def loaded_locations(dagster: Dagster) -> dict[str, str]:
    entries = dagster.ask(
        "{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { __typename } } } } }"
    )["workspaceOrError"]["locationEntries"]
    return {entry["name"]: entry["locationOrLoadError"]["__typename"] for entry in entries}


def asset_keys(dagster: Dagster) -> set[str]:
    return {
        "/".join(node["assetKey"]["path"]) for node in dagster.ask("{ assetNodes { assetKey { path } } }")["assetNodes"]
    }
