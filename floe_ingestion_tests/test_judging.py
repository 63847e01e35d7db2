"""What the checks of a table find in a load, and in what words they say it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from floe_ingestion.iceberg.writer import ParquetSink
from floe_ingestion.judging import judge
from floe_ingestion.landing import subject_of_load
from floe_ingestion.verdict import Verdict
from floe_ingestion_tests.fake_sources import Shop, pipeline_of_rows, table_spec
from floe_ingestion_tests.iceberg.loads import private_folder, staged
from floe_ingestion_tests.lake import Lake

Row = Mapping[str, Any]
NOW = datetime.now(timezone.utc)


def found(
    lake: Lake, rows: Sequence[Row] | pa.Table, *checks: Mapping[str, Any], key: Sequence[str] = (), **spec: Any
) -> dict[str, Verdict]:
    """Land `rows` in raw.numbers, and judge them; the verdicts by name."""
    batch = rows if isinstance(rows, pa.Table) else list(rows)
    return verdicts(lake, staged(lake, table_spec(checks=list(checks), **spec), batch, key=key))


def dlt_found(lake: Lake, pipeline: Any) -> dict[str, Verdict]:
    """Load as a run does, dlt and all, and judge what came of it."""
    with lake.staged(pipeline) as made:
        return verdicts(lake, made)


def verdicts(lake: Lake, made: Any) -> dict[str, Verdict]:
    landed = lake.commit(made)
    subject = subject_of_load(made, landed, lake.table(str(made.table)))
    return {check.key: judge(check, subject, private_folder(lake)) for check in made.table.checks}


def passed(of: Mapping[str, Verdict]) -> dict[str, bool]:
    return {name: verdict.passed for name, verdict in of.items()}


# Rows


def test_rows_are_counted_and_their_numbers_agree_from_the_source_to_the_table(lake: Lake) -> None:
    rows = [{"id": number} for number in range(5)]

    (verdict,) = dlt_found(lake, pipeline_of_rows(rows, checks=[{"type": "row_count", "min": 5, "max": 5}])).values()

    assert verdict.passed
    assert verdict.sentence == "5 rows, expected at least 5 and at most 5; rows read, staged and landed agree"
    told = {"rows": 5, "rows read": 5, "rows staged": 5, "rows landed": 5, "answered from": "metadata"}
    assert told.items() <= verdict.facts.items()


def test_a_table_that_shrinks_too_much_fails_with_both_numbers(lake: Lake) -> None:
    check = {"type": "row_count", "max_change": 0.1}
    found(lake, [{"id": number} for number in range(10)], check)

    (verdict,) = found(lake, [{"id": 1}], check, write_disposition="replace").values()

    assert verdict.sentence == "10 rows became 1 (-90.0%), expected at most ±10.0%"
    assert (verdict.facts["rows before"], verdict.facts["change"]) == (10, -0.9)


def test_a_load_that_loses_a_row_on_its_way_fails(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of ours does, so that a writer is made to."""
    write = ParquetSink.write
    monkeypatch.setattr(ParquetSink, "write", lambda self, rows: write(self, rows.slice(1)))

    (verdict,) = dlt_found(lake, pipeline_of_rows([{"id": 1}, {"id": 2}], checks=[{"type": "row_count"}])).values()

    assert verdict.sentence == "the source gave 2 rows, expected 1 (1 staged and 0 left out)"


WAYS: list[dict[str, Any]] = [
    {"write_disposition": "append"},
    {"write_disposition": "replace"},
    {"write_disposition": "merge", "primary_key": "id"},
    {"write_disposition": "merge", "primary_key": "id", "merge_strategy": "insert-only"},
    {"write_disposition": "merge", "primary_key": "id", "merge_strategy": "delete-insert"},
    {"write_disposition": "merge", "primary_key": "id", "merge_strategy": "scd2"},
    {"write_disposition": "merge", "primary_key": "id", "hard_delete": "gone"},
]


