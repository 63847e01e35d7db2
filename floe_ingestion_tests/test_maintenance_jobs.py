"""Maintenance as floe.yaml asks for it: Dagster's jobs and schedules, and `floe-ingestion maintain`."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from floe_ingestion.cli import main
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.loading import load_spec
from floe_ingestion.spec import MaintenanceSpec
from floe_ingestion_tests.dagster_fixtures import QUIET, Project, failure

pytestmark = pytest.mark.dagster

SHOP = """
    - name: shop
      type: sql_database
      config:
        connection_string: "sqlite:///source.db"
        tables: [{name: orders, incremental: {cursor_path: id}}, {name: later, incremental: {cursor_path: id}}]
      destination: {schema: bronze}
      retry: {max_retries: 0}
"""
SITE = """
    - name: site
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [visits]}
      destination: {schema: bronze}
"""
MAINTENANCE = """
      maintenance:
        compact: {min_files: 2}
        expire: {keep_last: 1, keep_days: 0}
        orphans: {older_than_days: 1}
        schedule: {cron: "0 3 * * 0", timezone: Europe/Berlin}
"""
WEEK = 7 * 24 * 60 * 60


def spec(*sources: str, defaults: str = "{}") -> str:
    return f"ingestion:\n  defaults: {defaults}\n  sources:{''.join(sources)}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose table `orders` was loaded four times; `later` was never loaded."""
    for name in ("FLOE_SPEC", "FLOE_HOME", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path, spec(SHOP, MAINTENANCE, SITE))
    project.sql("create table orders (id integer primary key)", "create table visits (id integer)")
    project.sql("create table later (id integer primary key)", "insert into visits values (1)")
    for number in range(4):
        project.sql(f"insert into orders values ({number})")
        project.run("bronze/orders")
    return project


def orphan(project: Project) -> Path:
    """A file that a killed load left in the table's folder, a week ago."""
    path = project.folder / ".floe" / "warehouse" / "bronze" / "orders" / "data" / "0123-00000.parquet"
    path.write_text("left behind")
    os.utime(path, (time.time() - WEEK,) * 2)
    return path


def killed_load(project: Project) -> Path:
    """The private folder of a load that was killed a week ago."""
    folder = project.folder / ".floe" / "staging" / "load-killed"
    folder.mkdir(parents=True)
    os.utime(folder, (time.time() - WEEK,) * 2)
    return folder


def state(project: Project) -> tuple[int, int, list[Any]]:
    """Snapshots and data files of the table `orders`, and its rows."""
    table = project.table("bronze.orders")
    return len(table.snapshots()), len(list(table.scan().plan_files())), project.rows("bronze.orders", "id")


def job(project: Project) -> dg.JobDefinition:
    return project.definitions().resolve_job_def("maintain_shop")


def run_job(project: Project, *, fails: bool = False, **config: Any) -> dg.ExecuteInProcessResult:
    ops = {"ops": {"tables_of_shop": {"config": config}}} if config else {}
    result = job(project).execute_in_process(run_config={**QUIET, **ops}, raise_on_error=False)
    assert result.success is not fails, failure(result)
    return result


def observed(result: dg.ExecuteInProcessResult) -> list[dg.AssetObservation]:
    """What the run shows at assets."""
    events = [event for event in result.all_events if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION]
    return [event.asset_observation_data.asset_observation for event in events]


