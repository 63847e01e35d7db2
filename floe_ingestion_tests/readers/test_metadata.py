"""What readers are told beside the rows: field ids, statistics, partitions and sort order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table

from floe_ingestion_tests.lake import Lake, Row
from floe_ingestion_tests.readers.asking import Engine
from floe_ingestion_tests.readers.tables import NAMES, Written

FILLED = [name for name in NAMES if not name.startswith("empt")]
CUT_OFF = (str, bytes)
"""Values whose bounds are cut off after a while: what is below stays below, what is above stays above."""


@pytest.fixture
def table(request: pytest.FixtureRequest, written: dict[str, Written], written_lake: Lake) -> Table:
    return written_lake.table(written[request.param].name)


def data_files(table: Table) -> Iterator[tuple[str, pa.Table]]:
    """Each data file, and what lies in it as Parquet alone says."""
    for task in table.scan().plan_files():
        with table.io.new_input(task.file.file_path).open() as stream:
            yield task.file.file_path, pq.read_table(stream)


def paths(fields: Any, prefix: str = "") -> Iterator[tuple[str, int | None]]:
    """Each field of an Arrow schema or type as its path and its id, as Iceberg names paths."""
    for field in fields:
        path = f"{prefix}{field.name}"
        identity = (field.metadata or {}).get(b"PARQUET:field_id")
        yield path, None if identity is None else int(identity)
        if pa.types.is_struct(field.type):
            yield from paths(field.type, f"{path}.")
        elif pa.types.is_list(field.type):
            yield from paths([field.type.value_field.with_name("element")], f"{path}.")
        elif pa.types.is_map(field.type):
            inner = (field.type.key_field.with_name("key"), field.type.item_field.with_name("value"))
            yield from paths(inner, f"{path}.")


@pytest.mark.parametrize("table", FILLED, indirect=True)
def test_every_field_of_every_file_has_the_id_that_the_table_gave_it(table: Table) -> None:
    """So that no reader needs a mapping of names, and there is none that could go stale."""
    known = {
        (schema.find_column_name(id_), id_) for schema in table.schemas().values() for id_ in schema._lazy_id_to_name
    }
    files = list(data_files(table))

    assert files
    for _, rows in files:
        assert set(paths(rows.schema)) <= known
    assert "schema.name-mapping.default" not in table.properties


def within(bounds: dict[str, Any], values: list[Any]) -> bool:
    """Whether the bounds are those of the values: exactly, or for long ones on the safe side."""
    if not values:
        return bounds["lower_bound"] is None and bounds["upper_bound"] is None
    low, high = bounds["lower_bound"], bounds["upper_bound"]
    if isinstance(values[0], CUT_OFF):
        return min(values).startswith(low) and (high == max(values) or (high is not None and high > max(values)))
    return bool(low == min(values) and high == max(values))


def files_by_pyiceberg(table: Table, request: pytest.FixtureRequest) -> list[Row]:
    return table.inspect.files().to_pylist()


def files_by_spark(table: Table, request: pytest.FixtureRequest) -> list[Row]:
    spark: Engine = request.getfixturevalue("spark")
    return spark.read(f"{table.metadata_location}#files")


@pytest.mark.parametrize(
    ("table", "files"),
    [
        # Neither view of the files can be made where the bounds are UUIDs.
        *((name, files_by_pyiceberg) for name in FILLED if "uuid" not in name),
        *((name, files_by_spark) for name in FILLED if "uuid" not in name and name not in ("times", "by_fixed")),
    ],
    indirect=["table"],
)
def test_the_statistics_of_each_file_are_those_of_its_rows(
    table: Table, files: Callable[..., list[Row]], request: pytest.FixtureRequest
) -> None:
    entries = files(table, request)
    told = {entry["file_path"]: entry for entry in entries}
    for path, rows in data_files(table):
        entry = told[path]
        assert entry["content"] == 0
        assert entry["record_count"] == rows.num_rows
        assert entry["sort_order_id"] in (None, 0), "no file claims an order"
        for field in rows.schema:
            name = table.schema().find_column_name(int(field.metadata[b"PARQUET:field_id"]))
            if pa.types.is_nested(field.type) or name is None:
                continue
            values = [value for value in rows[field.name].to_pylist() if value is not None]
            metrics = entry["readable_metrics"][name]
            assert (metrics["value_count"], metrics["null_value_count"]) == (rows.num_rows, rows[field.name].null_count)
            assert within(metrics, values), (field.name, metrics)


PARTITIONS = {
    "by_day": {"at_day": "{0}.days(at)"},
    "by_bucket": {
        "id_bucket": "{0}.bucket(4, id)",
        "customer_bucket": "{0}.bucket(3, customer)",
        "amount_bucket": "{0}.bucket(2, amount)",
        "sold_bucket": "{0}.bucket(2, sold)",
        "at_bucket": "{0}.bucket(2, at)",
    },
    "by_piece": {
        "customer_trunc": "{0}.truncate(10, customer)",
        "id_trunc": "{0}.truncate(5, id)",
        "sold_year": "{0}.years(sold)",
        "at_month": "{0}.months(at)",
        "at_hour": "{0}.hours(at)",
    },
    "rewritten": {"id_bucket": "{0}.bucket(2, id)"},
}


@pytest.mark.parametrize("table", ["by_day", "by_bucket", "by_piece", "rewritten"], indirect=True)
def test_every_row_lies_in_the_partition_that_spark_computes_for_it(table: Table, spark: Engine) -> None:
    expected = PARTITIONS[table.name()[-1]]
    assert {field.name for field in table.spec().fields} == set(expected)
    spark.attach("functions", type="hadoop", warehouse=f"{table.location()}/unused")
    columns = [f"_partition.{name} as {name}" for name in expected]
    columns += [f"{call.format('functions.system')} as computed_{name}" for name, call in expected.items()]

    rows = spark.read(table.metadata_location, "true", *columns)

    assert rows
    for row in rows:
        assert {name: row[name] for name in expected} == {name: row[f"computed_{name}"] for name in expected}
