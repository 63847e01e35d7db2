"""`nested: struct`: objects and lists land as structs and lists, typed and held as columns are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from floe_ingestion.errors import ContractBroken, PermanentError, SourceRejected
from floe_ingestion.facts import schema_of
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import pipeline_of
from floe_ingestion.row_types import RowTypes
from floe_ingestion.staging import Window
from floe_ingestion_tests.fake_sources import pipeline_from, pipeline_of_rows, table_spec
from floe_ingestion_tests.lake import Lake

UTC = timezone.utc
TABLE = "raw.numbers"
FROZEN = {"schema_contract": {"columns": "freeze", "data_type": "freeze"}}
END_OF_PAGE = pa.table({"id": pa.array([], pa.int64())})
"""Rows that wait for more of them are written before columns are."""


def load(lake: Lake, *rows: dict[str, Any], **settings: Any) -> Any:
    return lake.load(pipeline_of_rows([list(rows)], **{"nested": "struct", **settings}))


def types(lake: Lake, name: str = TABLE) -> dict[str, str]:
    return {field.name: str(field.type).replace("large_", "") for field in lake.table(name).scan().to_arrow().schema}


def columns_of(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    spec = table_spec(nested="struct")
    found: dict[str, list[Any]] = RowTypes(spec, schema_of(spec, None)).table(list(rows)).to_pydict()
    return found


# What lands


def test_objects_and_lists_land_as_structs_and_lists(lake: Lake) -> None:
    load(
        lake,
        {"id": 1, "place": {"city": "Köln", "at": "2024-05-01T12:00:00Z", "geo": {"lat": 50.9}}, "tags": ["a", None]},
        {"id": 2, "place": None, "tags": None},
        {"id": 3, "items": [{"sku": "x", "sizes": [[1], []]}, {"sku": "y", "n": 2}, None]},
    )

    expected = [
        {
            "id": 1,
            "place": {"city": "Köln", "at": datetime(2024, 5, 1, 12, tzinfo=UTC), "geo": {"lat": 50.9}},
            "tags": ["a", None],
            "items": None,
        },
        {"id": 2, "place": None, "tags": None, "items": None},
        {
            "id": 3,
            "place": None,
            "tags": None,
            "items": [{"sku": "x", "sizes": [[1], []], "n": None}, {"sku": "y", "sizes": None, "n": 2}, None],
        },
    ]
    assert lake.duckdb_rows(TABLE) == expected
    expected[0]["items"] = expected[1]["items"] = []  # pyiceberg 0.12 reads missing lists of structs as empty ones
    assert lake.rows(TABLE) == expected


def test_without_being_asked_for_they_are_json() -> None:
    spec = table_spec()

    assert RowTypes(spec, schema_of(spec, None)).table([{"a": {"b": [1]}}]).to_pydict() == {"a": ['{"b":[1]}']}


def test_fields_are_named_as_columns_are() -> None:
    assert columns_of({"a": {"userId": 1, "": 2, 7: 3}}, {"a": {"user_id": 4}}) == {
        "a": [{"user_id": 1, "_empty": 2, "_7": 3}, {"user_id": 4, "_empty": None, "_7": None}]
    }


def test_an_object_with_two_spellings_of_a_name_is_refused() -> None:
    with pytest.raises(SourceRejected, match=r"in 'a\.b' one object has 'userId' .*'user_id' .*columns: \{a: string\}"):
        columns_of({"a": {"b": {"userId": 1, "user_id": 2}}})


def test_what_is_empty_has_no_type_until_a_value_shows(lake: Lake) -> None:
    load(lake, {"id": 1, "a": {}, "b": [], "c": {"d": []}, "e": [{}]})
    assert types(lake) == {"id": "int64"}

    load(lake, {"id": 2, "a": {"x": 1}, "b": [1], "c": {"d": [True]}, "e": [{"y": "z"}]})
    load(lake, {"id": 3, "a": {}, "b": [], "c": {"d": []}, "e": [{}]}, {"id": 4, "a": [], "b": {}})

    rows = lake.duckdb_rows(TABLE)
    assert rows[0] == {"id": 1, "a": None, "b": None, "c": None, "e": None}
    assert rows[2:] == [
        {"id": 3, "a": {"x": None}, "b": [], "c": {"d": []}, "e": [{"y": None}]},
        {"id": 4, "a": None, "b": None, "c": None, "e": None},
    ]


def test_the_first_value_that_is_not_empty_tells_an_object_from_a_list() -> None:
    assert columns_of({"a": []}, {"a": {"x": 1}}, {"a": None}) == {"a": [None, {"x": 1}, None]}


def test_values_that_json_has_not_keep_their_types() -> None:
    @dataclass
    class Point:
        x: int

    day, price = date(2024, 1, 1), Decimal("1.50")

    assert columns_of(
        {"a": {"day": day, "price": price, "raw": b"\xff", "at": Point(1), "t": (1, 2)}, "b": Point(2)}
    ) == {
        "a": [{"day": day, "price": price, "raw": b"\xff", "at": {"x": 1}, "t": [1, 2]}],
        "b": [{"x": 2}],
    }


# What does not fit


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ({"n": 1.5}, {"n": 2}, {"a": [{"n": 1.5}, {"n": 2.0}]}),
        ({"n": "x"}, {"n": {"m": 1}}, {"a": [{"n": "x"}, {"n": '{"m":1}'}]}),
        ({"n": 1}, {"n": "x"}, {"a": [{"n": 1, "n__v_text": None}, {"n": None, "n__v_text": "x"}]}),
        ({"n": 1}, {"n": {"m": 1}}, {"a": [{"n": 1, "n__v_json": None}, {"n": None, "n__v_json": '{"m":1}'}]}),
        ({"n": {"m": 1}}, {"n": "x"}, {"a": [{"n": {"m": 1}, "n__v_text": None}, {"n": None, "n__v_text": "x"}]}),
        ({"n": 1}, "x", {"a": [{"n": 1}, None], "a__v_text": [None, "x"]}),
        ({"n": 1}, [1], {"a": [{"n": 1}, None], "a__v_json": [None, "[1]"]}),
        ([1], {"n": 1}, {"a": [[1], None], "a__v_json": [None, '{"n":1}']}),
        ([1], [2, "x"], {"a": [[1], None], "a__v_json": [None, '[2,"x"]']}),
        ([{"m": 1}], [{"m": 2}, 3], {"a": [[{"m": 1}], None], "a__v_json": [None, '[{"m":2},3]']}),
        ([[1]], [[2], ["x"]], {"a": [[[1]], None], "a__v_json": [None, '[[2],["x"]]']}),
        ("x", {"n": 1}, {"a": ["x", '{"n":1}']}),
    ],
)
@pytest.mark.parametrize("pages", [1, 2])
def test_what_does_not_fit_lands_beside_it(first: Any, then: Any, expected: dict[str, Any], pages: int) -> None:
    spec = table_spec(nested="struct")
    made = RowTypes(spec, schema_of(spec, None))
    rows = [{"a": first}, {"a": then}]
    tables = [made.table(rows)] if pages == 1 else [made.table(rows[:1]), made.table(rows[1:])]
    found = pa.concat_tables(tables, promote_options="permissive")

    assert found.to_pydict() == expected


def test_numbers_of_a_page_with_and_without_a_point_are_one_field() -> None:
    assert columns_of({"a": {"n": 1}}, {"a": {"n": 2.5}}, {"b": [1, 2.5]}) == {
        "a": [{"n": 1.0}, {"n": 2.5}, None],
        "b": [None, None, [1.0, 2.5]],
    }


def test_a_mixed_list_does_not_decide_what_a_list_holds() -> None:
    assert columns_of({"a": ["x", 1]}, {"a": [2]}) == {"a": [None, [2]], "a__v_json": ['["x",1]', None]}


def test_a_value_that_fits_nowhere_is_refused_by_its_path() -> None:
    with pytest.raises(SourceRejected, match=r"'a\.element\.word' does not fit.*surrogates.*columns: \{a: string\}"):
        columns_of({"a": [{"word": "\ud800"}]})


# What is held


def test_types_are_held_from_load_to_load(lake: Lake) -> None:
    load(lake, {"id": 1, "a": {"n": 1, "at": "2024-01-01T00:00:00Z"}, "b": [1.5]})

    landed = load(lake, {"id": 2, "a": {"at": "no time", "n": 2, "new": [True]}, "b": [2]})

    assert types(lake) == {
        "id": "int64",
        "a": "struct<n: int64, at: timestamp[us, tz=UTC], at__v_text: string, new: list<element: bool>>",
        "b": "list<element: double>",
    }
    assert lake.rows(TABLE)[1] == {
        "id": 2,
        "a": {"n": 2, "at": None, "at__v_text": "no time", "new": [True]},
        "b": [2.0],
    }
    assert landed.columns_added == [] or set(landed.columns_added) == {"a.at__v_text", "a.new", "a.new.element"}


def test_a_field_that_comes_later_is_null_in_the_pages_before(lake: Lake) -> None:
    def pages() -> Iterator[Any]:
        yield [{"id": 1, "a": {"x": 1}}]
        yield END_OF_PAGE
        yield [{"id": 2, "a": {"y": [{"z": 1}]}}]
        yield END_OF_PAGE
        yield [{"id": 3, "a": {"x": 2, "y": [{"z": 2, "w": "w"}]}}]

    lake.load(pipeline_from(pages, nested="struct"))

    assert lake.values(TABLE, "a") == [
        {"x": 1, "y": None},
        {"x": 2, "y": [{"z": 2, "w": "w"}]},
        {"x": None, "y": [{"z": 1, "w": None}]},
    ]
    assert len(lake.table(TABLE).history()) == 1


@pytest.mark.parametrize(("first", "type_"), [("json", "string"), ("struct", "struct<x: int64>")])
def test_a_column_stays_what_it_is_when_the_setting_changes(lake: Lake, first: str, type_: str) -> None:
    then = {"json": "struct", "struct": "json"}[first]
    load(lake, {"id": 1, "a": {"x": 1}}, nested=first)

    load(lake, {"id": 2, "a": {"x": 2}, "b": {"y": 1}}, nested=then)

    assert types(lake) == {"id": "int64", "a": type_, "b": {"json": "string", "struct": "struct<y: int64>"}[then]}


def test_a_column_that_is_declared_as_text_holds_json(lake: Lake) -> None:
    load(lake, {"id": 1, "a": {"x": 1}, "b": {"x": 1}}, columns={"b": "string"})

    assert lake.rows(TABLE) == [{"id": 1, "a": {"x": 1}, "b": '{"x":1}'}]


def test_a_merge_knows_an_equal_object_again(lake: Lake) -> None:
    settings = {"write_disposition": "merge", "primary_key": ("id",)}
    load(lake, {"id": 1, "a": {"x": [1, 2]}}, {"id": 2, "a": None}, **settings)

    landed = load(lake, {"id": 1, "a": {"x": [1, 2]}}, {"id": 2, "a": {"x": []}}, **settings)

    assert (landed.rows_unchanged, landed.rows_updated) == (1, 1)
    assert lake.values(TABLE, "a") == [{"x": [1, 2]}, {"x": []}]


def test_a_cursor_inside_of_an_object_goes_on(lake: Lake) -> None:
    settings = {"incremental": {"cursor_path": "meta.at"}}
    old = {"id": 1, "meta": {"at": "2024-01-01T00:00:00Z"}}
    load(lake, old, **settings)

    load(lake, old, {"id": 2, "meta": {"at": "2024-01-02T00:00:00Z"}}, **settings)

    assert lake.values(TABLE) == [1, 2]
    assert lake.cursor(TABLE) == {"meta.at": "2024-01-02T00:00:00Z"}


def test_a_partition_is_replaced_with_its_objects(lake: Lake) -> None:
    spec = {"partitions": {"type": "daily", "column": "at", "start": "2024-01-01"}}
    window = Window("at", datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC))
    rows = [{"id": n, "at": f"2024-01-0{n}T01:00:00Z", "a": {"n": n}} for n in (1, 2)]
    for _ in range(2):
        lake.load(pipeline_of_rows([rows], nested="struct", **spec), window=window)

    assert lake.values(TABLE, "a") == [{"n": 1}]


def test_a_load_without_rows_decides_nothing(lake: Lake) -> None:
    def nothing() -> Any:
        return dlt.resource([], name="numbers", columns={"id": {"data_type": "bigint"}, "a": {"data_type": "json"}})

    lake.load(pipeline_from(nothing, nested="struct"))

    assert types(lake) == {"id": "int64"}


# What a contract says


def test_a_frozen_table_lets_nothing_new_into_its_objects(lake: Lake) -> None:
    load(lake, {"id": 1, "a": {"x": 1}, "b": [{"c": {"d": 1}}]}, **FROZEN)
    new: dict[str, dict[str, Any]] = {
        "a.new": {"id": 2, "a": {"x": 1, "new": 1}},
        "a.x__v_double": {"id": 2, "a": {"x": 1.5}},
        "b.element.c.e": {"id": 2, "b": [{"c": {"d": 1, "e": 2}}]},
    }

    for place, row in new.items():
        with pytest.raises(ContractBroken, match=f"frozen and the source now sends '{place}'"):
            load(lake, row, **FROZEN)

    load(lake, {"id": 3, "a": {"x": None}, "b": []}, **FROZEN)
    assert lake.values(TABLE) == [1, 3]


def test_what_is_new_inside_is_discarded_alone(lake: Lake) -> None:
    load(lake, {"id": 1, "a": {"x": 1}, "b": [{"y": 1}]})

    load(
        lake,
        {"id": 2, "a": {"x": 2, "new": 1}, "b": [{"y": 2, "new": 2}]},
        schema_contract={"columns": "discard_value"},
    )

    assert lake.rows(TABLE)[1] == {"id": 2, "a": {"x": 2}, "b": [{"y": 2}]}


def test_rows_with_something_new_inside_are_kept_beside_the_table(lake: Lake) -> None:
    load(lake, {"id": 1, "a": {"x": 1}, "b": [{"y": 1}]})
    rows = [
        {"id": 2, "a": {"x": 2, "new": 1}, "b": [{"y": 2}]},
        {"id": 3, "a": {"x": 3}, "b": [{"y": 3}, {"y": 4, "new": {"z": 1}}, {"y": 5}]},
        {"id": 4, "a": {"x": 4}, "b": None},
        {"id": 5, "a": None, "b": []},
    ]

    load(lake, *rows, schema_contract={"columns": "discard_row"})

    assert lake.values(TABLE) == [1, 4, 5]
    kept = lake.table("raw.numbers__rejected").scan().to_arrow().to_pylist()
    assert {(json.loads(each["row"])["id"], each["reason"].rpartition(" ")[2]) for each in kept} == {
        (2, "'a.new'"),
        (3, "'b.element.new'"),
    }


# Where it is said


def test_a_resource_wins_over_its_source_and_that_over_the_defaults() -> None:
    entry = {
        "config": {
            "bucket_url": "files",
            "resources": [
                {"name": "a", "file_glob": "*.jsonl", "nested": "json"},
                {"name": "b", "file_glob": "*.jsonl"},
            ],
        },
        "destination": {"schema": "raw", "nested": "struct"},
    }

    assert [table.nested for table in source_from("filesystem", "raw", entry).tables] == ["json", "struct"]


def test_what_a_connector_knows_to_be_nested_is_text_or_a_struct_as_asked_for() -> None:
    def declared(**destination: Any) -> set[str]:
        config = {"repositories": ["a/b"], "resources": ["issues"]}
        (table,) = source_from("github", "raw", {"config": config, "destination": destination}).tables
        return {name for name in ("user", "labels", "title") if name in table.columns}

    assert declared() == {"user", "labels", "title"}
    assert declared(nested="struct") == {"title"}


def test_json_lines_land_as_structs(lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "a": {"b": [1, 2]}}\n{"id": 2, "a": {"b": [18446744073709551616]}}\n')
    config = {"bucket_url": str(tmp_path), "resources": [{"name": "numbers", "file_glob": "*.jsonl"}]}
    entry = {"config": config, "destination": {"nested": "struct"}}

    lake.load(pipeline_of(source_from("filesystem", TABLE, entry), tmp_path))

    assert lake.rows(TABLE) == [
        {"id": 1, "a": {"b": [1, 2], "b__v_json": None}},
        {"id": 2, "a": {"b": None, "b__v_json": '["18446744073709551616"]'}},
    ]


def test_rows_that_only_dlt_can_type_are_refused(lake: Lake) -> None:
    class Row(dict[str, Any]):
        pass

    with pytest.raises(PermanentError, match=r"nested: struct.*numbers.*a class \(Row\)"):
        load(lake, Row(id=1))


# Whatever comes


NAMES = st.sampled_from(["x", "y", "some_name", "_1"])
LEAVES = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "text": st.text(st.characters(exclude_categories=["Cs"]), max_size=5).map("t{}".format),
}
SHAPES = st.recursive(
    st.sampled_from(list(LEAVES)),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=1), st.dictionaries(NAMES, inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
)


def values_of(shape: Any) -> st.SearchStrategy[Any]:
    """Values of one shape: nulls, empty ones and missing keys among them."""
    if isinstance(shape, dict):
        some = st.fixed_dictionaries({}, optional={name: values_of(inner) for name, inner in shape.items()})
        return st.one_of(st.none(), some, some, st.sampled_from([{}, []]))
    if isinstance(shape, list):
        return st.one_of(st.none(), st.lists(values_of(shape[0]), max_size=3), st.sampled_from([{}, []]))
    return st.one_of(st.none(), LEAVES[shape])


def told(value: Any) -> Any:
    """What a value tells: nulls and empty ones tell nothing, nor does a list of such."""
    if isinstance(value, dict):
        return {name: inner for name, each in value.items() if (inner := told(each)) is not None} or None
    if isinstance(value, list):
        elements = [told(each) for each in value]
        return elements if any(each is not None for each in elements) else None
    return value


@st.composite
def pages_of_rows(draw: st.DrawFn, values: st.SearchStrategy[Any] | None = None) -> list[list[dict[str, Any]]]:
    found = values if values is not None else values_of(draw(SHAPES))
    sent = draw(st.lists(st.lists(found, max_size=4), min_size=1, max_size=4))
    ids = iter(range(100))
    return [[{"id": next(ids), "a": value} for value in page] for page in sent]


def load_pages(lake: Lake, pages: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows as they are read after one load of all pages but the last, and one of that."""
    with suppress(Exception):
        lake.catalog.drop_table(TABLE)
    for part in (pages[:-1], pages[-1:]):
        pieces = [piece for page in part for piece in (page, END_OF_PAGE)]
        lake.load(pipeline_of_rows(pieces, nested="struct"))
    return lake.table(TABLE).scan().to_arrow().sort_by("id").to_pylist()


