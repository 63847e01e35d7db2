"""How tables are partitioned, which rows a window means, and which file a row goes to."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import (
    DateType,
    DoubleType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
)

from floe_ingestion.errors import ConfigurationError, OutsideWindow, PermanentError
from floe_ingestion.iceberg.partition import partition_spec, window_filter, window_mask
from floe_ingestion.staging import Window
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers, staged
from floe_ingestion_tests.lake import Lake

UTC = timezone.utc
BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
ADDRESS = StructType(NestedField(10, "country", StringType(), required=False))
COLUMNS = Schema(
    NestedField(1, "id", LongType()),
    NestedField(2, "name", StringType()),
    NestedField(3, "at", TimestamptzType()),
    NestedField(4, "wall", TimestampType()),
    NestedField(5, "day", DateType()),
    NestedField(6, "ratio", DoubleType()),
    NestedField(7, "number", IntegerType()),
    NestedField(8, "address", ADDRESS),
)


# The spec of a new table


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["name"], ["name: identity(2)"]),
        (["day(at)"], ["at_day: day(3)"]),
        ([" hour( wall ) "], ["wall_hour: hour(4)"]),
        (["month(day)"], ["day_month: month(5)"]),
        (["year(at)"], ["at_year: year(3)"]),
        (["bucket(16, id)"], ["id_bucket: bucket[16](1)"]),
        (["bucket[16](id)"], ["id_bucket: bucket[16](1)"]),
        (["truncate(4, name)"], ["name_trunc: truncate[4](2)"]),
        (["truncate(100, number)"], ["number_trunc: truncate[100](7)"]),
        (["day(at)", "name", "bucket(2, id)"], ["at_day: day(3)", "name: identity(2)", "id_bucket: bucket[2](1)"]),
        (["address.country"], ["address.country: identity(10)"]),
    ],
)
def test_partition_by_is_read_as_iceberg_writes_it(texts: list[str], expected: list[str]) -> None:
    spec = partition_spec(table_spec(partition_by=texts), COLUMNS)

    assert [f"{field.name}: {field.transform}({field.source_id})" for field in spec.fields] == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weekly(at)", "'weekly(at)' is not understood. Write a column, year(c)"),
        ("bucket(0, id)", "'bucket(0, id)' is not understood"),
        ("bucket(id)", "'bucket(id)' is not understood"),
        ("bucket(id, 16)", "'bucket(id, 16)' has its number last. Write bucket(16, id)"),
        ("day(at, 3)", "is not understood"),
        ("day(at", "there is no column 'day(at' to partition by"),
        ("country", "there is no column 'country' to partition by. Its columns: id, name, at"),
        ("day(name)", "day cannot be taken of column 'name', which is string"),
        ("hour(day)", "hour cannot be taken of column 'day', which is date"),
        ("bucket(4, ratio)", "cannot be taken of column 'ratio', which is double"),
        ("truncate(4, at)", "cannot be taken of column 'at', which is timestamptz"),
    ],
)
def test_partition_by_that_cannot_be_says_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        partition_spec(table_spec(partition_by=[text]), COLUMNS)

    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("type_", "column", "zone", "expected"),
    [
        ("hourly", "at", "UTC", "hour"),
        ("daily", "at", "UTC", "day"),
        ("weekly", "at", "UTC", "day"),
        ("monthly", "at", "UTC", "month"),
        ("daily", "at", "Europe/Berlin", "hour"),
        ("monthly", "at", "America/New_York", "hour"),
        ("daily", "wall", "Europe/Berlin", "day"),
        ("hourly", "wall", "Europe/Berlin", "hour"),
        ("monthly", "wall", "Europe/Berlin", "month"),
        ("daily", "day", "Europe/Berlin", "day"),
        ("monthly", "day", "UTC", "month"),
        ("daily", "name", "UTC", None),
        ("daily", "id", "UTC", None),
    ],
)
def test_the_spec_follows_from_the_partitions_of_the_asset(
    type_: str, column: str, zone: str, expected: str | None
) -> None:
    """Iceberg's days and months are those of UTC."""
    partitions = {"type": type_, "column": column, "timezone": zone, "start": "2024-01-01"}

    spec = partition_spec(table_spec(partitions=partitions), COLUMNS)

    assert [str(field.transform) for field in spec.fields] == ([expected] if expected else [])


def test_static_partitions_are_the_column_itself() -> None:
    partitions = {"type": "static", "column": "name", "keys": ["eu", "us"]}

    spec = partition_spec(table_spec(partitions=partitions), COLUMNS)

    assert [str(field.transform) for field in spec.fields] == ["identity"]


