"""A live `dagster dev` of a test's own, asked over GraphQL as its web page asks."""

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
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
LONGEST_WAIT = 150.0
"""Dagster's daemon looks for backfills every 30 seconds; the rest is for a busy machine."""
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
