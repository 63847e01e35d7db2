"""Rows merged by key, by example; `test_merge_beside_duckdb.py` draws the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType

from floe_ingestion.errors import KeyViolation
from floe_ingestion.iceberg import matches, parts
from floe_ingestion.iceberg.merge import merge
from floe_ingestion.iceberg.removal import Changes
from floe_ingestion.staging import Window
from floe_ingestion_tests.fake_sources import pipeline_of_rows, table_spec
from floe_ingestion_tests.iceberg.loads import load, numbers, private_folder, staged
from floe_ingestion_tests.lake import Lake

UTC = timezone.utc
MODES = ("auto", "merge-on-read", "copy-on-write")
MERGED = table_spec(write_disposition="merge")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """How rows leave their files."""
    name: str = request.param
    return name


def notes(lake: Lake) -> dict[Any, Any]:
    return {row["id"]: row["note"] for row in lake.rows("raw.numbers")}


# By example


def test_rows_are_updated_where_they_lie_and_others_are_kept(mode: str, lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_mode=mode)
    load(lake, spec, numbers(range(10), note="a"), key=["id"])
    load(lake, spec, numbers(range(10, 20), note="a"), key=["id"])

    landed = load(lake, spec, numbers([3, 12, 25], note="b"), key=["id"])

    assert (landed.rows_added, landed.rows_updated, landed.rows_deleted, landed.rows_total) == (1, 2, 0, 21)
    assert notes(lake) == {**dict.fromkeys(range(20), "a"), 3: "b", 12: "b", 25: "b"}
    assert lake.duckdb_rows("raw.numbers") == lake.rows("raw.numbers")


def test_a_row_may_be_updated_again_and_again(mode: str, lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_mode=mode)
    for number in range(4):
        load(lake, spec, numbers(range(number, 6), note=f"load {number}"), key=["id"])

    assert notes(lake) == {0: "load 0", 1: "load 1", 2: "load 2", 3: "load 3", 4: "load 3", 5: "load 3"}
    assert lake.duckdb_rows("raw.numbers") == lake.rows("raw.numbers")


def test_a_table_of_format_1_is_written_anew_since_it_knows_no_delete_files(mode: str, lake: Lake) -> None:
    columns = Schema(NestedField(1, "id", LongType(), required=False), NestedField(2, "note", StringType()))
    lake.catalog.create_namespace("raw")
    lake.catalog.create_table("raw.numbers", columns, properties={"format-version": "1"})
    spec = table_spec(write_disposition="merge", merge_mode=mode)
    load(lake, spec, numbers(range(10), note="a"), key=["id"])

    load(lake, spec, numbers([3], note="b"), key=["id"])

    assert lake.table("raw.numbers").format_version == 1
    assert notes(lake) == {**dict.fromkeys(range(10), "a"), 3: "b"}
    assert lake.duckdb_rows("raw.numbers") == lake.rows("raw.numbers")


def test_rows_that_bring_nothing_new_are_not_written(lake: Lake) -> None:
    rows = [
        {"id": 1, "note": "a", "ratio": float("nan"), "at": datetime(2024, 1, 1, tzinfo=UTC), "price": Decimal("1.50")},
        {"id": 2, "note": None, "ratio": 0.5, "at": None, "price": None},
    ]
    first = load(lake, MERGED, rows, key=["id"])

    landed = load(lake, MERGED, rows, key=["id"])

    assert (landed.rows_added, landed.rows_updated, landed.rows_unchanged, landed.rows_total) == (0, 0, 2, 2)
    assert landed.snapshot_id == first.snapshot_id


def test_a_value_that_becomes_null_is_an_update(lake: Lake) -> None:
    load(lake, MERGED, [{"id": 1, "note": "a"}, {"id": 2, "note": None}], key=["id"])

    landed = load(lake, MERGED, [{"id": 1, "note": None}, {"id": 2, "note": "b"}], key=["id"])

    assert landed.rows_updated == 2
    assert notes(lake) == {1: None, 2: "b"}


def test_a_column_that_comes_in_the_middle_of_a_load_is_an_update_too(lake: Lake) -> None:
    """The rows before it are as they were; the one that has it is not."""
    load(lake, MERGED, numbers([1, 2, 3], note="a"), key=["id"])

    landed = load(lake, MERGED, numbers([1, 2], note="a"), numbers([3], note="a", size=7), key=["id"])

    assert (landed.rows_updated, landed.rows_unchanged) == (1, 2)
    assert {row["id"]: row["size"] for row in lake.rows("raw.numbers")} == {1: None, 2: None, 3: 7}


def test_insert_only_adds_new_keys_and_leaves_the_old(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_strategy="insert-only")
    load(lake, spec, numbers([1, 2], note="a"), key=["id"])

    landed = load(lake, spec, numbers([2, 3], note="b"), key=["id"])

    assert (landed.rows_added, landed.rows_updated, landed.rows_total) == (1, 0, 3)
    assert notes(lake) == {1: "a", 2: "a", 3: "b"}


def test_insert_only_of_known_keys_changes_nothing(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_strategy="insert-only")
    first = load(lake, spec, numbers([1, 2], note="a"), key=["id"])

    landed = load(lake, spec, numbers([1, 2], note="b"), key=["id"])

    assert (landed.rows_added, landed.snapshot_id) == (0, first.snapshot_id)


def test_delete_insert_writes_every_row_of_the_load(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_strategy="delete-insert")
    load(lake, spec, numbers([1, 2], note="a"), key=["id"])

    load(lake, spec, numbers([2, 3], note="b"), key=["id"])

    assert notes(lake) == {1: "a", 2: "b", 3: "b"}


def test_delete_insert_counts_rows_and_not_pairs_of_them(lake: Lake) -> None:
    """Of a key with several rows as many are updated as there were and come; the others are added, or go."""
    spec = table_spec(write_disposition="merge", merge_strategy="delete-insert", hard_delete="gone")
    load(lake, table_spec(), numbers([1, 1, 1, 2, 3], note="a", gone=False))

    landed = load(
        lake, spec, numbers([1, 2, 2, 4], note="b", gone=False) + numbers([3, 3], note="b", gone=True), key=["id"]
    )

    assert (landed.rows_added, landed.rows_updated, landed.rows_deleted) == (2, 2, 3)
    assert lake.values("raw.numbers") == [1, 2, 2, 4]


def test_what_a_merge_writes_on_its_way_does_not_stay_in_the_staging_folder(mode: str, lake: Lake) -> None:
    spec = {"write_disposition": "merge", "merge_mode": mode, "primary_key": ("id",)}
    lake.load(pipeline_of_rows(numbers(range(10), note="a"), **spec))

    lake.load(pipeline_of_rows(numbers([3, 3, 4, 12], note="b"), **spec))

    assert lake.left_behind() == []


# Keys that come twice in one load


@pytest.mark.parametrize("first", [True, False])
def test_of_rows_with_one_key_the_last_wins(first: bool, lake: Lake) -> None:
    if not first:
        load(lake, MERGED, numbers([1, 2], note="old"), key=["id"])

    landed = load(lake, MERGED, numbers([1], note="a"), numbers([1, 2], note="b"), numbers([1], note="c"), key=["id"])

    assert landed.duplicates_dropped == 2
    assert notes(lake) == {1: "c", 2: "b"}


@pytest.mark.parametrize("cursor_path", ["version", "Version"])
def test_of_rows_with_one_key_the_last_by_cursor_wins(cursor_path: str, lake: Lake) -> None:
    """The cursor is written as the source writes it."""
    spec = table_spec(write_disposition="merge", incremental={"cursor_path": cursor_path})
    rows = [{"id": 1, cursor_path: version, "note": str(version)} for version in (2, 9, None, 3)]

    landed = load(lake, spec, rows, key=["id"])

    assert landed.duplicates_dropped == 3
    assert notes(lake) == {1: "9"}


def test_among_equal_cursors_the_later_row_wins(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", incremental={"cursor_path": "version"})
    rows = [{"id": 1, "version": version, "note": f"{number}"} for number, version in enumerate((7, 7, 6))]

    load(lake, spec, rows, key=["id"])

    assert notes(lake) == {1: "1"}


def test_the_last_row_wins_though_the_one_before_lies_in_another_partition(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", partition_by=["region"])
    rows = [{"id": 1, "region": region, "note": note} for region, note in (("eu", "a"), ("us", "b"), ("eu", "c"))]

    load(lake, spec, rows, key=["id"])

    assert notes(lake) == {1: "c"}


def test_a_key_that_widens_in_the_middle_of_a_load_is_still_one(lake: Lake) -> None:
    load(lake, MERGED, pa.table({"id": pa.array([1, 2], pa.int32()), "note": ["a", "a"]}), key=["id"])
    small = pa.table({"id": pa.array([1, 3], pa.int32()), "note": ["b", "b"]})
    large = pa.table({"id": pa.array([3, 2**40], pa.int64()), "note": ["c", "c"]})

    load(lake, MERGED, small, large, key=["id"])

    assert notes(lake) == {1: "b", 2: "a", 3: "c", 2**40: "c"}


def test_the_winner_is_found_though_the_cursor_came_in_the_middle_of_the_load(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", incremental={"cursor_path": "version"})

    load(lake, spec, [{"id": 1, "note": "a"}], [{"id": 1, "note": "b", "version": 1}], key=["id"])

    assert notes(lake) == {1: "b"}


# Any key


KEYS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "int": (pa.int32(), [1, 2, -3]),
    "long": (pa.int64(), [2**40, 2**40 + 1, -1]),
    "string": (pa.string(), ["a", "", "zoë 🧊 and a text that is longer than the sixteen of its statistics"]),
    "long common beginning": (pa.string(), ["x" * 40 + "1", "x" * 40 + "2", "x" * 40]),
    "date": (pa.date32(), [date(2024, 2, 29), date(1969, 12, 31), date(2024, 3, 1)]),
    "timestamp": (pa.timestamp("us"), [datetime(2024, 1, 1), datetime(2024, 1, 1, 0, 0, 0, 1), datetime(1969, 1, 1)]),
    "timestamptz": (pa.timestamp("us", "UTC"), [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)]),
    "decimal": (pa.decimal128(20, 3), [Decimal("1.500"), Decimal("-0.001"), Decimal("99999999999999999.999")]),
    "boolean": (pa.bool_(), [True, False, True]),
    "binary": (pa.binary(), [b"", b"\x00\xff", b"ab"]),
    "uuid": (pa.uuid(), [UUID(int=1), UUID(int=2**127), UUID(int=3)]),
    "fixed": (pa.binary(2), [b"ab", b"\x00\xff", b"zz"]),
    "time": (pa.time64("us"), [datetime(1, 1, 1, hour).time() for hour in (1, 2, 3)]),
}


@pytest.mark.parametrize("kind", KEYS)
def test_any_type_may_be_a_key(kind: str, lake: Lake) -> None:
    type_, (one, two, three) = KEYS[kind]
    for note, keys in (("a", [one, two]), ("b", [two, three])):
        load(lake, MERGED, pa.table({"id": pa.array(keys, type_), "note": [note] * 2}), key=["id"])

    assert notes(lake) == ({True: "b", False: "b"} if kind == "boolean" else {one: "a", two: "b", three: "b"})


@pytest.mark.parametrize("kind", KEYS)
def test_any_type_may_stand_beside_the_key(kind: str, lake: Lake) -> None:
    """A change in it is seen, and its absence."""
    type_, (one, two, _) = KEYS[kind]
    load(lake, MERGED, pa.table({"id": [1, 2, 3], "note": pa.array([one, one, None], type_)}), key=["id"])

    landed = load(lake, MERGED, pa.table({"id": [1, 2, 3], "note": pa.array([one, two, None], type_)}), key=["id"])

    assert (landed.rows_updated, landed.rows_unchanged) == (1, 2)
    assert notes(lake) == {1: one, 2: two, 3: None}


def test_nested_values_beside_the_key_are_compared_and_kept(mode: str, lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_mode=mode)
    rows = [{"id": n, "tags": ["a", None], "address": {"street": "x"}, "visits": [{"page": "/"}]} for n in range(5)]
    load(lake, spec, rows, key=["id"])
    changed = {**rows[2], "visits": [{"page": "/"}, {"page": "/home"}]}

    landed = load(lake, spec, [rows[1], changed], key=["id"])

    assert (landed.rows_updated, landed.rows_unchanged) == (1, 1)
    assert lake.rows("raw.numbers") == [*rows[:2], changed, *rows[3:]]


def test_a_row_that_is_only_moved_to_another_file_stays_as_it_is(lake: Lake) -> None:
    """pyiceberg 0.12 reads a missing list of structs as an empty one; what is written anew must not be changed."""
    spec = table_spec(write_disposition="merge", merge_mode="copy-on-write")
    structs = pa.list_(pa.struct({"page": pa.string()}))
    rows = [{"id": 1, "visits": None, "note": "a"}, {"id": 2, "visits": [], "note": "a"}]
    load(lake, spec, pa.Table.from_pylist(rows, pa.schema({"id": pa.int64(), "visits": structs, "note": pa.string()})),
         key=["id"])  # fmt: skip

    load(lake, spec, numbers([2], note="b"), key=["id"])

    assert lake.duckdb_rows("raw.numbers")[0] == rows[0]


def test_a_composite_key_is_all_of_its_columns(mode: str, lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_mode=mode)
    key = ["region", "number"]
    old = [{"region": region, "number": n, "note": "a"} for region in ("eu", "us") for n in range(5)]
    load(lake, spec, old, key=key)

    landed = load(lake, spec, [{"region": "us", "number": n, "note": "b"} for n in (1, 7)], key=key)

    assert (landed.rows_added, landed.rows_updated) == (1, 1)
    found = {(row["region"], row["number"]): row["note"] for row in lake.rows("raw.numbers")}
    assert found == {**{(row["region"], row["number"]): "a" for row in old}, ("us", 1): "b", ("us", 7): "b"}


@pytest.mark.parametrize(
    ("key", "said"),
    [("address", "'address' holds nested values"), ("address.street", "A value inside of a column is no key")],
)
def test_a_key_inside_of_a_nested_column_is_refused_in_words(key: str, said: str, lake: Lake) -> None:
    rows = pa.table({"id": [1], "address": pa.array([{"street": "x"}])})

    with pytest.raises(KeyViolation, match=said):
        lake.load(pipeline_of_rows([rows], write_disposition="merge", primary_key=(key,)))


# Rows that say that they are gone


@pytest.mark.parametrize("marker", [True, datetime(2024, 1, 1)])
def test_a_row_that_is_marked_as_gone_goes(marker: Any, lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", hard_delete="gone")
    none = False if marker is True else None
    load(lake, spec, pa.table({"id": [1, 2, 3], "gone": pa.array([none] * 3, pa.scalar(marker).type)}), key=["id"])

    landed = load(lake, spec, [{"id": 2, "gone": marker}, {"id": 4, "gone": marker}], key=["id"])

    assert (landed.rows_added, landed.rows_updated, landed.rows_deleted, landed.rows_total) == (0, 0, 1, 2)
    assert lake.values("raw.numbers") == [1, 3]


def test_a_row_that_is_gone_before_it_ever_came_does_not_come(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", hard_delete="gone")

    load(lake, spec, [{"id": 1, "gone": False}, {"id": 2, "gone": True}], key=["id"])

    assert lake.values("raw.numbers") == [1]


def test_nothing_but_rows_are_inserted_and_no_markers(lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_strategy="insert-only", hard_delete="gone")
    load(lake, spec, [{"id": 1, "gone": False}], key=["id"])

    landed = load(lake, spec, [{"id": key, "gone": key < 3} for key in (1, 2, 3)], key=["id"])

    assert (landed.rows_added, landed.rows_unchanged, landed.rows_marking) == (1, 0, 2)
    assert lake.values("raw.numbers") == [1, 3]


# A key, or a window, whose column the table has not had before


@pytest.mark.parametrize("window", [None, Window("id", values=("2",))])
def test_rows_of_before_have_no_key_and_lie_in_no_window(window: Window | None, mode: str, lake: Lake) -> None:
    load(lake, table_spec(), [{"note": "a"}, {"note": "b"}])
    spec = table_spec(write_disposition="merge", merge_mode=mode)

    load(lake, spec, numbers([2], note="c"), key=["id"], window=window)
    landed = load(lake, spec, numbers([2], note="d"), key=["id"], window=window)

    assert (landed.rows_updated, landed.rows_total) == (1, 3)
    assert {(row["id"], row["note"]) for row in lake.rows("raw.numbers")} == {(None, "a"), (None, "b"), (2, "d")}


# Keys that a table has several times, since it was appended to


@pytest.mark.parametrize("files", [1, 2])
def test_a_row_takes_the_place_of_all_of_its_key_also_where_one_is_alike(files: int, lake: Lake) -> None:
    rows = [{"id": 1, "note": "old"}, {"id": 1, "note": "new"}]
    for batch in [rows] if files == 1 else [rows[:1], rows[1:]]:
        load(lake, table_spec(), batch)

    landed = load(lake, table_spec(write_disposition="merge"), rows[1:], key=["id"])

    assert lake.rows("raw.numbers") == rows[1:]
    assert (landed.rows_added, landed.rows_updated, landed.rows_deleted) == (0, 1, 1)


# In partitions


def test_a_row_that_moves_to_another_partition_leaves_the_first(mode: str, lake: Lake) -> None:
    spec = table_spec(write_disposition="merge", merge_mode=mode, partition_by=["region"])
    load(lake, spec, numbers(range(5), region="eu") + numbers(range(5, 10), region=None), key=["id"])

    load(lake, spec, numbers([1, 6], region="us"), key=["id"])

    regions = {row["id"]: row["region"] for row in lake.rows("raw.numbers")}
    assert regions == {**dict.fromkeys(range(5), "eu"), **dict.fromkeys(range(5, 10)), 1: "us", 6: "us"}
    assert lake.duckdb_rows("raw.numbers") == lake.rows("raw.numbers")


def day(number: int) -> Window:
    start = datetime(2024, 1, number, tzinfo=UTC)
    return Window("at", start, start + timedelta(days=1))


@pytest.mark.parametrize("kind", ["moment", "text"])
def test_a_merge_of_a_window_changes_no_row_outside_of_it(kind: str, mode: str, lake: Lake) -> None:
    """Of moments each day is a partition of the table; of texts all rows lie in one file."""
    partitions = {"type": "daily", "column": "at", "start": "2024-01-01"}
    spec = table_spec(write_disposition="merge", merge_mode=mode, partitions=partitions)

    def at(number: int) -> Any:
        return f"2024-01-{number:02d}" if kind == "text" else datetime(2024, 1, number, 12, tzinfo=UTC)

    old = [{"id": 10 * n + i, "at": at(n), "note": "a"} for n in (1, 2, 3) for i in range(5)]
    load(lake, spec.model_copy(update={"write_disposition": "append"}), old)

    new = [{"id": 20, "at": at(2), "note": "b"}, {"id": 10, "at": at(2), "note": "b"}]
    landed = load(lake, spec, new, key=["id"], window=day(2))

    assert (landed.rows_added, landed.rows_updated, landed.rows_total) == (1, 1, 16)
    kept = [row for row in old if row["id"] != 20]
    assert lake.rows("raw.numbers") == sorted([*kept, *new], key=lambda row: (row["id"], str(row["at"])))


# In parts


def test_a_load_in_parts_takes_the_memory_of_one_part(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = table_spec(
        write_disposition="merge", merge_mode="merge-on-read", properties={"write.parquet.row-group-limit": "10000"}
    )

    def rows(note: str) -> pa.Table:
        return pa.table({"id": [f"{n:040}" for n in range(100_000)], "note": pa.repeat(note, 100_000)})

    load(lake, spec, rows("a"), key=["id"])
    load_ = staged(lake, spec, rows("b"), key=["id"])
    monkeypatch.setattr(matches, "_KEYS_AT_ONCE", 10_000)

    whole, planned_whole = arrow_memory_of(lambda: merge(lake.table("raw.numbers"), load_, private_folder(lake)))
    monkeypatch.setattr(parts, "ROWS_AT_ONCE", 10_000)
    in_parts, planned_in_parts = arrow_memory_of(lambda: merge(lake.table("raw.numbers"), load_, private_folder(lake)))

    assert planned_in_parts.updated == planned_whole.updated == 100_000
    assert in_parts < whole / 2


def arrow_memory_of(action: Callable[[], Changes]) -> tuple[int, Changes]:
    """The most that Arrow had in use at once meanwhile, in bytes, and what came of it."""
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.system_memory_pool())
    pa.set_memory_pool(pool)
    try:
        found = action()
        return pool.max_memory(), found
    finally:
        pa.set_memory_pool(before)


@pytest.mark.parametrize("strategy", ["upsert", "insert-only", "delete-insert"])
def test_a_key_that_is_no_number_is_one_key(strategy: str, lake: Lake) -> None:
    """A new table takes no floats as its key; one that is there already may have such a column."""
    load(lake, table_spec(), pa.table({"k": [math.nan, 1.5], "v": ["old", "old"]}))

    spec = table_spec(write_disposition="merge", merge_strategy=strategy)
    load(lake, spec, pa.table({"k": [-math.inf, math.nan, math.nan], "v": ["low", "new", "new"]}), key=["k"])

    kept = {"upsert": ["new"], "insert-only": ["old"], "delete-insert": ["new", "new"]}[strategy]
    assert [row["v"] for row in lake.rows("raw.numbers") if math.isnan(row["k"])] == kept