def test_partition_by_goes_before_the_partitions_of_the_asset() -> None:
    partitions = {"type": "daily", "column": "at", "start": "2024-01-01"}

    spec = partition_spec(table_spec(partitions=partitions, partition_by=["bucket(4, id)"]), COLUMNS)

    assert [str(field.transform) for field in spec.fields] == ["bucket[4]"]


@pytest.mark.parametrize(
    ("partitions", "said"),
    [
        ({"type": "hourly", "column": "day"}, "hourly partitions need a time, and 'day' is a date"),
        ({"type": "daily", "column": "created"}, "rows have no column 'created'"),
    ],
)
def test_partitions_of_a_column_that_cannot_have_them_are_an_error(partitions: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        partition_spec(table_spec(partitions={**partitions, "start": "2024-01-01"}), COLUMNS)


# The rows of a window


def january(day: int, hour: int = 0, zone: Any = UTC) -> datetime:
    return datetime(2024, 1, day, hour, tzinfo=zone)


LAST_MICROSECOND = timedelta(microseconds=-1)
WINDOWS: list[tuple[Window, pa.DataType, list[Any], list[Any]]] = [
    (
        Window("value", january(2), january(3)),
        pa.timestamp("us", "UTC"),
        [january(2), january(3) + LAST_MICROSECOND],
        [january(2) + LAST_MICROSECOND, january(3), None],
    ),
    (
        Window("value", january(2, zone=KOLKATA), january(3, zone=KOLKATA)),
        pa.timestamp("us", "UTC"),
        [datetime(2024, 1, 1, 18, 30, tzinfo=UTC), datetime(2024, 1, 2, 18, 29, 59, tzinfo=UTC)],
        [datetime(2024, 1, 1, 18, 29, 59, tzinfo=UTC), datetime(2024, 1, 2, 18, 30, tzinfo=UTC), None],
    ),
    (  # the night in which Berlin's clocks go forward: a day of 23 hours
        Window("value", datetime(2024, 3, 31, tzinfo=BERLIN), datetime(2024, 4, 1, tzinfo=BERLIN)),
        pa.timestamp("us", "UTC"),
        [datetime(2024, 3, 30, 23, tzinfo=UTC), datetime(2024, 3, 31, 21, 59, tzinfo=UTC)],
        [datetime(2024, 3, 30, 22, 59, tzinfo=UTC), datetime(2024, 3, 31, 22, tzinfo=UTC)],
    ),
    (
        Window("value", january(2, zone=BERLIN), january(3, zone=BERLIN)),
        pa.timestamp("us"),
        [datetime(2024, 1, 2), datetime(2024, 1, 2, 23, 59, 59, 999999)],
        [datetime(2024, 1, 1, 23, 59), datetime(2024, 1, 3), None],
    ),
    (
        Window("value", january(2, zone=BERLIN), january(4, zone=BERLIN)),
        pa.date32(),
        [date(2024, 1, 2), date(2024, 1, 3)],
        [date(2024, 1, 1), date(2024, 1, 4), None],
    ),
    (
        Window("value", january(2), january(3)),
        pa.string(),
        ["2024-01-02", "2024-01-02 00:00:00", "2024-01-02T23:59:59.999Z"],
        ["2024-01-01T23:59:59", "2024-01-03", "2024-01-03 00:00:00", "", None],
    ),
    (
        Window("value", january(2), january(3)),
        pa.int64(),
        [1704153600, 1704239999],
        [1704153599, 1704240000, None],
    ),
    (Window("value", values=("eu", "us")), pa.string(), ["eu", "us"], ["EU", "", "e", None]),
    (Window("value", values=("1", "20")), pa.int32(), [1, 20], [2, 120, None]),
    (Window("value", values=("1.5", "2")), pa.decimal128(9, 2), [Decimal("1.50"), Decimal(2)], [Decimal("1.51"), None]),
    (Window("value", values=("true",)), pa.bool_(), [True], [False, None]),
    (
        Window("value", values=("2024-01-01", "2024-01-02T12:00:00Z")),
        pa.timestamp("us", "UTC"),
        [january(1), january(2, 12)],
        [january(2), None],
    ),
]


@pytest.mark.parametrize(
    ("key", "type_", "said"),
    [
        ("eu", pa.int64(), "The partition 'eu' is no value of column 'value', which is long"),
        (str(UUID(int=1)), pa.uuid(), "Column 'value' is uuid, whose values cannot be the keys of partitions"),
        ("1.555", pa.decimal128(9, 2), "which is decimal"),
        ("eu", pa.binary(), "Column 'value' is binary, whose values cannot be the keys of partitions"),
    ],
)
def test_a_key_that_no_row_can_have_says_what_to_write(key: str, type_: pa.DataType, said: str, lake: Lake) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load(lake, table_spec(), pa.table({"value": pa.nulls(1, type_)}), window=Window("value", values=(key,)))
    assert not lake.catalog.table_exists("raw.numbers")


@pytest.mark.parametrize("type_", [pa.string(), pa.date32()], ids=str)
def test_hours_of_a_column_that_does_not_tell_them_apart_are_refused(type_: pa.DataType, lake: Lake) -> None:
    """As text `2024-01-02 10:30` sorts before `2024-01-02T10:00`, and would land in the hour of midnight."""
    rows = pa.table({"value": pa.array([None], type_)})

    with pytest.raises(ConfigurationError, match="cannot be told apart"):
        load(lake, table_spec(), rows, window=Window("value", january(2, 10), january(2, 11)))
    assert not lake.catalog.table_exists("raw.numbers")


@pytest.mark.parametrize(("window", "type_", "inside", "outside"), WINDOWS)
def test_a_window_means_the_same_rows_to_the_writer_and_to_iceberg(
    window: Window, type_: pa.DataType, inside: list[Any], outside: list[Any], lake: Lake
) -> None:
    values = pa.array([*inside, *outside], type_)
    load(lake, table_spec(), pa.table({"value": values}))
    schema = lake.table("raw.numbers").schema()

    mask = window_mask(window, values, schema.find_field("value").field_type)
    found = lake.table("raw.numbers").scan(row_filter=window_filter(window, schema)).to_arrow()

    assert values.filter(mask).to_pylist() == inside
    no_times = 0 if window.values else outside.count("")
    assert mask.null_count == outside.count(None) + no_times
    assert found["value"].to_pylist() == inside


@pytest.mark.parametrize(("window", "type_", "inside", "outside"), WINDOWS)
def test_a_window_replaces_its_own_rows_and_no_others(
    window: Window, type_: pa.DataType, inside: list[Any], outside: list[Any], lake: Lake
) -> None:
    """The table is not partitioned: rows of the window and others share a file."""
    rows = pa.table({"value": pa.array([*inside, *outside], type_)})
    load(lake, table_spec(), rows)

    landed = load(lake, table_spec(), rows.slice(0, 1), window=window)

    assert (landed.rows_added, landed.rows_deleted) == (1, len(inside))
    assert sorted(lake.values("raw.numbers", "value"), key=repr) == sorted([inside[0], *outside], key=repr)


def test_rows_outside_of_the_window_are_left_out_and_counted(lake: Lake) -> None:
    window = Window("at", january(2), january(3))
    rows = [{"id": day, "at": january(day)} for day in (1, 2, 3)]

    load_ = staged(lake, table_spec(), [*rows, {"id": 4, "at": None}], window=window)

    assert load_.discarded == {"outside window": 2, "no partition": 1}
    assert load_.rows == 1


def test_text_that_is_no_time_lies_in_no_partition(lake: Lake) -> None:
    window = Window("at", january(2), january(3))
    texts = ["2024-01-01", "2024-01-02T10:00", "02/01/2024", "2024-1-2"]
    rows = [{"id": number, "at": text} for number, text in enumerate(texts)]

    load_ = staged(lake, table_spec(), rows, window=window)

    assert load_.discarded == {"outside window": 1, "no partition": 2}


def test_rows_outside_of_a_strict_window_are_an_error(lake: Lake) -> None:
    window = Window("at", january(2), january(3), strict=True)

    with pytest.raises(OutsideWindow, match="the source sent 1 row whose 'at' lies outside"):
        staged(lake, table_spec(), [{"id": day, "at": january(day)} for day in (1, 2)], window=window)


@pytest.mark.parametrize("zone", [UTC, BERLIN, KOLKATA], ids=str)
def test_days_of_any_time_zone_side_by_side_are_the_whole(zone: Any, lake: Lake) -> None:
    partitions = {"type": "daily", "column": "at", "timezone": str(zone), "start": "2024-01-01"}
    spec = table_spec(partitions=partitions)
    rows = [
        {"id": hour, "at": january(1, zone=zone).astimezone(UTC) + timedelta(minutes=30 * hour)} for hour in range(144)
    ]

    for day in (1, 2, 3, 2):
        load(lake, spec, rows, window=Window("at", january(day, zone=zone), january(day + 1, zone=zone)))

    assert lake.values("raw.numbers") == list(range(144))


# Which file a row goes to: as pyiceberg would have it


CASES: dict[str, tuple[str, pa.DataType, list[Any]]] = {
    "text": ("value", pa.string(), ["eu", "us", "", None, "eu", "e/u = ü"]),
    "boolean": ("value", pa.bool_(), [True, False, None, True]),
    "integers": ("value", pa.int32(), [1, 2, None, -1, 1]),
    "decimals": ("value", pa.decimal128(9, 2), [Decimal("1.50"), Decimal("-0.01"), None, Decimal("1.50")]),
    "dates": ("value", pa.date32(), [date(2024, 1, 1), date(1969, 12, 31), None, date(2024, 1, 1)]),
    "moments": ("value", pa.timestamp("us", "UTC"), [january(1), january(1) + LAST_MICROSECOND, None, january(1)]),
    "wall clock": ("value", pa.timestamp("us"), [datetime(2024, 1, 1), datetime(1969, 12, 31, 23), None]),
    "binary": ("value", pa.binary(), [b"", b"\xff", None, b"\xff"]),
    "hours": ("hour(value)", pa.timestamp("us", "UTC"), [january(1, 3), january(1, 4) + LAST_MICROSECOND, None]),
    "days": ("day(value)", pa.timestamp("us", "UTC"), [january(1), january(2) + LAST_MICROSECOND, january(2), None]),
    "days before 1970": ("day(value)", pa.timestamp("us"), [datetime(1969, 12, 31, 23), datetime(1970, 1, 1)]),
    "days of dates": ("day(value)", pa.date32(), [date(2024, 1, 1), date(1969, 12, 31), None]),
    "months": ("month(value)", pa.timestamp("us", "UTC"), [january(1), january(31), datetime(1969, 12, 1, tzinfo=UTC)]),
    "years": ("year(value)", pa.date32(), [date(2024, 12, 31), date(1969, 1, 1), None]),
    "buckets of integers": ("bucket(4, value)", pa.int64(), [*range(20), None]),
    "buckets of text": ("bucket(4, value)", pa.string(), ["a", "b", "c", "iceberg", "", None]),
    "buckets of moments": ("bucket(4, value)", pa.timestamp("us", "UTC"), [january(1), january(2), january(3), None]),
    "buckets of dates": ("bucket(4, value)", pa.date32(), [date(2024, 1, day) for day in range(1, 9)]),
    "buckets of uuids": ("bucket(4, value)", pa.uuid(), [UUID(int=number) for number in range(8)]),
    "truncated text": ("truncate(2, value)", pa.string(), ["iceberg", "icing", "ü", "", None]),
    "truncated integers": ("truncate(10, value)", pa.int32(), [1, 9, 10, -1, None]),
    "truncated decimals": ("truncate(50, value)", pa.decimal128(9, 2), [Decimal("10.65"), Decimal("-0.05"), None]),
}


def test_bytes_are_truncated(lake: Lake) -> None:
    """Which pyiceberg itself does not write."""
    load(lake, table_spec(partition_by=["truncate(2, value)"]), pa.table({"value": [b"abc", b"abd", b"b", None]}))

    found = [(task.file.partition[0], task.file.record_count) for task in lake.table("raw.numbers").scan().plan_files()]
    assert sorted(found, key=repr) == sorted([(None, 1), (b"ab", 2), (b"b", 1)], key=repr)


@pytest.mark.parametrize(
    ("type_", "least", "holds", "name"),
    [
        (pa.int32(), -2147483648, -2147483640, "int"),
        (pa.int64(), -9223372036854775808, -9223372036854775800, "long"),
        (pa.decimal128(9, 2), Decimal("-9999999.99"), Decimal("-9999999.90"), "decimal(9, 2)"),
        (pa.decimal128(38, 0), Decimal("-" + 38 * "9"), Decimal("-" + 37 * "9" + "0"), "decimal(38, 0)"),
    ],
)
def test_what_cannot_be_truncated_within_its_type_is_refused(
    type_: pa.DataType, least: Any, holds: Any, name: str, lake: Lake
) -> None:
    """An integer came out at the other end of its type, where no merge found it again."""
    spec = table_spec(partition_by=["truncate(10, value)"], write_disposition="merge", primary_key=["value"])
    rows = pa.table({"value": pa.array([holds], type_)})
    load(lake, spec, rows, key=["value"])
    load(lake, spec, rows, key=["value"])

    said = f"'value' holds {least}, and truncate[10] of it lies below the least {name}"
    with pytest.raises(PermanentError, match=re.escape(said)):
        load(lake, spec, pa.table({"value": pa.array([holds, least], type_)}), key=["value"])
    assert lake.values("raw.numbers", "value") == [holds]


@pytest.mark.parametrize("case", CASES)
def test_rows_go_to_the_partitions_that_pyiceberg_would_put_them_in(case: str, lake: Lake) -> None:
    text, type_, values = CASES[case]
    rows = pa.table({"id": list(range(len(values))), "value": pa.array(values, type_)})

    load(lake, table_spec(partition_by=[text]), rows)

    ours = lake.table("raw.numbers")
    theirs = lake.catalog.create_table("raw.theirs", ours.schema(), partition_spec=ours.spec())
    theirs.append(rows.cast(schema_to_pyarrow(ours.schema())))
    assert contents(lake, "raw.numbers") == contents(lake, "raw.theirs")


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (pa.float64(), [math.nan, 0.0, -0.0, 1.5, None, math.nan]),
        (pa.time64("us"), [time(1, 2, 3, 4), time(0), None, time(0)]),
        (pa.uuid(), [UUID(int=1), UUID(int=2), None, UUID(int=1)]),
        (pa.binary(2), [b"ab", b"cd", None, b"ab"]),
    ],
)
def test_no_row_is_lost_or_doubled_by_the_value_it_is_partitioned_by(
    type_: pa.DataType, values: list[Any], lake: Lake
) -> None:
    """Values that pyiceberg itself does not split by, or splits wrongly: NaN is not equal to itself."""
    rows = pa.table({"id": list(range(len(values))), "value": pa.array(values, type_)})

    load(lake, table_spec(partition_by=["value"]), rows)

    assert [row["id"] for row in lake.duckdb_rows("raw.numbers")] == list(range(len(values)))
    assert lake.values("raw.numbers") == list(range(len(values)))


