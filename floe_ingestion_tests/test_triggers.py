"""Loads that start by themselves: on new files, on Dagster's automation conditions; and how old rows may become."""

from __future__ import annotations

import os
import traceback
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.loading import load_spec
from floe_ingestion_tests.dagster_fixtures import Project

pytestmark = [
    pytest.mark.dagster,
    # Of Dagster's own tester of automation conditions.
    pytest.mark.filterwarnings("ignore:Parameter `include_sources`"),
]

CLICKS = """
ingestion:
  sources:
    - name: clicks
      type: filesystem
      config: {bucket_url: "${LANDING:-landing}", resources: [{name: clicks, file_glob: "*.jsonl"}]}
      destination: {schema: bronze}
      incremental: {cursor_path: modification_date}
      sensor: {minimum_interval_seconds: 120}
"""
SHOP = """
ingestion:
  sources:
    - name: shop
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [orders]}
      destination: {schema: bronze}
"""
DAILY = "      partitions: {type: daily, column: at, start: 2024-01-01}\n"
MORNING = datetime(2024, 1, 3, 5, tzinfo=timezone.utc)


@pytest.fixture
def clicks(tmp_path: Path) -> Project:
    (tmp_path / "landing").mkdir()
    return Project(tmp_path, CLICKS)


def put(project: Project, name: str, text: str = '{"id": 1}\n') -> Path:
    path = project.folder / "landing" / name
    path.write_text(text)
    return path


class Ticks:
    """A sensor that is evaluated again and again, each time from where it ended."""

    def __init__(self, project: Project) -> None:
        self.project, self.cursor = project, None

    def __call__(self, *, forgets: bool = False) -> str:
        """What a tick says: the run key that it asks for, or why it asks for nothing."""
        definitions = self.project.definitions()
        context = dg.build_sensor_context(cursor=self.cursor, repository_def=definitions.get_repository_def())
        data = definitions.resolve_sensor_def("clicks_files").evaluate_tick(context)
        self.cursor = self.cursor if forgets or data.skip_message else data.cursor
        if data.skip_message:
            return str(data.skip_message)
        (request,) = data.run_requests or ()
        return str(request.run_key)


# New files


def test_a_new_file_asks_for_one_run_and_the_same_files_for_none(clicks: Project) -> None:
    tick = Ticks(clicks)
    put(clicks, "one.jsonl")

    first, same = tick(), tick()
    put(clicks, "two.jsonl")
    second = tick()

    assert same == "clicks has the same 1 file as before."
    assert len({first, second}) == 2


def test_a_file_that_is_written_again_asks_for_a_run(clicks: Project) -> None:
    tick = Ticks(clicks)
    put(clicks, "one.jsonl")
    first = tick()
    put(clicks, "one.jsonl", '{"id": 1}\n{"id": 2}\n')

    assert tick() not in (first, "clicks has the same 1 file as before.")


def test_a_file_that_is_copied_with_an_old_time_asks_for_a_run(clicks: Project) -> None:
    """The newest time of all files would not tell it."""
    tick = Ticks(clicks)
    put(clicks, "one.jsonl")
    tick()
    os.utime(put(clicks, "zero.jsonl"), (0, 0))

    assert "same" not in tick()


def test_files_that_come_back_ask_for_a_run_of_their_own(clicks: Project) -> None:
    """Dagster starts no second run with a key that it has seen."""
    tick = Ticks(clicks)
    one, two = put(clicks, "one.jsonl"), put(clicks, "two.jsonl")
    times = two.stat()
    keys = [tick()]
    for _ in range(2):
        two.unlink()
        keys.append(tick())
        os.utime(put(clicks, "two.jsonl"), ns=(times.st_atime_ns, times.st_mtime_ns))
        keys.append(tick())

    assert one.exists()
    assert len(set(keys)) == 5


def test_a_tick_that_dagster_forgets_asks_for_the_same_run_again(clicks: Project) -> None:
    tick = Ticks(clicks)
    put(clicks, "one.jsonl")

    assert tick(forgets=True) == tick()


def test_an_empty_folder_asks_for_nothing(clicks: Project) -> None:
    assert Ticks(clicks)() == "clicks has no files yet."


def test_a_tick_lists_files_and_reads_none(clicks: Project) -> None:
    put(clicks, "one.jsonl", "this is no JSON")
    put(clicks, "two.jsonl").chmod(0)

    assert Ticks(clicks)().startswith("1 ")


def test_the_run_that_a_new_file_asks_for_lands_its_rows(clicks: Project) -> None:
    put(clicks, "one.jsonl")
    sensor = clicks.definitions().resolve_sensor_def("clicks_files")
    Ticks(clicks)()
    clicks.definitions().resolve_job_def(sensor.job_name).execute_in_process()

    assert clicks.rows("bronze.clicks", "id") == [1]


