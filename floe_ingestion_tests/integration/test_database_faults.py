"""A database that breaks off a query for a reason of the moment, or for one that stays: raised by PostgreSQL itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from floe_ingestion.errors import SourceRejected, SourceUnavailable
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of
from floe_ingestion_tests.lake import Lake

FUNCTIONS = """
    create or replace function fails_with(state text) returns boolean language plpgsql as
        $$ begin raise exception 'told to fail' using errcode = state; end $$;
    create or replace function takes_both() returns boolean language plpgsql as
        $$ begin perform pg_advisory_xact_lock(1); perform pg_advisory_xact_lock(2); return true; end $$;
"""


@pytest.fixture
def database(postgres_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("create table if not exists paid (id integer primary key)"))
        connection.execute(sa.text("insert into paid values (1), (2) on conflict do nothing"))
        connection.exec_driver_sql(FUNCTIONS)
    yield engine
    engine.dispose()


def paid(database: sa.Engine, where: str = "true", table: str = "paid", **query: str) -> IngestionPipeline:
    url = database.url.update_query_dict(query).render_as_string(hide_password=False)
    config = {"connection_string": url, "tables": [{"name": table, "where": where}]}
    return pipeline_of(source_from("sql_database", "raw.paid", {"config": config}), Path())


def then_lands_all(lake: Lake, database: sa.Engine) -> None:
    lake.load(paid(database))
    assert lake.values("raw.paid") == [1, 2]


# What may be otherwise the next time


@pytest.mark.parametrize(
    "state",
    [
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "55P03",  # lock_not_available
        "57014",  # query_canceled, as by a statement_timeout
        "57P01",  # admin_shutdown
        "57P03",  # cannot_connect_now
        "53300",  # too_many_connections
        "53200",  # out_of_memory
    ],
)
def test_a_reason_of_the_moment_is_tried_again(state: str, lake: Lake, database: sa.Engine) -> None:
    with pytest.raises(SourceUnavailable, match="told to fail"):
        lake.load(paid(database, f"fails_with('{state}')"))

    then_lands_all(lake, database)


def test_a_deadlock_is_tried_again(lake: Lake, database: sa.Engine) -> None:
    """Each holds what the other one waits for; PostgreSQL ends the load, which is the first to look."""
    held = sa.text("select count(*) from pg_locks where locktype = 'advisory' and objid = 1 and granted")
    connected = threading.Event()

    def other_way_round() -> None:
        with database.begin() as connection:
            connection.execute(sa.text("set local deadlock_timeout = '60s'"))
            connection.execute(sa.text("select pg_advisory_xact_lock(2)"))
            connected.set()
            while not connection.execute(held).scalar():
                time.sleep(0.01)
            connection.execute(sa.text("select pg_advisory_xact_lock(1)"))

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(other_way_round)
        assert connected.wait(30)
        with pytest.raises(SourceUnavailable, match="deadlock detected"):
            lake.load(paid(database, "takes_both()", options="-c deadlock_timeout=2s"))
        other.result(30)

    then_lands_all(lake, database)


def test_a_query_that_takes_too_long_for_the_server_is_tried_again(lake: Lake, database: sa.Engine) -> None:
    with pytest.raises(SourceUnavailable, match="statement timeout"):
        lake.load(paid(database, "pg_sleep(5) is not null", options="-c statement_timeout=200"))

    then_lands_all(lake, database)


def test_a_lock_that_nobody_gives_back_in_time_is_tried_again(lake: Lake, database: sa.Engine) -> None:
    with closing(database.connect()) as holder:
        holder.execute(sa.text("lock table paid in access exclusive mode"))
        with pytest.raises(SourceUnavailable, match="lock timeout"):
            lake.load(paid(database, options="-c lock_timeout=200"))

    then_lands_all(lake, database)


def test_a_connection_that_an_administrator_ends_is_tried_again(lake: Lake, database: sa.Engine) -> None:
    with pytest.raises(SourceUnavailable, match=r"terminating connection|closed the connection"):
        lake.load(paid(database, "pg_terminate_backend(pg_backend_pid())"))

    then_lands_all(lake, database)


# What stays as it is until somebody changes it


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("no_such_column > 1", "no_such_column"),
        ("no_such_function(id)", "no_such_function"),
        ("id >", "syntax error"),
        ("id = 'one'", "invalid input syntax"),
        ("id / 0 > 1", "division by zero"),
        ("fails_with('42501')", "told to fail"),  # insufficient_privilege
        ("fails_with('28P01')", "told to fail"),  # invalid_password
        ("fails_with('3D000')", "told to fail"),  # invalid_catalog_name
    ],
)
def test_a_query_that_is_wrong_is_not_tried_again(where: str, told: str, lake: Lake, database: sa.Engine) -> None:
    with pytest.raises(SourceRejected, match=told):
        lake.load(paid(database, where))

    then_lands_all(lake, database)


@pytest.mark.parametrize(("change", "told"), [({"table": "unpaid"}, "no table unpaid"), ({"user": "nobody"}, "nobody")])
def test_a_table_or_a_role_that_is_not_there_is_not_tried_again(
    change: dict[str, Any], told: str, lake: Lake, database: sa.Engine
) -> None:
    with pytest.raises(SourceRejected, match=told):
        lake.load(paid(database, **change))
