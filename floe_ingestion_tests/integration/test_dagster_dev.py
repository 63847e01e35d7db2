"""A live `dagster dev`, asked over GraphQL as its web page asks: assets, runs, and two backfills at once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import pytest

from floe_ingestion_tests.dagster_fixtures import Project
from floe_ingestion_tests.http_server import Asked, serving

pytestmark = pytest.mark.dagster

ROOT = Path(__file__).resolve().parents[2]
LONGEST_WAIT = 150.0
"""Dagster's daemon looks for backfills every 30 seconds; the rest is for a busy machine."""
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
Found = TypeVar("Found")


class Dagster:
    """A running `dagster dev`."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url, self.process = url, process

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data that a GraphQL query or mutation answers with."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            met = json.load(answer)
        assert "errors" not in met, met["errors"]
        data: dict[str, Any] = met["data"]
        return data

    def wait_for(self, look: Callable[[], Found | None]) -> Found:
        """What `look` finds as soon as it finds anything."""
        until = time.monotonic() + LONGEST_WAIT
        while time.monotonic() < until:
            assert self.process.poll() is None, f"dagster dev ended with {self.process.returncode}"
            if found := look():
                return found
            time.sleep(0.3)
        raise AssertionError(f"waited {LONGEST_WAIT:g} s in vain")

    def materialize(self, *asset: str) -> str:
        """Launch a run of one asset; its id."""
        launched = self.ask(
            """
            mutation ($asset: [String!]!) {
              launchRun(executionParams: {
                selector: {repositoryLocationName: "floe_ingestion.definitions", repositoryName: "__repository__",
                           jobName: "__ASSET_JOB", assetSelection: [{path: $asset}]}
                mode: "default", runConfigData: {execution: {config: {in_process: {}}}}
              }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
            }""",
            asset=list(asset),
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def materialize_partition(self, job: str, key: str) -> str:
        """Launch a run of one partition; its id."""
        launched = self.ask(
            """
            mutation ($job: String!, $key: String!) {
              launchRun(executionParams: {
                selector: {repositoryLocationName: "floe_ingestion.definitions", repositoryName: "__repository__",
                           jobName: $job}
                mode: "default", runConfigData: {execution: {config: {in_process: {}}}}
                executionMetadata: {tags: [{key: "dagster/partition", value: $key}]}
              }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
            }""",
            job=job,
            key=key,
        )["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def backfill(self, partitions: list[str], *asset: str) -> str:
        """Launch a backfill of one asset; its id."""
        launched = self.ask(
            """
            mutation ($asset: [String!]!, $partitions: [String!]!) {
              launchPartitionBackfill(backfillParams: {assetSelection: [{path: $asset}], partitionNames: $partitions})
              { __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } }
            }""",
            asset=list(asset),
            partitions=partitions,
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def finished(self, run_id: str) -> str:
        """How a run ended, as soon as it has."""

        def look() -> str | None:
            run = self.ask("query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id)[
                "runOrError"
            ]
            return run["status"] if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        return self.wait_for(look)

    def runs_of(self, backfill: str) -> list[str]:
        """The runs of a backfill, once it has any."""

        def look() -> list[str]:
            runs = self.ask(
                """
                query ($id: String!) {
                  runsOrError(filter: {tags: [{key: "dagster/backfill", value: $id}]}) {
                    ... on Runs { results { runId } }
                  }
                }""",
                id=backfill,
            )["runsOrError"]["results"]
            return [run["runId"] for run in runs]

        return self.wait_for(look)

    def metadata(self, *asset: str) -> dict[str, Any]:
        """The numbers and texts of the newest materialisation of an asset."""
        found = self.ask(
            """
            query ($asset: [String!]!) {
              assetOrError(assetKey: {path: $asset}) {
                ... on Asset {
                  assetMaterializations(limit: 1) {
                    runId
                    metadataEntries {
                      label
                      ... on IntMetadataEntry { intValue }
                      ... on FloatMetadataEntry { floatValue }
                      ... on TextMetadataEntry { text }
                    }
                  }
                }
              }
            }""",
            asset=list(asset),
        )["assetOrError"]["assetMaterializations"]
        (newest,) = found
        entries = {entry.pop("label"): entry for entry in newest["metadataEntries"]}
        return {"run": newest["runId"], **{label: next(iter(entry.values()), None) for label, entry in entries.items()}}


@contextmanager
def dagster_dev(folder: Path, **environment: str) -> Iterator[Dagster]:
    """`dagster dev` of the floe.yaml in `folder`, with an instance and a free port of its own."""
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "-m", "floe_ingestion.definitions"]
    own = {"DAGSTER_HOME": str(home), "FLOE_SPEC": str(folder / "floe.yaml"), "PYTHONPATH": str(ROOT)}
    with (folder / "dagster.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            cwd=folder,
            env={**os.environ, **own, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, so that nobody else is ended with it
        )
        try:
            dagster = Dagster(f"http://127.0.0.1:{port}", process)
            dagster.wait_for(lambda: answers(dagster))
            yield dagster
        finally:
            end(process)


def answers(dagster: Dagster) -> bool:
    with suppress(OSError):
        return bool(dagster.ask("{ version }")["version"])
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End `process` and whatever it started."""
    for each in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, each)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)


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
