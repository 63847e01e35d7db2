"""`floe-ingestion`: what it prints, what it exits with, and what it never shows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from floe_ingestion.cli import main
from floe_ingestion.version import __version__
from floe_ingestion_tests.dagster_fixtures import Project
from floe_ingestion_tests.flaky import install_flaky

pytestmark = pytest.mark.dagster

SCRIPT = Path(sys.executable).parent / "floe-ingestion"
SPEC = """
ingestion:
  defaults: {retry: {max_retries: 0}}
  sources:
    - name: shop
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [{name: orders, incremental: {cursor_path: id}}]}
      destination: {schema: bronze}
    - name: site
      type: sql_database
      config: {connection_string: "sqlite:///source.db", tables: [visits]}
      destination: {schema: bronze}
      partitions: {type: daily, column: at, start: 2024-03-01, end: 2024-03-11}
"""
REMOTE = """
    - name: remote
      type: sql_database
      config: {connection_string: "${REMOTE_URL}", tables: [customers]}
      destination: {schema: bronze}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("FLOE_SPEC", "FLOE_HOME", "DAGSTER_HOME", "REMOTE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path, SPEC)
    project.sql(
        "create table orders (id integer primary key)",
        "insert into orders values (1), (2)",
        "create table visits (id integer, at timestamp)",
        "insert into visits values (1, '2024-03-02 00:00:00'), (2, '2024-03-03 00:00:00'), (3, '2024-03-04 00:00:00')",
    )
    return project


def call(*arguments: str, exits: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == exits, result.output
    assert "Traceback" not in result.output
    return result


def script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FLOE", "DAGSTER_HOME"))}
    return subprocess.run([SCRIPT, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


# Exit codes, as a shell sees them


def test_success_exits_with_0(project: Project) -> None:
    done = script(project.folder, "run", "shop")

    assert (done.returncode, done.stdout) == (0, "bronze.orders: 2 rows added, 0 updated, 2 in all\n")
    assert done.stderr.startswith("bronze.orders: 2 rows added in ")


def test_a_run_that_fails_exits_with_1(project: Project) -> None:
    project.sql("drop table orders")

    done = script(project.folder, "run", "shop")

    assert done.returncode == 1
    assert done.stdout.startswith("shop failed: ")
    assert "orders" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "nowhere"],
        ["run", "--no-such-option"],
        ["validate", "--spec", "nowhere.yaml"],
        ["frobnicate"],
        ["options", "sql"],
    ],
    ids=" ".join,
)
def test_wrong_usage_and_wrong_configuration_exit_with_2(project: Project, arguments: list[str]) -> None:
    done = script(project.folder, *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version_are_there() -> None:
    assert "validate" in call("-h").stdout
    for group in ([], ["audit"], ["cursor"]):
        assert "..." not in call(*group, "-h").stdout.partition("Commands:")[2], "no sentence is cut"
    assert call("--version").stdout == f"floe-ingestion, version {__version__}\n"


# validate


def test_a_right_file_is_said_to_be_right(project: Project) -> None:
    assert call("validate").stdout == "floe.yaml is right: 2 sources, 2 tables.\n"


def test_variables_that_are_not_set_are_listed_with_their_places(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMOTE_HOST", "db")
    url = "postgresql://${REMOTE_USER}:${REMOTE_PASSWORD}@${REMOTE_HOST}:${REMOTE_PORT:-5432}/x"
    project.write(
        SPEC + REMOTE.replace("${REMOTE_URL}", url) + "plugins: {catalog: {type: sql, config: {uri: '${LAKE_URL}'}}}\n"
    )

    assert call("validate").stdout.splitlines() == [
        "floe.yaml is right: 3 sources, 3 tables.",
        "  not set here, needed by a run: REMOTE_USER (floe.yaml: ingestion.sources[2].config.connection_string)",
        "  not set here, needed by a run: REMOTE_PASSWORD (floe.yaml: ingestion.sources[2].config.connection_string)",
        "  not set here, needed by a run: LAKE_URL (floe.yaml: plugins.catalog.config.uri)",
    ]


def test_every_mistake_is_listed_with_its_line(project: Project) -> None:
    project.write(SPEC.replace("connection_string", "conection_string", 1).replace("daily", "dayly"))

    told = call("validate", exits=2).stderr

    assert told.startswith("Error: floe.yaml has ")
    assert "floe.yaml:7  ingestion.sources[0].config.conection_string" in told
    assert "floe.yaml:13  ingestion.sources[1].partitions.type" in told
    assert not (project.folder / ".floe").exists()


def test_validating_touches_nothing(project: Project) -> None:
    call("validate")

    assert not (project.folder / ".floe").exists()


def test_connecting_says_of_each_that_it_answers(project: Project) -> None:
    assert call("validate", "--connect").stdout.splitlines()[1:] == [
        "  catalog: the sql catalog answers, with 0 schemas",
        "  shop: sqlite answers, with 1 table",
        "  site: sqlite answers, with 1 table",
    ]


def test_connecting_tells_a_table_that_is_not_there_and_goes_on(project: Project) -> None:
    project.write(SPEC.replace("name: orders", "name: ordres"))

    result = call("validate", "--connect", exits=1)

    assert result.stderr == (
        "  shop: The database has no table ordres. Did you mean 'orders'? Correct the name, or the `schema`. There "
        "are: orders, visits.\n"
    )
    assert "  site: sqlite answers" in result.stdout


def test_connecting_tells_who_does_not_answer_and_no_password(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]  # closed again, so that nobody listens
    monkeypatch.setenv("REMOTE_URL", f"postgresql+psycopg://ann:tr0ub4dor@127.0.0.1:{port}/x")
    project.write(SPEC + REMOTE)

    result = call("validate", "--connect", exits=1)

    assert result.stderr.startswith("  remote: sql_database: OperationalError: connection failed")
    assert str(port) in result.stderr
    assert "tr0ub4dor" not in result.output
    assert "  site: sqlite answers" in result.stdout


def test_connecting_without_a_variable_names_it(project: Project) -> None:
    project.write(SPEC + REMOTE)

    assert "the environment variable REMOTE_URL is not set" in call("validate", "--connect", exits=2).stderr


# sources


def test_sources_are_listed_with_their_tables(project: Project) -> None:
    project.write(SPEC + REMOTE + "      enabled: false\n")

    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in call("sources").stdout.splitlines()]

    assert [line for line in lines if line] == [
        ["shop", "sql_database", "orders", "bronze.orders", "append", "", "id"],
        ["site", "sql_database", "visits", "bronze.visits", "append", "daily", ""],
        ["remote (disabled)", "sql_database", "customers", "bronze.customers", "append", "", ""],
    ]


# run


def test_json_says_what_landed(project: Project) -> None:
    project.sql("alter table orders add column parent integer references orders (id)")

    (told,) = json.loads(call("run", "shop", "--json").stdout)

    assert (told["source"], told["success"], told["error"]) == ("shop", True, None)
    orders = told["tables"]["bronze.orders"]
    assert (orders["rows added"], orders["dagster/row_count"]) == (2, 2)
    assert orders["cursor after"] == {"id": "2"}
    assert orders["dagster/column_schema"] == {"id": "long", "parent": "long"}
    assert orders["dagster/column_lineage"] == {"id": ["id"], "parent": ["parent"]}
    assert orders["floe/foreign_keys"] == [
        {"columns": "parent", "references": "bronze.orders(id)", "asset": "bronze/orders"}
    ]
    assert project.snapshots("bronze.orders")[0].run_id == told["run_id"]


def test_json_is_all_that_is_printed_even_when_a_source_fails(project: Project) -> None:
    project.sql("drop table orders")

    result = call("run", "--json", "--partition", "2024-03-02", exits=1)

    shop, site = json.loads(result.stdout)
    assert (shop["success"], shop["tables"]) == (False, {})
    assert "orders" in shop["error"]
    assert (site["success"], site["error"]) == (True, None), "the other sources are run all the same"
    assert result.stderr == ""


def test_a_partition_or_a_range_is_loaded_as_one(project: Project) -> None:
    call("run", "site", "--partition", "2024-03-03")
    call("run", "site", "--partitions", "2024-03-02..2024-03-04")

    assert project.rows("bronze.visits", "id") == [1, 2, 3]
    assert [(row.partition, row.rows_added) for row in project.snapshots("bronze.visits")] == [
        ("2024-03-03", 1),
        ("2024-03-02...2024-03-04", 3),
    ]


def test_all_sources_are_run_unless_some_are_named(project: Project) -> None:
    result = call("run", "--partition", "2024-03-02")

    assert result.stdout.splitlines() == [
        "bronze.orders: 2 rows added, 0 updated, 2 in all",
        "bronze.visits: 1 row added, 0 updated, 1 in all",
    ]


def test_a_disabled_source_is_run_only_where_it_is_named(project: Project) -> None:
    project.write(SPEC.replace("    - name: shop\n", "    - name: shop\n      enabled: false\n"))

    call("run", "--partition", "2024-03-02")
    assert not project.catalog.table_exists("bronze.orders")

    call("run", "shop")
    assert project.rows("bronze.orders", "id") == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "floe.yaml has no source 'nowhere'. Its sources: shop, site."),
        (["shpo"], "has no source 'shpo'. Did you mean 'shop'? Its sources: "),
        (["bronze.orders"], "The table bronze.orders is one of the source 'shop'. Its sources: "),
        (["site"], "site is partitioned: say which to load with --partition KEY or --partitions FROM..TO"),
        ([], "site is partitioned: say which to load"),
        (["shop", "--partition", "2024-03-02"], "No source to run is partitioned"),
        (["site", "--partition", "2024-03-02", "--partitions", "a..b"], "Write --partition or --partitions, not both."),
        (
            ["site", "--partitions", "2024-03-02"],
            "--partitions '2024-03-02' is no range. Write e.g. --partitions 2013-",
        ),
        (
            ["site", "--partition", "2024-04-01"],
            "site has no partition '2024-04-01'. Its daily partitions: 2024-03-01, 2024-03-02, …, 2024-03-10.",
        ),
        (["site", "--partitions", "2024-03-09..2024-03-12"], "site has no partition '2024-03-12'"),
        (
            ["site", "--partitions", "2024-03-04..2024-03-02"],
            "The range 2024-03-04..2024-03-02 ends before it begins. Write 2024-03-02..2024-03-04.",
        ),
    ],
)
def test_what_cannot_be_run_is_told_before_anything_is_loaded(
    project: Project, arguments: list[str], told: str
) -> None:
    assert told in call("run", *arguments, exits=2).stderr
    assert not (project.folder / ".floe").exists()