def call(*arguments: str, exits: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == exits, result.output
    assert "Traceback" not in result.output
    return result


# Dagster


def test_a_source_that_asks_for_maintenance_has_a_job_and_no_other_has(project: Project) -> None:
    jobs = {each.name for each in project.definitions().resolve_all_job_defs()}

    assert {name for name in jobs if name.startswith("maintain")} == {"maintain_shop"}
    assert job(project).tags["floe/source"] == "shop"


def test_a_job_that_is_started_by_hand_is_a_dry_run(project: Project) -> None:
    left = orphan(project)
    before = state(project)

    run_job(project)

    assert state(project) == before
    assert left.exists()


def test_a_job_does_what_is_asked_for(project: Project) -> None:
    left, folder = orphan(project), killed_load(project)

    result = run_job(project, dry_run=False)

    assert state(project) == (1, 1, [0, 1, 2, 3])
    assert not left.exists()
    assert not folder.exists()
    (snapshot,) = project.snapshots("bronze.orders")
    assert (snapshot.operation, snapshot.run_id) == ("compact", result.run_id)


def test_what_was_done_is_shown_at_the_asset(project: Project) -> None:
    result = run_job(project, dry_run=False)

    assert {each.asset_key.to_user_string() for each in observed(result)} == {"bronze/orders"}
    facts = {name: value.value for each in observed(result) for name, value in each.metadata.items()}
    assert (facts["compact: files before"], facts["compact: files after"]) == (4, 1)
    assert (facts["expire: snapshots"], facts["orphans: files"]) == (4, 0)


def test_the_next_load_goes_on_where_the_last_one_ended(project: Project) -> None:
    run_job(project, dry_run=False)
    project.sql("insert into orders values (4)")

    project.run("bronze/orders")

    assert project.rows("bronze.orders", "id") == [0, 1, 2, 3, 4]


def test_a_table_that_fails_fails_the_job_and_keeps_no_other_from_its_turn(project: Project) -> None:
    project.sql("insert into later values (1)")
    project.run("bronze/later")
    table = project.table("bronze.orders")
    table.transaction().set_properties({"gc.enabled": "false"}).commit_transaction()
    project.write(spec(SHOP, MAINTENANCE.replace("compact: {min_files: 2}", ""), SITE))

    result = run_job(project, fails=True, dry_run=False)

    assert "bronze.orders has gc.enabled=false" in failure(result)
    assert {each.asset_key.to_user_string() for each in observed(result)} == {"bronze/later"}


def test_the_schedule_is_stopped_until_it_is_enabled(project: Project) -> None:
    schedule = project.definitions().resolve_schedule_def("maintain_shop_schedule")

    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 3 * * 0", "Europe/Berlin")
    project.write(spec(SHOP, MAINTENANCE.replace("Berlin", "Berlin, enabled: true")))
    enabled = project.definitions().resolve_schedule_def("maintain_shop_schedule")
    assert enabled.default_status == dg.DefaultScheduleStatus.RUNNING


def test_a_tick_of_the_schedule_is_no_dry_run(project: Project) -> None:
    definitions = project.definitions()
    context = dg.build_schedule_context(repository_def=definitions.get_repository_def())

    (request,) = definitions.resolve_schedule_def("maintain_shop_schedule").evaluate_tick(context).run_requests or ()
    result = job(project).execute_in_process(run_config={**QUIET, **request.run_config})

    assert result.success
    assert state(project) == (1, 1, [0, 1, 2, 3])


def test_a_source_that_is_disabled_has_no_job(project: Project) -> None:
    project.write(spec(SHOP, MAINTENANCE, "      enabled: false\n", SITE))

    assert not [each for each in project.definitions().resolve_all_job_defs() if each.name == "maintain_shop"]


# floe.yaml


def test_defaults_hold_for_every_source_that_says_nothing(project: Project) -> None:
    project.write(spec(SHOP, MAINTENANCE, SITE, defaults="{maintenance: {expire: {}}}"))

    shop, site = load_spec(project.path).sources

    assert shop.maintenance is not None
    assert shop.maintenance.compact is not None
    assert site.maintenance == MaintenanceSpec.model_validate({"expire": {"keep_last": 10, "keep_days": 5.0}})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{}", "asks for nothing"),
        ("{expire: }", "`expire` is empty. Write `expire: {}` for its defaults"),
        ("{expires: {}}", "Did you mean 'expire'?"),
        ("{expire: {keep_last: 0}}", "keep_last"),
        ("{compact: {min_files: 1}}", "min_files"),
        ("{orphans: {older_than_days: 0.5}}", "older_than_days"),
        ("{compact: {}, schedule: {cron: nightly}}", "is no cron expression"),
    ],
)
def test_a_mistake_is_told_with_its_place(project: Project, written: str, told: str) -> None:
    project.write(spec(SITE, f"      maintenance: {written}\n"))

    with pytest.raises(ConfigurationError) as mistake:
        load_spec(project.path)

    assert told in str(mistake.value)
    assert "floe.yaml:8" in str(mistake.value)


# The command


