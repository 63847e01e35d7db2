"""How a table is named and described in Dagster."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from dagster_dlt.translator import DltResourceTranslatorData

from floe_ingestion.spec import SourceSpec, TableSpec
from floe_ingestion.translator import FloeDltTranslator, default_description, source_key, table_key

pytestmark = pytest.mark.dagster


def table_of(**settings: Any) -> TableSpec:
    given = {"source": "shop", "source_type": "rest_api", "resource": "orders", "namespace": ("bronze",), "name": "raw"}
    return TableSpec.model_validate({**given, **settings})


def spec_of(table: TableSpec, kinds: tuple[str, ...] = ()) -> dg.AssetSpec:
    import dlt

    data = DltResourceTranslatorData(resource=dlt.resource([], name="orders"), pipeline=None)
    entry = {"name": "shop", "type": "rest_api", "destination": {"schema": "bronze"}}
    source = SourceSpec.model_validate(entry).resolved("floe.yaml", (table,))
    return FloeDltTranslator(source, kinds).get_asset_spec(data)


def test_the_key_of_a_table_is_its_schema_and_name() -> None:
    assert table_key(table_of()) == dg.AssetKey(["bronze", "raw"])
    assert table_key(table_of(namespace=("lake", "bronze"))) == dg.AssetKey(["lake", "bronze", "raw"])


def test_upstream_of_a_table_is_the_resource_in_its_source() -> None:
    assert source_key(table_of()) == dg.AssetKey(["source", "shop", "orders"])
    assert [dep.asset_key for dep in spec_of(table_of()).deps] == [dg.AssetKey(["source", "shop", "orders"])]


@pytest.mark.parametrize(("resource", "name"), [("Order Lines", "order_lines"), ("größe", "gr_e"), ("a.b-c", "a.b-c")])
def test_a_resource_whose_name_dagster_refuses_has_a_source_asset(resource: str, name: str) -> None:
    key = source_key(table_of(resource=resource))

    assert key == dg.AssetKey(["source", "shop", name])
    assert dg.Definitions(assets=[dg.AssetSpec(key)]).resolve_asset_graph().has(key)


@pytest.mark.parametrize(
    ("settings", "described"),
    [
        ({}, "orders of shop (rest_api). Rows are appended."),
        ({"write_disposition": "replace"}, "orders of shop (rest_api). Every load replaces it."),
        ({"write_disposition": "merge"}, "orders of shop (rest_api). Rows are merged by key."),
        (
            {"incremental": {"cursor_path": "at"}},
            "orders of shop (rest_api). Rows are appended; loaded by cursor at.",
        ),
        (
            {"partitions": {"type": "daily", "column": "at", "start": "2024-01-01"}},
            "orders of shop (rest_api). A load replaces its own partitions.",
        ),
        (
            {
                "write_disposition": "merge",
                "partitions": {"type": "daily", "column": "at", "start": "2024-01-01"},
            },
            "orders of shop (rest_api). Rows are merged by key.",
        ),
    ],
)
def test_a_table_that_nobody_described_says_how_it_comes_about(settings: dict[str, Any], described: str) -> None:
    assert default_description(table_of(**settings)) == described


def test_a_table_that_is_described_is_shown_with_these_words() -> None:
    assert spec_of(table_of(description="The orders.")).description == "The orders."


@pytest.mark.parametrize(
    ("kinds", "shown"),
    [((), {"dlt", "iceberg"}), (("sql",), {"dlt", "iceberg", "sql"}), (("a", "b"), {"dlt", "iceberg", "a"})],
)
def test_a_table_has_no_more_kinds_than_dagster_shows(kinds: tuple[str, ...], shown: set[str]) -> None:
    assert spec_of(table_of(), kinds).kinds == shown


def test_what_a_table_stages_goes_to_the_iceberg_io_manager() -> None:
    assert spec_of(table_of()).metadata["dagster/io_manager_key"] == "iceberg_io_manager"
