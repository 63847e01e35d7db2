"""The same promises on every pair of catalog and storage: SQLite, PostgreSQL and REST; a folder and S3."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest

from floe_ingestion.errors import ConfigurationError, ContractBroken, GateFailed, StaleCursor
from floe_ingestion.iceberg import audit
from floe_ingestion.pipeline import IngestionPipeline
from floe_ingestion.staging import Window
from floe_ingestion_tests.fake_sources import Shop, pipeline_of_rows
from floe_ingestion_tests.integration.lakehouses import RemoteLake

BY_CURSOR = {"cursor_path": "updated_at"}
DAILY = {"type": "daily", "start": "2024-01-01", "column": "updated_at"}


@pytest.fixture(autouse=True)
def four_orders(shop: Shop) -> None:
    shop.sell(
        (1, "ann", "9.99", "2024-01-01 00:00:00"),
        (2, "bob", "0.10", "2024-01-01 12:30:00"),
        (3, None, None, "2024-01-02 00:00:00"),
        (4, "zoë", "-12.90", "2024-01-02 23:59:59"),
    )


@pytest.fixture
def by_cursor(shop: Shop, lakehouse: RemoteLake) -> IngestionPipeline:
    return shop.pipeline(lakehouse.orders, incremental=BY_CURSOR)


def day(number: int) -> Window:
    return Window("updated_at", *(datetime(2024, 1, n, tzinfo=timezone.utc) for n in (number, number + 1)))


def test_the_first_load_makes_the_table_and_the_second_appends(
    shop: Shop, lakehouse: RemoteLake, by_cursor: IngestionPipeline
) -> None:
    first = lakehouse.load(by_cursor)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))

    second = lakehouse.load(by_cursor)

    assert (first.rows_added, second.rows_added, second.rows_total) == (4, 1, 5)
    assert lakehouse.rows(lakehouse.orders) == shop.orders()
    assert lakehouse.left_behind() == []


def test_replace_leaves_what_the_source_has_now(shop: Shop, lakehouse: RemoteLake) -> None:
    pipeline = shop.pipeline(lakehouse.orders, destination={"write_disposition": "replace"})
    lakehouse.load(pipeline)
    shop.execute("delete from orders where id < 4")

    landed = lakehouse.load(pipeline)

    assert (landed.rows_added, landed.rows_deleted, landed.rows_total) == (1, 4, 1)
    assert lakehouse.rows(lakehouse.orders) == shop.orders()


def test_a_partition_is_replaced_and_no_other(shop: Shop, lakehouse: RemoteLake) -> None:
    pipeline = shop.pipeline(lakehouse.orders, partitions=DAILY)
    for number in (1, 2):
        lakehouse.load(pipeline, window=day(number))
    untouched = lakehouse.files_of(lakehouse.orders, "updated_at >= '2024-01-02T00:00:00'")
    shop.execute("delete from orders where id = 1")

    lakehouse.load(pipeline, window=day(1))

    assert lakehouse.rows(lakehouse.orders) == shop.orders()
    assert lakehouse.files_of(lakehouse.orders, "updated_at >= '2024-01-02T00:00:00'") == untouched


def test_merge_updates_by_key(shop: Shop, lakehouse: RemoteLake) -> None:
    merge = {"write_disposition": "merge", "merge_mode": "merge-on-read"}
    pipeline = shop.pipeline(lakehouse.orders, incremental=BY_CURSOR, destination=merge)
    lakehouse.load(pipeline)
    shop.change(2, "2024-01-03 00:00:00", amount="7.77", customer=None)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:01"))

    landed = lakehouse.load(pipeline)

    assert (landed.rows_added, landed.rows_updated, landed.rows_total) == (1, 1, 5)
    assert lakehouse.rows(lakehouse.orders) == shop.orders()


def test_a_new_column_is_added_without_touching_old_files(lakehouse: RemoteLake) -> None:
    lakehouse.load(pipeline_of_rows([{"id": 1}], lakehouse.orders))
    before = lakehouse.files_of(lakehouse.orders)

    landed = lakehouse.load(pipeline_of_rows([{"id": 2, "note": "new"}], lakehouse.orders))

    assert landed.columns_added == ["note"]
    assert lakehouse.rows(lakehouse.orders) == [{"id": 1, "note": None}, {"id": 2, "note": "new"}]
    assert before < lakehouse.files_of(lakehouse.orders)


def test_a_load_whose_gate_fails_stays_on_a_branch_until_it_is_dropped(lakehouse: RemoteLake) -> None:
    gate: dict[str, Any] = {"checks": [{"type": "not_null", "columns": "note", "gate": True}], "publish": "audit"}
    lakehouse.load(pipeline_of_rows([{"id": 1, "note": "a"}], lakehouse.orders, **gate))
    before = lakehouse.table(lakehouse.orders)
    with pytest.raises(GateFailed, match="1 row without 'note'"):
        lakehouse.load(pipeline_of_rows([{"id": 2, "note": None, "more": True}], lakehouse.orders, **gate))
    table = lakehouse.table(lakehouse.orders)
    assert (table.current_snapshot(), table.schema()) == (before.current_snapshot(), before.schema())
    (waiting,) = audit.branches(table)
    assert sorted(table.scan().use_ref(waiting.branch).to_arrow()["id"].to_pylist()) == [1, 2]

    lakehouse.load(pipeline_of_rows([{"id": 2, "note": "b", "more": True}], lakehouse.orders, **gate))
    audit.drop(lakehouse.table(lakehouse.orders), waiting.branch)

    assert [(row["id"], row["more"]) for row in lakehouse.rows(lakehouse.orders)] == [(1, None), (2, True)]
    assert lakehouse.objects() == lakehouse.files_of(lakehouse.orders)


def test_a_frozen_table_takes_no_new_column(lakehouse: RemoteLake) -> None:
    frozen: dict[str, Any] = {"schema_contract": {"columns": "freeze", "data_type": "freeze"}}
    lakehouse.load(pipeline_of_rows([{"id": 1}], lakehouse.orders, **frozen))
    before = lakehouse.table(lakehouse.orders).metadata_location

    with pytest.raises(ContractBroken):
        lakehouse.load(pipeline_of_rows([{"id": 2, "note": "new"}], lakehouse.orders, **frozen))

    assert lakehouse.table(lakehouse.orders).metadata_location == before


def test_a_run_that_dies_before_its_commit_is_made_good_by_the_next(
    shop: Shop, lakehouse: RemoteLake, by_cursor: IngestionPipeline
) -> None:
    lakehouse.load(by_cursor)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))
    with lakehouse.staged(by_cursor) as staged:
        assert staged.rows == 1  # and here it dies

    lakehouse.load(by_cursor)

    assert lakehouse.rows(lakehouse.orders) == shop.orders()


def test_a_run_that_dies_after_its_commit_writes_nothing_when_it_is_retried(
    shop: Shop, lakehouse: RemoteLake, by_cursor: IngestionPipeline
) -> None:
    first = lakehouse.load(by_cursor, run="run-1")

    again = lakehouse.load(by_cursor, run="run-1")

    assert (again.already_landed, again.snapshot_id) == (True, first.snapshot_id)
    assert lakehouse.rows(lakehouse.orders) == shop.orders()


def test_two_writers_that_both_append_both_land(lakehouse: RemoteLake) -> None:
    lakehouse.load(pipeline_of_rows([{"id": 0}], lakehouse.orders))
    with (
        lakehouse.staged(pipeline_of_rows([{"id": 1}], lakehouse.orders)) as one,
        lakehouse.staged(pipeline_of_rows([{"id": 2, "note": "x"}], lakehouse.orders)) as other,
    ):
        lakehouse.commit(one)
        lakehouse.commit(other)

    assert lakehouse.values(lakehouse.orders) == [0, 1, 2]


def test_writers_at_the_same_time_all_land(lakehouse: RemoteLake) -> None:
    lakehouse.load(pipeline_of_rows([{"id": 0}], lakehouse.orders))

    def write(number: int) -> None:
        lake = lakehouse.but(lakehouse.plugins)
        lake.load(pipeline_of_rows([{"id": number, f"of_{number}": "x"}], lakehouse.orders))

    with ThreadPoolExecutor(3) as writers:
        list(writers.map(write, [1, 2, 3]))

    assert lakehouse.rows(lakehouse.orders)[2]["of_2"] == "x"
    assert lakehouse.values(lakehouse.orders) == [0, 1, 2, 3]


def test_two_first_loads_make_one_table_with_the_rows_of_both(lakehouse: RemoteLake) -> None:
    with (
        lakehouse.staged(pipeline_of_rows([{"id": 1, "a": "x"}], lakehouse.orders)) as one,
        lakehouse.staged(pipeline_of_rows([{"b": "y", "id": 2}], lakehouse.orders)) as other,
    ):
        lakehouse.commit(one)
        lakehouse.commit(other)

    assert lakehouse.rows(lakehouse.orders) == [{"id": 1, "a": "x", "b": None}, {"id": 2, "a": None, "b": "y"}]


def test_first_loads_at_the_same_time_make_one_table(lakehouse: RemoteLake) -> None:
    def write(number: int) -> None:
        lake = lakehouse.but(lakehouse.plugins)
        lake.load(pipeline_of_rows([{"id": number, f"of_{number}": "x"}], lakehouse.orders))

    with ThreadPoolExecutor(3) as writers:
        list(writers.map(write, [1, 2, 3]))

    assert lakehouse.values(lakehouse.orders) == [1, 2, 3]
    assert lakehouse.values(lakehouse.orders, "of_3").count("x") == 1


def test_of_two_runs_of_one_cursor_only_the_first_lands(
    shop: Shop, lakehouse: RemoteLake, by_cursor: IngestionPipeline
) -> None:
    with lakehouse.staged(by_cursor) as one, lakehouse.staged(by_cursor) as other:
        lakehouse.commit(one)
        with pytest.raises(StaleCursor):
            lakehouse.commit(other)

    assert lakehouse.rows(lakehouse.orders) == shop.orders()


def test_another_machine_goes_on_where_the_table_stands(
    shop: Shop, lakehouse: RemoteLake, by_cursor: IngestionPipeline
) -> None:
    lakehouse.load(by_cursor)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))

    elsewhere = lakehouse.but(lakehouse.plugins)
    with elsewhere.staged(by_cursor) as staged:
        rows = staged.rows
        elsewhere.commit(staged)

    assert rows == 1
    assert elsewhere.rows(lakehouse.orders) == shop.orders()


def test_rolling_a_table_back_brings_the_lost_rows_again(
    shop: Shop, lakehouse: RemoteLake, by_cursor: IngestionPipeline
) -> None:
    first = lakehouse.load(by_cursor)
    shop.sell((5, "eve", "1.00", "2024-01-03 00:00:00"))
    lakehouse.load(by_cursor)
    assert first.snapshot_id is not None
    lakehouse.table(lakehouse.orders).manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    assert lakehouse.values(lakehouse.orders) == [1, 2, 3, 4]

    lakehouse.load(by_cursor)

    assert lakehouse.rows(lakehouse.orders) == shop.orders()


def test_a_schema_of_several_levels_is_made_where_the_catalog_knows_them(lakehouse: RemoteLake) -> None:
    table = f"{lakehouse.namespace}.inner.numbers"

    if lakehouse.plugins.catalog == "sql":
        with pytest.raises(ConfigurationError, match="one level only"):
            lakehouse.load(pipeline_of_rows([{"id": 1}], table))
    else:
        lakehouse.load(pipeline_of_rows([{"id": 1}], table))
        assert lakehouse.values(table) == [1]