def test_the_command_does_what_floe_yaml_asks_for(project: Project) -> None:
    left, folder = orphan(project), killed_load(project)

    told = call("maintain").output

    assert state(project) == (1, 1, [0, 1, 2, 3])
    assert not left.exists()
    assert not folder.exists()
    assert "bronze.orders: compact 4 files into 1" in told
    assert "bronze.orders: expire 4 snapshots of 5, with" in told
    assert "bronze.orders: delete 1 orphan of 11 bytes" in told
    assert "bronze.later: not there yet" in told
    assert f"{folder}: deleted" in told
    assert "visits" not in told


def test_a_dry_run_tells_and_does_nothing(project: Project) -> None:
    left, folder = orphan(project), killed_load(project)
    before = state(project)

    told = call("maintain", "--dry-run").output

    assert state(project) == before
    assert left.exists()
    assert folder.exists()
    assert "bronze.orders: would compact 4 files into 1" in told
    assert "bronze.orders: would expire 3 snapshots of 4, with" in told
    assert "bronze.orders: would delete 1 orphan of 11 bytes" in told
    assert f"{folder}: would be deleted" in told


def test_what_is_asked_for_on_the_command_line_is_done_alone(project: Project) -> None:
    left = orphan(project)

    call("maintain", "shop", "--compact")

    assert state(project) == (5, 1, [0, 1, 2, 3])
    assert left.exists()


def test_a_source_without_settings_is_maintained_by_the_defaults(project: Project) -> None:
    project.run("bronze/visits")

    (found,) = json.loads(call("maintain", "site", "--expire", "--compact", "--orphans", "--json").output)

    assert (found["source"], found["table"], found["exists"], found["error"]) == ("site", "bronze.visits", True, None)
    assert [each["operation"] for each in found["operations"]] == ["compact", "expire", "orphans"]
    assert found["operations"][1]["snapshots_kept"] == 1


def test_json_tells_all_of_it(project: Project) -> None:
    orders, later = json.loads(call("maintain", "--json").output)

    assert orders["operations"][0]["files_before"] == 4
    assert later == {"source": "shop", "table": "bronze.later", "exists": False, "error": None, "operations": []}


def test_the_table_of_rejected_rows_is_maintained_too(project: Project) -> None:
    table = project.table("bronze.orders")
    beside = project.catalog.create_table("bronze.orders__rejected", table.schema())
    for _ in range(3):
        beside.append(table.scan().to_arrow())

    told = call("maintain", "shop", "--expire", "--compact").output

    assert "bronze.orders__rejected: compact 3 files into 1" in told


def test_a_table_that_fails_is_told_of_and_exits_with_a_failure(project: Project) -> None:
    table = project.table("bronze.orders")
    table.transaction().set_properties({"gc.enabled": "false"}).commit_transaction()

    result = call("maintain", exits=1)

    assert "bronze.orders failed: bronze.orders has gc.enabled=false" in result.output
    assert "bronze.orders: compact 4 files into 1" in result.output
    assert "bronze.later: not there yet" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("site",), "site asks for no maintenance. Write `maintenance:`"), (("sho",), "no source 'sho'")],
)
def test_a_wrong_use_is_told(project: Project, arguments: tuple[str, ...], told: str) -> None:
    assert told in " ".join(call("maintain", *arguments, exits=2).output.split())


# The page


def test_the_floe_yaml_and_the_commands_of_the_page_work(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "maintenance.md").read_text("utf-8")
    (written,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    commands = [line for block in re.findall(r"^```bash\n(.*?)^```$", page, re.M | re.S) for line in block.splitlines()]
    monkeypatch.setenv("SHOP_DATABASE", "sqlite:///source.db")
    project.sql("drop table orders", "create table orders (id integer primary key, updated_at timestamp)")
    project.sql("insert into orders values (1, '2026-01-01 00:00:00'), (2, '2026-01-03 00:00:00')")
    project.catalog.drop_table("bronze.orders")
    project.write(written)
    project.run()

    for line in commands:
        program, *arguments = shlex.split(line)
        assert program == "floe-ingestion"
        call(*arguments)

    assert len(commands) == 6
    operations = [each.operation for each in project.snapshots("bronze.orders")]
    assert operations == ["append", "cursor set updated_at=2026-01-02 00:00:00", "cursor reset"]
