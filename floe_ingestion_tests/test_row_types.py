"""Rows become the columns that dlt itself would make of them; where they do not, it is said here and in the docs."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floe_ingestion.errors import SourceRejected
from floe_ingestion.facts import schema_of
from floe_ingestion.garbage import collected_rarely
from floe_ingestion.row_types import RowTypes
from floe_ingestion.value_types import are_plain
from floe_ingestion_tests.fake_sources import pipeline_from, pipeline_of_rows, table_spec
from floe_ingestion_tests.lake import Lake

UTC = timezone.utc
LEFT_OUT = object()
"""Of a value: the row has no such key."""

CORPUS: dict[str, list[list[Any]]] = {
    "words": [["a", "", "zoë 🧊"], ["\u0000", "x" * 1000, "ß"]],
    "whole": [[1, -(2**63), 2**63 - 1], [0, 1, 2]],
    "broken": [[0.1, -1e300, 5e-324], [1.5, 2.0, 0.0]],
    "yes": [[True, False, None], [None, True, True]],
    "late": [[None, None, None], [LEFT_OUT, None, "at last"]],
    "never": [[None, None, LEFT_OUT], [None, None, None]],
    "sometimes": [[1, LEFT_OUT, None], [LEFT_OUT, LEFT_OUT, 3]],
    "broken_then_whole": [[1.5, 2, 3], [4, 5, 2**53]],
    "whole_then_words": [[1, 2, 3], ["4", "five", " 6 "]],
    "words_then_whole": [["1", "b", "c"], [4, 5.5, True]],
    "words_then_nested": [["1", "b", "c"], [{"a": 1}, [1], None]],
    "yes_then_numbers": [[True, False, True], [0, 1, 2.5]],
    "yes_then_words": [[True, False, True], ["yes", "no", "maybe"]],
    "numbers_then_yes": [[1, 2, 3], [True, False, None]],
    "instants": [
        ["2024-01-01T00:00:00Z", "2024-02-29 12:34:56.789+05:30", "1999-12-31T23:59:59-08:00"],
        ["2024-01-01T00:00:00.000001Z"] * 3,
    ],
    "naive": [
        ["2024-01-01T00:00:00", "2024-01-01 00:00:00.5", "2024-01-01T00:00"],
        ["2024-01-01T00:00:00Z", "2024-01-02T00:00:00", "2024-01-03"],
    ],
    "odd_instants": [
        ["2024-01-01T00:00:00Z", "20240101T101112Z", "2024-W01-1T10:00:00Z"],
        ["2024-01-01T00:00:00.123456789Z", "2024-01-01T24:00:00Z", "not a time"],
    ],
    "instants_then_numbers": [["2024-01-01T00:00:00Z"] * 3, [0, 1700000000, 1.5]],
    "days_are_words": [["2024-01-01", "2024-01-02", "x"], ["2024-01-01T00:00:00Z", "2024", "12:30"]],
    "nested": [
        [{"b": 1, "a": [1, {"c": "ü"}]}, {}, {"d": None}],
        [{"at": datetime(2024, 1, 1, tzinfo=UTC), "p": Decimal("1.50")}, [], [1]],
    ],
    "nested_then_words": [[{"a": 1}, [1], None], ["text", '{"b": 2}', "7"]],
    "nested_then_whole": [[{"a": 1}, [1], None], [1, 2.5, True]],
    "prices": [[Decimal("1.25"), Decimal("-0.000000001"), Decimal(7)], [3, "4.5", 5.5]],
    "long": [[1, 2, 3], [Decimal(2**62), Decimal("1.5"), Decimal(4)]],
    "moments": [
        [
            datetime(2024, 1, 1, 12, tzinfo=UTC),
            datetime(2024, 1, 1, 12),
            datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5))),
        ],
        ["2024-01-01", date(2024, 1, 2), None],
    ],
    "days": [
        [date(2024, 2, 29), date(1, 1, 1), None],
        ["2024-03-01", datetime(2024, 3, 1, 23, 30, tzinfo=timezone(timedelta(hours=-5))), "2024-03-01T10:00:00Z"],
    ],
    "raw": [[b"\x00\xff", b"\x01", None], [b"abc", "0x00ff", "YWJj"]],
    "mixedCase": [[1, 2, 3], [4, 5, 6]],
    "with space": [["a", None, "b"], ["c", "d", "e"]],
    "1digit": [[1, 2, 3], [4, 5, 6]],
    "trailing_": [[1, 2, 3], [4, 5, 6]],
    "a__b": [[1, 2, 3], [4, 5, 6]],
}
"""Values of columns on two pages of three rows."""


def pages_of(corpus: dict[str, list[list[Any]]]) -> list[list[dict[str, Any]]]:
    def page(number: int) -> list[dict[str, Any]]:
        return [
            {"id": 3 * number + index}
            | {name: pages[number][index] for name, pages in corpus.items() if pages[number][index] is not LEFT_OUT}
            for index in range(3)
        ]

    return [page(0), page(1)]


def by_dlt(pages: list[list[dict[str, Any]]], folder: Path) -> pa.Table:
    """What dlt's own path to Parquet makes of rows, in the order of their id."""
    resource = dlt.resource(iter(pages), name="numbers", max_table_nesting=0)
    pipeline = dlt.pipeline(
        "corpus",
        destination=dlt.destinations.filesystem(bucket_url=(folder / "out").as_uri()),
        dataset_name="raw",
        pipelines_dir=str(folder / "dlt"),
    )
    pipeline.run(resource, loader_file_format="parquet")
    pipeline.deactivate()
    table = ds.dataset(folder / "out" / "raw" / "numbers", format="parquet").to_table().sort_by("id")
    return table.drop_columns([name for name in table.column_names if name.startswith("_dlt")])


