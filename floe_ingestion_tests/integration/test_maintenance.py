"""Maintenance on every pair of catalog and storage, and a database that was restored from a backup."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from floe_ingestion.iceberg.compact import compact
from floe_ingestion.iceberg.cursor_change import reset
from floe_ingestion.iceberg.expire import expire
from floe_ingestion.iceberg.orphans import remove_orphans
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import pipeline_of
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.iceberg.loads import private_folder
from floe_ingestion_tests.integration.lakehouses import RemoteLake
from floe_ingestion_tests.lake import Lake

SMALL = Packing(target_file_bytes=1_000_000, min_files=3)


def loaded(shop: Shop, lake: RemoteLake, loads: int, **destination: Any) -> None:
    """The table after as many loads, of two new rows each."""
    pipeline = shop.pipeline(lake.orders, incremental={"cursor_path": "updated_at"}, destination=destination)
    for number in range(loads):
        moment = f"2024-01-0{number + 1} 00:00:00"
        shop.sell((2 * number, "ann", "1.00", moment), (2 * number + 1, "bob", "2.00", moment))
        lake.load(pipeline)


def test_files_that_no_snapshot_names_any_more_are_gone_from_the_storage(shop: Shop, lakehouse: RemoteLake) -> None:
    loaded(shop, lakehouse, 4)
    table = lakehouse.table(lakehouse.orders)

    compacted = compact(table, SMALL, private_folder(lakehouse))
    expired = expire(table, keep_last=1)

    assert (compacted.files_before, compacted.files_after) == (4, 1)
    assert (expired.snapshots, expired.data_files, expired.not_deleted) == (4, 4, 0)
    assert lakehouse.rows(lakehouse.orders) == shop.orders()
    assert lakehouse.objects() == lakehouse.files_of(lakehouse.orders)


def test_deletes_are_folded_in_and_the_next_load_goes_on(shop: Shop, lakehouse: RemoteLake) -> None:
    merge = {"write_disposition": "merge", "merge_mode": "merge-on-read"}
    loaded(shop, lakehouse, 2, **merge)
    shop.change(0, "2024-02-01 00:00:00", customer="zoë")
    pipeline = shop.pipeline(lakehouse.orders, incremental={"cursor_path": "updated_at"}, destination=merge)
    lakehouse.load(pipeline)

    compact(lakehouse.table(lakehouse.orders), SMALL, private_folder(lakehouse))
    expire(lakehouse.table(lakehouse.orders), keep_last=1)
    shop.change(1, "2024-02-02 00:00:00", customer="eve")
    landed = lakehouse.load(pipeline)

    assert landed.rows_updated == 1
    assert lakehouse.rows(lakehouse.orders) == shop.orders()


def test_orphans_are_found_in_the_storage_and_nothing_else_is(shop: Shop, lakehouse: RemoteLake) -> None:
    loaded(shop, lakehouse, 3)
    table = lakehouse.table(lakehouse.orders)
    before = lakehouse.objects()
    orphan = f"{table.location()}/data/0123-00000.parquet"
    with table.io.new_output(orphan).create() as target:
        target.write(b"left behind")

    young = remove_orphans(table, older_than_days=1)
    told = remove_orphans(table, older_than_days=-1, dry_run=True)
    done = remove_orphans(table, older_than_days=-1)

    assert (young.files, young.too_young) == (0, told.files)
    assert told.files == done.files >= 1
    assert lakehouse.objects() == before
    assert lakehouse.rows(lakehouse.orders) == shop.orders()


def test_a_reset_lets_the_next_load_begin_anew(shop: Shop, lakehouse: RemoteLake) -> None:
    loaded(shop, lakehouse, 1)

    reset(lakehouse.table(lakehouse.orders))
    loaded(shop, lakehouse, 0)
    landed = lakehouse.load(shop.pipeline(lakehouse.orders, incremental={"cursor_path": "updated_at"}))

    assert landed.rows_added == 2


@pytest.mark.parametrize("type_", ["timestamp", "timestamptz", "date", "bigint", "numeric(12, 2)", "text"])
def test_a_postgres_that_was_restored_is_told_of(postgres_url: str, lake: Lake, type_: str) -> None:
    older, newer = {
        "bigint": ("1", "2"),
        "numeric(12, 2)": ("1.50", "2.50"),
        "text": ("'a'", "'b'"),
    }.get(type_, ("'2024-01-01'", "'2024-01-02'"))
    engine = sa.create_engine(postgres_url)
    table = "restored_" + "".join(letter for letter in type_ if letter.isalnum())
    with engine.begin() as connection:
        connection.execute(sa.text(f"create table {table} (id bigint primary key, at {type_})"))
        connection.execute(sa.text(f"insert into {table} values (1, {newer})"))
    config = {"connection_string": postgres_url, "tables": [table]}
    entry = {"config": config, "incremental": {"cursor_path": "at"}}
    pipeline = pipeline_of(source_from("sql_database", f"raw.{table}", entry), lake.home)
    lake.load(pipeline)
    before = lake.cursor(f"raw.{table}")
    with engine.begin() as connection:
        connection.execute(sa.text(f"update {table} set at = {older}"))
    engine.dispose()

    with lake.staged(pipeline) as staged:
        lake.commit(staged)

    (warning,) = staged.warnings
    assert f"floe-ingestion cursor set raw.{table} at" in warning
    assert lake.cursor(f"raw.{table}") == before


@pytest.mark.parametrize("start", ["2024-01-02", "2024-01-02T00:00:00Z", datetime(2024, 1, 2, tzinfo=timezone.utc)])
@pytest.mark.parametrize("type_", ["timestamp", "timestamptz", "date"])
def test_a_first_value_may_be_written_in_any_form(postgres_url: str, lake: Lake, type_: str, start: Any) -> None:
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("set local time zone 'UTC'"))
        connection.execute(sa.text("drop table if exists started"))
        connection.execute(sa.text(f"create table started (id bigint primary key, at {type_})"))
        connection.execute(
            sa.text("insert into started values (1, '2024-01-01'), (2, '2024-01-02'), (3, '2024-01-03')")
        )
    engine.dispose()
    config = {"connection_string": postgres_url, "tables": ["started"]}
    entry = {"config": config, "incremental": {"cursor_path": "at", "initial_value": start}}

    lake.load(pipeline_of(source_from("sql_database", "raw.started", entry), lake.home))

    assert lake.values("raw.started") == [2, 3]
