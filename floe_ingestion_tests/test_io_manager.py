"""Dagster's door to the tables: what an asset downstream is given, and what is refused at the door."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow.dataset import Dataset
from pyiceberg.table import DataScan, Table

from floe_ingestion import dlt_asset
from floe_ingestion.resources import IcebergLakeResource
from floe_ingestion.spec import IncrementalSpec, PartitionsSpec, RetrySpec
from floe_ingestion_tests.dagster_fixtures import Project, category, failure, materialize, metadata, retries

pytestmark = pytest.mark.dagster

AT_ONCE = RetrySpec(max_retries=2, delay_seconds=0, backoff="none", jitter=False)
CATS = [{"id": 1, "name": "Tom"}, {"id": 2, "name": "Kitty"}]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@dlt_asset(table="bronze.cats", retry=AT_ONCE)
def cats() -> Iterator[dict[str, Any]]:
    yield from CATS


DAYS = dg.DailyPartitionsDefinition("2024-03-01")


@dlt_asset(table="bronze.visits", partitions=PartitionsSpec(type="daily", column="at", start="2024-03-01"))
def visits() -> Iterator[dict[str, Any]]:
    yield from ({"id": number, "at": f"2024-03-0{number}T12:00:00Z"} for number in range(1, 6))


def downstream(annotation: Any, look: Callable[[Any], Any], seen: list[Any], **settings: Any) -> dg.AssetsDefinition:
    """An asset whose parameter `cats` (or `visits`) has this annotation."""
    upstream = settings.pop("upstream", "cats")

    def reader(rows: Any) -> None:
        seen.append((type(rows), look(rows)))

    if annotation is None:
        del reader.__annotations__["rows"]
    else:
        reader.__annotations__["rows"] = annotation
    return dg.asset(
        ins={"rows": dg.AssetIn(key=["bronze", upstream], input_manager_key="iceberg_io_manager")},
        io_manager_key="nowhere",
        **settings,
    )(reader)


def read(project: Project, annotation: Any, look: Callable[[Any], Any]) -> tuple[type, Any]:
    """What an asset downstream of `cats` was given, as `look` sees it."""
    seen: list[Any] = []
    materialize([cats, downstream(annotation, look, seen)], resources(project))
    (found,) = seen
    return found


def resources(project: Project) -> dict[str, Any]:
    return {**project.resources, "nowhere": dg.InMemoryIOManager()}


# What comes out


@pytest.mark.parametrize(
    ("annotation", "expected", "look"),
    [
        (pa.Table, pa.Table, lambda rows: rows.to_pylist()),
        (None, pa.Table, lambda rows: rows.to_pylist()),
        (Any, pa.Table, lambda rows: rows.to_pylist()),
        (pa.RecordBatchReader, pa.RecordBatchReader, lambda rows: rows.read_all().to_pylist()),
        (pl.DataFrame, pl.DataFrame, lambda rows: rows.to_dicts()),
        (pl.LazyFrame, pl.LazyFrame, lambda rows: rows.collect().to_dicts()),
        (pd.DataFrame, pd.DataFrame, lambda rows: rows.to_dict("records")),
        (Table, Table, lambda rows: rows.scan().to_arrow().to_pylist()),
        (DataScan, DataScan, lambda rows: rows.to_arrow().to_pylist()),
        (Dataset, Dataset, lambda rows: rows.to_table().to_pylist()),
        (duckdb.DuckDBPyRelation, duckdb.DuckDBPyRelation, lambda rows: rows.arrow().read_all().to_pylist()),
        (list[dict[str, Any]], list, lambda rows: rows),
    ],
    ids=[
        *("arrow", "no annotation", "Any", "batches", "polars", "polars lazy", "pandas", "pyiceberg"),
        *("scan", "dataset", "duckdb", "dicts"),
    ],
)
def test_an_asset_downstream_gets_what_its_annotation_says(
    project: Project, annotation: Any, expected: type, look: Callable[[Any], Any]
) -> None:
    given, rows = read(project, annotation, look)

    assert issubclass(given, expected)
    assert sorted(rows, key=lambda row: row["id"]) == CATS


def test_a_table_can_be_loaded_in_a_later_run(project: Project) -> None:
    with dg.instance_for_test(temp_dir=str(project.folder)) as instance:
        materialize([cats], project.resources, instance=instance)
        seen: list[Any] = []
        asset = downstream(pa.Table, lambda rows: rows.num_rows, seen)
        materialize([cats, asset], resources(project), "reader", instance=instance)

    assert seen == [(pa.Table, 2)]


def test_a_type_that_no_table_can_become_is_told_with_those_that_it_can(project: Project) -> None:
    result = materialize([cats, downstream(Path, str, [])], resources(project), fails=True)

    assert "cannot be loaded as pathlib.Path. Annotate the input as pyarrow.Table" in failure(result)
    assert (category(result), retries(result)) == ("PermanentError", 0)


def test_a_table_that_is_not_there_yet_is_told_to_be_materialised(project: Project) -> None:
    result = materialize([cats, downstream(pa.Table, str, [])], resources(project), "reader", fails=True)

    assert failure(result) == "There is no table bronze.cats yet. Materialize its asset first."


@pytest.mark.parametrize("annotation", [pa.Table, pl.DataFrame])
def test_a_partitioned_asset_downstream_gets_the_rows_of_its_partition_only(project: Project, annotation: Any) -> None:
    seen: list[Any] = []
    asset = downstream(
        annotation,
        lambda rows: list(rows["id"].to_list() if annotation is pl.DataFrame else rows["id"].to_pylist()),
        seen,
        upstream="visits",
        partitions_def=DAYS,
    )
    materialize([visits], project.resources, span=("2024-03-01", "2024-03-05"))

    materialize([visits, asset], resources(project), "reader", partition="2024-03-03")

    assert [ids for _, ids in seen] == [[3]]


def test_a_range_of_partitions_downstream_gets_the_rows_of_the_range(project: Project) -> None:
    seen: list[Any] = []
    asset = downstream(
        pa.Table,
        lambda rows: sorted(rows["id"].to_pylist()),
        seen,
        upstream="visits",
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )

    materialize([visits, asset], resources(project), span=("2024-03-02", "2024-03-04"))

    assert [ids for _, ids in seen] == [[2, 3, 4]]


def test_an_asset_of_months_gets_the_days_of_its_month(project: Project) -> None:
    seen: list[Any] = []
    months = dg.MonthlyPartitionsDefinition("2024-03-01")
    asset = downstream(pa.Table, lambda rows: rows.num_rows, seen, upstream="visits", partitions_def=months)
    materialize([visits], project.resources, span=("2024-03-01", "2024-03-05"))

    materialize([visits, asset], resources(project), "reader", partition="2024-03-01")

    assert [rows for _, rows in seen] == [5]


def test_an_asset_without_partitions_gets_every_row(project: Project) -> None:
    seen: list[Any] = []
    asset = downstream(pa.Table, lambda rows: rows.num_rows, seen, upstream="visits")
    materialize([visits], project.resources, span=("2024-03-01", "2024-03-05"))

    materialize([visits, asset], resources(project), "reader")

    assert [rows for _, rows in seen] == [5]


def test_an_asset_of_static_partitions_gets_the_rows_of_its_key(project: Project) -> None:
    regions = ["eu", "us"]

    @dlt_asset(table="bronze.stock", partitions=PartitionsSpec(type="static", column="region", keys=regions))
    def stock() -> Iterator[dict[str, Any]]:
        yield from ({"region": region, "id": number} for number, region in enumerate(regions))

    seen: list[Any] = []
    asset = downstream(
        pa.Table,
        lambda rows: rows["id"].to_pylist(),
        seen,
        upstream="stock",
        partitions_def=dg.StaticPartitionsDefinition(regions),
    )
    materialize([stock], project.resources, span=("eu", "us"))

    materialize([stock, asset], resources(project), "reader", partition="us")

    assert [ids for _, ids in seen] == [[1]]


# What goes in


def test_a_catalog_that_is_busy_at_the_commit_fails_the_step_as_transient_and_loses_no_row(project: Project) -> None:
    path = project.folder / "catalog.db"
    project.lake = IcebergLakeResource(
        home=str(project.folder / ".floe"), catalog_config={"uri": f"sqlite:///{path}?timeout=0.1"}
    )
    materialize([cats], project.resources)

    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as somebody_else:

        @dlt_asset(table="bronze.cats", retry=AT_ONCE)
        def more() -> Iterator[dict[str, Any]]:
            yield {"id": 3, "name": "Kim"}
            if not somebody_else.in_transaction:
                somebody_else.execute("begin exclusive")

        result = materialize([more], project.resources, fails=True)
        assert (category(result), retries(result)) == ("CatalogUnavailable", 2)

        somebody_else.execute("rollback")
        assert project.rows("bronze.cats", "id") == [1, 2]

    @dlt_asset(table="bronze.cats")
    def the_same() -> Iterator[dict[str, Any]]:
        yield {"id": 3, "name": "Kim"}

    materialize([the_same], project.resources)
    assert project.rows("bronze.cats", "id") == [1, 2, 3]


def test_a_warehouse_that_cannot_be_read_fails_the_step_for_good(project: Project) -> None:
    materialize([cats], project.resources)
    shutil.rmtree(project.folder / ".floe" / "warehouse")

    result = materialize([cats], project.resources, fails=True)

    assert retries(result) == 0
    assert "metadata.json" in failure(result)


def test_rows_that_cannot_be_merged_fail_the_step_and_leave_the_table_as_it_was(project: Project) -> None:
    materialize([cats], project.resources)

    @dlt_asset(table="bronze.cats", write_disposition="merge", primary_key="id", retry=AT_ONCE)
    def more() -> Iterator[dict[str, Any]]:
        yield {"id": None, "name": "Nobody"}

    result = materialize([more], project.resources, fails=True)

    assert (category(result), retries(result)) == ("KeyViolation", 0)
    assert project.rows("bronze.cats", "id") == [1, 2]


def test_a_run_whose_cursor_was_overtaken_starts_again_from_the_new_one(project: Project) -> None:
    """Two runs read the same rows at once: the slower one reads again, and finds that they are there."""

    def asset(overtaken: bool) -> dg.AssetsDefinition:
        def rows() -> Iterator[dict[str, Any]]:
            yield {"id": 1}
            if overtaken and not project.catalog.table_exists("bronze.cats"):
                with ThreadPoolExecutor() as other:
                    other.submit(materialize, [asset(overtaken=False)], project.resources).result()

        @dlt_asset(table="bronze.cats", retry=AT_ONCE, incremental=IncrementalSpec(cursor_path="id"))
        def cats_of() -> Iterator[dict[str, Any]]:
            return rows()

        return cats_of

    result = materialize([asset(overtaken=True)], project.resources)

    assert retries(result) == 1
    assert project.rows("bronze.cats", "id") == [1]
    assert metadata(result, "bronze/cats")["rows added"] == 0
