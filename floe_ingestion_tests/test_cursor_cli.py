"""`floe-ingestion cursor`: what it shows, and what a run loads after a change by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from floe_ingestion.cli import main
from floe_ingestion_tests.dagster_fixtures import Project, metadata

pytestmark = pytest.mark.dagster

SPEC = """
ingestion:
  defaults: {retry: {max_retries: 0}}
  sources:
    - name: shop
      type: sql_database
      config:
        connection_string: "sqlite:///source.db"
        tables:
          - {name: orders, incremental: {cursor_path: updated_at}}
          - {name: visits, incremental: {cursor_path: id}}
          - {name: pages, incremental: {cursor_path: changed}}
          - {name: days, incremental: {cursor_path: day}}
          - {name: plain}
      destination: {schema: bronze}
"""
TABLES = (
    "create table orders (id integer primary key, updated_at timestamp)",
    "create table visits (id integer primary key)",
    "create table pages (id integer primary key, changed text)",
    "create table days (id integer primary key, day date)",
    "create table plain (id integer primary key)",
    "insert into orders values (1, '2024-01-01 00:00:00'), (2, '2024-01-02 00:00:00'), (3, '2024-01-03 00:00:00')",
    "insert into visits values (1), (2), (3)",
    "insert into pages values (1, 'a'), (2, 'b'), (3, 'c')",
    "insert into days values (1, '2024-01-01'), (2, '2024-01-02'), (3, '2024-01-03')",
    "insert into plain values (1)",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that has been run once."""
    for name in ("FLOE_SPEC", "FLOE_HOME", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path, SPEC)
    project.sql(*TABLES)
    project.run()
    return project


def call(*arguments: str, exits: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == exits, result.output
    assert "Traceback" not in result.output
    return result


def shown(table: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call("cursor", "show", table).output)
    return found


def test_show_tells_the_last_value_dlts_state_and_the_snapshot(project: Project) -> None:
    found = shown("bronze.orders")

    (snapshot,) = project.snapshots("bronze.orders")
    assert found["table"] == "bronze.orders"
    assert found["values"]["updated_at"].startswith("2024-01-03")
    assert (found["snapshot_id"], found["committed_at"]) == (snapshot.snapshot_id, snapshot.committed_at)
    entry = found["state"]["resources"]["orders"]["incremental"]["updated_at"]
    assert entry["last_value"].startswith("2024-01-03")
    assert len(entry["unique_hashes"]) == 1


def test_show_of_a_table_without_a_cursor_is_empty(project: Project) -> None:
    assert shown("bronze.plain") == {
        "table": "bronze.plain",
        "values": {},
        "snapshot_id": None,
        "committed_at": None,
        "state": {},
    }


@pytest.mark.parametrize(
    ("table", "path", "value", "again"),
    [
        ("orders", "updated_at", "2024-01-02 00:00:00", [2, 3]),
        ("orders", "updated_at", "2024-01-02T12:00:00", [3]),
        ("orders", "orders.updated_at", "2024-01-03", [3]),
        ("visits", "id", "2", [2, 3]),
        ("visits", "id", "7", []),
        ("pages", "changed", "b", [2, 3]),
        ("days", "day", "2024-01-02", [2, 3]),
    ],
)
def test_after_set_the_next_run_loads_what_lies_at_or_behind_the_value(
    project: Project, table: str, path: str, value: str, again: list[int]
) -> None:
    told = call("cursor", "set", f"bronze.{table}", path, value)

    project.run(f"bronze/{table}")

    assert project.rows(f"bronze.{table}", "id") == sorted([1, 2, 3, *again])
    assert "cursor before" in told.output
    assert f"={value[:10]}" in told.output


def test_after_reset_the_next_run_loads_everything_again(project: Project) -> None:
    told = call("cursor", "reset", "bronze.visits")

    assert shown("bronze.visits")["values"] == {}
    project.run("bronze/visits")

    assert "cursor after: none" in told.output
    assert project.rows("bronze.visits", "id") == [1, 1, 2, 2, 3, 3]
    assert shown("bronze.visits")["values"] == {"id": 3}


def test_each_change_is_one_commit_that_says_what_it_was(project: Project) -> None:
    call("cursor", "set", "bronze.visits", "id", "2")
    call("cursor", "reset", "bronze.visits")

    load, changed, reset = project.snapshots("bronze.visits")
    assert [each.operation for each in (load, changed, reset)] == ["append", "cursor set id=2", "cursor reset"]
    assert [each.rows_total for each in (load, changed, reset)] == [3, 3, 3]
    assert "cursor reset" in call("history", "bronze.visits").output


def test_a_rollback_behind_a_change_undoes_it(project: Project) -> None:
    call("cursor", "reset", "bronze.visits")
    table = project.table("bronze.visits")

    table.manage_snapshots().rollback_to_snapshot(table.snapshots()[0].snapshot_id).commit()

    assert shown("bronze.visits")["values"] == {"id": 3}


def test_a_reset_without_a_cursor_changes_nothing(project: Project) -> None:
    told = call("cursor", "reset", "bronze.plain")

    assert "nothing to change" in told.output
    assert len(project.snapshots("bronze.plain")) == 1


@pytest.mark.parametrize(
    ("arguments", "exits", "told"),
    [
        (("set", "bronze.visits", "id", "two"), 2, "'two' is no value for a cursor that stands at 3"),
        (("set", "bronze.orders", "updated_at", "tomorrow"), 2, "'tomorrow' is no value for a cursor"),
        (("set", "bronze.orders", "updated_at", "2024-01-02T00:00:00+02:00"), 2, "is no value for a cursor"),
        (("set", "bronze.orders", "changed_at", "1"), 2, "'changed_at' is no cursor of it. Write one of: updated_at."),
        (("set", "bronze.plain", "id", "1"), 2, "bronze.plain has no cursor to set."),
        (("reset", "bronze.nothing"), 1, "There is no table bronze.nothing."),
        (("show", "orders"), 2, "names no schema"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    project: Project, arguments: tuple[str, ...], exits: int, told: str
) -> None:
    result = call("cursor", *arguments, exits=exits)

    assert told in " ".join(result.output.split())
    assert len(project.snapshots("bronze.orders")) == 1


def test_a_source_that_was_reset_is_told_of_in_dagster_and_on_the_command_line(project: Project) -> None:
    project.sql("delete from visits", "insert into visits values (1)")

    shown_by_dagster = metadata(project.run("bronze/visits"), "bronze/visits")
    printed = call("run", "shop").output

    assert "the newest 'id' in the source is 1, and the cursor is at 3" in shown_by_dagster["warnings"]
    assert "warning: bronze.visits: the newest 'id' in the source is 1" in printed
    assert printed.count("warning:") == 1
    assert shown("bronze.visits")["values"] == {"id": 3}