@pytest.mark.parametrize("destination", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_the_numbers_of_every_way_to_land_agree(lake: Lake, shop: Shop, destination: dict[str, Any]) -> None:
    shop.execute("create table things (id integer, name text, gone boolean)")
    shop.execute("insert into things values (1, 'a', 0), (2, 'b', 0), (3, 'c', 0), (4, 'd', 0), (4, 'd', 0)")
    pipeline = shop.pipeline(
        "raw.things", config={"tables": ["things"]}, destination=destination, checks=[{"type": "row_count"}]
    )
    (first,) = dlt_found(lake, pipeline).values()
    shop.execute("delete from things where id = 1")
    shop.execute("update things set name = 'x' where id = 2")
    shop.execute("update things set gone = 1 where id = 3")
    shop.execute("insert into things values (5, 'e', 0), (6, 'f', 1)")

    (second,) = dlt_found(lake, pipeline).values()

    assert first.sentence.endswith("agree")
    assert second.sentence.endswith("agree")
    assert second.facts["rows"] == len(lake.rows("raw.things"))


# Values


def test_null_values_are_counted_by_column(lake: Lake) -> None:
    rows = [{"id": 1, "name": "a"}, {"id": 2, "name": None}, {"id": None, "name": "c"}]

    (verdict,) = found(lake, rows, {"type": "not_null", "columns": ["id", "name"]}).values()

    assert verdict.sentence == "1 row without 'id', 1 row without 'name', expected none"
    assert (verdict.facts["nulls in id"], verdict.facts["answered from"]) == (1, "metadata")


def test_a_column_that_came_later_is_null_in_the_rows_before(lake: Lake) -> None:
    found(lake, [{"id": 1}, {"id": 2}])

    (verdict,) = found(lake, [{"id": 3, "name": "c"}], {"type": "not_null", "columns": "name"}).values()

    assert verdict.sentence == "2 rows without 'name', expected none"


def test_repeated_keys_are_found_and_nulls_are_no_key(lake: Lake) -> None:
    rows = [{"id": 1, "at": "x"}, {"id": 1, "at": "x"}, {"id": 1, "at": "y"}, {"id": None, "at": "x"}]
    rows += [{"id": None, "at": "x"}]

    (verdict,) = found(lake, rows, {"type": "unique", "columns": ["id", "at"]}).values()

    assert verdict.sentence == (
        "1 value of (id, at) more than once (1 row too many), such as (1, 'x'); expected each once"
    )
    assert verdict.facts["rows"] == 3


def test_unique_is_about_the_key_where_it_names_no_columns(lake: Lake) -> None:
    rows = [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]

    (verdict,) = found(lake, rows, {"type": "unique"}, primary_key=("id",)).values()

    assert "1 value of (id)" in verdict.sentence


def test_versions_of_a_row_are_told_apart_by_when_they_began(lake: Lake, shop: Shop) -> None:
    scd2 = {"write_disposition": "merge", "merge_strategy": "scd2"}
    pipeline = shop.pipeline(destination=scd2, checks=[{"type": "unique"}])
    shop.sell((1, "ann", "1.00", "2024-01-01 00:00:00"))
    dlt_found(lake, pipeline)
    shop.change(1, "2024-01-02 00:00:00", amount="2.00")

    (verdict,) = dlt_found(lake, pipeline).values()

    assert verdict.sentence == "(id, valid_from) is different in each of 2 rows"


def test_an_appended_table_has_no_versions_where_others_of_its_source_do(lake: Lake) -> None:
    unique = {"type": "unique"}

    (verdict,) = found(lake, [{"id": 1}, {"id": 2}], unique, primary_key=["id"], merge_strategy="scd2").values()

    assert verdict.sentence == "(id) is different in each of 2 rows"


def test_values_that_are_not_accepted_are_counted_and_shown(lake: Lake) -> None:
    rows = [{"id": 1, "status": "open"}, {"id": 2, "status": None}, {"id": 3, "status": "lost"}]
    accepted = [{"column": "status", "values": ["open", "paid"]}, {"column": "id", "values": [1, 2, 3]}]

    met = found(lake, rows, *({"type": "accepted_values", **each} for each in accepted))

    assert passed(met) == {"accepted_values_status": False, "accepted_values_id": True}
    assert met["accepted_values_status"].sentence == (
        "1 row with other values in 'status', such as lost; expected open, paid"
    )


def test_values_lie_between_bounds_of_their_own_type(lake: Lake) -> None:
    rows = [{"id": 1, "day": date(2024, 1, 1), "at": datetime(2024, 1, 1, 10, tzinfo=timezone.utc), "part": 0.5}]
    rows += [{"id": 7, "day": date(2024, 1, 31), "at": datetime(2024, 1, 2, 10, tzinfo=timezone.utc), "part": 1.5}]
    limits: list[dict[str, Any]] = [
        {"column": "id", "min": 1, "max": 6},
        {"column": "day", "min": date(2024, 1, 1)},
        {"column": "at", "max": datetime(2024, 1, 2, 9)},
        {"column": "part", "min": 0, "max": 1.5},
        {"column": "day", "name": "a_number", "min": 3},
    ]

    met = found(lake, rows, *({"type": "range", **each} for each in limits))

    assert passed(met) == {
        "range_id": False,
        "range_day": True,
        "range_at": False,
        "range_part": True,
        "a_number": False,
    }
    assert met["range_id"].sentence == (
        "the least 'id' is 1, expected at least 1; the greatest 'id' is 7, expected at most 6"
    )
    assert met["a_number"].sentence.startswith("'day' is date, and 3 does not compare with it. Write `min` and `max`")
    assert met["range_id"].facts["greatest"] == 7
    assert {verdict.facts["answered from"] for verdict in met.values()} == {"metadata"}


def test_the_newest_value_of_a_column_says_whether_a_table_is_fresh(lake: Lake) -> None:
    now = datetime.now(timezone.utc)
    rows = [{"id": 1, "at": now - timedelta(hours=30), "old": now - timedelta(days=9)}]
    rows += [{"id": 2, "at": now - timedelta(hours=20), "old": now - timedelta(days=5)}]
    columns = ("at", "old", "id")

    met = found(lake, rows, *({"type": "freshness", "column": name, "max_age": "1d"} for name in columns))

    assert passed(met) == {"freshness_at": True, "freshness_old": False, "freshness_id": False}
    assert met["freshness_old"].facts["age in hours"] == pytest.approx(120, abs=0.5)
    assert re.search(r" 120\.\d h old, expected at most 1d$", met["freshness_old"].sentence)
    assert met["freshness_id"].sentence.startswith("'id' is long, expected a time. Declare it: `columns: {id: timest")


def test_a_table_without_rows_is_not_fresh(lake: Lake) -> None:
    empty = pa.table({"at": pa.array([], pa.timestamp("us", "UTC"))})

    met = found(lake, empty, {"type": "freshness", "column": "at", "max_age": "1d"}, {"type": "row_count"})

    assert passed(met) == {"freshness_at": False, "row_count": True}


# Columns


def test_columns_that_come_or_change_are_drift_and_the_first_load_is_none(lake: Lake) -> None:
    narrow, wide = pa.table({"id": pa.array([1], pa.int32())}), pa.table({"id": [2**40], "name": ["b"]})

    met = [found(lake, rows, {"type": "schema_drift"})["schema_drift"] for rows in (narrow, narrow, wide, wide)]

    assert [verdict.passed for verdict in met] == [True, True, False, True]
    assert met[2].sentence == "new columns: name; changed: id: int → long; expected the columns as before"


def test_columns_that_are_not_declared_are_drift_too(lake: Lake) -> None:
    check = {"type": "schema_drift", "against": "declared"}
    columns = {"id": "int", "amount": "decimal(10, 2)"}

    (verdict,) = found(lake, pa.table({"id": [1], "more": [1]}), check, columns={**columns}).values()
    more = pa.table({"id": pa.array([1], pa.int32()), "amount": pa.array([Decimal("1.00")], pa.decimal128(10, 2))})
    (right,) = found(lake, more, {**check}, table="raw.right", columns={**columns}).values()

    assert verdict.sentence == "new columns: more; gone: amount; expected the columns as declared"
    assert right.sentence == "the columns are as declared"


def test_a_column_that_is_not_there_fails_the_check_and_says_which_was_meant(lake: Lake) -> None:
    (verdict,) = found(lake, [{"email": "a"}], {"type": "not_null", "columns": "emial"}).values()

    assert verdict.sentence == "there is no column 'emial'. Did you mean 'email'? The table's columns: email"


# From what


def test_rows_that_a_merge_has_marked_as_deleted_do_not_count(lake: Lake) -> None:
    checks = [
        {"type": "row_count", "min": 100, "max": 100},
        {"type": "not_null", "columns": "name"},
        {"type": "range", "column": "size", "max": 10},
        {"type": "unique"},
    ]
    how: dict[str, Any] = {"write_disposition": "merge", "primary_key": ("id",), "key": ("id",)}
    rows = [{"id": number, "name": "a" if number else None, "size": 99 if number == 1 else 1} for number in range(100)]

    first = found(lake, rows, *checks, **how)
    second = found(lake, [{"id": 0, "name": "b", "size": 2}, {"id": 1, "name": "c", "size": 3}], *checks, **how)
    third = found(lake, [{"id": 0, "name": "d", "size": 2}, {"id": 2, "name": "c", "size": 3}], *checks, **how)

    assert passed(first) == {"row_count": True, "not_null_name": False, "range_size": False, "unique": True}
    assert [task.delete_files for task in lake.table("raw.numbers").scan().plan_files() if task.delete_files]
    assert all(passed(second).values())
    assert all(passed(third).values())
    assert [each["row_count"].facts["answered from"] for each in (second, third)] == [
        "metadata",
        "metadata and delete files",
    ]
    assert second["not_null_name"].facts["answered from"] == "rows"
    assert second["range_size"].facts["files read"] == 1
