"""scd2, rejected rows, values of another type, and rows outside their window."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pytest

from floe_ingestion.errors import OutsideWindow, PermanentError, SchemaConflict, TransientError
from floe_ingestion.staging import Window
from floe_ingestion_tests.fake_sources import pipeline_of_rows
from floe_ingestion_tests.lake import Lake

SCD2 = {"write_disposition": "merge", "merge_strategy": "scd2", "primary_key": ("id",)}
NAME = "raw.numbers"


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


def versions(lake: Lake) -> list[tuple[int, str, bool]]:
    """Key, value, and whether it is the current version; oldest first."""
    rows = sorted(lake.rows(NAME), key=lambda row: (row["id"], row["valid_from"]))
    return [(row["id"], row["name"], row["valid_to"] is None) for row in rows]


def test_a_row_that_changes_is_closed_and_its_new_version_stands_beside_it(lake):
    lake.load(pipeline_of_rows([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], **SCD2))
    landed = lake.load(pipeline_of_rows([{"id": 1, "name": "a"}, {"id": 2, "name": "B"}], **SCD2))

    assert (landed.rows_added, landed.rows_updated, landed.rows_unchanged) == (0, 1, 1)
    assert versions(lake) == [(1, "a", True), (2, "b", False), (2, "B", True)]


def test_a_version_ends_when_the_next_one_begins(lake):
    lake.load(pipeline_of_rows([{"id": 1, "name": "a"}], **SCD2))
    lake.load(pipeline_of_rows([{"id": 1, "name": "b"}], **SCD2))

    old, new = sorted(lake.rows(NAME), key=lambda row: row["valid_from"])
    assert old["valid_to"] == new["valid_from"]


@pytest.mark.parametrize("newer", [{1: "a", 2: "newer"}, {1: "a"}], ids=["changes", "closes"])
def test_a_load_that_read_the_source_before_one_that_has_landed_is_given_up(newer, lake):
    """Its versions would end before they begin, or bring back what was closed; the next attempt reads what is."""

    def of(names):
        return pipeline_of_rows([{"id": key, "name": name} for key, name in names.items()], **SCD2)

    lake.load(of({1: "a", 2: "b"}))
    with lake.staged(of({1: "a", 2: "B"})) as older:
        lake.load(of(newer))
        before = versions(lake), lake.data_files()
        with pytest.raises(TransientError, match="another run has read the source later"):
            lake.commit(older)

    assert (versions(lake), lake.data_files()) == before
    lake.load(of({1: "a", 2: "B"}))
    assert [(row["id"], row["name"]) for row in lake.rows(NAME) if row["valid_to"] is None] == [(1, "a"), (2, "B")]
    assert all(row["valid_to"] is None or row["valid_from"] < row["valid_to"] for row in lake.rows(NAME))


@pytest.mark.parametrize(("ahead", "kind"), [(60, TransientError), (7200, PermanentError)])
def test_a_version_of_times_to_come_is_told_with_both_clocks(ahead, kind, lake):
    pipeline = pipeline_of_rows([{"id": 1, "name": "a"}], **SCD2)
    lake.load(pipeline)
    table = lake.table(NAME)
    rows, then = table.scan().to_arrow(), datetime.now(timezone.utc) + timedelta(seconds=ahead)
    table.overwrite(rows.set_column(2, rows.schema.field(2), [[then]]))

    with pytest.raises(kind) as caught:
        lake.load(pipeline)

    assert type(caught.value) is kind
    assert f"begins at {then}, and here it is {datetime.now(timezone.utc):%Y-%m-%d %H:}" in str(caught.value)
    assert "Set the clocks" in str(caught.value)


def test_a_load_of_everything_closes_the_rows_that_it_no_longer_has(lake):
    lake.load(pipeline_of_rows([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], **SCD2))
    landed = lake.load(pipeline_of_rows([{"id": 1, "name": "a"}], **SCD2))

    assert landed.rows_deleted == 1
    assert versions(lake) == [(1, "a", True), (2, "b", False)]


def test_a_row_that_comes_back_begins_a_new_version(lake):
    for names in ({1: "a", 2: "b"}, {1: "a"}, {1: "a", 2: "b"}):
        lake.load(pipeline_of_rows([{"id": key, "name": name} for key, name in names.items()], **SCD2))

    assert versions(lake) == [(1, "a", True), (2, "b", False), (2, "b", True)]


def test_a_load_that_changes_nothing_makes_no_snapshot(lake):
    rows = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    lake.load(pipeline_of_rows(rows, **SCD2))
    lake.load(pipeline_of_rows(rows, **SCD2))

    assert len(lake.table(NAME).snapshots()) == 1


def test_rows_of_before_the_table_had_versions_are_current_ones(lake):
    upsert = {"write_disposition": "merge", "primary_key": ("id",)}
    lake.load(pipeline_of_rows([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], **upsert))
    lake.load(pipeline_of_rows([{"id": 1, "name": "a"}, {"id": 2, "name": "B"}], **SCD2))

    found = {row["name"]: (row["valid_from"] is None, row["valid_to"] is None) for row in lake.rows(NAME)}
    assert found == {"a": (True, True), "b": (True, False), "B": (False, True)}


def test_a_partition_closes_only_versions_of_its_own(lake):
    day = [datetime(2026, 1, number, tzinfo=timezone.utc) for number in (1, 2, 3)]
    spec = {**SCD2, "partitions": {"type": "daily", "start": "2026-01-01", "column": "at"}}
    first = [{"id": 1, "name": "a", "at": day[0]}, {"id": 2, "name": "b", "at": day[0]}]
    lake.load(pipeline_of_rows(first, **spec), window=Window("at", day[0], day[1]))

    lake.load(pipeline_of_rows([{"id": 1, "name": "x", "at": day[1]}], **spec), window=Window("at", day[1], day[2]))
    assert versions(lake) == [(1, "a", True), (1, "x", True), (2, "b", True)]
    again = lake.load(pipeline_of_rows(first[:1], **spec), window=Window("at", day[0], day[1]))

    assert (again.rows_deleted, again.rows_unchanged) == (1, 1)
    assert versions(lake) == [(1, "a", True), (1, "x", True), (2, "b", False)]


def test_the_columns_of_versions_are_found_however_they_are_spelled(lake):
    spec = {**SCD2, "validity_columns": ("ValidFrom", "ValidTo")}
    lake.load(pipeline_of_rows([{"id": 1, "name": "a"}], **spec))
    lake.load(pipeline_of_rows([{"id": 1, "name": "b"}], **spec))

    assert versions(lake) == [(1, "a", False), (1, "b", True)]


def test_rows_that_a_contract_keeps_out_are_kept_beside_the_table(lake):
    lake.load(pipeline_of_rows([{"id": 1}]))
    contract = {"schema_contract": {"columns": "discard_row"}}
    lake.load(pipeline_of_rows([pa.table({"id": [2, 3], "surprise": ["!", None]})], **contract))

    assert lake.values(NAME) == [1, 3]
    (rejected,) = lake.rows(f"{NAME}__rejected")
    assert json.loads(rejected["row"]) == {"id": 2, "surprise": "!"}
    assert "surprise" in rejected["reason"]


def test_a_value_that_its_column_cannot_take_lands_beside_it(lake):
    lake.load(pipeline_of_rows([pa.table({"id": [1], "size": [10]})]))
    lake.load(pipeline_of_rows([pa.table({"id": [2], "size": ["large"]})]))
    lake.load(pipeline_of_rows([pa.table({"id": [3], "size": ["small"]})]))

    assert [(row["size"], row["size__v_text"]) for row in lake.rows(NAME)] == [
        (10, None),
        (None, "large"),
        (None, "small"),
    ]


def test_a_key_that_changes_its_type_is_an_error_and_nothing_is_written(lake):
    merge = {"write_disposition": "merge", "primary_key": ("id",)}
    lake.load(pipeline_of_rows([pa.table({"id": [1]})], **merge))

    with pytest.raises(SchemaConflict, match="'id' is long in the table and string in the source"):
        lake.load(pipeline_of_rows([pa.table({"id": ["one"]})], **merge))
    assert lake.values(NAME) == [1]


def test_rows_outside_a_strict_window_are_an_error_and_nothing_is_written(lake):
    days = [datetime(2026, 1, day, tzinfo=timezone.utc) for day in (1, 2)]
    window = Window(
        "at", datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2026, 1, 2, tzinfo=timezone.utc), strict=True
    )
    rows = pa.table({"id": [1, 2], "at": pa.array(days, pa.timestamp("us", "UTC"))})

    with pytest.raises(OutsideWindow, match="1 row whose 'at' lies outside"):
        lake.load(pipeline_of_rows([rows]), window=window)
    assert not lake.catalog.table_exists(NAME)


@pytest.mark.parametrize("marker", ["gone", "isGone"])
def test_rows_that_their_marker_says_are_gone_leave_the_table(marker, lake):
    merge = {"write_disposition": "merge", "primary_key": ("id",), "hard_delete": marker}
    lake.load(pipeline_of_rows([{"id": 1, marker: False}, {"id": 2, marker: False}], **merge))
    landed = lake.load(pipeline_of_rows([{"id": 1, marker: True}, {"id": 3, marker: False}], **merge))

    assert (landed.rows_added, landed.rows_deleted) == (1, 1)
    assert lake.values(NAME) == [2, 3]


def test_a_marker_closes_the_version_and_begins_none(lake):
    spec = {**SCD2, "hard_delete": "gone", "incremental": {"cursor_path": "number"}}
    lake.load(pipeline_of_rows([{"id": key, "name": "a", "gone": False, "number": 1} for key in (1, 2)], **spec))
    landed = lake.load(pipeline_of_rows([{"id": 1, "name": "a", "gone": True, "number": 2}], **spec))

    assert (landed.rows_added, landed.rows_updated, landed.rows_deleted, landed.rows_marking) == (0, 0, 1, 1)
    assert versions(lake) == [(1, "a", False), (2, "a", True)]


def test_all_rows_of_a_key_are_exchanged_for_all_that_come(lake):
    merge = {"write_disposition": "merge", "merge_strategy": "delete-insert", "primary_key": ("id",)}
    lake.load(pipeline_of_rows([{"id": 1, "line": 1}, {"id": 1, "line": 2}, {"id": 2, "line": 1}], **merge))
    lake.load(pipeline_of_rows([{"id": 1, "line": 7}, {"id": 1, "line": 8}], **merge))

    assert [(row["id"], row["line"]) for row in lake.rows(NAME)] == [(1, 7), (1, 8), (2, 1)]