def ours(lake: Lake, name: str = "raw.numbers") -> pa.Table:
    return lake.table(name).scan().to_arrow().sort_by("id")


def as_columns(table: pa.Table) -> dict[str, tuple[str, list[Any]]]:
    types = {field.name: str(field.type).replace("large_", "") for field in table.schema}
    return {name: (types[name], table.column(name).to_pylist()) for name in sorted(types)}


def test_columns_of_rows_are_those_that_dlt_makes(lake: Lake, tmp_path: Path) -> None:
    pages = pages_of(CORPUS)

    lake.load(pipeline_from(lambda: iter(pages)))

    assert as_columns(ours(lake)) == as_columns(by_dlt(pages_of(CORPUS), tmp_path))


def test_a_second_load_is_typed_by_the_first(lake: Lake, tmp_path: Path) -> None:
    """Of nested values the table holds the text, so that what comes later into their column is text as it is."""
    corpus = {name: pages for name, pages in CORPUS.items() if not name.startswith("nested_then")}

    for page in pages_of(corpus):
        lake.load(pipeline_of_rows([page]))

    assert as_columns(ours(lake)) == as_columns(by_dlt(pages_of(corpus), tmp_path))


@settings(deadline=None, max_examples=60)
@given(
    text=st.from_regex(
        r"(19|20)\d\d-[01]\d-[0-3]\d([T ][0-2]\d(:[0-5]\d(:[0-6]\d(\.\d{1,7})?)?)?( ?(Z|z|[+-]\d\d(:?\d\d)?))?)?",
        fullmatch=True,
    )
)
def test_times_are_read_as_dlt_reads_them(text: str) -> None:
    from dlt.common.time import ensure_datetime_in_tz

    rows = [{"at": "2024-01-01T00:00:00Z"}, {"at": text}]
    try:
        expected: Any = ensure_datetime_in_tz(text)
    except ValueError:
        expected = None

    assert types_of().table(rows).column("at").to_pylist()[1] == expected


def types_of(*key: str, **hints: Any) -> RowTypes:
    spec = table_spec(primary_key=key)
    return RowTypes(spec, schema_of(spec, None), hints)


# Where it is not what dlt makes


def test_numbers_of_a_page_with_and_without_a_point_are_one_column(lake: Lake) -> None:
    """dlt goes by the first one, and has a second column for 5.5."""
    lake.load(pipeline_of_rows([[{"id": 1, "amount": 10}, {"id": 2, "amount": 5.5}, {"id": 3, "amount": None}]]))

    assert lake.values("raw.numbers", "amount") == [None, 5.5, 10.0]


def test_a_number_that_a_double_would_round_stays_whole() -> None:
    table = types_of().table([{"n": 2**53 + 1}, {"n": 0.5}])

    assert table.to_pydict() == {"n": [2**53 + 1, None], "n__v_double": [None, 0.5]}


def test_an_integer_that_a_column_of_doubles_would_round_lands_beside_it() -> None:
    table = types_of().table([{"n": 0.5}, {"n": 2**53}, {"n": 2**53 + 1}])

    assert table.to_pydict() == {"n": [0.5, 2**53, None], "n__v_bigint": [None, None, 2**53 + 1]}


