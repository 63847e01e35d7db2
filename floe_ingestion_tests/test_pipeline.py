"""What is staged of what a source yields, and what happens when it fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from floe_ingestion import pipeline as pipelines
from floe_ingestion.errors import (
    ConfigurationError,
    KeyViolation,
    MissingVariable,
    OtherTable,
    PermanentError,
    SourceRejected,
    SourceUnavailable,
)
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of, stage
from floe_ingestion.staging import LoadRequest, StagedTable
from floe_ingestion_tests.fake_sources import FunctionConnector, Shop, pipeline_from, pipeline_of_rows, table_spec
from floe_ingestion_tests.lake import Lake

ROWS: list[dict[str, Any]] = [{"id": 1, "name": "a"}, {"id": 2, "name": None}, {"id": 3, "name": "zoë"}]


def staging(lake: Lake, pipeline: IngestionPipeline, request: LoadRequest | None = None) -> Iterator[StagedTable]:
    return stage(pipeline, request or LoadRequest(), lake.catalog, lake.staging_folder)


# Whatever a source yields


def in_batches() -> Iterator[Any]:
    yield ROWS[:2]
    yield ROWS[2]


@pytest.mark.parametrize(
    "items",
    [
        lambda: ROWS,
        in_batches,
        lambda: [pa.Table.from_pylist(ROWS)],
        lambda: [pa.RecordBatch.from_pylist(ROWS)],
        lambda: pa.Table.from_pylist(ROWS).to_batches(max_chunksize=1),
        lambda: [[pa.Table.from_pylist(ROWS[:1]), pa.Table.from_pylist(ROWS[1:])]],
        lambda: [pd.DataFrame(ROWS)],
        lambda: [pl.DataFrame(ROWS)],
        lambda: [pl.LazyFrame(ROWS)],
    ],
    ids=["rows", "generator of lists", "arrow", "batch", "batches", "list of arrow", "pandas", "polars", "lazy polars"],
)
def test_rows_and_frames_of_any_kind_land_alike(items: Callable[[], Any], lake: Lake) -> None:
    lake.load(pipeline_from(items))

    assert lake.rows("raw.numbers") == ROWS
    assert lake.left_behind() == []


def test_frames_and_rows_may_come_from_one_source(lake: Lake) -> None:
    def mixed() -> Iterator[Any]:
        yield ROWS[0]
        yield pa.Table.from_pylist(ROWS[1:2])
        yield [ROWS[2], pl.DataFrame([{"id": 4, "name": "d"}])]

    lake.load(pipeline_from(mixed))

    assert lake.values("raw.numbers") == [1, 2, 3, 4]


def test_values_of_rows_keep_their_types(lake: Lake) -> None:
    row = {
        "id": 1,
        "yes": True,
        "ratio": 0.5,
        "price": Decimal("1.25"),
        "day": date(2024, 2, 29),
        "at": datetime(2024, 2, 29, 12, tzinfo=timezone.utc),
        "text": "2024-02-29",
        "raw": b"\x00\xff",
    }

    lake.load(pipeline_of_rows([row]))

    assert lake.rows("raw.numbers") == [row]


def test_nested_json_stays_in_its_table(lake: Lake) -> None:
    rows = [{"id": 1, "lines": [{"sku": "a", "tags": ["x", "y"]}], "address": {"city": "Köln", "geo": {"lat": 50.9}}}]

    lake.load(pipeline_of_rows(rows))

    assert lake.catalog.list_tables("raw") == [("raw", "numbers")]
    (row,) = lake.rows("raw.numbers")
    assert '"sku":"a","tags":["x","y"]' in str(row["lines"]).replace(" ", "")


@pytest.mark.parametrize(
    ("before", "now", "read"), [(0.5, 3, 3.0), ("A-7", 7, "7"), (Decimal("1.5"), 2, Decimal(2)), ("x", 1.5, "1.5")]
)
def test_values_of_rows_are_typed_as_the_table_has_them(before: Any, now: Any, read: Any, lake: Lake) -> None:
    """A page of whole numbers must not decide against a column that has held texts all the time."""
    lake.load(pipeline_of_rows([{"id": 1, "value": before}]))

    lake.load(pipeline_of_rows([{"id": 2, "value": now}]))

    assert lake.rows("raw.numbers") == [{"id": 1, "value": before}, {"id": 2, "value": read}]


def test_a_value_of_another_type_lands_beside_its_column(lake: Lake) -> None:
    lake.load(pipeline_of_rows([{"id": 1, "size": 4}, {"id": 2, "size": "large"}]))

    assert lake.rows("raw.numbers") == [
        {"id": 1, "size": 4, "size__v_text": None},
        {"id": 2, "size": None, "size__v_text": "large"},
    ]


def test_a_source_of_nothing_lands_nothing(lake: Lake) -> None:
    landed = lake.load(pipeline_of_rows([]))

    assert (landed.rows_added, landed.snapshot_id) == (0, None)
    assert not lake.catalog.table_exists("raw.numbers")


# One resource, one table


def marked_rows() -> Iterator[Any]:
    yield dlt.mark.with_table_name([{"id": 1}], "numbers")
    yield dlt.mark.with_table_name([{"id": 2}], "other")


def marked_arrow() -> Iterator[Any]:
    yield pa.table({"id": [1]})
    yield dlt.mark.with_table_name(pa.table({"id": [2]}), "other")


def with_hints() -> Iterator[Any]:
    yield {"id": 1}
    yield dlt.mark.with_hints({"id": 2}, dlt.mark.make_hints(table_name="other"))


def named_by_row() -> Any:
    return dlt.resource([{"id": 1, "kind": "a"}], name="numbers", table_name=lambda row: row["kind"])


@pytest.mark.parametrize("source", [marked_rows, marked_arrow, with_hints, named_by_row])
def test_a_resource_that_sends_rows_to_two_tables_is_an_error(source: Callable[[], Any], lake: Lake) -> None:
    with pytest.raises(OtherTable, match=r"raw\.numbers: resource 'numbers' also sends rows to .*resource of its own"):
        lake.load(pipeline_from(source))

    assert not lake.catalog.table_exists("raw.numbers")


def test_resources_of_a_source_are_staged_one_after_the_other(shop: Shop, lake: Lake) -> None:
    shop.sell((1, "ann", "1", None))
    shop.execute("create table customers (id integer primary key, name text)")
    shop.execute("insert into customers values (1, 'ann')")
    loads = shop.pipeline("raw", config={"tables": ["orders", "customers"]})

    for staged in staging(lake, loads):
        assert len(list(lake.staging_folder.iterdir())) == 1
        lake.commit(staged)

    assert (lake.values("raw.orders"), lake.values("raw.customers")) == ([1], [1])
    assert lake.left_behind() == []


def test_only_the_resources_that_were_asked_for_are_staged(shop: Shop, lake: Lake) -> None:
    shop.execute("create table customers (id integer primary key)")
    loads = shop.pipeline("raw", config={"tables": ["orders", "customers"]})

    staged = list(staging(lake, loads, LoadRequest(resources=("customers",))))

    assert [str(each.table) for each in staged] == ["raw.customers"]


@pytest.mark.parametrize("resources", [("nothing",), ()])
def test_a_run_of_nothing_is_an_error(resources: tuple[str, ...], shop: Shop, lake: Lake) -> None:
    loads = shop.pipeline()
    if not resources:
        loads = IngestionPipeline("empty", (), loads.connect)

    with pytest.raises(PermanentError, match="has nothing to load"):
        list(staging(lake, loads, LoadRequest(resources=resources)))


# State


def test_state_that_a_resource_keeps_for_itself_lands_with_its_rows(lake: Lake) -> None:
    """A token of the source's own instead of a cursor."""

    def paged() -> Any:
        @dlt.resource(name="numbers")
        def numbers() -> Iterator[Any]:
            state = dlt.current.resource_state()
            page = state.get("page", 0) + 1
            yield {"id": page}
            state["page"] = page

        return numbers()

    for _ in range(3):
        lake.load(pipeline_from(paged))

    assert lake.values("raw.numbers") == [1, 2, 3]