def test_a_run_is_recorded_in_the_dagster_instance_as_the_job_of_its_source(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = project.folder / "dagster"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))

    (told,) = json.loads(call("run", "shop", "--json").stdout)

    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs()
        assert (run.run_id, run.job_name, run.status) == (told["run_id"], "ingest_shop", dg.DagsterRunStatus.SUCCESS)
        assert instance.get_latest_materialization_event(dg.AssetKey(["bronze", "orders"])) is not None


def test_a_run_says_that_it_tries_again_and_why(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    install_flaky(project.folder / "site")
    monkeypatch.syspath_prepend(project.folder / "site")
    project.write("""
ingestion:
  sources:
    - name: sales
      type: flaky
      config: {resources: [{name: orders, rows: [{id: 1}, {id: 2}], failures: 1}]}
      destination: {schema: bronze}
      retry: {delay_seconds: 0}
""")

    result = call("run")

    assert "requested a retry" in result.stderr
    assert "sales.orders: ConnectionError: orders broke off at its attempt 1" in result.stderr
    assert result.stdout == "bronze.orders: 2 rows added, 0 updated, 2 in all\n"


def test_a_plugin_that_is_not_installed_is_told(project: Project) -> None:
    project.write(SPEC + "plugins: {ingestion: {type: lorry}}\n")

    for command in ("run", "validate"):
        assert "plugins.ingestion.type: No ingestion plugin is named 'lorry'" in call(command, exits=2).stderr


# history


def test_history_shows_the_snapshots_of_a_table_newest_first(project: Project) -> None:
    call("run", "shop")
    project.sql("insert into orders values (3)")
    call("run", "shop")

    lines = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in call("history", "bronze.orders").stdout.splitlines()
    ]

    shown = [
        dict(zip(["operation", "added", "rows", "cursor"], [line[2], line[4], line[6], line[7]], strict=True))
        for line in lines
        if line
    ]
    assert shown == [
        {"operation": "append", "added": "1", "rows": "3", "cursor": "id=3"},
        {"operation": "append", "added": "2", "rows": "2", "cursor": "id=2"},
    ]