def test_rows_are_found_by_their_partition(lake: Lake) -> None:
    rows = [{"id": number, "at": january(1 + number % 3), "name": "ab"[number % 2]} for number in range(12)]
    load(lake, table_spec(partition_by=["day(at)", "name"]), rows)

    scan = lake.table("raw.numbers").scan("at >= '2024-01-02T00:00:00+00:00' and at < '2024-01-03T00:00:00+00:00'")

    assert len(list(scan.plan_files())) == 2
    assert sorted(scan.to_arrow()["id"].to_pylist()) == [1, 4, 7, 10]


def test_a_column_may_partition_that_has_a_dot_in_its_name(lake: Lake) -> None:
    rows = [{"id": 1, "a.b": "x"}, {"id": 2, "a.b": "y"}]
    load(lake, table_spec(own_names=True, partition_by=["a.b"]), rows)

    assert lake.rows("raw.numbers") == rows
    assert len(lake.files_of("raw.numbers")) == 2


def test_a_nested_column_may_partition(lake: Lake) -> None:
    rows = [
        {"id": 1, "address": {"country": "de"}},
        {"id": 2, "address": {"country": None}},
        {"id": 3, "address": None},
    ]

    load(lake, table_spec(partition_by=["address.country"]), rows)

    assert lake.rows("raw.numbers") == rows
    assert len(lake.files_of("raw.numbers")) == 2