@pytest.mark.parametrize("kind", ["rows", "arrow"])
def test_a_cursor_brings_each_row_once(kind: str, lake: Lake) -> None:
    source = [{"id": 1, "version": 1}, {"id": 2, "version": 2}]
    loads = pipeline_from(
        lambda: [pa.Table.from_pylist(source)] if kind == "arrow" else source, incremental={"cursor_path": "version"}
    )

    lake.load(loads)
    source += [{"id": 3, "version": 2}, {"id": 4, "version": 3}]
    lake.load(loads)
    lake.load(loads)

    assert lake.values("raw.numbers") == [1, 2, 3, 4]
    assert lake.cursor("raw.numbers") == {"version": 3}


def test_a_cursor_deep_in_a_row_is_followed(lake: Lake) -> None:
    source = [{"id": 1, "meta": {"version": 1}}]
    loads = pipeline_from(lambda: list(source), incremental={"cursor_path": "meta.version"})

    lake.load(loads)
    source.append({"id": 2, "meta": {"version": 2}})
    lake.load(loads)

    assert lake.values("raw.numbers") == [1, 2]


def test_two_tables_of_one_source_have_cursors_of_their_own(shop: Shop, lake: Lake) -> None:
    shop.execute("create table visits (id integer primary key, updated_at timestamp)")
    shop.execute("insert into visits values (1, '2023-01-01 00:00:00')")
    shop.sell((1, "ann", "1", "2024-01-01 00:00:00"))
    loads = shop.pipeline("raw", config={"tables": ["orders", "visits"]}, incremental={"cursor_path": "updated_at"})

    for _ in range(2):
        for staged in staging(lake, loads):
            lake.commit(staged)

    assert lake.cursor("raw.orders") == {"updated_at": datetime(2024, 1, 1)}
    assert lake.cursor("raw.visits") == {"updated_at": datetime(2023, 1, 1)}
    assert (lake.values("raw.orders"), lake.values("raw.visits")) == ([1], [1])