def test_history_as_json_names_run_partition_and_load(project: Project) -> None:
    call("run", "site", "--partition", "2024-03-02")

    (row,) = json.loads(call("history", "bronze.visits", "--json").stdout)

    (snapshot,) = project.snapshots("bronze.visits")
    assert row == snapshot.as_dict()
    assert (row["partition"], row["rows_added"]) == ("2024-03-02", 1)


@pytest.mark.parametrize(
    ("table", "exits", "told"),
    [
        ("bronze.orders", 1, "There is no table bronze.orders. `floe-ingestion sources` lists the tables"),
        ("bronze.ordrs", 1, "There is no table bronze.ordrs. Did you mean 'bronze.orders'? `floe-ingestion sources`"),
        ("orders", 2, "'orders' names no schema. Write <schema>.<table>, e.g. bronze.orders."),
    ],
)
def test_history_of_a_table_that_is_not_there_says_so(project: Project, table: str, exits: int, told: str) -> None:
    assert told in call("history", table, exits=exits).stderr


def test_a_file_where_none_is_expected_is_told_with_its_option(project: Project) -> None:
    told = call("validate", "floe.yaml", exits=2).stderr

    assert "unexpected extra argument (floe.yaml). A floe.yaml is named by an option: --spec floe.yaml" in told