def contents(lake: Lake, name: str) -> dict[str, list[int]]:
    """The ids of the rows in each partition."""
    found: dict[str, list[int]] = {}
    table = lake.table(name)
    for task in table.scan().plan_files():
        values = [task.file.partition[index] for index in range(len(table.spec().fields))]
        rows = pq.read_table(task.file.file_path.removeprefix("file://"), columns=["id"], partitioning=None)
        found.setdefault(repr(values), []).extend(rows["id"].to_pylist())
    return {partition: sorted(ids) for partition, ids in found.items()}


def test_a_column_that_a_table_was_partitioned_by_may_be_gone(lake: Lake) -> None:
    """What leaves lies in manifests that tell its partition, of which nothing but older columns tell the type."""
    load(lake, table_spec(partition_by=["region", "bucket(2, id)"]), [{"id": n, "region": "eu"} for n in range(6)])
    with lake.table("raw.numbers").update_spec() as spec:
        spec.remove_field("region")
    with lake.table("raw.numbers").update_schema() as schema:
        schema.delete_column("region")

    landed = load(lake, table_spec(write_disposition="merge"), numbers([1], note="new"), key=["id"])
    window = Window("id", values=("2", "3"))
    replaced = load(lake, table_spec(), numbers([3], note="new"), window=window)

    assert (landed.rows_updated, replaced.rows_deleted) == (1, 2)
    assert lake.rows("raw.numbers") == [{"id": n, "note": "new" if n in (1, 3) else None} for n in (0, 1, 3, 4, 5)]
    assert lake.duckdb_rows("raw.numbers") == lake.rows("raw.numbers")
