"""An input may ask for a part of a table, and for the table as it was; what is not there is told with what is."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.table import DataScan, Table

from floe_ingestion.errors import PermanentError
from floe_ingestion.iceberg.read import Part, as_type
from floe_ingestion.spec_stored import ReadSettings, settings_of
from floe_ingestion_tests.dagster_fixtures import Project, category, failure
from floe_ingestion_tests.dagster_fixtures import materialize_again as materialize

pytestmark = pytest.mark.dagster

DAYS = dg.DailyPartitionsDefinition("2024-03-01", end_date="2024-03-05")


@dg.asset(key=["marts", "cats"], io_manager_key="iceberg_io_manager")
def cats():  # type: ignore[no-untyped-def]
    raise AssertionError("it is loaded and not materialized")


def stored(rows: list[dict[str, Any]]) -> dg.AssetsDefinition:
    @dg.asset(key=["marts", "cats"], io_manager_key="iceberg_io_manager")
    def cats():  # type: ignore[no-untyped-def]
        return rows

    return cats


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose table `marts.cats` was stored three times; the second time has a tag, the third a column more."""
    project = Project(tmp_path_factory.mktemp("cats"))
    for number in (1, 2, 3):
        more = {"age": 9} if number == 3 else {}
        rows = [{"id": each, "name": f"cat {each}", **more} for each in range(1, number + 1)]

        materialize([stored(rows)], project.resources)
    table = project.table("marts.cats")
    second = project.snapshots("marts.cats")[1].snapshot_id
    table.manage_snapshots().create_tag(second, "audited").commit()
    return project


def read(project: Project, annotation: Any = pa.Table, fails: bool = False, **said: Any) -> Any:
    """What an input gets that asks so; of a failure, what is told."""
    seen: list[Any] = []
    metadata = {f"floe/{name}": value for name, value in said.items()}

    def reader(rows: Any) -> None:
        seen.append(rows)

    reader.__annotations__ = {"rows": annotation}
    asset = dg.asset(ins={"rows": dg.AssetIn(["marts", "cats"], metadata=metadata)})(reader)
    result = materialize([cats, asset], project.resources, "reader", fails=fails)
    return (failure(result), category(result)) if fails else seen[0]


def asked(project: Project, annotation: Any = pa.Table, **said: Any) -> Any:
    """The same without a run."""
    settings = settings_of(ReadSettings, {f"floe/{name}": value for name, value in said.items()}, "The input")
    return as_type(project.table("marts.cats"), annotation, part=Part(**settings.model_dump()))


def moment(project: Project, number: int) -> datetime:
    """When a snapshot was made."""
    snapshot = project.table("marts.cats").metadata.snapshots[number]
    return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, timezone.utc)


@pytest.mark.parametrize("columns", ["id", ["id"]])
def test_an_input_gets_the_columns_that_it_names(project: Project, columns: Any) -> None:
    assert read(project, columns=columns).to_pylist() == [{"id": 1}, {"id": 2}, {"id": 3}]


def test_an_input_gets_the_rows_of_its_filter(project: Project) -> None:
    rows = read(project, pl.DataFrame, row_filter="id >= 2 and name != 'cat 3'", columns=["name"])

    assert rows.to_dicts() == [{"name": "cat 2"}]


def test_the_part_is_pushed_down_into_the_scan(project: Project) -> None:
    scan = read(project, DataScan, row_filter="id > 9", columns="id")

    assert scan.selected_fields == ("id",)
    assert list(scan.plan_files()) == []  # no file holds such a row, and none is opened


def test_an_input_gets_the_table_as_a_tag_has_it(project: Project) -> None:
    assert read(project, ref="audited").to_pylist() == [{"id": 1, "name": "cat 1"}, {"id": 2, "name": "cat 2"}]


def test_an_input_gets_the_table_of_a_snapshot(project: Project) -> None:
    first = project.snapshots("marts.cats")[0].snapshot_id

    assert read(project, snapshot_id=first)["id"].to_pylist() == [1]


def test_an_input_gets_the_table_as_of_a_moment(project: Project) -> None:
    then = moment(project, 0)

    assert read(project, as_of=then.isoformat())["id"].to_pylist() == [1]
    assert read(project, as_of=dg.MetadataValue.timestamp(then))["id"].to_pylist() == [1]
    assert asked(project, as_of="2100-01-01")["id"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            {"columns": ["id", "nmae"]},
            "marts.cats has no column 'nmae'. Did you mean 'name'? Its columns: id, name, age.",
        ),
        ({"row_filter": "iid = 1"}, "marts.cats has no column 'iid'. Did you mean 'id'? Its columns: id, name, age."),
        ({"columns": "age", "ref": "audited"}, "marts.cats has no column 'age'. Its columns: id, name."),
        ({"row_filter": "id >"}, "the row filter 'id >' is not understood. Write it as pyiceberg does"),
        ({"row_filter": "name = 1"}, "the row filter 'name = 1' does not fit the types of its columns"),
        ({"snapshot_id": 7}, "marts.cats has no snapshot 7. Its newest snapshots: "),
        ({"ref": "audit"}, "marts.cats has no tag or branch 'audit'. Its newest snapshots: "),
        ({"ref": "audit"}, "its tags and branches: audited, main."),
        ({"as_of": "2001-01-01"}, "marts.cats has no snapshot of 2001-01-01T00:00:00+00:00 or before."),
        ({"colums": "id"}, "is no known key. Did you mean 'floe/columns'?"),
        ({"ref": "main", "snapshot_id": 7}, "'floe/snapshot_id' and 'floe/ref' each name a moment"),
        ({"as_of": "yesterday"}, "'yesterday' is no date. Write e.g. 2024-01-31"),
        ({"snapshot_id": "7"}, "write a whole number"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(project: Project, said: dict[str, Any], told: str) -> None:
    with pytest.raises(PermanentError) as raised:
        asked(project, **said)

    assert told in str(raised.value)


def test_a_mistake_fails_the_run_for_good(project: Project) -> None:
    message, kind = read(project, fails=True, columns="nmae")

    assert "Did you mean 'name'?" in message
    assert kind == "PermanentError"


def test_a_pyiceberg_table_is_the_whole_of_it(project: Project) -> None:
    with pytest.raises(PermanentError, match=r"Annotate the input as pyiceberg\.table\.DataScan to get a part"):
        asked(project, Table, columns="id")


def test_the_rows_of_a_partition_are_filtered_further(tmp_path: Path) -> None:
    project, seen = Project(tmp_path), []

    @dg.asset(
        key=["marts", "visits"],
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="iceberg_io_manager",
        metadata={"floe/partition_column": "day"},
    )
    def visits():  # type: ignore[no-untyped-def]
        return [{"day": datetime(2024, 3, day).date(), "n": n} for day in (1, 2) for n in (1, 2)]

    @dg.asset(ins={"rows": dg.AssetIn(["marts", "visits"], metadata={"floe/row_filter": "n > 1"})}, partitions_def=DAYS)
    def reader(rows: pa.Table) -> None:
        seen.append([(row["day"].day, row["n"]) for row in rows.to_pylist()])

    materialize([visits], project.resources, span=("2024-03-01", "2024-03-02"))
    materialize([visits, reader], project.resources, "reader", partition="2024-03-02")

    assert seen == [[(2, 2)]]