def test_variables_are_expanded_by_a_tick_only_and_shown_by_none(
    clicks: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks.write(CLICKS.replace("${LANDING:-landing}", "${LANDING}"))
    monkeypatch.delenv("LANDING", raising=False)
    clicks.definitions()
    monkeypatch.setenv("LANDING", "tr0ub4dor")

    with pytest.raises(Exception, match="is no folder") as caught:
        Ticks(clicks)()

    told = "".join(traceback.format_exception(caught.value))
    assert "********" in told
    assert "tr0ub4dor" not in told


@pytest.mark.parametrize(("enabled", "status"), [(False, "STOPPED"), (True, "RUNNING")])
def test_a_sensor_is_stopped_until_it_is_enabled(clicks: Project, enabled: bool, status: str) -> None:
    clicks.write(CLICKS.replace("seconds: 120", f"seconds: 120, enabled: {str(enabled).lower()}"))
    sensor = clicks.definitions().resolve_sensor_def("clicks_files")

    assert (sensor.default_status.value, sensor.minimum_interval_seconds) == (status, 120)


# Automation conditions


def requested(project: Project, instance: dg.DagsterInstance, *moments: datetime, reported: bool = False) -> list[Any]:
    """How many partitions (or tables) the condition asks for at each moment."""
    definitions, cursor, found = project.definitions(), None, []
    for moment in moments:
        result = dg.evaluate_automation_conditions(
            defs=definitions, instance=instance, cursor=cursor, evaluation_time=moment
        )
        found.append(result.total_requested)
        cursor = result.cursor
        if reported:
            instance.report_runless_asset_event(dg.AssetMaterialization(["source", "shop", "orders"]))
    return found


@pytest.fixture
def instance(tmp_path: Path) -> Any:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def test_on_cron_loads_at_each_tick_though_nobody_materialises_the_source(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    project = Project(tmp_path, SHOP + '      automation: {condition: on_cron, cron: "0 6 * * *"}\n')
    hours = [MORNING + timedelta(hours=after) for after in (0, 2, 3, 26)]

    assert requested(project, instance, *hours) == [0, 1, 0, 1]


def test_on_missing_loads_each_partition_as_soon_as_it_is_complete(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    project = Project(tmp_path, SHOP + DAILY + "      automation: on_missing\n")
    hours = [MORNING + timedelta(hours=after) for after in (0, 2, 20, 21)]

    assert requested(project, instance, *hours) == [0, 0, 1, 0]


def test_eager_loads_when_somebody_reports_that_the_source_has_changed(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    project = Project(tmp_path, SHOP + "      automation: eager\n")
    hours = [MORNING, MORNING + timedelta(hours=1)]

    assert requested(project, instance, *hours) == [0, 0]
    assert requested(project, instance, *hours, reported=True) == [0, 1]


def test_automation_is_left_to_the_default_sensor_until_it_is_enabled(tmp_path: Path) -> None:
    project = Project(tmp_path, SHOP + "      automation: {condition: eager}\n")
    before = [sensor.name for sensor in project.definitions().sensors or ()]
    project.write(SHOP + "      automation: {condition: eager, enabled: true}\n")
    (sensor,) = project.definitions().sensors or ()

    assert before == []
    assert (sensor.name, sensor.default_status) == ("shop_automation", dg.DefaultSensorStatus.RUNNING)


# Freshness


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("{max_age_hours: 26}", dg.FreshnessPolicy.time_window(timedelta(hours=26))),
        (
            "{max_age_hours: 2, warn_age_hours: 1.5}",
            dg.FreshnessPolicy.time_window(timedelta(hours=2), timedelta(hours=1.5)),
        ),
        (
            '{deadline: "0 9 * * *", window_hours: 3, timezone: Europe/Berlin}',
            dg.FreshnessPolicy.cron("0 9 * * *", timedelta(hours=3), "Europe/Berlin"),
        ),
    ],
)
def test_a_freshness_policy_is_dagsters_own(tmp_path: Path, written: str, policy: dg.FreshnessPolicy) -> None:
    project = Project(tmp_path, SHOP + f"      freshness: {written}\n")
    policies = {
        spec.key.to_user_string(): spec.freshness_policy for spec in project.definitions().resolve_all_asset_specs()
    }

    assert policies == {"bronze/orders": policy, "source/shop/orders": None}


def test_a_window_longer_than_the_time_between_two_deadlines_is_a_mistake(tmp_path: Path) -> None:
    project = Project(tmp_path, SHOP + '      freshness: {deadline: "0 * * * *", window_hours: 3}\n')

    with pytest.raises(ConfigurationError, match=r"shop: `freshness` .* Write fewer `window_hours`"):
        project.definitions()


# What would never start, or start for nothing


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SHOP + "      sensor: {}\n", "sensor: looks for new files, and sql_database has none"),
        (CLICKS.replace("      incremental: {cursor_path: modification_date}\n", ""), "would append every file again"),
        (CLICKS.replace("      incremental: {cursor_path: modification_date}\n", DAILY), "cannot tell which partition"),
        (SHOP + "      automation: on_missing\n", "automation: is `on_missing`"),
        (SHOP + "      automation: on_cron\n", "`on_cron` needs a `cron`"),
        (SHOP + "      automation: {condition: eager, cron: '0 6 * * *'}\n", "`cron` and `timezone` go with"),
        (SHOP + "      automation: sometimes\n", "automation: is 'sometimes'; write 'eager', 'on_cron'"),
        (SHOP + "      freshness: {}\n", "needs either `max_age_hours: 26`"),
        (SHOP + "      freshness: {max_age_hours: 1, warn_age_hours: 2}\n", "has to be less than `max_age_hours`"),
        (SHOP + "      freshness: {deadline: '0 9 * * *'}\n", "a `deadline` needs `window_hours`"),
        (SHOP + "      freshness: {max_age_hours: 1, window_hours: 1}\n", "go with `deadline`"),
    ],
)
def test_what_could_not_work_is_a_mistake_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_spec(Project(tmp_path, text).path)

    (problem,) = caught.value.problems
    assert told in f"{problem.path.rpartition('sources[0].')[2]}: {problem.message}"
    assert problem.line is not None
