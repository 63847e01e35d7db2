"""What assets return becomes a table: of every kind of rows, in one commit, and nothing of others is touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from floe_ingestion import IcebergIOManager, IcebergLakeResource
from floe_ingestion.errors import ConfigurationError, PermanentError
from floe_ingestion.spec_stored import StoreSettings, settings_of
from floe_ingestion.storing import batches_of
from floe_ingestion_tests.dagster_fixtures import QUIET, Project, category, failure, metadata
from floe_ingestion_tests.dagster_fixtures import materialize_again as materialize
from floe_ingestion_tests.lake import Lake

pytestmark = pytest.mark.dagster

MORNING = datetime(2024, 3, 1, 8, 30, tzinfo=timezone.utc)
ROWS = [
    {"id": 1, "Name": "Tom", "price": Decimal("1.50"), "seen": MORNING, "born": date(2020, 1, 2)},
    {"id": 2, "Name": None, "price": Decimal("2.25"), "seen": MORNING, "born": None},
]
ARROW = pa.Table.from_pylist(ROWS)


class AnyLibrary:
    """Rows of a library that nobody here has heard of, but for Arrow's protocol."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return ARROW.__arrow_c_stream__(requested_schema)


RETURNED: dict[str, Callable[[], Any]] = {
    "arrow": lambda: ARROW,
    "batch": lambda: ARROW.to_batches()[0],
    "reader": lambda: ARROW.to_reader(),
    "dataset": lambda: pyarrow.dataset.dataset(ARROW),
    "polars": lambda: pl.from_arrow(ARROW),
    "polars_lazy": lambda: pl.LazyFrame(pl.from_arrow(ARROW)).filter(pl.col("id") > 0),
    "pandas": lambda: ARROW.to_pandas(types_mapper=pd.ArrowDtype),
    "duckdb": lambda: duckdb.from_arrow(ARROW).filter("id > 0"),
    "dicts": lambda: ROWS,
    "other": AnyLibrary,
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def returning(rows: Callable[[], Any], table: str = "marts.cats", **settings: Any) -> dg.AssetsDefinition:
    """An asset whose key is `table` and which returns what `rows` gives."""

    @dg.asset(key=table.split("."), io_manager_key="iceberg_io_manager", **settings)
    def stored():  # type: ignore[no-untyped-def]
        return rows()

    return stored


def keyed(part: str, number: int) -> dg.AssetsDefinition:
    """An asset whose key ends with `part`, which may be no name for Dagster."""

    @dg.multi_asset(
        name=f"step_{number}", outs={"rows": dg.AssetOut(key=["marts", part], io_manager_key="iceberg_io_manager")}
    )
    def stored():  # type: ignore[no-untyped-def]
        return ARROW

    return stored


def store(project: Project, rows: Any, table: str = "marts.cats", **settings: Any) -> dg.ExecuteInProcessResult:
    """One run of an asset that returns `rows`."""
    fails = settings.pop("fails", False)
    said = {f"floe/{name}": value for name, value in settings.items()}
    return materialize([returning(lambda: rows, table, metadata=said)], project.resources, fails=fails)


# What may be returned


def test_rows_of_every_kind_are_stored_as_they_are(project: Project) -> None:
    assets = [returning(rows, f"marts.{kind}") for kind, rows in RETURNED.items()]

    materialize(assets, project.resources)

    stored = {kind: project.table(f"marts.{kind}").scan().to_arrow() for kind in RETURNED}
    assert {kind: rows.to_pylist() for kind, rows in stored.items()} == dict.fromkeys(RETURNED, ROWS)
    assert {str(project.table(f"marts.{kind}").schema().find_type("seen")) for kind in RETURNED} == {"timestamptz"}


def test_categories_are_stored_as_what_they_say(project: Project) -> None:
    frame = pl.DataFrame({"kind": pl.Series(["a", None, "b"], dtype=pl.Categorical)})
    reader = pa.RecordBatchReader.from_stream(frame)  # categories that are views, of which Arrow takes no elements
    pandas = pd.DataFrame({"kind": pd.Categorical(["a", None, "b"])})

    assets = [returning(lambda rows=rows: rows, f"marts.{n}") for n, rows in enumerate((frame, reader, pandas))]
    materialize(assets, project.resources)

    stored = [project.table(f"marts.{n}").scan().to_arrow()["kind"].to_pylist() for n in range(3)]
    assert stored == [["a", None, "b"]] * 3


def test_columns_without_rows_make_a_table(project: Project) -> None:
    empty = {
        "arrow": ARROW.slice(0, 0),
        "reader": pa.RecordBatchReader.from_batches(ARROW.schema, []),
        "polars_lazy": pl.LazyFrame(pl.from_arrow(ARROW)).filter(pl.col("id") > 9),
        "duckdb": duckdb.from_arrow(ARROW).filter("id > 9"),
    }

    materialize([returning(lambda rows=rows: rows, f"marts.{kind}") for kind, rows in empty.items()], project.resources)

    for kind in empty:
        stored = project.table(f"marts.{kind}").scan().to_arrow()
        assert (stored.num_rows, stored.column_names) == (0, ARROW.column_names), kind


def test_dicts_may_have_different_keys(project: Project) -> None:
    store(project, [{"a": 1}, {"b": "x"}])

    assert project.table("marts.cats").scan().to_arrow().to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_an_index_of_pandas_that_has_a_name_is_a_column(project: Project) -> None:
    store(project, pd.DataFrame({"total": [5, 7]}, index=pd.Index(["eu", "us"], name="region")))

    assert project.rows("marts.cats", "region", "total") == [("eu", 5), ("us", 7)]


def test_an_asset_that_returns_nothing_stores_nothing(project: Project) -> None:
    store(project, None)

    assert not project.catalog.table_exists("marts.cats")


def test_what_is_no_rows_is_told_with_what_would_be(project: Project) -> None:
    result = store(project, [1, 2], fails=True)

    assert "was given a list. Return a pyarrow Table" in failure(result)
    assert category(result) == "PermanentError"
    assert [batches_of(rows) for rows in ({"a": [1]}, "rows", pa.array([1]), pl.Series([1]))] == [None] * 4


def test_values_of_several_types_in_one_column_are_told() -> None:
    with pytest.raises(PermanentError, match="values of 'a' are not of one type"):
        batches_of([{"a": 1}, {"a": "x"}])
    with pytest.raises(PermanentError, match=r"are not of one type: .*column a with type object\. Return rows"):
        batches_of(pd.DataFrame({"a": [1, "x"]}, dtype="object"))


@pytest.mark.parametrize("lazy", [False, True])
def test_python_objects_in_a_polars_frame_are_refused(lazy: bool) -> None:
    """Polars would give Arrow their addresses."""
    frame = pl.DataFrame({"id": [1], "a": [object()]})

    with pytest.raises(PermanentError, match="column 'a' of a Polars frame holds Python objects"):
        list(batches_of(frame.lazy() if lazy else frame) or ())


def test_a_frame_of_many_rows_becomes_several_row_groups(project: Project) -> None:
    store(project, pl.DataFrame({"id": pl.int_range(700_000, eager=True)}))

    (file,) = project.table("marts.cats").scan().plan_files()
    assert pq.ParquetFile(file.file.file_path.removeprefix("file://")).num_row_groups > 1


def test_a_reader_is_stored_without_ever_being_whole_in_memory(project: Project) -> None:
    schema, size, most = pa.schema([("word", pa.string())]), 5_000_000, 0
    before = pa.total_allocated_bytes()

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal most
        for number in range(40):
            most = max(most, pa.total_allocated_bytes() - before)
            yield pa.record_batch([pa.repeat(f"{number}" * 1_000, size // 1_000)], schema=schema)

    store(project, pa.RecordBatchReader.from_batches(schema, batches()))

    assert project.snapshots("marts.cats")[0].rows_added == 40 * size // 1_000
    assert most < 40 * size / 2


def test_the_project_of_the_docs_stores_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parent.parent / "docs" / "io_manager.md").read_text("utf-8")
    first = page.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "docs"}
    exec(compile(first, "docs/io_manager.md", "exec", dont_inherit=True), names)

    materialize(list(names["defs"].assets), names["defs"].resources)

    totals = Lake(tmp_path / ".floe").rows("marts.totals")
    assert totals == [{"region": "eu", "amount": 30}, {"region": "us", "amount": 7}]


# Where it goes


@pytest.mark.parametrize(
    ("key", "settings", "schema", "expected"),
    [
        ("marts.cats", {}, "public", "marts.cats"),
        ("cats", {}, "public", "public.cats"),
        ("cats", {}, "gold", "gold.cats"),
        ("marts.cats", {"table": "silver.felines"}, "public", "silver.felines"),
        ("marts.cats", {"table": "felines"}, "gold", "gold.felines"),
    ],
)
def test_the_key_of_the_asset_names_the_table_or_its_metadata_does(
    project: Project, key: str, settings: dict[str, str], schema: str, expected: str
) -> None:
    seen: list[int] = []
    said = {f"floe/{name}": value for name, value in settings.items()}

    @dg.asset(ins={"rows": dg.AssetIn(key=key.split("."))}, io_manager_key="iceberg_io_manager")
    def reader(rows: pa.Table) -> None:
        seen.append(rows.num_rows)

    io_manager = IcebergIOManager(lake=project.lake, schema_name=schema)
    materialize([returning(lambda: ARROW, key, metadata=said), reader], {"iceberg_io_manager": io_manager})

    assert project.table(expected).scan().to_arrow().num_rows == 2
    assert seen == [2]


def test_a_key_that_no_folder_can_be_called_by_is_refused(project: Project) -> None:
    parts = ["a?b", "a#b", "a/b", "a%20b", "..", "a\nb", " "]
    assets = [keyed(part, number) for number, part in enumerate(parts)]

    result = materialize(assets, project.resources, fails=True)

    told = [
        event.step_failure_data.user_failure_data.description for event in result.all_events if event.is_step_failure
    ]
    for part, said in zip(parts, told, strict=True):
        assert f"a table cannot be stored under {part!r}" in said
    assert not project.catalog.namespace_exists("marts")


def test_a_key_may_hold_all_that_a_folder_may(project: Project) -> None:
    parts = ["a b", "a%b", "日本", "a:b", "[a]*"]

    materialize([keyed(part, number) for number, part in enumerate(parts)], project.resources)

    found = [project.catalog.load_table(("marts", part)).scan().to_arrow().num_rows for part in parts]
    assert found == [2] * len(parts)


def test_every_mistake_in_the_metadata_is_told_at_once(project: Project) -> None:
    result = store(project, ARROW, write_dispositon="append", primary_key="id", merge_mode="fast", fails=True)

    told = failure(result)
    assert "The metadata of marts/cats has 2 mistakes" in told
    assert "is no known key. Did you mean 'floe/write_disposition'?" in told
    assert "merge_mode" in told
    assert category(result) == "ConfigurationError"
    assert not project.catalog.table_exists("marts.cats")


def test_metadata_of_others_is_left_alone(project: Project) -> None:
    materialize([returning(lambda: ARROW, metadata={"team": "cats", "dagster/uri": "x"})], project.resources)

    assert len(project.rows("marts.cats", "id")) == 2


def test_a_merge_without_a_key_is_told_and_what_is_said_of_one_where_nothing_is_merged() -> None:
    with pytest.raises(
        ConfigurationError, match="'floe/hard_delete' is said, and nothing is merged: write 'floe/write_"
    ):
        settings_of(StoreSettings, {"floe/hard_delete": "gone"}, "The metadata of marts/cats")
    with pytest.raises(ConfigurationError, match=r"a merge needs its key: write 'floe/primary_key': \['id'\]"):
        settings_of(StoreSettings, {"floe/write_disposition": "merge"}, "The metadata of marts/cats")


# What becomes of the rows that are there


def test_a_table_is_replaced_unless_the_asset_says_otherwise(project: Project) -> None:
    store(project, [{"id": 1}, {"id": 2}])
    store(project, [{"id": 3}])

    assert project.rows("marts.cats", "id") == [3]


def test_no_rows_replace_all_rows(project: Project) -> None:
    store(project, [{"id": 1}])
    store(project, [])

    assert project.rows("marts.cats", "id") == []


def test_rows_are_appended_where_the_asset_says_so(project: Project) -> None:
    store(project, [{"id": 1}], write_disposition="append")
    result = store(project, [{"id": 2}], write_disposition="append")

    assert project.rows("marts.cats", "id") == [1, 2]
    shown = metadata(result, "marts/cats")
    assert (shown["rows added"], shown["dagster/row_count"]) == (1, 2)


def test_rows_are_merged_by_key_where_the_asset_says_so(project: Project) -> None:
    merged = {"write_disposition": "merge", "primary_key": ["id"]}
    store(project, [{"id": 1, "name": "Tom"}, {"id": 2, "name": "Kim"}], **merged)
    result = store(project, [{"id": 2, "name": "Kitty"}, {"id": 3, "name": "Max"}], **merged)

    assert project.rows("marts.cats", "id", "name") == [(1, "Tom"), (2, "Kitty"), (3, "Max")]
    shown = metadata(result, "marts/cats")
    assert (shown["rows added"], shown["rows updated"]) == (1, 1)


def test_a_retried_step_writes_nothing_again(project: Project) -> None:
    class FailsOnceBehindTheCommit(IcebergIOManager):
        def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
            super().handle_output(context, obj)
            if context.step_context.previous_attempt_count == 0:
                raise dg.RetryRequested(max_retries=1)

    asset = returning(lambda: [{"id": 1}], metadata={"floe/write_disposition": "append"})

    materialize([asset], {"iceberg_io_manager": FailsOnceBehindTheCommit(lake=project.lake)})

    assert project.rows("marts.cats", "id") == [1]
    assert len(project.snapshots("marts.cats")) == 1


class FailsOnceForGood(IcebergIOManager):
    """As a worker that is lost behind the commit."""

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        super().handle_output(context, obj)
        marker = self.lake.staging_folder.parent / "failed"
        if not marker.exists():
            marker.touch()
            raise dg.Failure("the worker is gone", allow_retries=False)


def appending_job() -> dg.JobDefinition:
    """A job that appends a row, as another process would find it."""
    asset = returning(lambda: [{"id": 1}], metadata={"floe/write_disposition": "append"})
    io_manager = FailsOnceForGood(lake=IcebergLakeResource(home=os.environ["STORING_HOME"]))
    definitions = dg.Definitions([asset], resources={"iceberg_io_manager": io_manager}, jobs=[dg.define_asset_job("j")])
    return definitions.resolve_job_def("j")


def test_a_run_that_goes_on_from_one_that_failed_stores_nothing_twice(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORING_HOME", project.lake.home)
    job, config = dg.reconstructable(appending_job), {"execution": {"config": {"in_process": {}}}, **QUIET}
    with dg.instance_for_test(temp_dir=str(project.folder)) as instance:
        failed = dg.execute_job(job, instance, run_config=config)
        options = dg.ReexecutionOptions.from_failure(failed.run_id, instance)
        went_on = dg.execute_job(job, instance, run_config=config, reexecution_options=options)

    assert (failed.success, went_on.success) == (False, True)
    assert project.rows("marts.cats", "id") == [1]


def test_what_a_run_stores_is_shown(project: Project) -> None:
    shown = metadata(store(project, ARROW), "marts/cats")

    snapshot = project.table("marts.cats").current_snapshot()
    assert snapshot is not None
    assert (shown["dagster/row_count"], shown["rows added"], shown["files added"]) == (2, 2, 1)
    assert shown["snapshot id"] == str(snapshot.snapshot_id)
    assert [column.name for column in shown["dagster/column_schema"].columns] == ARROW.column_names
    assert "Tom" in shown["preview"]


# Schemas that change


def test_a_new_column_is_added_and_one_that_vanishes_stays_and_is_null(project: Project) -> None:
    store(project, [{"id": 1, "name": "Tom"}], write_disposition="append")
    store(project, [{"id": 2, "age": 7}], write_disposition="append")

    assert project.table("marts.cats").scan().to_arrow().sort_by("id").to_pylist() == [
        {"id": 1, "name": "Tom", "age": None},
        {"id": 2, "name": None, "age": 7},
    ]


def test_a_column_stays_when_a_replacement_lacks_it(project: Project) -> None:
    store(project, [{"id": 1, "name": "Tom"}])
    store(project, [{"id": 2}])

    assert project.table("marts.cats").scan().to_arrow().to_pylist() == [{"id": 2, "name": None}]


def test_a_contract_of_the_asset_holds(project: Project) -> None:
    store(project, [{"id": 1}])
    result = store(project, [{"id": 2, "age": 7}], schema_contract="freeze", fails=True)

    assert category(result) == "ContractBroken"
    assert project.rows("marts.cats", "id") == [1]


def test_a_column_that_changes_its_type_is_told_and_a_declared_one_is_cast(project: Project) -> None:
    store(project, pd.DataFrame({"n": [1, 2]}))

    assert category(store(project, pd.DataFrame({"n": [1.0, None]}), fails=True)) == "SchemaConflict"
    assert project.rows("marts.cats", "n") == [1, 2]

    store(project, pd.DataFrame({"n": [3.0, None]}), columns={"n": "long"})
    assert project.table("marts.cats").scan().to_arrow()["n"].to_pylist() == [3, None]


# One commit, and nothing of others


def test_each_store_is_one_commit_also_the_one_that_makes_the_table(project: Project) -> None:
    store(project, [{"id": 1}])
    made = project.table("marts.cats").metadata
    store(project, [{"id": 1, "name": "Tom"}])
    replaced = project.table("marts.cats").metadata

    assert (len(made.snapshots), len(made.metadata_log)) == (1, 0)
    assert (len(replaced.snapshots), len(replaced.metadata_log)) == (2, 1)


def test_properties_that_others_set_stay(project: Project) -> None:
    store(project, [{"id": 1}], properties={"owner": "cats"})
    with project.table("marts.cats").transaction() as transaction:
        transaction.set_properties({"write.parquet.compression-level": "3", "comment": "by hand"})
    store(project, [{"id": 2, "name": "Tom"}])

    properties = project.table("marts.cats").properties
    assert (properties["owner"], properties["comment"]) == ("cats", "by hand")
    assert properties["write.parquet.compression-level"] == "3"


def test_a_table_of_somebody_else_keeps_its_partitions_and_its_order_of_columns(project: Project) -> None:
    project.catalog.create_namespace("marts")
    theirs = project.catalog.create_table("marts.cats", schema=pa.schema([("name", pa.string()), ("id", pa.int64())]))
    with theirs.update_spec() as update:
        update.add_identity("name")
    store(project, [{"id": 2, "name": "Tom"}])

    table = project.table("marts.cats")
    assert [field.name for field in table.spec().fields] == ["name"]
    assert table.scan().to_arrow().to_pylist() == [{"name": "Tom", "id": 2}]