# Rows that a contract keeps out


def test_what_floe_yaml_names_and_no_row_has_is_told(lake: Lake) -> None:
    """Rows come first without and then with the marker, which is nothing but null at first."""
    merged = {"write_disposition": "merge", "hard_delete": "Gone", "columns": {"nme": "string", "name": "string"}}

    def told(*rows: dict[str, Any]) -> list[str]:
        with lake.staged(pipeline_of_rows(rows, **merged)) as staged:
            lake.commit(staged)
            return list(staged.warnings)

    misspelled, unmarked = told(*ROWS)
    assert misspelled.startswith("raw.numbers: `columns` declares 'nme', which no row has had so far; it is not in")
    assert "Did you mean 'name'? Columns: id, name." in misspelled
    assert unmarked.startswith("raw.numbers: `hard_delete` names 'Gone', which no row has had so far; it deletes none")
    for marked in (None, True):
        assert told({"id": 1, "name": "a", "gone": marked}) == [misspelled.replace("Columns: ", "Columns: gone, ")]
    assert told(*ROWS[1:]) == [misspelled.replace("Columns: ", "Columns: gone, ")]
    assert lake.values("raw.numbers") == [2, 3]


def test_rejected_rows_are_kept_beside_the_table_with_the_reason(lake: Lake) -> None:
    known = pa.table({"id": [1], "name": ["a"]})
    lake.load(pipeline_of_rows([known]))
    strict = {"schema_contract": {"columns": "discard_row", "data_type": "discard_row"}}
    rows = pa.table({"id": [2, 3], "name": ["b", "c"], "size": [None, "large"]})

    landed = lake.load(pipeline_of_rows([rows], **strict))

    assert (landed.rows_added, lake.values("raw.numbers")) == (1, [1, 2])
    (rejected,) = lake.rows("raw.numbers__rejected")
    assert rejected["row"] == '{"id": 3, "name": "c", "size": "large"}'
    assert rejected["reason"] == "schema_contract: discard_row forbids column 'size'"
    assert rejected["load_id"] == landed.load_id


