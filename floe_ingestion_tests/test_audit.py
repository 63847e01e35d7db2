"""`publish: audit`: a load is judged on a branch of its own, and main moves to it or stays what it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyiceberg.table import Table
from pyiceberg.types import StringType

from floe_ingestion import dlt_asset
from floe_ingestion.cli import main
from floe_ingestion.errors import ConfigurationError, GateFailed, PermanentError, TransientError
from floe_ingestion.iceberg import audit
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg.expire import expire
from floe_ingestion.iceberg.orphans import remove_orphans
from floe_ingestion.landing import land
from floe_ingestion.spec import IncrementalSpec, RetrySpec, TableSpec
from floe_ingestion.staging import Provenance, StagedTable, Window
from floe_ingestion_tests.catalogs import BreakingCatalog, FollowedCatalog, RacingCatalog
from floe_ingestion_tests.dagster_fixtures import Project, failure, materialize, metadata
from floe_ingestion_tests.fake_sources import pipeline_of_rows, table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers, staged
from floe_ingestion_tests.lake import Lake

pytestmark = pytest.mark.dagster

GATE = {"type": "not_null", "columns": "name", "gate": True}
AT_ONCE = RetrySpec(max_retries=2, delay_seconds=0, backoff="none", jitter=False)
EMPTY = (
    "ingestion: {sources: [{name: x, type: rest_api, config: {base_url: 'http://x', resources: [y]}, "
    "destination: {schema: raw}}]}"
)

Row = Mapping[str, Any]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, EMPTY)


def asset_of(rows: Sequence[Row] | pa.Table, *checks: Mapping[str, Any], **settings: Any) -> dg.AssetsDefinition:
    @dlt_asset(table="raw.things", checks=checks or (GATE,), publish="audit", retry=AT_ONCE, **settings)
    def things() -> Iterator[Any]:
        yield rows if isinstance(rows, pa.Table) else [dict(row) for row in rows]

    return things


def nothing() -> list[Row]:
    return []


def run(project: Project, rows: Sequence[Row] | pa.Table, *checks: Mapping[str, Any], **settings: Any) -> Any:
    """Load `rows` into raw.things."""
    how = {name: settings.pop(name) for name in ("fails", "partition") if name in settings}
    return materialize([asset_of(rows, *checks, **settings)], project.resources, **how)


def command(project: Project, *arguments: str, exits: int = 0) -> Result:
    """`floe-ingestion audit …` in the project."""
    environment = {"FLOE_HOME": str(project.folder / ".floe"), "FLOE_SPEC": str(project.path)}
    result = CliRunner().invoke(main, ["audit", *arguments], env=environment)
    assert result.exit_code == exits, result.output
    return result


def branches(table: Table) -> list[str]:
    return sorted(name for name in table.metadata.refs if name != "main")


def on_branch(table: Table, column: str = "id") -> list[Any]:
    """What pyiceberg reads on the one branch beside main."""
    (branch,) = branches(table)
    return sorted(table.scan().use_ref(branch).to_arrow()[column].to_pylist())


# A gate that holds


def test_a_load_whose_gates_hold_is_published_in_one_snapshot(project: Project) -> None:
    result = run(project, [{"id": 1, "name": "a"}])

    table = project.table("raw.things")
    assert project.rows("raw.things", "id") == [1]
    assert (branches(table), len(table.metadata.snapshots)) == ([], 1)
    (found,) = result.get_asset_check_evaluations()
    assert (found.check_name, found.passed) == ("not_null_name", True)
    shown = metadata(result, "raw/things")
    assert shown["rows added"] == 1
    assert shown["snapshot id"] == str(table.metadata.current_snapshot_id)


# A gate that does not


def test_a_failed_gate_leaves_main_as_it_was_and_says_what_it_found(project: Project) -> None:
    run(project, [{"id": 1, "name": "a"}])
    before = project.table("raw.things").metadata

    result = run(project, [{"id": 2, "name": None, "more": 1}], fails=True)

    table = project.table("raw.things")
    assert table.metadata.current_snapshot_id == before.current_snapshot_id
    assert table.schema() == before.schema(), "not even the new column is there"
    assert table.properties == before.properties
    (branch,) = branches(table)
    assert failure(result).startswith(
        f"raw.things: the load stays on the branch {branch}, and main is as it was, because of not_null_name: "
        f"1 row without 'name', expected none."
    )
    assert f"floe-ingestion audit publish raw.things {branch}" in failure(result)
    assert result.get_asset_materialization_events() == []
    (found,) = result.get_asset_check_evaluations()
    assert (found.check_name, found.passed, found.metadata["nulls in name"].value) == ("not_null_name", False, 1)
    assert on_branch(table) == [1, 2]


def test_the_first_load_of_a_table_can_fail_and_the_next_one_land(project: Project) -> None:
    run(project, [{"id": 1, "name": None}], fails=True)
    assert project.table("raw.things").metadata.current_snapshot_id is None
    assert project.rows("raw.things") == []

    run(project, [{"id": 2, "name": "b"}])

    assert project.rows("raw.things", "id") == [2]
    assert on_branch(project.table("raw.things")) == [1]


def test_a_cursor_moves_when_its_rows_are_published_and_not_before(project: Project) -> None:
    by_id: dict[str, Any] = {"incremental": IncrementalSpec(cursor_path="id"), "write_disposition": "append"}
    run(project, [{"id": 1, "name": "a"}], **by_id)
    before = project.table("raw.things").properties
    run(project, [{"id": 1, "name": "a"}, {"id": 2, "name": None}], **by_id, fails=True)
    assert project.table("raw.things").properties == before

    run(project, [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}], **by_id)
    table = project.table("raw.things")
    assert table.properties[cursors.CURSOR] == cursors.current(table) != before[cursors.CURSOR]
    last = run(project, [{"id": 3, "name": "c"}], **by_id)

    assert project.rows("raw.things", "id") == [1, 2, 3]
    assert metadata(last, "raw/things")["rows added"] == 0


def test_other_checks_judge_what_was_published(project: Project) -> None:
    result = run(project, [{"id": 1, "name": "a"}], GATE, {"type": "row_count", "min": 2})

    assert {each.check_name: each.passed for each in result.get_asset_check_evaluations()} == {
        "not_null_name": True,
        "row_count": False,
    }
    assert project.rows("raw.things", "id") == [1]


def test_an_audit_without_a_gate_is_a_mistake_and_so_is_a_gate_without_an_audit() -> None:
    with pytest.raises(ConfigurationError, match="none of its checks is a gate"):
        asset_of([], {"type": "row_count"})
    with pytest.raises(ConfigurationError, match="is a gate, and raw"):
        dlt_asset(table="raw.things", checks=[GATE])(nothing)
    with pytest.raises(ConfigurationError, match="is a `gate` and only warns"):
        asset_of([], {**GATE, "severity": "warn"})


# By hand


def test_a_load_that_was_kept_back_can_be_published_by_hand(project: Project) -> None:
    by_id = {"incremental": IncrementalSpec(cursor_path="id")}
    run(project, [{"id": 1, "name": "a"}], **by_id)
    run(project, [{"id": 2, "name": None, "more": 1}], **by_id, fails=True)

    (listed,) = json.loads(command(project, "list", "raw.things", "--json").output)
    published = command(project, "publish", "raw.things")

    assert (listed["rows_added"], listed["can_be_published"]) == (1, True)
    assert published.output == f"raw.things: {listed['branch']} is published\n"
    table = project.table("raw.things")
    assert (table.metadata.current_snapshot_id, branches(table)) == (listed["snapshot_id"], [])
    assert project.rows("raw.things", "id") == [1, 2]
    assert table.schema().column_names == ["id", "name", "more"]
    run(project, [{"id": 2, "name": None, "more": 1}, {"id": 3, "name": "c"}], {**GATE, "columns": "id"}, **by_id)
    assert project.rows("raw.things", "id") == [1, 2, 3], "its cursor was published with it"


def test_a_load_that_main_has_left_behind_cannot_be_published_but_dropped(project: Project) -> None:
    run(project, [{"id": 1, "name": None}], fails=True)
    run(project, [{"id": 2, "name": "b"}])
    files = set((project.folder / ".floe" / "warehouse").rglob("*.parquet"))

    assert "no: main has moved" in command(project, "list", "raw.things").output
    refused = command(project, "publish", "raw.things", exits=1)
    dropped = command(project, "drop", "raw.things")

    assert "main has moved, or its columns have changed" in refused.output
    assert "is dropped, 3 files deleted" in dropped.output
    assert project.rows("raw.things", "id") == [2]
    assert len(files - set((project.folder / ".floe" / "warehouse").rglob("*.parquet"))) == 1
    assert command(project, "list", "raw.things").output == "raw.things: no load waits to be published\n"
    command(project, "drop", "raw.things", exits=2)


def test_dropping_a_load_that_another_engine_has_published_takes_no_row_from_main(project: Project) -> None:
    run(project, [{"id": 1, "name": "a"}])
    run(project, [{"id": 2, "name": None}], fails=True)
    table = project.table("raw.things")
    (branch,) = branches(table)
    kept_back = table.metadata.refs[branch].snapshot_id
    table.manage_snapshots().set_current_snapshot(snapshot_id=kept_back).commit()  # as Spark's `fast_forward` does

    dropped = command(project, "drop", "raw.things")

    assert "is dropped, 0 files deleted" in dropped.output
    assert branches(project.table("raw.things")) == []
    assert project.rows("raw.things", "id") == [1, 2]


def test_which_of_several_loads_is_meant_has_to_be_said(project: Project) -> None:
    for number in (1, 2):
        run(project, [{"id": number, "name": None}], fails=True)
    known = branches(project.table("raw.things"))

    assert "has 2 loads that wait. Name one: audit-" in command(project, "publish", "raw.things", exits=2).output
    assert "has no audit branch 'audit-x'" in command(project, "drop", "raw.things", "audit-x", exits=2).output
    command(project, "publish", "raw.things", known[0])

    assert branches(project.table("raw.things")) == [known[1]]


# Others at the same time, and accidents


def audited_spec(**settings: Any) -> TableSpec:
    return table_spec(publish="audit", checks=[{"type": "row_count", "min": 2, "gate": True}], **settings)


def two_rows(lake: Lake) -> StagedTable:
    return staged(lake, audited_spec(), numbers([1, 2]), cursor=2)


def landed(lake: Lake, made: StagedTable, catalog: Any = None, run_id: str = "") -> Any:
    return land(
        catalog or lake.catalog, made, Provenance(run_id, "an/asset") if run_id else Provenance(), lake.staging_folder
    )


def meanwhile(lake: Lake, spec: TableSpec, *rows: int, **settings: Any) -> Callable[[], Any]:
    return lambda: load(lake, spec, numbers(rows), **settings)


@pytest.mark.parametrize(
    ("disposition", "after"), [("append", [1, 2, 2, 3]), ("replace", [2, 3]), ("merge", [1, 2, 3])]
)
def test_every_way_to_land_can_be_audited(lake: Lake, disposition: str, after: list[int]) -> None:
    key = ("id",) if disposition == "merge" else ()
    how: dict[str, Any] = {"write_disposition": disposition, "primary_key": key}
    gate = {"type": "not_null", "columns": "word", "gate": True}
    load(lake, table_spec(**how), numbers([1, 2], word="a"), key=key)
    first = lake.table("raw.numbers").metadata.current_snapshot_id
    spec = table_spec(publish="audit", checks=[gate], **how)

    with pytest.raises(GateFailed, match="1 row without 'word'"):
        landed(lake, staged(lake, spec, [{"id": 2, "word": "b"}, {"id": 3, "word": None}], key=key))
    assert lake.table("raw.numbers").metadata.current_snapshot_id == first
    assert on_branch(lake.table("raw.numbers")) == after
    landed(lake, staged(lake, spec, [{"id": 2, "word": "b"}, {"id": 3, "word": "c"}], key=key))

    assert lake.values("raw.numbers") == after


def test_a_partition_is_replaced_when_it_is_published_and_not_before(lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "word": "de"}, {"id": 2, "word": "fr"}, {"id": 3, "word": "fr"}])
    window = Window("word", values=("fr",))

    with pytest.raises(GateFailed, match="1 row, expected at least 2"):
        landed(lake, staged(lake, audited_spec(), [{"id": 4, "word": "fr"}], window=window))
    assert lake.values("raw.numbers") == [1, 2, 3]
    landed(lake, staged(lake, audited_spec(), [{"id": 5, "word": "fr"}, {"id": 6, "word": "fr"}], window=window))

    assert lake.values("raw.numbers") == [1, 5, 6]


@pytest.mark.parametrize("moment", [0, 1], ids=["before the branch", "between branch and publish"])
@pytest.mark.parametrize("merged", [True, False], ids=["merge", "append"])
def test_a_load_that_main_overtakes_is_planned_and_judged_again(lake: Lake, moment: int, merged: bool) -> None:
    how: dict[str, Any] = {"write_disposition": "merge", "primary_key": ("id",)} if merged else {}
    key = ("id",) if merged else ()
    load(lake, table_spec(**how), numbers([1, 2, 3], word="old"), key=key)
    made = staged(lake, audited_spec(**how), numbers([3, 4], word="new"), key=key)
    other = meanwhile(lake, table_spec(**how), 4, 5, key=key)
    racing = RacingCatalog(lake, *[lambda: None] * moment, other)

    found = landed(lake, made, racing)

    assert lake.values("raw.numbers") == ([1, 2, 3, 4, 5] if merged else [1, 2, 3, 3, 4, 4, 5])
    words = [row["word"] for row in lake.rows("raw.numbers") if row["id"] == 4]
    assert words == (["new"] if merged else [None, "new"])
    table = lake.table("raw.numbers")
    assert (found.snapshot_id, branches(table)) == (table.metadata.current_snapshot_id, [])
    assert len(table.metadata.snapshots) == 3, "of the attempt that was overtaken nothing is left"
    assert found.rows_total == len(lake.values("raw.numbers"))
    assert made.receipt.verdicts["row_count"].facts["rows"] == found.rows_total
    named = {task.file.file_path for task in table.scan().plan_files()}
    assert {path.name for path in lake.data_files()} >= {name.rsplit("/")[-1] for name in named}


def test_a_file_of_which_one_attempt_took_a_part_is_whole_for_the_next(lake: Lake) -> None:
    how: dict[str, Any] = {"write_disposition": "merge", "primary_key": ("id",)}

    def write(word: str) -> Any:
        return load(lake, table_spec(**how), numbers([1], word=word), key=["id"])

    write("old")
    made = staged(lake, audited_spec(**how), numbers([1, 2], word="new"), key=["id"])
    branch = withdraw = lambda: None
    before_commits = (branch, lambda: write("new"), withdraw, branch, lambda: write("old"))

    landed(lake, made, RacingCatalog(lake, *before_commits))

    assert lake.rows("raw.numbers") == numbers([1, 2], word="new")


def test_a_gate_that_held_is_asked_again_behind_the_others(lake: Lake) -> None:
    load(lake, table_spec(), numbers([1]))
    spec = table_spec(publish="audit", checks=[{"type": "row_count", "max": 3, "gate": True}])
    made = staged(lake, spec, numbers([2, 3]))

    with pytest.raises(GateFailed, match="4 rows, expected at most 3"):
        landed(lake, made, RacingCatalog(lake, lambda: None, meanwhile(lake, table_spec(), 4)))

    assert lake.values("raw.numbers") == [1, 4]
    assert on_branch(lake.table("raw.numbers")) == [1, 2, 3, 4]


@pytest.mark.parametrize("judged", [False, True], ids=["before it is judged", "before it is published"])
def test_a_load_that_somebody_drops_is_loaded_again(lake: Lake, judged: bool) -> None:
    load(lake, table_spec(), numbers([1]))

    def drop() -> None:
        table = lake.table("raw.numbers")
        audit.drop(table, *branches(table))

    catalog = RacingCatalog(lake, lambda: None, drop) if judged else FollowedCatalog(lake, drop)
    with pytest.raises(TransientError, match="was dropped while it was judged"):
        landed(lake, staged(lake, audited_spec(), numbers([2, 3])), catalog)
    assert lake.values("raw.numbers") == [1]
    landed(lake, staged(lake, audited_spec(), numbers([2, 3])))

    assert lake.values("raw.numbers") == [1, 2, 3]


def test_a_load_that_is_published_by_hand_before_it_is_judged_has_landed(lake: Lake) -> None:
    load(lake, table_spec(), numbers([1]))

    def publish() -> None:
        table = lake.table("raw.numbers")
        audit.publish_by_hand(table, *branches(table))

    found = landed(lake, staged(lake, audited_spec(), numbers([2, 3])), FollowedCatalog(lake, publish))

    assert lake.values("raw.numbers") == [1, 2, 3]
    assert found.metadata_location == lake.table("raw.numbers").metadata_location


def test_answers_that_are_lost_lose_no_load_that_was_made(lake: Lake) -> None:
    found = landed(lake, two_rows(lake), BreakingCatalog(lake, made=True), run_id="r1")

    assert lake.values("raw.numbers") == [1, 2]
    assert found.snapshot_id == lake.table("raw.numbers").metadata.current_snapshot_id


def test_a_branch_that_was_not_made_lets_the_retry_land_exactly_once(lake: Lake) -> None:
    with pytest.raises(Exception, match="broke off"):
        landed(lake, two_rows(lake), BreakingCatalog(lake, made=False), run_id="r1")

    landed(lake, two_rows(lake), run_id="r1")

    assert lake.values("raw.numbers") == [1, 2]


class PublishingBreaks(BreakingCatalog):
    """The first commit, of the branch, is made; the answer to the second, which publishes it, is lost."""

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> Any:
        if any(update.action == "remove-snapshot-ref" for update in updates):
            return super().commit_table(table, requirements, updates)
        return super(BreakingCatalog, self).commit_table(table, requirements, updates)


def test_a_publication_whose_answer_is_lost_is_found(lake: Lake) -> None:
    made = staged(lake, audited_spec(), numbers([1, 2]))

    found = landed(lake, made, PublishingBreaks(lake, made=True), run_id="r1")
    again = landed(lake, staged(lake, audited_spec(), numbers([1, 2])), run_id="r1")

    assert lake.values("raw.numbers") == [1, 2]
    assert (found.rows_added, again.already_landed) == (2, True)


def test_a_publication_that_broke_off_lets_the_retry_land_exactly_once(lake: Lake) -> None:
    with pytest.raises(Exception, match="broke off"):
        landed(
            lake,
            two_rows(lake),
            PublishingBreaks(lake, made=False),
            run_id="r1",
        )
    assert lake.values("raw.numbers") == []

    landed(lake, two_rows(lake), run_id="r1")

    assert lake.values("raw.numbers") == [1, 2]
    assert lake.cursor("raw.numbers") == {"id": 2}
    assert len(branches(lake.table("raw.numbers"))) == 1, "the branch of the first attempt is there to be looked at"


def test_a_gate_that_cannot_look_leaves_nothing_behind(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    load(lake, table_spec(), numbers([1]))
    before = lake.data_files()
    made = staged(lake, audited_spec(), numbers([2, 3]))

    def unreadable(*_: Any) -> None:
        raise ConnectionError("the storage went away")

    monkeypatch.setattr("floe_ingestion.landing.judge", unreadable)
    with pytest.raises(Exception, match="the storage went away"):
        landed(lake, made)

    assert (branches(lake.table("raw.numbers")), lake.data_files()) == ([], before)
    assert lake.values("raw.numbers") == [1]


def another_column(lake: Lake) -> None:
    """As another engine adds it: without a snapshot."""
    with lake.connect().load_table("raw.numbers").update_schema() as update:
        update.add_column("theirs", StringType())


def test_a_load_that_knows_nothing_of_a_new_column_is_not_published_by_hand(lake: Lake) -> None:
    load(lake, table_spec(), numbers([1]))
    with pytest.raises(GateFailed):
        landed(lake, staged(lake, audited_spec(write_disposition="replace"), numbers([3], ours="x")))
    another_column(lake)
    table = lake.table("raw.numbers")

    with pytest.raises(PermanentError, match="main has moved, or its columns have changed"):
        audit.publish_by_hand(table, branches(table)[0])

    assert lake.table("raw.numbers").schema().column_names == ["id", "theirs"]


def test_rejected_rows_say_what_is_wrong_with_a_load_and_are_not_audited(lake: Lake) -> None:
    load(lake, table_spec(), numbers([1]))
    rows = [{"id": 2}, {"id": 3, "note": "x"}]
    gate = {"type": "row_count", "max": 1, "gate": True}
    pipeline = pipeline_of_rows(rows, publish="audit", checks=[gate], schema_contract={"columns": "discard_row"})

    with pytest.raises(GateFailed, match="2 rows, expected at most 1"):
        lake.load(pipeline)

    assert lake.values("raw.numbers") == [1]
    assert len(lake.rows("raw.numbers__rejected")) == 1
    assert branches(lake.table("raw.numbers__rejected")) == []


def test_a_file_that_is_lost_is_told_at_once(lake: Lake) -> None:
    load(lake, table_spec(), numbers([1]))
    spec = table_spec(publish="audit", checks=[{"type": "unique", "columns": "id", "gate": True}])
    made = staged(lake, spec, numbers([2]))
    for file in lake.data_files():
        file.unlink()

    with pytest.raises(PermanentError, match="parquet"):
        landed(lake, made)

    assert branches(lake.table("raw.numbers")) == []


def test_columns_that_somebody_else_added_stay_when_a_load_is_published(lake: Lake) -> None:
    load(lake, table_spec(), numbers([1, 2]))
    made = staged(lake, audited_spec(), numbers([3], ours="x"))

    landed(lake, made, RacingCatalog(lake, lambda: None, lambda: another_column(lake)))

    assert set(lake.table("raw.numbers").schema().column_names) == {"id", "ours", "theirs"}
    assert lake.values("raw.numbers") == [1, 2, 3]


def test_maintenance_leaves_a_load_that_waits_alone(lake: Lake) -> None:
    load(lake, table_spec(), numbers([1]))
    with pytest.raises(GateFailed):
        landed(lake, staged(lake, audited_spec(write_disposition="replace"), numbers([2])))
    for number in (3, 4):
        load(lake, table_spec(), numbers([number]))

    expired = expire(lake.table("raw.numbers"), keep_last=1)
    orphans = remove_orphans(lake.table("raw.numbers"), older_than_days=0)

    assert (expired.snapshots, orphans.files) == (2, 0)
    assert on_branch(lake.table("raw.numbers")) == [2]
    audit.drop(lake.table("raw.numbers"), branches(lake.table("raw.numbers"))[0])
    assert lake.values("raw.numbers") == [1, 3, 4]
    assert len(lake.data_files()) == 3


def test_the_plugin_gates_outside_dagster_too(project: Project) -> None:
    project.sql("create table things (id integer, name text)", "insert into things values (1, null)")
    plugin = project.resources["ingestion"]
    entry = {
        "config": {"connection_string": f"sqlite:///{project.database}", "tables": ["things"]},
        "destination": {"publish": "audit"},
        "checks": [GATE],
    }

    with pytest.raises(GateFailed, match="1 row without 'name'"):
        plugin.run_pipeline(plugin.create_pipeline("sql_database", "raw.things", entry))

    assert project.rows("raw.things") == []