@settings(deadline=None, max_examples=8)
@given(pages=pages_of_rows())
def test_rows_come_back_as_they_were(
    pages: list[list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))

    assert [told(row) for row in load_pages(lake, pages)] == [told(row) for page in pages for row in page]


ANYTHING = st.recursive(
    st.one_of(st.none(), LEAVES["int"], LEAVES["float"], LEAVES["text"]),  # of 5 in a column of booleans dlt makes true
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)


def is_kept(sent: Any, row: dict[str, Any], name: str) -> bool:
    """Whether `row` has `sent` under its name, or beside it."""
    if told(sent) is None:
        return True
    places = [value for column, value in row.items() if column.startswith(f"{name}__v_") and value is not None]
    if told(value := row.get(name)) is None:
        return any(is_alike(sent, place) for place in places)
    return is_alike(sent, value)


def is_alike(sent: Any, value: Any) -> bool:
    if isinstance(sent, dict) and isinstance(value, dict):
        return all(is_kept(each, value, name) for name, each in sent.items())
    if isinstance(sent, list) and isinstance(value, list):
        return len(sent) == len(value) and all(
            is_kept(each, {"element": found}, "element") for each, found in zip(sent, value, strict=True)
        )
    if isinstance(sent, (dict, list)):
        return bool(json.loads(value) == sent)
    return bool(value == sent) or value == str(sent)


@settings(deadline=None, max_examples=100)
@example(pages=[[{"id": 0, "a": {"n": [0.0]}}, {"id": 1, "a": {"n": [2**53 + 1]}}]])
@given(pages=pages_of_rows(ANYTHING))
def test_no_value_is_lost_whatever_their_shapes(pages: list[list[dict[str, Any]]]) -> None:
    spec = table_spec(nested="struct")
    made, plan = RowTypes(spec, schema_of(spec, None)), SchemaPlan(spec, None)
    batches = [batch for page in pages for batch in made.table(page).to_batches()]
    found = [row for batch in batches for row in plan.conform(batch).to_pylist()]
    rows = [row for page in pages for row in page]

    assert [row for row, landed in zip(rows, found, strict=True) if not is_kept(row["a"], landed, "a")] == []