def test_what_is_no_number_is_kept() -> None:
    """dlt makes nulls of them, and their text of no bytes."""
    table = types_of().table([{"ratio": math.inf, "raw": b""}, {"ratio": math.nan, "raw": b"x"}])

    assert table.column("ratio").to_pylist()[0] == math.inf
    assert math.isnan(table.column("ratio").to_pylist()[1])
    assert table.column("raw").to_pylist() == [b"", b"x"]


def test_an_integer_that_is_too_long_lands_as_a_decimal() -> None:
    table = types_of().table([{"n": 1}, {"n": 2**64}])

    assert table.to_pydict() == {"n": [1, None], "n__v_decimal": [None, Decimal(2**64)]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("\ud800", r"'word'.*surrogates"),
        (Decimal("1e30"), r"'price'.*decimal128\(38, 9\)"),
        (Decimal("0.1234567890123"), r"'price'.*decimal128\(38, 9\)"),
    ],
)
def test_a_value_that_no_column_holds_is_refused_by_name(value: Any, said: str) -> None:
    name = "word" if isinstance(value, str) else "price"

    with pytest.raises(SourceRejected, match=said):
        types_of().table([{name: value}])


# What dlt still has to do


@dataclass
class Point:
    x: int


@pytest.mark.parametrize("value", [Point(1), {1, 2}, ("a", 1)], ids=["a dataclass", "a set", "a tuple"])
def test_what_is_neither_json_nor_a_simple_value_is_dlts(value: Any) -> None:
    assert not are_plain([{"id": 1, "value": value}])
    assert not are_plain([{1: "a key that is no text"}])
    assert are_plain([{"id": 1, "value": {"at": value}}])


def test_pages_that_dlt_types_share_their_columns_with_the_others(lake: Lake) -> None:
    """A column that was decided by one kind of page is not decided again by the other."""

    def pages() -> Iterator[Any]:
        yield [{"id": number, "size": "S"} for number in range(5000)]
        yield [{"id": 5000, "size": 7, "place": Point(1)}]
        yield [{"id": 5001, "size": 8}]

    lake.load(pipeline_from(pages))

    assert lake.table("raw.numbers").scan().to_arrow().sort_by("id").slice(4999).to_pylist() == [
        {"id": 4999, "size": "S", "place": None},
        {"id": 5000, "size": "7", "place": '{"x":1}'},
        {"id": 5001, "size": "8", "place": None},
    ]


def test_a_row_without_any_value_is_a_row(lake: Lake) -> None:
    lake.load(pipeline_of_rows([[{"id": 1}, {}, {"id": None}]]))

    assert lake.values("raw.numbers") == [None, None, 1]


def test_two_spellings_of_a_name_are_one_column() -> None:
    table = types_of().table(
        [{"userId": 1}, {"user_id": 2}, {"user_id": 3, "userId": None}, {"user_id": None, "userId": 4}, {" ": 5}]
    )

    assert table.to_pydict() == {"user_id": [1, 2, 3, 4, None], "_empty": [None, None, None, None, 5]}


def test_two_values_of_a_row_for_one_column_are_refused_by_their_names() -> None:
    said = r"a row whose 'id' is 7 has 'user_id' \(3\) and 'userId' \(4\), which become one column, 'user_id'\. Rename"
    with pytest.raises(SourceRejected, match=said):
        types_of("id").table([{"id": 6}, {"id": 7, "user_id": 3, "userId": 4}])


def test_a_column_that_is_said_to_hold_no_nulls_holds_none() -> None:
    with pytest.raises(SourceRejected, match="no value for 'code'"):
        types_of(code={"nullable": False}).table([{"code": None}])


def test_a_type_that_the_source_tells_of_is_the_columns() -> None:
    table = types_of(day={"data_type": "date"}, ratio={"data_type": "decimal", "precision": 10, "scale": 2}).table(
        [{"day": "2024-02-29", "ratio": "1.5"}, {"day": "2024-02-29T23:00:00-05:00", "ratio": 2}]
    )

    assert table.to_pydict() == {
        "day": [date(2024, 2, 29), date(2024, 3, 1)],
        "ratio": [Decimal("1.50"), Decimal("2.00")],
    }


def test_garbage_is_looked_for_as_before_once_loads_that_overlap_have_ended() -> None:
    before = gc.get_threshold()
    first, second = collected_rarely(), collected_rarely()

    with first:
        seldom = gc.get_threshold()
        second.__enter__()
    second.__exit__(None, None, None)

    assert seldom[0] > before[0]
    assert gc.get_threshold() == before
