"""Checks of floe.yaml in Dagster: what they find, on which rows, from what, and what a failure holds back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from floe_ingestion import dlt_asset, table_checks
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.running import run_sources
from floe_ingestion.spec import PartitionsSpec
from floe_ingestion_tests.dagster_fixtures import QUIET, Project, materialize

pytestmark = pytest.mark.dagster

SHOP = """
ingestion:
  defaults: {{checks: [{{type: row_count, min: 1}}]}}
  sources:
    - name: shop
      type: sql_database
      config:
        connection_string: ${{SHOP_URL:-sqlite:///source.db}}
        tables:
          - {{name: orders, {orders}}}
          - customers
      destination: {{schema: bronze, {destination}}}
      checks:
        - {{type: not_null, columns: [id]}}
"""
ORDERS = "create table orders (id integer primary key, amount decimal(10, 2), status text, updated_at timestamp)"
DAYS = "partitions: {type: daily, column: day, start: 2024-03-01, end: 2024-03-11}"
VISITS = f"""
ingestion:
  sources:
    - name: site
      type: sql_database
      config: {{connection_string: "sqlite:///source.db", tables: [visits]}}
      destination: {{schema: bronze}}
      {DAYS}
      checks:
        - {{type: row_count, min: 2, max: 3, max_change: 0.5}}
        - {{type: not_null, columns: [page]}}
        - {{type: unique, columns: [id]}}
        - {{type: range, column: id, max: 100}}
        - {{type: freshness, column: day, max_age: 1d, severity: warn}}
"""

Result = dg.ExecuteInProcessResult
Row = Mapping[str, Any]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture
def visits(project: Project) -> Project:
    """Three visits on each of two days, of which one day has a page missing; `id` counts them."""
    project.write(VISITS)
    project.sql("create table visits (id integer, page text, day timestamp)")
    for number in range(6):
        page = "null" if number == 4 else f"'/{number}'"
        project.sql(f"insert into visits values ({number}, {page}, '2024-03-0{1 + number // 3} 10:00:00')")
    return project


def shop(project: Project, orders: str = "checks: []", destination: str = "write_disposition: replace") -> Project:
    project.write(SHOP.format(orders=orders, destination=destination))
    project.sql(
        ORDERS,
        "create table customers (id integer, name text)",
        "insert into customers values (1, 'Ann'), (null, 'Ben')",
        "insert into orders values (1, 9.50, 'open', '2024-01-01 08:00:00'), (2, 1.25, 'paid', '2024-01-02 09:30:00')",
    )
    return project


def evaluations(result: Result, key: str = "") -> dict[str, Any]:
    """What the checks of a run found, by name."""
    return {
        each.check_name: each
        for each in result.get_asset_check_evaluations()
        if not key or each.asset_key.to_user_string() == key
    }


def verdicts(result: Result, key: str = "") -> dict[str, bool]:
    return {name: each.passed for name, each in evaluations(result, key).items()}


def facts(result: Result, name: str) -> dict[str, Any]:
    return {key: value.value for key, value in evaluations(result)[name].metadata.items()}


def judged(
    project: Project, rows: Sequence[Row] | pa.Table, *checks: Mapping[str, Any], fails: bool = False, **settings: Any
) -> Result:
    """Land `rows` in raw.things, and judge them."""
    return materialize([asset_of(rows, *checks, **settings)], project.resources, fails=fails)


def asset_of(rows: Sequence[Row] | pa.Table, *checks: Mapping[str, Any], **settings: Any) -> dg.AssetsDefinition:
    @dlt_asset(table="raw.things", checks=checks, **settings)
    def things() -> Iterator[Any]:
        yield rows if isinstance(rows, pa.Table) else [dict(row) for row in rows]

    return things


def alone(assets: Sequence[Any], resources: Mapping[str, Any], key: str, *names: str, **run: Any) -> Result:
    """Run checks without what they are about."""
    keys = [dg.AssetCheckKey(dg.AssetKey.from_user_string(key), name) for name in names]
    return dg.materialize(
        assets, resources=resources, selection=dg.AssetSelection.checks(*keys), run_config=QUIET, **run
    )


def delete_data_files(project: Project) -> int:
    """Take away every data file of the warehouse; metadata stays."""
    files = [
        file for file in (project.folder / ".floe" / "warehouse").rglob("*.parquet") if file.parent.name != "metadata"
    ]
    for file in files:
        file.unlink()
    return len(files)


# Where checks are written


def test_the_checks_of_a_resource_win_over_its_source_and_those_over_the_defaults(project: Project) -> None:
    shop(project, orders="checks: [{type: unique, columns: [status]}]")

    assert {
        (spec.asset_key.to_user_string(), spec.name)
        for asset in project.definitions().assets or ()
        if isinstance(asset, dg.AssetsDefinition)
        for spec in asset.check_specs
    } == {("bronze/orders", "unique_status"), ("bronze/customers", "not_null_id")}


def test_an_empty_list_takes_the_checks_of_the_source_away(project: Project) -> None:
    shop(project)

    result = project.run()

    assert verdicts(result, "bronze/orders") == {}
    assert verdicts(result, "bronze/customers") == {"not_null_id": False}
    assert evaluations(result)["not_null_id"].severity == dg.AssetCheckSeverity.ERROR
    assert facts(result, "not_null_id")["nulls in id"] == 1, "a number, which Dagster plots"


def test_mistakes_are_told_with_what_to_write(project: Project) -> None:
    def mistake(**check: Any) -> str:
        with pytest.raises(ConfigurationError) as caught:
            asset_of([], check)
        return str(caught.value)

    assert "has the type 'rowcount'; write 'row_count'" in mistake(type="rowcount")
    assert "Did you mean 'max_change'?" in mistake(type="row_count", max_chnge=1)
    assert "'36 hours' is no age. Write a number and s, m, h, d or w, such as 36h or 2d" in mistake(
        type="freshness", column="at", max_age="36 hours"
    )
    assert "the table has no key. Write `columns: [id]`, or a `primary_key`" in mistake(type="unique")
    assert "none are declared" in mistake(type="schema_drift", against="declared")
    assert "is `blocking` and only warns" in mistake(type="unique", columns="id", blocking=True, severity="warn")
    assert "has neither `min` nor `max`" in mistake(type="range", column="id")
    assert "Dagster's freshness policy" in mistake(type="freshness", max_age="1h", severity="warn")
    with pytest.raises(
        ConfigurationError, match=r"two checks are called 'row_count'\. Give one of them another `name`"
    ):
        asset_of([], {"type": "row_count"}, {"type": "row_count", "min": 1})


def test_a_misspelled_check_hides_no_mistake_elsewhere(project: Project) -> None:
    project.write(VISITS.replace("row_count", "rowcount").replace("schema: bronze", "schema: bronze, tabel_prefix: x"))

    with pytest.raises(ConfigurationError) as caught:
        project.definitions()

    assert [problem.path for problem in caught.value.problems] == [
        "ingestion.sources[0].destination.tabel_prefix",
        "ingestion.sources[0].checks[0]",
    ]


def test_definitions_with_checks_touch_nothing(visits: Project, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))

    visits.definitions().resolve_asset_graph()

    assert sorted(tmp_path.rglob("*")) == before


def test_the_age_of_the_materialisation_itself_is_dagsters_to_judge(project: Project) -> None:
    asset = asset_of([], {"type": "freshness", "max_age": "36h"})

    (spec,) = asset.specs
    assert spec.freshness_policy == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36))
    assert list(asset.check_specs) == []


# On which rows, and from what


def test_a_partitioned_run_is_judged_by_its_partition(visits: Project) -> None:
    visits.run(partition="2024-03-01")
    visits.sql("delete from visits where id = 5")

    result = visits.run(partition="2024-03-02")

    assert verdicts(result) == {
        "row_count": True,
        "not_null_page": False,
        "unique_id": True,
        "range_id": True,
        "freshness_day": False,
    }
    met = facts(result, "row_count")
    assert (met["rows"], met["partition"]) == (2, "2024-03-02")
    assert met["snapshot id"] == str(visits.snapshots("bronze.visits")[-1].snapshot_id)
    assert evaluations(result)["not_null_page"].description == "1 row without 'page', expected none"
    answered = {name: facts(result, name)["answered from"] for name in verdicts(result)}
    assert answered == dict.fromkeys(answered, "metadata") | {"unique_id": "rows"}


def test_a_range_of_partitions_is_judged_as_one_load(visits: Project) -> None:
    result = visits.run(span=("2024-03-01", "2024-03-02"))

    assert evaluations(result)["row_count"].description == "6 rows, expected at most 3"
    assert facts(result, "row_count")["rows"] == 6
    assert facts(result, "row_count")["partition"] == "2024-03-01...2024-03-02"


def test_a_partition_that_is_loaded_again_is_compared_with_what_it_held(visits: Project) -> None:
    visits.run(span=("2024-03-01", "2024-03-02"))
    visits.sql("delete from visits where id in (0, 1)")

    result = visits.run(partition="2024-03-01")

    assert "3 rows became 1 (-66.7%), expected at most ±50.0%" in evaluations(result)["row_count"].description


def test_metadata_alone_answers_while_no_data_file_can_be_read(visits: Project) -> None:
    visits.run(span=("2024-03-01", "2024-03-02"))
    assert delete_data_files(visits) == 2
    assets, resources = list(visits.definitions().assets or ()), visits.definitions().resources or {}

    cheap = ["row_count", "not_null_page", "range_id", "freshness_day"]
    result = alone(assets, resources, "bronze/visits", *cheap)

    assert verdicts(result) == {"row_count": False, "not_null_page": False, "range_id": True, "freshness_day": False}
    assert [facts(result, name)["rows" if name == "row_count" else "files read"] for name in cheap] == [6, 0, 0, 0]
    with pytest.raises(Exception, match="parquet"):
        alone(assets, resources, "bronze/visits", "unique_id")


# What a failure does


def downstream(seen: list[str], upstream: str = "raw/things") -> dg.AssetsDefinition:
    @dg.asset(name="report", deps=[dg.AssetKey.from_user_string(upstream)])
    def report() -> None:
        seen.append(upstream)

    return report


@pytest.mark.parametrize(("blocking", "severity", "reached"), [(True, "error", []), (False, "error", ["raw/things"])])
def test_a_failed_check_holds_back_what_comes_after_only_where_it_blocks(
    project: Project, blocking: bool, severity: str, reached: list[str]
) -> None:
    check = {"type": "row_count", "min": 2, "blocking": blocking, "severity": severity}
    seen: list[str] = []

    result = materialize([asset_of([{"id": 1}], check), downstream(seen)], project.resources, fails=blocking)

    assert seen == reached
    assert verdicts(result) == {"row_count": False}
    assert project.rows("raw.things", "id") == [1], "the rows have landed in any case"
    assert len(result.get_asset_materialization_events()) == (1 if blocking else 2)


def test_a_check_that_blocks_and_holds_lets_the_next_asset_run(project: Project) -> None:
    seen: list[str] = []

    materialize(
        [asset_of([{"id": 1}], {"type": "row_count", "min": 1, "blocking": True}), downstream(seen)], project.resources
    )

    assert seen == ["raw/things"]


def test_a_failed_check_is_not_tried_again(project: Project) -> None:
    result = judged(project, [{"id": 1}], {"type": "row_count", "min": 2, "blocking": True}, fails=True)

    assert not any(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events)
    assert len(project.snapshots("raw.things")) == 1


# Alone


def test_checks_run_without_their_asset_on_the_table_as_it_is(project: Project) -> None:
    judged(project, [{"id": 1}, {"id": 2}])
    asset = asset_of([{"id": 3}], {"type": "row_count", "min": 1}, {"type": "unique", "columns": "id"})

    result = alone([asset], project.resources, "raw/things", "unique_id")

    assert verdicts(result) == {"unique_id": True}
    assert (result.get_asset_materialization_events(), project.rows("raw.things", "id")) == ([], [1, 2])


def test_dagster_offers_each_check_by_itself(visits: Project) -> None:
    graph = visits.definitions().resolve_asset_graph()

    assert {graph.get_execution_set_identifier(key) for key in graph.asset_check_keys} == {None}


def test_a_check_alone_judges_the_partitions_of_the_newest_load(visits: Project) -> None:
    visits.run(span=("2024-03-01", "2024-03-02"))
    visits.sql("delete from visits where id = 5")
    visits.run(partition="2024-03-02")
    assets, resources = list(visits.definitions().assets or ()), visits.definitions().resources or {}

    result = alone(assets, resources, "bronze/visits", "row_count")

    assert evaluations(result)["row_count"].description == (
        "2 rows, expected at least 2 and at most 3 and a change of at most ±50.0%"
    )
    assert (facts(result, "row_count")["partition"], facts(result, "row_count")["rows before"]) == ("2024-03-02", 3)


def test_a_check_alone_knows_the_keys_of_a_range(project: Project) -> None:
    partitions = PartitionsSpec(type="static", column="region", keys=("de", "fr", "uk", "us"))
    rows = [{"region": region} for region in ("de", "fr", "fr", "uk", "us")]
    asset = asset_of(rows, {"type": "row_count"}, partitions=partitions)
    materialize([asset], project.resources, span=("de", "us"))
    materialize([asset], project.resources, span=("fr", "uk"))

    result = alone([asset], project.resources, "raw/things", "row_count")

    assert (facts(result, "row_count")["partition"], facts(result, "row_count")["rows"]) == ("fr...uk", 3)


def test_the_result_belongs_to_the_materialisation_of_its_run(project: Project) -> None:
    with dg.instance_for_test(temp_dir=str(project.folder)) as instance:
        result = materialize([asset_of([{"id": 1}], {"type": "row_count"})], project.resources, instance=instance)

        (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.target_materialization_data is not None
    assert evaluation.target_materialization_data.run_id == result.run_id


def test_any_table_of_the_lake_can_be_checked_as_an_asset_of_somebody_else(project: Project) -> None:
    judged(project, [{"id": 1}, {"id": 1}])

    @dg.asset(key=["raw", "things"])
    def things() -> None: ...

    checks = table_checks(
        asset=things, table="raw.things", checks=[{"type": "row_count"}, {"type": "unique", "columns": "id"}]
    )
    result = dg.materialize([things, checks], resources=project.resources, run_config=QUIET)

    assert verdicts(result) == {"row_count": True, "unique_id": False}
    assert verdicts(alone([things, checks], project.resources, "raw/things", "row_count")) == {"row_count": True}


def test_a_table_is_named_with_its_schema(project: Project) -> None:
    with pytest.raises(ConfigurationError, match=r"table_checks\('things'\)[\s\S]*names no schema"):
        table_checks(asset="things", table="things", checks=[{"type": "row_count"}])


def test_the_command_line_tells_what_was_found(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOE_HOME", str(project.folder / ".floe"))
    shop(project, orders="checks: [{type: row_count, min: 3, severity: warn}]")

    (result,) = run_sources(str(project.path), quiet=True)

    assert result.success
    assert result.lines()[2:] == [
        "bronze.orders: row_count warns: 2 rows, expected at least 3",
        "bronze.customers: not_null_id failed: 1 row without 'id', expected none",
    ]
    assert result.checks[0].severity == "warn"


def test_secrets_are_in_no_result(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "hunter2hunter2").mkdir()
    project.database = project.folder / "hunter2hunter2" / "source.db"
    monkeypatch.setenv("SHOP_URL", f"sqlite:///{project.database}")
    check = "checks: [{type: accepted_values, column: status, values: [open]}]"
    shop(project, orders=check)
    project.sql(f"update orders set status = 'sqlite:///{project.database}' where id = 2")

    result = project.run()

    assert verdicts(result, "bronze/orders") == {"accepted_values_status": False}
    evaluation = evaluations(result)["accepted_values_status"]
    assert "hunter2" not in str(evaluation)
    assert facts(result, "accepted_values_status")["examples"] == "********"
