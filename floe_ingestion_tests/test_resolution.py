"""Where the resources of a source land, and which of its words goes before which."""

from __future__ import annotations

import textwrap
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from floe_ingestion import load_spec
from floe_ingestion.spec import ContractSpec, Spec, TableSpec
from floe_ingestion_tests.parcels import ENTRY_POINT, install


@pytest.fixture(autouse=True)
def _parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme-parcels", ENTRY_POINT)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load_text(text: str) -> Spec:
        file = tmp_path / "floe.yaml"
        file.write_text(textwrap.dedent(text))
        return load_spec(file)

    return load_text


@pytest.fixture
def tables(load: Any) -> Any:
    """The tables of one source with these resources, written as flow YAML."""

    def tables_of(resources: str, destination: str, rest: str = "") -> tuple[TableSpec, ...]:
        entry = f"{{name: hub, type: parcels, config: {{base_url: x, resources: {resources}}}, "
        spec = load(f"ingestion: {{sources: [{entry} destination: {destination} {rest}}}]}}")
        return spec.sources[0].tables

    return tables_of


@pytest.mark.parametrize(
    ("resources", "destination", "landed"),
    [
        ("[orders]", "{table: bronze.raw_orders}", ["bronze.raw_orders"]),
        ("[orders, items]", "{schema: bronze}", ["bronze.orders", "bronze.items"]),
        (
            "[orders, items]",
            "{schema: bronze, table_prefix: hub_}",
            ["bronze.hub_orders", "bronze.hub_items"],
        ),
        (
            "[{name: orders, table: o}, i]",
            "{schema: bronze, table_prefix: hub_}",
            ["bronze.hub_o", "bronze.hub_i"],
        ),
        ("[orders, {name: items, table: i}]", "{table: bronze.raw}", ["bronze.raw", "bronze.i"]),
        ("[{name: orders, table: o}]", "{table: bronze.raw}", ["bronze.o"]),
        ("[orders]", "{table: lake.bronze.raw}", ["lake.bronze.raw"]),
        ("[orders]", "{schema: lake.bronze}", ["lake.bronze.orders"]),
        ("[OrderItems, order-lines]", "{schema: bronze}", ["bronze.order_items", "bronze.order_lines"]),
        ("[orders]", "{table: bronze.RawOrders}", ["bronze.raw_orders"]),
    ],
)
def test_resources_land_where_the_destination_says(
    tables: Any, resources: str, destination: str, landed: list[str]
) -> None:
    assert [str(table) for table in tables(resources, destination)] == landed


def test_a_namespace_has_a_level_for_each_dot(tables: Any) -> None:
    (table,) = tables("[orders]", "{table: a.b.orders}")

    assert (table.namespace, table.name) == (("a", "b"), "orders")
    assert table.identifier == ("a", "b", "orders")


def test_a_resource_keeps_the_name_that_its_source_knows(tables: Any) -> None:
    (table,) = tables("[OrderItems]", "{schema: bronze}")

    assert (table.resource, table.name, table.source, table.source_type) == (
        "OrderItems",
        "order_items",
        "hub",
        "parcels",
    )


def test_what_a_resource_says_goes_before_its_source_and_that_before_the_defaults(load: Any) -> None:
    spec = load(
        """
        ingestion:
          defaults: {write_disposition: merge, schema_contract: freeze}
          sources:
            - name: hub
              type: parcels
              config:
                base_url: x
                resources:
                  - {name: own, write_disposition: append, primary_key: own_id, schema_contract: evolve}
                  - of_source
              destination:
                {schema: a, write_disposition: replace, primary_key: [x, y], schema_contract: discard_row}
            - {name: plain, type: parcels, config: {base_url: x, resources: [c]}, destination: {schema: b}}
        """
    )
    own, of_source = spec.source("hub").tables
    (of_defaults,) = spec.source("plain").tables

    found = [
        (table.write_disposition, table.primary_key, table.schema_contract.columns)
        for table in (own, of_source, of_defaults)
    ]
    assert found == [
        ("append", ("own_id",), "evolve"),
        ("replace", ("x", "y"), "discard_row"),
        ("merge", (), "freeze"),
    ]


def test_without_a_word_on_it_rows_are_appended_and_tables_evolve(tables: Any) -> None:
    (table,) = tables("[orders]", "{schema: bronze}")

    assert (table.write_disposition, table.schema_contract) == ("append", ContractSpec())


def test_columns_are_merged_and_the_resource_wins_whatever_the_spelling(tables: Any) -> None:
    (table,) = tables(
        "[{name: orders, columns: {UnitPrice: 'decimal(10, 2)'}}]",
        "{schema: bronze, columns: {unit_price: double, note: string}}",
    )

    types = {name: column.type for name, column in table.columns.items()}
    assert types == {"note": "string", "UnitPrice": "decimal(10, 2)"}
    assert set(table.declared or ()) == {"note", "unit_price", "UnitPrice"}


def test_of_columns_declared_for_several_tables_none_is_expected_in_each(tables: Any) -> None:
    orders, items = tables("[{name: orders, columns: {price: double}}, items]", "{schema: s, columns: {note: string}}")

    assert (set(orders.columns), orders.declared) == ({"note", "price"}, ("price",))
    assert (set(items.columns), items.declared) == ({"note"}, ())


def test_a_resource_without_a_cursor_has_the_one_of_its_source(tables: Any) -> None:
    own, inherited = tables(
        "[{name: a, incremental: {cursor_path: id}}, b]",
        "{schema: s}",
        ", incremental: {cursor_path: changed}",
    )

    assert (own.incremental.cursor_path, inherited.incremental.cursor_path) == ("id", "changed")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("2024-01-31", date(2024, 1, 31)),
        ("2024-01-31T06:00:00Z", datetime(2024, 1, 31, 6, tzinfo=timezone.utc)),
        ("'2024-01-31'", "2024-01-31"),
        ("7", 7),
        ("7.5", 7.5),
    ],
)
def test_a_cursor_starts_at_just_what_was_written(tables: Any, written: str, value: Any) -> None:
    (table,) = tables("[a]", "{schema: s}", f", incremental: {{cursor_path: c, initial_value: {written}}}")

    assert table.incremental.initial_value == value
    assert type(table.incremental.initial_value) is type(value)


def test_what_a_destination_says_of_tables_reaches_each_of_them(tables: Any) -> None:
    said = "write_disposition: merge, merge_strategy: insert-only, partition_by: day(c), properties: {x: y}"
    both = tables("[a, b]", f"{{schema: s, {said}}}")

    assert [(t.merge_strategy, t.partition_by, t.properties) for t in both] == [
        ("insert-only", ("day(c)",), {"x": "y"})
    ] * 2


def test_a_source_that_replaces_may_have_a_cursor_where_all_of_its_resources_append(tables: Any) -> None:
    (table,) = tables(
        "[{name: a, write_disposition: append}]",
        "{schema: s, write_disposition: replace}",
        ", incremental: {cursor_path: c}",
    )

    assert (table.write_disposition, table.incremental.cursor_path) == ("append", "c")
