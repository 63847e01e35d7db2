"""Dagster's multiprocess executor on a floe.yaml of several sources: a process for each, all at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from floe_ingestion import build_definitions
from floe_ingestion_tests.dagster_fixtures import QUIET, Project
from floe_ingestion_tests.http_server import Answer, Asked, serving

pytestmark = pytest.mark.dagster

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("cats", "dogs", "owls")
SOURCE = """
    - name: {name}
      type: rest_api
      config: {{base_url: "{url}", resources: [{name}]}}
      destination: {{schema: bronze}}
      retry: {{max_retries: 0}}
"""
# Steps are forked off a process that has imported what they need.
FORKED = {"forkserver": {"preload_modules": ["floe_ingestion.definitions"]}}
AT_ONCE = {"execution": {"config": {"multiprocess": {"max_concurrent": len(SOURCES), "start_method": FORKED}}}}


def every_asset(path: str) -> dg.JobDefinition:
    """The job of all assets, as each process makes it for itself."""
    job = dg.define_asset_job("every_asset")
    return dg.Definitions.merge(build_definitions(path), dg.Definitions(jobs=[job])).resolve_job_def(job.name)


def test_a_job_over_several_sources_loads_them_in_processes_of_their_own_at_once(tmp_path: Path) -> None:
    with serving() as server, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        together = threading.Barrier(len(SOURCES))
        for number, name in enumerate(SOURCES):
            server.route(f"/{name}", when_all_ask(together, [{"id": number * 10 + i} for i in range(3)]))
        entries = "".join(SOURCE.format(name=name, url=server.url) for name in SOURCES)
        project = Project(tmp_path, f"ingestion:\n  sources:{entries}")
        job = dg.build_reconstructable_job(
            __name__, every_asset.__name__, (str(project.path),), reconstructor_working_directory=str(ROOT)
        )

        with dg.execute_job(job, instance, run_config={**AT_ONCE, **QUIET}) as result:
            assert result.success, [event.event_specific_data for event in result.all_events if event.is_failure]
            assert len({process_of(event) for event in result.all_events if started(event)}) == len(SOURCES)

    landed = [project.rows(f"bronze.{name}", "id") for name in SOURCES]
    assert landed == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]


def when_all_ask(together: threading.Barrier, rows: list[dict[str, int]]) -> Callable[[Asked], Any]:
    """Answers `rows` as soon as every other source is being asked, too."""

    def answer(_: Asked) -> Any:
        try:
            together.wait(120)
        except threading.BrokenBarrierError:
            return Answer({"error": "the others are not asked meanwhile"}, 404)
        return rows

    return answer


def started(event: dg.DagsterEvent) -> bool:
    return event.event_type == dg.DagsterEventType.STEP_WORKER_STARTED


def process_of(event: dg.DagsterEvent) -> str:
    """The id of the process that an event tells of."""
    return str(event.engine_event_data.metadata["pid"].value)
