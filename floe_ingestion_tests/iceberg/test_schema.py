"""How a table's columns come about and grow while rows are staged, and what the contract and the key forbid."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import ListType, LongType, MapType, NestedField, StringType, StructType

from floe_ingestion.errors import ConfigurationError, ContractBroken, KeyViolation, PermanentError
from floe_ingestion.iceberg.columns import parse_type
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.spec import ColumnSpec
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import Rows, load, numbers, staged
from floe_ingestion_tests.lake import Lake, Row

ROW: dict[str, Any] = {"id": 1, "tags": ["a"], "address": {"street": "x", "floor": 1}, "visits": [{"page": "/"}]}


def contract(mode: str) -> dict[str, Any]:
    """The short word of floe.yaml, as the specs hold it."""
    return {"schema_contract": {"columns": mode, "data_type": mode}}


# Columns come as rows do


def test_columns_that_appear_in_the_middle_of_a_load_are_null_before(lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1}], [{"id": 2, "note": "b"}], [{"id": 3}], [{"size": 4, "id": 4}])

    assert lake.rows("raw.numbers") == [
        {"id": 1, "note": None, "size": None},
        {"id": 2, "note": "b", "size": None},
        {"id": 3, "note": None, "size": None},
        {"id": 4, "note": None, "size": 4},
    ]


def test_a_column_that_widens_in_the_middle_of_a_load_reads_as_one(lake: Lake) -> None:
    small, large = pa.table({"id": pa.array([1], pa.int32())}), pa.table({"id": [2**40]})

    load(lake, table_spec(), small, large)

    assert lake.values("raw.numbers") == [1, 2**40]


def test_columns_in_another_order_land_in_their_own_column(lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "a": "a1", "b": "b1"}], [{"b": "b2", "id": 2, "a": "a2"}])

    assert lake.rows("raw.numbers") == [{"id": 1, "a": "a1", "b": "b1"}, {"id": 2, "a": "a2", "b": "b2"}]


def test_columns_that_the_source_no_longer_has_stay_and_are_null(lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "note": "a"}])

    load(lake, table_spec(), [{"id": 2}])

    assert lake.rows("raw.numbers") == [{"id": 1, "note": "a"}, {"id": 2, "note": None}]


def test_new_fields_deep_inside_are_added(lake: Lake) -> None:
    load(lake, table_spec(), [ROW])
    more = {"id": 2, "address": {"city": {"name": "Köln"}}, "visits": [{"seconds": 3}]}

    load(lake, table_spec(), [more])

    assert lake.rows("raw.numbers") == [
        {
            "id": 1,
            "tags": ["a"],
            "address": {"street": "x", "floor": 1, "city": None},
            "visits": [{"page": "/", "seconds": None}],
        },
        {
            "id": 2,
            "tags": None,
            "address": {"street": None, "floor": None, "city": {"name": "Köln"}},
            "visits": [{"page": None, "seconds": 3}],
        },
    ]


def test_names_are_written_as_dlt_writes_them(lake: Lake) -> None:
    load(lake, table_spec(), [{"OrderID": 1, "unit-price": 2, "1st": 3, "order": 4, "size__v_text": "L"}])

    assert lake.rows("raw.numbers") == [{"order_id": 1, "unit_price": 2, "_1st": 3, "order": 4, "size__v_text": "L"}]


def test_two_columns_that_become_one_are_an_error_that_names_both(lake: Lake) -> None:
    with pytest.raises(PermanentError, match="'orderId' and 'order_id' both become 'order_id'"):
        load(lake, table_spec(), [{"orderId": 1, "order_id": 2}])

    assert not lake.catalog.table_exists("raw.numbers")


def test_what_dlt_keeps_for_itself_does_not_land(lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "_dlt_id": "x", "_dlt_load_id": "y"}])

    assert lake.rows("raw.numbers") == [{"id": 1}]


# Field ids are chosen before the commit, and are the table's afterwards


@pytest.mark.parametrize("batches", [([ROW],), (numbers([1]), numbers([2], late=1), numbers([3], later=1))])
def test_the_ids_of_a_new_table_are_those_in_its_files(batches: tuple[Rows, ...], lake: Lake) -> None:
    load_ = staged(lake, table_spec(), *batches)
    planned = load_.schema

    lake.commit(load_)

    assert planned is not None
    schema = lake.table("raw.numbers").schema()
    assert schema.fields == planned.fields
    assert ids_in_files(lake) == {field.name: {field.field_id} for field in schema.fields}


def test_a_new_table_with_nested_columns_may_grow_in_the_middle_of_its_first_load(lake: Lake) -> None:
    load(lake, table_spec(), [ROW], [{**ROW, "id": 2, "late": 1}], [{**ROW, "id": 3, "address": {"city": "x"}}])

    assert lake.duckdb_rows("raw.numbers") == lake.rows("raw.numbers")
    assert [(row["id"], row["late"], row["address"]["city"]) for row in lake.rows("raw.numbers")] == [
        (1, None, None),
        (2, 1, None),
        (3, None, "x"),
    ]


def test_the_ids_of_new_columns_are_those_in_the_files(lake: Lake) -> None:
    load(lake, table_spec(), [ROW])
    load_ = staged(
        lake, table_spec(), [{"id": 2, "note": "b", "visits": [], "address": {"street": "y", "city": {"name": "Köln"}}}]
    )
    planned = load_.schema

    lake.commit(load_)

    assert planned is not None
    assert lake.table("raw.numbers").schema().fields == planned.fields
    assert lake.rows("raw.numbers")[1] == {
        "id": 2,
        "tags": None,
        "address": {"street": "y", "floor": None, "city": {"name": "Köln"}},
        "visits": [],
        "note": "b",
    }


def test_staging_does_not_touch_the_table(lake: Lake) -> None:
    load(lake, table_spec(), [ROW])
    before = lake.table("raw.numbers").metadata_location

    staged(lake, table_spec(), [{"id": 2, "note": "b"}])

    assert lake.table("raw.numbers").metadata_location == before


# What the contract forbids


@pytest.mark.parametrize("mode", ["freeze", "discard_value", "discard_row"])
def test_a_contract_lets_a_new_table_be_created(mode: str, lake: Lake) -> None:
    load(lake, table_spec(**contract(mode)), [ROW], [{"id": 2, "late": "too"}])

    assert lake.values("raw.numbers") == [1, 2]


@pytest.mark.parametrize("mode", ["freeze", "discard_value", "discard_row"])
def test_a_contract_has_nothing_against_what_the_table_knows(mode: str, lake: Lake) -> None:
    """Nested columns with all of their fields, with fewer, and with none."""
    load(lake, table_spec(), [ROW])
    smaller = pa.table({"id": pa.array([3], pa.int16()), "tags": [[]], "address": [{"street": "y"}], "visits": [[]]})

    load(lake, table_spec(**contract(mode)), [{**ROW, "id": 2}], smaller, [{"id": 4, "visits": []}])

    assert lake.rows("raw.numbers") == [
        ROW,
        {**ROW, "id": 2},
        {"id": 3, "tags": [], "address": {"street": "y", "floor": None}, "visits": []},
        {"id": 4, "tags": None, "address": None, "visits": []},
    ]


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"note": "new"}, "note"),
        ({"count": 2**40}, "count"),
        ({"name": 1}, "name"),
        ({"address": {"street": "x", "city": "new"}}, "address.city"),
        ({"sizes": [0.5]}, "sizes"),
    ],
)
def test_a_frozen_table_refuses_what_is_new_and_names_it(change: dict[str, Any], column: str, lake: Lake) -> None:
    known = {"id": 1, "count": None, "name": "a", "address": {"street": "x"}, "sizes": [1]}
    small = pa.schema(
        {
            "id": pa.int64(),
            "count": pa.int32(),
            "name": pa.string(),
            "address": pa.struct({"street": pa.string()}),
            "sizes": pa.list_(pa.int64()),
        }
    )
    load(lake, table_spec(), pa.Table.from_pylist([known], small))

    with pytest.raises(ContractBroken, match=f"frozen and the source now sends '{column}'") as raised:
        load(lake, table_spec(**contract("freeze")), [{**known, **change}])

    assert (raised.value.table, raised.value.column) == ("raw.numbers", column)
    assert lake.rows("raw.numbers") == [known]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("discard_value", [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}]),
        ("discard_row", [{"id": 1, "name": "a"}, {"id": 3, "name": "c"}]),
    ],
)
def test_a_new_column_is_discarded_as_the_contract_says(mode: str, expected: Rows, lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "name": "a"}])

    load(lake, table_spec(**contract(mode)), [{"id": 2, "name": "b", "note": "x"}, {"id": 3, "name": "c"}])

    assert lake.rows("raw.numbers") == expected


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("discard_value", [{"id": 1, "size": 1}, {"id": 2, "size": None}, {"id": 3, "size": None}]),
        ("discard_row", [{"id": 1, "size": 1}, {"id": 3, "size": None}]),
    ],
)
def test_a_value_of_another_type_is_discarded_as_the_contract_says(mode: str, expected: Rows, lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "size": 1}])

    load(lake, table_spec(**contract(mode)), [{"id": 2, "size": "large"}, {"id": 3, "size": None}])

    assert lake.rows("raw.numbers") == expected


def test_discarded_rows_are_counted_and_handed_over(lake: Lake) -> None:
    load(lake, table_spec(), numbers([1]))
    plan = SchemaPlan(table_spec(**contract("discard_row")), lake.table("raw.numbers").transaction())
    rejected: list[tuple[list[dict[str, Any]], str]] = []
    plan.on_reject = lambda rows, reason: rejected.append((rows.to_pylist(), reason))

    kept = plan.conform(pa.RecordBatch.from_pylist([{"id": 2, "note": "x"}, {"id": 3, "note": None}]))

    assert kept.to_pylist() == [{"id": 3}]
    assert plan.discarded == {"contract": 1}
    assert rejected == [([{"id": 2, "note": "x"}], "schema_contract: discard_row forbids column 'note'")]


def test_columns_and_types_may_have_different_contracts(lake: Lake) -> None:
    spec = table_spec(schema_contract={"columns": "evolve", "data_type": "freeze"})
    load(lake, spec, [{"id": 1}])
    load(lake, spec, [{"id": 2, "note": "x"}])

    with pytest.raises(ContractBroken, match="'note'"):
        load(lake, spec, [{"id": 3, "note": 1}])

    assert lake.rows("raw.numbers") == [{"id": 1, "note": None}, {"id": 2, "note": "x"}]


def test_a_table_may_be_forbidden_to_come_about(lake: Lake) -> None:
    with pytest.raises(PermanentError, match=r"raw\.numbers"):
        load(lake, table_spec(schema_contract={"tables": "freeze"}), numbers([1]))

    assert not lake.catalog.table_exists("raw.numbers")


# Declared columns


def test_declared_types_win_over_those_of_the_source(lake: Lake) -> None:
    spec = table_spec(columns={"price": "decimal(10, 2)", "soldAt": {"type": "timestamptz"}, "id": "long"})

    load(lake, spec, pa.table({"id": pa.array([1], pa.int8()), "price": [7], "soldAt": ["2024-01-01T01:00:00+01:00"]}))

    assert lake.rows("raw.numbers") == [
        {"id": 1, "price": Decimal("7.00"), "sold_at": datetime(2024, 1, 1, tzinfo=timezone.utc)}
    ]


def test_a_declared_type_makes_a_column_of_nothing_but_nulls(lake: Lake) -> None:
    load(lake, table_spec(columns={"note": "string"}), pa.table({"id": [1], "note": pa.nulls(1)}))

    assert lake.rows("raw.numbers") == [{"id": 1, "note": None}]


def test_descriptions_become_the_docs_of_columns(lake: Lake) -> None:
    load(lake, table_spec(columns={"Price": {"description": "in euros"}}), [{"id": 1, "price": 1}])

    assert lake.table("raw.numbers").schema().find_field("price").doc == "in euros"


def test_a_value_that_a_declared_type_cannot_hold_is_an_error_that_names_it(lake: Lake) -> None:
    with pytest.raises(PermanentError, match=r"column 'price'.*does not fit the table's decimal128\(3, 2\)"):
        load(lake, table_spec(columns={"price": "decimal(3,2)"}), pa.table({"price": [1234]}))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        *(
            (text, True)
            for text in ("long", "Decimal(10,2)", "decimal( 38 , 0 )", "fixed[16]", "timestamptz", "unknown")
        ),
        *((text, False) for text in ("varchar", "decimal", "decimal(10)", "decimal(39, 2)", "fixed", "list<string>")),
    ],
)
def test_what_floe_yaml_takes_as_a_type_is_one_to_pyiceberg(text: str, is_one: bool) -> None:
    def accepted(parse: Callable[[], object]) -> bool:
        try:
            parse()
        except (ValueError, ConfigurationError):
            return False
        return True

    assert accepted(lambda: parse_type(text, "raw.orders", "price")) == is_one
    assert accepted(lambda: ColumnSpec(type=text)) == is_one


# Keys


def test_key_columns_are_required_and_identify_rows(lake: Lake) -> None:
    load(lake, table_spec(), [{"region": "eu", "id": 1, "note": None}, {"region": "us", "id": 1, "note": "x"}],
         key=["region", "id"])  # fmt: skip

    schema = lake.table("raw.numbers").schema()
    assert {field.name for field in schema.fields if field.required} == {"region", "id"}
    assert schema.identifier_field_names() == {"region", "id"}


def test_rows_without_the_key_column_are_refused_with_the_columns_that_there_are(lake: Lake) -> None:
    with pytest.raises(KeyViolation, match=r"rows have no column 'id'.*with a column of: number, name\."):
        load(lake, table_spec(), [{"number": 1, "name": "a"}], key=["id"])

    assert not lake.catalog.table_exists("raw.numbers")


def test_later_rows_without_the_key_column_are_refused(lake: Lake) -> None:
    with pytest.raises(KeyViolation, match="rows have no column 'id'"):
        load(lake, table_spec(), [{"id": 1, "name": "a"}], [{"name": "b"}], key=["id"])


def test_null_keys_are_refused_and_counted(lake: Lake) -> None:
    nulls = pa.table({"id": pa.nulls(1), "name": ["a"]})
    with pytest.raises(KeyViolation, match="rows without a value in the key column 'id'"):
        load(lake, table_spec(), nulls, key=["id"])
    with pytest.raises(KeyViolation, match="2 rows without a value in the key column 'id'"):
        load(lake, table_spec(), [{"id": 1}, {"id": None}, {"id": None}], key=["id"])

    assert not lake.catalog.table_exists("raw.numbers")


def test_floating_point_keys_are_refused_with_a_way_out(lake: Lake) -> None:
    with pytest.raises(KeyViolation, match=r"'id' holds floating point numbers.*columns: \{id: long\}"):
        load(lake, table_spec(), [{"id": 1.0}], key=["id"])

    load(lake, table_spec(columns={"id": "long"}), [{"id": 1.0}], key=["id"])

    assert lake.values("raw.numbers") == [1]


def test_a_key_may_be_given_to_a_table_that_was_made_without_one(lake: Lake) -> None:
    load(lake, table_spec(), numbers([1, 2], note="a"))

    load(lake, table_spec(write_disposition="merge"), numbers([2, 3], note="b"), key=["id"])

    assert lake.rows("raw.numbers") == [*numbers([1], note="a"), *numbers([2, 3], note="b")]


def test_tables_of_others_keep_their_required_columns(lake: Lake) -> None:
    inner = StructType(NestedField(3, "street", StringType(), required=True))
    schema = Schema(NestedField(1, "id", LongType(), required=True), NestedField(2, "address", inner, required=True))
    lake.catalog.create_namespace("raw")
    lake.catalog.create_table("raw.numbers", schema)

    load(lake, table_spec(), [{"id": 1, "address": {"street": "x", "city": "y"}, "note": "n"}])

    assert [field.required for field in lake.table("raw.numbers").schema().fields] == [True, True, False]
    assert lake.rows("raw.numbers") == [{"id": 1, "address": {"street": "x", "city": "y"}, "note": "n"}]


def test_tables_of_others_keep_the_names_of_their_columns(lake: Lake) -> None:
    """Staged rows have them all, and no column is added that would be called so by ours."""
    columns = [NestedField(2, "Updated At", StringType()), NestedField(3, "a.b", LongType())]
    lake.catalog.create_namespace("raw")
    lake.catalog.create_table("raw.numbers", Schema(NestedField(1, "id", LongType()), *columns))

    for id_ in (1, 2):
        load(lake, table_spec(write_disposition="merge"), [{"id": id_, "Updated At": "x", "newName": 1}], key=["id"])

    assert lake.rows("raw.numbers") == [{"id": id_, "Updated At": "x", "a.b": None, "new_name": 1} for id_ in (1, 2)]


REQUIRING = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "s", StructType(NestedField(3, "a", LongType(), required=True))),
    NestedField(4, "l", ListType(5, StructType(NestedField(6, "b", StringType(), required=True)))),
    NestedField(7, "m", MapType(8, StringType(), 9, LongType(), value_required=True)),
)
PLAIN = pa.schema(
    {
        "id": pa.int64(),
        "s": pa.struct({"a": pa.int64()}),
        "l": pa.list_(pa.struct({"b": pa.string()})),
        "m": pa.map_(pa.string(), pa.int64()),
    }
)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"id": None}, "id"),
        ({"id": 1, "s": {"a": None}}, "s.a"),
        ({"id": 1, "m": {"k": None}}, "m.value"),
    ],
    ids=str,
)
def test_rows_without_a_value_that_the_table_requires_are_refused(row: Row, name: str, lake: Lake) -> None:
    lake.catalog.create_namespace("raw")
    lake.catalog.create_table("raw.numbers", REQUIRING)

    with pytest.raises(PermanentError, match=f"1 row without a value in '{name}', which the table requires"):
        load(lake, table_spec(), pa.Table.from_pylist([row], PLAIN))


def test_what_is_missing_needs_nothing_inside_of_it(lake: Lake) -> None:
    """Also when its rows are written anew, for which Arrow takes them out of a file."""
    rows = [{"id": 1, "s": None, "l": None, "m": None}, {"id": 2, "s": {"a": 7}, "l": [{"b": "x"}], "m": [("k", 1)]}]
    lake.catalog.create_namespace("raw")
    lake.catalog.create_table("raw.numbers", REQUIRING)
    load(lake, table_spec(), pa.Table.from_pylist([*rows, {"id": 3}], PLAIN))

    merge = table_spec(write_disposition="merge", merge_mode="copy-on-write")
    load(lake, merge, pa.Table.from_pylist([{"id": 3, "l": [{"b": ""}, {"b": "y"}]}], PLAIN), key=["id"])

    # pyiceberg reads a list of structs that is missing as an empty one.
    expected = [*rows, {"id": 3, "s": None, "l": [{"b": ""}, {"b": "y"}]}]
    found = [(row["id"], row["s"], row["l"]) for row in lake.duckdb_rows("raw.numbers")]
    assert found == [(row["id"], row["s"], row["l"]) for row in expected]


def ids_in_files(lake: Lake) -> dict[str, set[int]]:
    """The field ids that each top-level column has in the Parquet files."""
    found: dict[str, set[int]] = {}
    for path in lake.data_files():
        for field in pq.read_schema(path):
            found.setdefault(field.name, set()).add(int(field.metadata[b"PARQUET:field_id"]))
    return found