@pytest.mark.parametrize(("mode", "expected"), [("discard_row", [1, 3]), ("discard_value", [1, 2, 3])])
def test_rows_that_dlt_types_are_discarded_as_the_contract_says(mode: str, expected: list[int], lake: Lake) -> None:
    lake.load(pipeline_of_rows([{"id": 1, "name": "a"}]))
    strict = {"schema_contract": {"columns": mode, "data_type": mode}}

    lake.load(pipeline_of_rows([{"id": 2, "name": "b", "size": "large"}, {"id": 3, "name": "c"}], **strict))

    assert lake.values("raw.numbers") == expected
    assert lake.table("raw.numbers").schema().column_names == ["id", "name"]


# Failures


def test_a_variable_that_is_not_set_is_named_with_its_place(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOE_TEST_URL", raising=False)
    source = source_from("sql_database", "raw.orders", {"connection_string": "${FLOE_TEST_URL}", "tables": ["orders"]})

    with pytest.raises(MissingVariable) as raised:
        lake.load(pipeline_of(source, Path()))

    assert raised.value.variable == "FLOE_TEST_URL"
    assert raised.value.place.endswith(".config.connection_string")

    monkeypatch.setenv("FLOE_TEST_URL", "")
    with pytest.raises(ConfigurationError, match=r"FLOE_TEST_URL, which config\.connection_string names, is empty"):
        lake.load(pipeline_of(source, Path()))


def test_an_expanded_secret_is_hidden_in_errors_and_in_their_causes(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOE_TEST_SECRET", "hush-hush")
    url = f"sqlite:///{tmp_path}/${{FLOE_TEST_SECRET}}/shop.db"
    source = source_from("sql_database", "raw.orders", {"connection_string": url, "tables": ["orders"]})

    with pytest.raises(SourceRejected) as raised:
        lake.load(pipeline_of(source, Path()))

    link: BaseException | None = raised.value
    while link is not None:
        assert "hush-hush" not in str(link)
        link = link.__cause__


def test_an_error_in_the_source_is_the_cause_of_ours(lake: Lake) -> None:
    def breaks() -> Iterator[Any]:
        yield {"id": 1}
        raise ConnectionResetError("the line is dead")

    with pytest.raises(SourceUnavailable, match=r"numbers\.numbers: ConnectionResetError: the line is dead"):
        lake.load(pipeline_from(breaks))

    assert not lake.catalog.table_exists("raw.numbers")
    assert lake.left_behind() == []


def test_a_mistake_in_the_source_is_not_tried_again(lake: Lake) -> None:
    def mistaken() -> Iterator[Any]:
        yield {"id": 1}
        raise KeyError("no_such_field")

    with pytest.raises(PermanentError, match="no_such_field"):
        lake.load(pipeline_from(mistaken))


def test_an_error_of_ours_stays_what_it_is(lake: Lake) -> None:
    with pytest.raises(KeyViolation, match="rows have no column 'id'"):
        lake.load(pipeline_of_rows([{"number": 1}], write_disposition="merge"))


def test_an_error_while_parquet_is_written_stops_the_source(lake: Lake) -> None:
    yielded: list[int] = []

    def endless() -> Iterator[Any]:
        while len(yielded) < 10_000:
            yielded.append(1)
            yield pa.table({"id": pa.array([None], pa.int64())})

    with pytest.raises(KeyViolation):
        lake.load(pipeline_from(endless, write_disposition="merge", primary_key=("id",)))

    assert len(yielded) < 100
    assert lake.left_behind() == []


def test_a_failed_load_does_not_poison_the_next(lake: Lake) -> None:
    broken = [True]

    def breaks_once() -> Iterator[Any]:
        yield {"id": 1}
        if broken.pop():
            raise ConnectionResetError("the line is dead")

    with pytest.raises(SourceUnavailable):
        lake.load(pipeline_from(breaks_once))
    broken.append(False)

    lake.load(pipeline_from(breaks_once))

    assert lake.values("raw.numbers") == [1]


# What a load leaves, and says


def test_nothing_is_left_in_the_home_of_the_user(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "user"
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(elsewhere))
    monkeypatch.chdir(elsewhere)

    lake.load(pipeline_of_rows(ROWS))

    assert list(elsewhere.iterdir()) == []


def test_a_consumer_that_stops_early_leaves_no_folder(shop: Shop, lake: Lake) -> None:
    shop.execute("create table customers (id integer primary key)")
    loads = shop.pipeline("raw", config={"tables": ["orders", "customers"]})

    with closing(staging(lake, loads)) as tables:  # type: ignore[type-var]
        next(tables)

    assert lake.left_behind() == []


def test_several_loads_at_once_do_not_meet(lake: Lake) -> None:
    one = staging(lake, pipeline_of_rows(ROWS, "raw.one"))
    two = staging(lake, pipeline_of_rows(ROWS, "raw.two"))

    staged = [next(one), next(two)]
    for each in staged:
        lake.commit(each)

    assert lake.rows("raw.one") == lake.rows("raw.two") == ROWS


def test_a_long_load_says_how_far_it_has_come(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "_SECONDS_BETWEEN_NEWS", 0.0)
    said: list[str] = []
    batches = [pa.table({"id": list(range(start, start + 1_000))}) for start in range(0, 3_000, 1_000)]

    list(staging(lake, pipeline_of_rows(batches), LoadRequest(log=said.append)))

    assert [line.partition(" rows in ")[0] for line in said] == [f"raw.numbers: {n},000" for n in (1, 2, 3)]
    assert said[0].endswith(" s so far")


def test_a_short_load_says_nothing(lake: Lake) -> None:
    said: list[str] = []

    list(staging(lake, pipeline_of_rows(ROWS), LoadRequest(log=said.append)))

    assert said == []


def test_a_staged_table_says_what_it_holds(lake: Lake) -> None:
    with lake.staged(pipeline_of_rows(ROWS)) as staged:
        assert (staged.rows, len(staged.files)) == (3, 1)
        assert staged.bytes == sum(os.stat(file.path).st_size for file in staged.files)
        assert staged.seconds > 0
        assert staged.schema is not None
        assert staged.schema.column_names == ["id", "name"]


def test_the_key_is_the_tables_then_the_sources_then_id() -> None:
    connector = FunctionConnector(list, key=("Code",))
    keyless = FunctionConnector(list)
    resource: Any = None

    assert pipelines.key_of(table_spec(), connector, resource) == ()
    assert pipelines.key_of(table_spec(write_disposition="merge", primary_key=("orderId",)), connector, resource) == (
        "order_id",
    )
    assert pipelines.key_of(table_spec(write_disposition="merge"), connector, resource) == ("code",)
    assert pipelines.key_of(table_spec(write_disposition="merge"), keyless, resource) == ("id",)


class MisbuildingConnector(FunctionConnector):
    """Its `build` returns what the function does, which should be a mapping of resources."""

    def build(self, extractions: Any) -> Any:
        return self.function()


@pytest.mark.parametrize(
    ("built", "met"),
    [
        ([1], "returned a list,"),
        ({"others": 1}, "returned a mapping with the keys ['others'],"),
        ({"numbers": [1]}, "returned a list for 'numbers',"),
    ],
)
def test_a_connector_that_builds_something_else_is_told_what_to_return(built: Any, met: str, lake: Lake) -> None:
    spec = table_spec()
    pipeline = IngestionPipeline("numbers", (spec,), lambda: MisbuildingConnector(lambda: built))

    with pytest.raises(PermanentError) as caught:
        next(staging(lake, pipeline))

    assert f"raw.numbers: `build` of MisbuildingConnector {met}" in str(caught.value)
    assert "Return {'numbers': dlt.resource(rows, name='numbers')} there." in str(caught.value)
