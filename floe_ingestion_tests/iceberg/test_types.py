"""Every Arrow type into an Iceberg table and back; what widens into what; what Iceberg cannot carry."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from pyiceberg import types as ice

from floe_ingestion.errors import IngestionError, PermanentError, SchemaConflict, UnsupportedType
from floe_ingestion.iceberg.types import cast, widened
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load
from floe_ingestion_tests.lake import Lake

UTC = timezone.utc
WORDS = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
NUMBERS = pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64()))
NOON = datetime(2024, 2, 29, 12, 0, 0, 123456)
A_UUID = UUID("12345678-1234-5678-1234-567812345678")

STRINGS = pa.struct({"large": pa.large_string(), "view": pa.string_view()})
MOMENT = pa.struct({"at": pa.timestamp("ns", "UTC"), "seen": pa.uint64()})
PAIRS = pa.map_(pa.large_string(), pa.large_list(pa.int8()))
EXACT_PAIRS = pa.map_(pa.string(), pa.decimal128(9, 2))

CARRIED: dict[str, tuple[pa.DataType, list[Any], str]] = {
    "bool": (pa.bool_(), [True, False, None], "boolean"),
    "int8": (pa.int8(), [-128, 127, None], "int"),
    "uint8": (pa.uint8(), [0, 255, None], "int"),
    "int16": (pa.int16(), [-(2**15), 2**15 - 1, None], "int"),
    "uint16": (pa.uint16(), [0, 2**16 - 1, None], "int"),
    "int32": (pa.int32(), [-(2**31), 2**31 - 1, None], "int"),
    "uint32": (pa.uint32(), [0, 2**32 - 1, None], "long"),
    "int64": (pa.int64(), [-(2**63), 2**63 - 1, None], "long"),
    "uint64": (pa.uint64(), [0, 2**64 - 1, None], "decimal(20, 0)"),
    "half": (pa.float16(), [1.5, -0.25, None], "float"),
    "float": (pa.float32(), [1.5, float("inf"), None], "float"),
    "double": (pa.float64(), [0.1, -1e308, None], "double"),
    "decimal32": (pa.decimal32(5, 2), [Decimal("-999.99"), Decimal("0.01"), None], "decimal(5, 2)"),
    "decimal64": (pa.decimal64(15, 0), [Decimal(10**15 - 1), Decimal(-1), None], "decimal(15, 0)"),
    "decimal128": (pa.decimal128(38, 10), [Decimal("1E-10"), Decimal("-1") * 10**27, None], "decimal(38, 10)"),
    "decimal256": (pa.decimal256(38, 38), [Decimal("0.5"), Decimal("-1E-38"), None], "decimal(38, 38)"),
    "hundreds": (pa.decimal128(5, -2), [Decimal(9999900), Decimal(-100), None], "decimal(7, 0)"),
    "string": (pa.string(), ["", "zoë 🧊", None], "string"),
    "large_string": (pa.large_string(), ["", "x" * 1000, None], "string"),
    "string_view": (pa.string_view(), ["a", "longer than twelve bytes", None], "string"),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), ["a", "a", None], "string"),
    "dictionary_of_numbers": (pa.dictionary(pa.int32(), pa.uint64()), [2**63, 1, None], "decimal(20, 0)"),
    "binary": (pa.binary(), [b"", b"\x00\xff", None], "binary"),
    "large_binary": (pa.large_binary(), [b"", b"\x00\xff", None], "binary"),
    "binary_view": (pa.binary_view(), [b"a", b"longer than twelve bytes", None], "binary"),
    "fixed": (pa.binary(4), [b"abcd", b"\x00\x01\x02\x03", None], "fixed[4]"),
    "uuid": (pa.uuid(), [A_UUID, UUID(int=0), None], "uuid"),
    "json": (pa.json_(), ['{"a": 1}', "[]", None], "string"),
    "date32": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31), None], "date"),
    "date64": (pa.date64(), [date(1969, 12, 31), date(2024, 2, 29), None], "date"),
    "time32": (pa.time32("ms"), [time(0), time(23, 59, 59, 999000), None], "time"),
    "time64": (pa.time64("ns"), [time(0), time(23, 59, 59, 999999), None], "time"),
    "seconds": (pa.timestamp("s"), [datetime(1, 1, 1), datetime(9999, 12, 31), None], "timestamp"),
    "milliseconds": (pa.timestamp("ms"), [datetime(1969, 12, 31, 23), datetime(2024, 1, 1), None], "timestamp"),
    "microseconds": (pa.timestamp("us"), [NOON, datetime(1, 1, 1), None], "timestamp"),
    "nanoseconds": (pa.timestamp("ns"), [NOON, datetime(1700, 1, 1), None], "timestamp"),
    "instant": (
        pa.timestamp("us", "UTC"),
        [NOON.replace(tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), None],
        "timestamptz",
    ),
    "instant_elsewhere": (
        pa.timestamp("ms", "Asia/Kolkata"),
        [datetime(2024, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, tzinfo=UTC), None],
        "timestamptz",
    ),
    "instant_nanoseconds": (
        pa.timestamp("ns", "-03:30"),
        [NOON.replace(tzinfo=UTC), datetime(1700, 1, 1, tzinfo=UTC), None],
        "timestamptz",
    ),
    "list": (pa.list_(pa.int64()), [[1, None, 3], [], None], "list<long>"),
    "large_list": (pa.large_list(pa.large_string()), [["a", None], [], None], "list<string>"),
    "fixed_list": (pa.list_(pa.int16(), 2), [[1, 2], [None, 4], None], "list<int>"),
    "list_view": (pa.list_view(pa.float32()), [[1.5], [], None], "list<float>"),
    "list_of_lists": (pa.list_(pa.list_(pa.uint8())), [[[1], None, []], [], None], "list<list<int>>"),
    "struct": (STRINGS, [{"large": "a", "view": None}, {"large": None, "view": None}, None], None),
    "list_of_structs": (
        pa.list_(MOMENT),
        [[{"at": NOON.replace(tzinfo=UTC), "seen": 2**63}, None], [], [None]],
        None,
    ),
    "struct_of_lists": (
        pa.struct({"inner": pa.struct({"many": pa.list_(pa.dictionary(pa.int8(), pa.string()))})}),
        [{"inner": {"many": ["a", None]}}, {"inner": None}, None],
        None,
    ),
    "map": (EXACT_PAIRS, [[("a", Decimal("1.50")), ("b", None)], [], None], "map<string, decimal(9, 2)>"),
    "map_of_lists": (PAIRS, [[("a", [1, None])], [], None], "map<string, list<int>>"),
    "map_of_structs": (pa.map_(pa.string(), MOMENT), [[("a", {"at": None, "seen": 0})], [], [("b", None)]], None),
}  # fmt: skip
"""Arrow type, values, and the Iceberg type as text (None where it has field ids in it)."""


def test_every_type_goes_into_a_table_and_comes_back(lake: Lake) -> None:
    given = pa.table({name: pa.array(values, type_) for name, (type_, values, _) in CARRIED.items()})

    load(lake, table_spec("raw.types"), given)

    came_back = lake.table("raw.types").scan().to_arrow()
    assert {name: came_back[name].to_pylist() for name in CARRIED} == {name: CARRIED[name][1] for name in CARRIED}
    types = {field.name: str(field.field_type) for field in lake.table("raw.types").schema().fields}
    expected = {name: text for name, (_, _, text) in CARRIED.items() if text is not None}
    assert {name: types[name] for name in expected} == expected


def test_slices_and_chunks_come_back_as_they_went_in(lake: Lake) -> None:
    """Nested values of a slice start at an offset."""
    types = {name: type_ for name, (type_, _, _) in CARRIED.items() if pa.types.is_nested(type_)}
    rows = [{name: CARRIED[name][1][number % 3] for name in types} for number in range(12)]
    whole = pa.table({name: pa.array([row[name] for row in rows], type_) for name, type_ in types.items()})

    load(lake, table_spec("raw.types"), whole.slice(1, 4), whole.slice(5, 7))

    assert lake.table("raw.types").scan().to_arrow().to_pylist() == rows[1:]


def test_no_list_of_structs_is_not_an_empty_one(lake: Lake) -> None:
    """DuckDB looks: pyiceberg 0.12 reads both as an empty one (the file is right)."""
    structs = pa.struct({"a": pa.int32()})
    rows = [{"many": None, "named": None}, {"many": [], "named": []}, {"many": [{"a": 1}], "named": [("k", {"a": 1})]}]
    schema = pa.schema({"many": pa.list_(structs), "named": pa.map_(pa.string(), structs)})

    load(lake, table_spec(), pa.Table.from_pylist(rows, schema))

    assert lake.duckdb_rows("raw.numbers") == rows


@pytest.mark.parametrize("type_", [pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.time64("ns")])
def test_nanoseconds_that_would_be_lost_are_an_error(type_: pa.DataType, lake: Lake) -> None:
    with pytest.raises(PermanentError, match=r"'seen'.*would lose data: 1001"):
        load(lake, table_spec(), pa.table({"seen": pa.array([1000, 1001], type_)}))

    assert not lake.catalog.table_exists("raw.numbers")


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (pa.duration("us"), timedelta(seconds=1)),
        (pa.month_day_nano_interval(), pa.MonthDayNano([1, 2, 3])),
        (pa.decimal256(39, 0), Decimal(1)),
    ],
)
def test_a_type_without_a_place_in_iceberg_is_an_error_that_names_the_column(
    type_: pa.DataType, value: Any, lake: Lake
) -> None:
    with pytest.raises(UnsupportedType, match="'took'") as raised:
        load(lake, table_spec(), pa.table({"id": [1], "took": pa.array([value], type_)}))

    assert (raised.value.column, raised.value.met) == ("took", str(type_))


def test_an_unsupported_type_deep_inside_is_named_with_its_path(lake: Lake) -> None:
    laps = pa.array([[{"took": timedelta(seconds=1)}]], pa.list_(pa.struct({"took": pa.duration("s")})))

    with pytest.raises(UnsupportedType, match=r"'laps\.element\.took'"):
        load(lake, table_spec(), pa.table({"laps": laps}))


def test_unions_and_runs_are_unsupported(lake: Lake) -> None:
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a"]))

    for values in (union, runs):
        with pytest.raises(UnsupportedType, match="'odd'"):
            load(lake, table_spec(), pa.table({"odd": values}))


def test_a_column_of_nulls_waits_for_its_type(lake: Lake) -> None:
    load(lake, table_spec(), pa.table({"id": [1], "note": pa.nulls(1)}))
    assert lake.rows("raw.numbers") == [{"id": 1}]

    load(lake, table_spec(), pa.table({"id": [2], "note": ["now"]}), pa.table({"id": [3], "note": pa.nulls(1)}))

    assert lake.rows("raw.numbers") == [{"id": 1, "note": None}, {"id": 2, "note": "now"}, {"id": 3, "note": None}]


def test_nulls_inside_of_nested_columns_wait_for_their_type(lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "tags": [None], "address": {"street": "a", "floor": None}}])

    load(lake, table_spec(), [{"id": 2, "tags": ["x"], "address": {"street": "b", "floor": 3}}])

    assert lake.rows("raw.numbers") == [
        {"id": 1, "tags": None, "address": {"street": "a", "floor": None}},
        {"id": 2, "tags": ["x"], "address": {"street": "b", "floor": 3}},
    ]


def test_a_known_nested_column_takes_nothing_but_nulls(lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "tags": ["x"], "address": {"street": "a", "floor": 3}}])

    load(lake, table_spec(), [{"id": 2, "tags": [None], "address": {"street": None, "floor": None}}])

    assert lake.rows("raw.numbers")[1] == {"id": 2, "tags": [None], "address": {"street": None, "floor": None}}


# Widening


def decimal(precision: int, scale: int) -> ice.DecimalType:
    return ice.DecimalType(precision, scale)


INT, LONG, FLOAT, DOUBLE = ice.IntegerType(), ice.LongType(), ice.FloatType(), ice.DoubleType()
DATE, WALL, INSTANT = ice.DateType(), ice.TimestampType(), ice.TimestamptzType()
TEXT, BINARY, BOOL, UUID_ = ice.StringType(), ice.BinaryType(), ice.BooleanType(), ice.UUIDType()


@pytest.mark.parametrize(
    ("existing", "incoming", "expected"),
    [
        (INT, LONG, LONG),
        (LONG, INT, LONG),
        (FLOAT, DOUBLE, DOUBLE),
        (DOUBLE, FLOAT, DOUBLE),
        (DOUBLE, LONG, DOUBLE),
        (FLOAT, INT, FLOAT),
        (decimal(10, 2), decimal(12, 2), decimal(12, 2)),
        (decimal(12, 2), decimal(10, 2), decimal(12, 2)),
        (decimal(10, 2), decimal(10, 0), decimal(12, 2)),
        (decimal(10, 2), LONG, decimal(10, 2)),
        (WALL, DATE, WALL),
        (INSTANT, DATE, INSTANT),
        (BINARY, ice.FixedType(4), BINARY),
        (TEXT, TEXT, TEXT),
        (INT, DOUBLE, None),
        (LONG, decimal(20, 0), None),
        (LONG, TEXT, None),
        (TEXT, LONG, None),
        (TEXT, BOOL, None),
        (BOOL, INT, None),
        (DATE, WALL, None),
        (WALL, INSTANT, None),
        (INSTANT, WALL, None),
        (TEXT, UUID_, None),
        (UUID_, TEXT, None),
        (BINARY, TEXT, None),
        (ice.FixedType(4), ice.FixedType(5), None),
        (decimal(10, 2), decimal(10, 3), None),
        (decimal(38, 2), decimal(38, 0), None),
        (decimal(10, 2), DOUBLE, None),
        (TEXT, ice.ListType(1, TEXT, False), None),
        (ice.ListType(1, TEXT, False), TEXT, None),
    ],
    ids=str,
)
def test_a_column_widens_as_iceberg_allows_and_no_further(
    existing: ice.IcebergType, incoming: ice.IcebergType, expected: ice.IcebergType | None
) -> None:
    assert widened(existing, incoming) == expected


@pytest.mark.parametrize(
    ("existing", "incoming", "expected"),
    [
        (pa.array([1], pa.int32()), pa.array([2**40]), [1, 2**40]),
        (pa.array([2**40]), pa.array([1], pa.int16()), [1, 2**40]),
        (pa.array([1.5], pa.float32()), pa.array([0.1]), [0.1, 1.5]),
        (pa.array([1.5]), pa.array([2]), [1.5, 2.0]),
        (pa.array([Decimal("1.25")]), pa.array([Decimal("12345.5")]), [Decimal("1.25"), Decimal("12345.50")]),
        (pa.array([Decimal("1.25")]), pa.array([7], pa.int64()), [Decimal("1.25"), Decimal("7.00")]),
        (pa.array([NOON]), pa.array([date(2024, 1, 1)]), [datetime(2024, 1, 1), NOON]),
        (pa.array([b"longer"]), pa.array([b"abcd"], pa.binary(4)), [b"abcd", b"longer"]),
    ],
)
def test_old_and_new_values_are_read_alike_when_a_column_has_widened(
    existing: pa.Array, incoming: pa.Array, expected: list[Any], lake: Lake
) -> None:
    load(lake, table_spec(), pa.table({"value": existing}))

    load(lake, table_spec(), pa.table({"value": incoming}))

    assert lake.values("raw.numbers", "value") == expected
    assert sorted(row["value"] for row in lake.duckdb_rows("raw.numbers")) == expected


@pytest.mark.parametrize(
    ("existing", "incoming", "beside"),
    [
        (pa.array([1]), pa.array(["one"]), "value__v_text"),
        (pa.array(["1"]), pa.array([1]), "value__v_bigint"),
        (pa.array([1]), pa.array([0.5]), "value__v_double"),
        (pa.array([1]), pa.array([True]), "value__v_bool"),
        (pa.array([Decimal("1.2")]), pa.array([Decimal("1.23")]), "value__v_decimal"),
        (pa.array([NOON]), pa.array([NOON.replace(tzinfo=UTC)]), "value__v_timestamp"),
        (pa.array(["today"]), pa.array([date(2024, 1, 1)]), "value__v_date"),
        (pa.array(["noon"]), pa.array([time(12)]), "value__v_time"),
        (pa.array(["a"]), pa.array([b"a"]), "value__v_binary"),
        (pa.array([{"a": 1}]), pa.array([{"a": "one"}]), "value__v_json"),
        (pa.array([["a"]]), pa.array([[1]]), "value__v_json"),
        (pa.array(["a"]), pa.array([["a"]]), "value__v_json"),
        (WORDS, NUMBERS, "value__v_json"),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_that_its_column_cannot_take_lands_beside_it(
    existing: pa.Array, incoming: pa.Array, beside: str, lake: Lake
) -> None:
    """As dlt does it, and each such load lands in the same column."""
    for values in (existing, incoming, incoming):
        load(lake, table_spec(), pa.table({"value": values}))

    (old,), (new,) = existing.to_pylist(), incoming.to_pylist()
    found = lake.table("raw.numbers").scan().to_arrow().to_pylist()
    assert sorted(found, key=repr) == sorted(
        [{"value": old, beside: None}, {"value": None, beside: new}, {"value": None, beside: new}], key=repr
    )


@pytest.mark.parametrize("role", ["key", "cursor", "partition"])
def test_a_column_that_rows_are_found_by_must_be_able_to_widen(role: str, lake: Lake) -> None:
    roles: dict[str, dict[str, Any]] = {
        "key": {"write_disposition": "merge"},
        "cursor": {"incremental": {"cursor_path": "value"}},
        "partition": {"partitions": {"type": "static", "keys": ["1"], "column": "value"}},
    }
    spec = table_spec(**roles[role])
    key = ("value",) if role == "key" else ()
    load(lake, spec, pa.table({"value": [1]}), key=key)

    with pytest.raises(SchemaConflict, match=r"raw\.numbers: column 'value' is long in the table and string"):
        load(lake, spec, pa.table({"value": ["one"]}), key=key)

    assert lake.rows("raw.numbers") == [{"value": 1}]


def test_a_value_that_does_not_fit_the_type_is_an_error_not_a_null(lake: Lake) -> None:
    load(lake, table_spec(), pa.table({"value": pa.array([Decimal("1.25")], pa.decimal128(5, 2))}))

    with pytest.raises(IngestionError, match="'value'"):
        load(lake, table_spec(), pa.table({"value": pa.array([2**40])}))

    assert lake.values("raw.numbers", "value") == [Decimal("1.25")]


def test_decimals_that_widen_within_one_load_are_found_by_their_statistics(lake: Lake) -> None:
    values = [Decimal("1.50"), Decimal("12345678901234567890.25")]
    batches = [pa.table({"v": pa.array([v], pa.decimal128(d, 2))}) for v, d in zip(values, (15, 30), strict=True)]

    load(lake, table_spec(), *batches)

    assert lake.values("raw.numbers", "v") == values
    assert lake.duckdb_rows("raw.numbers") == [{"v": value} for value in values]
    assert [len(lake.files_of("raw.numbers", f"v = {value}")) for value in values] == [1, 1]


@pytest.mark.parametrize("text", [str(A_UUID), "as long as 16 by"])
def test_text_is_not_read_as_a_uuid(text: str) -> None:
    for type_ in (pa.string(), pa.large_string()):
        with pytest.raises(pa.ArrowInvalid):
            cast(pa.array([text], type_), pa.uuid())


def test_a_uuid_declared_as_text_is_written_as_people_write_it(lake: Lake) -> None:
    """Arrow would take its bytes for those of a text, which these are."""
    value = UUID(bytes=b"as long as 16 by")

    load(lake, table_spec(columns={"v": "string"}), pa.table({"v": pa.array([None, value], pa.uuid())}))

    assert lake.values("raw.numbers", "v") == [None, str(value)]
