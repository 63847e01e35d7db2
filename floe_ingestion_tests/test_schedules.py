"""One job and one schedule a source: stopped until enabled, and what a tick asks for."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from floe_ingestion_tests.dagster_fixtures import QUIET, Project

pytestmark = pytest.mark.dagster

SITE = """
ingestion:
  sources:
    - name: site
      type: sql_database
      description: What visitors look at.
      tags: {domain: web}
      config: {connection_string: "sqlite:///source.db", tables: [visits, pages]}
      destination: {schema: bronze}
"""
SCHEDULE = '      schedule: {cron: "0 6 * * *", timezone: Europe/Berlin}\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def schedule_of(project: Project) -> dg.ScheduleDefinition:
    return project.definitions().resolve_schedule_def("site_schedule")


def tick(project: Project, moment: str) -> dg.SkipReason | list[dg.RunRequest]:
    """What the schedule asks for at a moment in UTC."""
    definitions = project.definitions()
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime.fromisoformat(moment).replace(tzinfo=timezone.utc),
        repository_def=definitions.get_repository_def(),
    )
    data = definitions.resolve_schedule_def("site_schedule").evaluate_tick(context)
    return dg.SkipReason(data.skip_message) if data.skip_message else list(data.run_requests or ())


def partitions_at(project: Project, moment: str) -> list[Any]:
    asked = tick(project, moment)
    assert isinstance(asked, list), asked
    return [request.partition_key for request in asked]


def test_a_source_has_a_job_that_materialises_its_tables(project: Project) -> None:
    project.write(SITE)
    job = project.definitions().resolve_job_def("ingest_site")

    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == {"bronze/visits", "bronze/pages"}
    assert (job.description, job.tags["floe/source"], job.tags["domain"]) == ("What visitors look at.", "site", "web")


def test_the_job_lands_rows(project: Project) -> None:
    project.write(SITE)
    for table in ("visits", "pages"):
        project.sql(f"create table {table} (id integer)", f"insert into {table} values (1)")

    result = project.definitions().resolve_job_def("ingest_site").execute_in_process(run_config=QUIET)

    assert result.success
    assert project.rows("bronze.visits", "id") == project.rows("bronze.pages", "id") == [1]


def test_a_source_without_a_schedule_has_none(project: Project) -> None:
    project.write(SITE)

    assert not project.definitions().schedules


@pytest.mark.parametrize(
    ("enabled", "status"), [(False, dg.DefaultScheduleStatus.STOPPED), (True, dg.DefaultScheduleStatus.RUNNING)]
)
def test_a_schedule_is_stopped_until_it_is_enabled(
    project: Project, enabled: bool, status: dg.DefaultScheduleStatus
) -> None:
    project.write(SITE + SCHEDULE.replace("}", f", enabled: {str(enabled).lower()}}}"))

    schedule = schedule_of(project)

    assert schedule.default_status == status
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 * * *", "Europe/Berlin")
    assert schedule.job_name == "ingest_site"


def test_a_tick_of_an_unpartitioned_source_loads_it(project: Project) -> None:
    project.write(SITE + SCHEDULE)

    assert partitions_at(project, "2024-03-10T05:00") == [None]


@pytest.mark.parametrize(
    ("partitions", "moment", "newest"),
    [
        ("{type: daily, column: at, start: 2024-03-01}", "2024-03-10T05:00", "2024-03-09"),
        ("{type: daily, column: at, start: 2024-03-01}", "2024-03-10T00:00", "2024-03-09"),
        ("{type: daily, column: at, start: 2024-03-01, timezone: America/New_York}", "2024-03-10T04:59", "2024-03-08"),
        ("{type: daily, column: at, start: 2024-03-01, end: 2024-03-05}", "2024-03-10T05:00", "2024-03-04"),
        ("{type: hourly, column: at, start: 2024-03-01}", "2024-03-10T05:30", "2024-03-10-04:00"),
        ("{type: weekly, column: at, start: 2024-03-04}", "2024-03-20T00:00", "2024-03-11"),
        ("{type: monthly, column: at, start: 2023-01-01}", "2024-03-20T00:00", "2024-02-01"),
    ],
)
def test_a_tick_loads_the_newest_partition_that_is_complete(
    project: Project, partitions: str, moment: str, newest: str
) -> None:
    project.write(f"{SITE}      partitions: {partitions}\n{SCHEDULE}")

    assert partitions_at(project, moment) == [newest]


def test_a_partition_is_loaded_once_however_often_the_schedule_ticks(project: Project) -> None:
    project.write(f"{SITE}      partitions: {{type: daily, column: at, start: 2024-03-01}}\n{SCHEDULE}")

    noon, evening = tick(project, "2024-03-10T12:00"), tick(project, "2024-03-10T18:00")

    assert isinstance(noon, list)
    assert isinstance(evening, list)
    assert noon[0].run_key == evening[0].run_key is not None, "Dagster starts no second run of one key"


def test_a_tick_before_the_first_partition_is_complete_is_skipped_and_says_why(project: Project) -> None:
    project.write(f"{SITE}      partitions: {{type: daily, column: at, start: 2024-03-10}}\n{SCHEDULE}")

    skipped = tick(project, "2024-03-10T23:59")

    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "No partition of site is complete yet."


def test_a_tick_loads_every_static_partition_anew(project: Project) -> None:
    project.write(f"{SITE}      partitions: {{type: static, column: region, keys: [eu, us]}}\n{SCHEDULE}")

    today, tomorrow = tick(project, "2024-03-10T05:00"), tick(project, "2024-03-11T05:00")

    assert isinstance(today, list)
    assert isinstance(tomorrow, list)
    assert [request.partition_key for request in today] == ["eu", "us"]
    assert len({request.run_key for request in [*today, *tomorrow]}) == 4


def test_defaults_schedule_every_source_that_does_not_say_otherwise(project: Project) -> None:
    project.write("""
ingestion:
  defaults: {schedule: {cron: "@daily"}}
  sources:
    - name: a
      type: sql_database
      config: {connection_string: "sqlite:///x", tables: [a]}
      destination: {schema: bronze}
    - name: b
      type: sql_database
      config: {connection_string: "sqlite:///x", tables: [b]}
      destination: {schema: bronze}
      schedule: {cron: "@hourly"}
""")

    schedules = project.definitions().schedules or []

    assert {schedule.name: schedule.cron_schedule for schedule in schedules} == {  # type: ignore[union-attr]
        "a_schedule": "@daily",
        "b_schedule": "@hourly",
    }