# Errors and secrets


def test_errors_are_one_message_and_debug_shows_where(project: Project) -> None:
    project.write("ingestion: 3\n")
    told = call("run", exits=2).stderr

    shown = CliRunner().invoke(main, ["run", "--debug"])

    assert told.startswith("Error: floe.yaml has 1 mistake")
    assert type(shown.exception).__name__ == "ConfigurationError"


def test_an_error_that_nobody_foresaw_is_one_message_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(project.folder / "nowhere"))

    told = call("run", "shop", exits=1).stderr

    assert "nowhere" in told
    assert told.endswith("(--debug shows where)\n")


def test_debug_shows_the_log_of_dagster_with_tracebacks(project: Project) -> None:
    project.sql("drop table orders")

    shown = CliRunner().invoke(main, ["run", "shop", "--debug"])

    assert "Stack Trace" in shown.stderr
    assert "STEP_FAILURE" in shown.stderr


@pytest.mark.parametrize("arguments", [["run"], ["run", "--json"], ["run", "--debug"]], ids=" ".join)
def test_a_secret_that_a_source_tells_is_hidden(
    project: Project, monkeypatch: pytest.MonkeyPatch, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    install_flaky(project.folder / "site")
    monkeypatch.syspath_prepend(project.folder / "site")
    monkeypatch.setenv("SALES_TOKEN", "tr0ub4dor")
    project.write("""
ingestion:
  sources:
    - name: sales
      type: flaky
      config: {token: "${SALES_TOKEN}", resources: [{name: orders, rows: [{id: 1}, {id: 2}], failures: 9}]}
      destination: {schema: bronze}
      retry: {max_retries: 1, delay_seconds: 0}
""")

    result: Any = CliRunner().invoke(main, arguments)

    captured = capfd.readouterr()
    printed = result.output + captured.out + captured.err
    assert result.exit_code == 1
    assert "orders broke off at its attempt 2 with the token ********" in printed
    assert "tr0ub4dor" not in printed
