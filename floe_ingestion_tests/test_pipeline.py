"""What is staged between a source and a commit, whatever the source sends."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path

import dlt
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from floe_ingestion.errors import MissingVariable, PermanentError, SourceUnavailable
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import pipeline_of, stage
from floe_ingestion.secrets import expand
from floe_ingestion.staging import LoadRequest
from floe_ingestion_tests.fake_sources import pipeline_from, pipeline_of_rows
from floe_ingestion_tests.lake import Lake

NAME = "raw.numbers"
ROWS = [{"id": 1, "name": "one"}, {"id": 2, "name": None}]
TABLE = pa.Table.from_pylist(ROWS)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.mark.parametrize(
    "items",
    [ROWS, [ROWS], [TABLE], TABLE.to_batches(), [[TABLE]], [pl.from_arrow(TABLE)], [pd.DataFrame(ROWS)]],
    ids=["rows", "pages", "table", "batches", "pages of tables", "polars", "pandas"],
)
def test_rows_and_frames_of_every_kind_land_alike(items, lake):
    lake.load(pipeline_of_rows(items))

    assert lake.rows(NAME) == ROWS


def test_nested_objects_stay_in_one_table(lake):
    lake.load(pipeline_of_rows([{"id": 1, "lines": [{"sku": "a"}, {"sku": "b"}], "buyer": {"name": "ann"}}]))

    assert [identifier[-1] for identifier in lake.catalog.list_tables("raw")] == ["numbers"]
    assert lake.values(NAME) == [1]


def test_text_that_is_a_time_becomes_one(lake):
    lake.load(pipeline_of_rows([{"id": 1, "at": "2026-01-01T10:00:00Z"}]))

    assert lake.values(NAME, "at") == [datetime(2026, 1, 1, 10, tzinfo=timezone.utc)]


def test_rows_are_typed_as_the_table_is(lake):
    lake.load(pipeline_of_rows([{"id": 1, "code": "A1"}]))
    lake.load(pipeline_of_rows([{"id": 2, "code": 7}]))

    assert lake.values(NAME, "code") == ["7", "A1"]


def test_a_resource_that_sends_rows_to_two_tables_is_an_error_and_nothing_lands(lake):
    def two():
        yield dlt.mark.with_hints({"id": 1}, dlt.mark.make_hints(table_name="others"), create_table_variant=True)

    with pytest.raises(PermanentError, match="One resource lands in one table"):
        lake.load(pipeline_from(two))
    assert lake.catalog.list_namespaces() == []


def test_the_state_of_a_resource_lands_with_its_rows_and_comes_back(lake):
    @dlt.resource(name="numbers")
    def pages():
        state = dlt.current.resource_state()
        state["page"] = state.get("page", 0) + 1
        yield {"id": state["page"]}

    for _ in range(3):
        lake.load(pipeline_from(pages))

    assert lake.values(NAME) == [1, 2, 3]


def test_nothing_is_left_of_a_load_that_landed_nor_of_one_that_failed(lake):
    lake.load(pipeline_of_rows(ROWS))

    def breaks_off():
        yield {"id": 3}
        raise ConnectionResetError("the peer went away")

    with pytest.raises(SourceUnavailable):
        lake.load(pipeline_from(breaks_off))
    assert lake.left_behind() == []
    assert lake.values(NAME) == [1, 2]


def test_a_secret_in_an_error_of_the_source_is_hidden(lake):
    expand("${SHOP_TOKEN}", "floe.yaml", {"SHOP_TOKEN": "t0psecret"})

    def refuses():
        raise ConnectionError("token t0psecret was refused")
        yield

    with pytest.raises(SourceUnavailable) as caught:
        lake.load(pipeline_from(refuses))
    assert "t0psecret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_unset_variable_is_told_with_its_place_and_nothing_is_connected(lake, tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_URL", raising=False)
    config = {"connection_string": "${NO_SUCH_URL}", "tables": ["orders"]}
    pipeline = pipeline_of(source_from("sql_database", "raw", config), tmp_path)

    with pytest.raises(MissingVariable, match="connection_string: the environment variable NO_SUCH_URL is not set"):
        next(stage(pipeline, LoadRequest(), lake.catalog, lake.staging_folder))


def test_a_pipeline_without_such_a_resource_is_an_error(lake):
    request = LoadRequest(resources=("nothing",))

    with pytest.raises(PermanentError, match="configured: numbers"):
        next(stage(pipeline_of_rows(ROWS), request, lake.catalog, lake.staging_folder))


def test_a_long_load_says_how_far_it_is(lake):
    def slowly():
        yield TABLE
        time.sleep(5.5)
        yield TABLE

    said: list[str] = []
    list(stage(pipeline_from(slowly), LoadRequest(log=said.append), lake.catalog, lake.staging_folder))

    assert [line.partition(" rows")[0] for line in said] == ["raw.numbers: 4"]
