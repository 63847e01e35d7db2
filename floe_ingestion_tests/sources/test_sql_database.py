"""Rows from databases arrive as the database has them: types, boundaries of windows, names, keys."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from floe_ingestion.errors import ConfigurationError, KeyViolation, PermanentError, SourceRejected, SourceUnavailable
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of
from floe_ingestion.sources.sql_database import SqlDatabaseConnector
from floe_ingestion.staging import ForeignKey, Window
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.integration.servers import free_ports
from floe_ingestion_tests.lake import Lake, Row
from floe_ingestion_tests.sources.database import Postgres

UTC = timezone.utc
MERGE = {"destination": {"write_disposition": "merge"}}


class Sqlite:
    """A SQLite database of one test."""

    def __init__(self, path: Path) -> None:
        self.path, self.url = path, f"sqlite:///{path}"

    def execute(self, script: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.executescript(script)

    def pipeline(self, table: str, **settings: Any) -> IngestionPipeline:
        return pipeline(self.url, table, self.path.parent, **settings)


def pipeline(
    url: str, table: str, folder: Path = Path(), resource: Any = None, config: Any = None, **entry: Any
) -> IngestionPipeline:
    """From one table of a database into `raw.t`."""
    tables = [{"name": table, "table": "t", **(resource or {})}]
    found = {"connection_string": url, "tables": tables, **(config or {})}
    return pipeline_of(source_from("sql_database", "raw", {"config": found, **entry}), folder)


@pytest.fixture
def db(tmp_path: Path) -> Sqlite:
    return Sqlite(tmp_path / "some.db")


def day(number: int, zone: Any = UTC) -> Window:
    start, end = (datetime(2024, 1, each, tzinfo=zone) for each in (number, number + 1))
    return Window("at", start, end)


# SQLite


def test_sqlite_types_arrive_as_declared(db: Sqlite, lake: Lake) -> None:
    db.execute(
        """
        create table t (
            id integer primary key, whole bigint, small smallint, ratio real, name text, code varchar(10), raw blob,
            yes boolean, day date, at timestamp, clock time, price numeric(10, 2), some numeric, doc json);
        insert into t values (
            1, 9223372036854775807, -3, 0.1, 'zoë', 'x', x'00ff',
            1, '2024-02-29', '2024-02-29 12:00:00.123456', '12:34:56', 12345678.91, 1.5, '{"a": [1]}');
        insert into t (id) values (2);
        """
    )

    lake.load(db.pipeline("t"))

    full = {
        "id": 1,
        "whole": 2**63 - 1,
        "small": -3,
        "ratio": 0.1,
        "name": "zoë",
        "code": "x",
        "raw": b"\x00\xff",
        "yes": True,
        "day": date(2024, 2, 29),
        "at": datetime(2024, 2, 29, 12, 0, 0, 123456),
        "clock": time(12, 34, 56),
        "price": Decimal("12345678.91"),
        "some": Decimal("1.5"),
        "doc": '{"a": [1]}',
    }
    assert lake.rows("raw.t") == [full, {**dict.fromkeys(full), "id": 2}]


MIDNIGHTS = [
    "2024-01-02",
    "2024-01-02 00:00",
    "2024-01-02 00:00:00",
    "2024-01-02 00:00:00.000",
    "2024-01-02 00:00:00.000000",
    "2024-01-02T00:00:00",
    "2024-01-02T00:00:00.000000",
]
"""One moment, as different writers store it in SQLite."""


@pytest.mark.parametrize("stored", MIDNIGHTS)
def test_a_row_of_midnight_belongs_to_the_day_that_begins(stored: str, db: Sqlite, lake: Lake) -> None:
    db.execute(f"create table t (id integer primary key, at timestamp); insert into t values (1, '{stored}');")
    partitions = {"type": "daily", "start": "2024-01-01", "column": "at"}

    for number in (1, 2, 3):
        lake.load(db.pipeline("t", partitions=partitions), window=day(number))

    assert lake.rows("raw.t") == [{"id": 1, "at": datetime(2024, 1, 2)}]


@pytest.mark.parametrize("stored", MIDNIGHTS)
@pytest.mark.parametrize("before", ["2024-01-01 23:59:59", "2024-01-02 00:00:00"])
def test_a_row_of_midnight_is_not_passed_over_by_a_cursor(before: str, stored: str, db: Sqlite, lake: Lake) -> None:
    loads = db.pipeline("t", incremental={"cursor_path": "at"})
    db.execute(f"create table t (id integer primary key, at timestamp); insert into t values (1, '{before}');")
    lake.load(loads)
    db.execute(f"insert into t values (2, '{stored}')")

    lake.load(loads)

    assert lake.values("raw.t") == [1, 2]


@pytest.mark.parametrize("separator", [" ", "T"])
def test_hours_of_a_text_declared_as_a_time_land_in_their_window(separator: str, db: Sqlite, lake: Lake) -> None:
    moments = ", ".join(f"({hour}, '2024-01-02{separator}{hour:02d}:30:00')" for hour in range(24))
    db.execute(f"create table t (id integer primary key, at text); insert into t values {moments};")
    partitions = {"type": "hourly", "start": "2024-01-01", "column": "at"}
    loads = db.pipeline("t", partitions=partitions, destination={"columns": {"at": "timestamp"}})
    start = datetime(2024, 1, 2, 5, tzinfo=timezone.utc)

    lake.load(loads, window=Window("at", start, start + timedelta(hours=2)))

    assert lake.values("raw.t") == [5, 6]


def test_every_microsecond_of_a_day_belongs_to_one_window(db: Sqlite, lake: Lake) -> None:
    """SQLite's own functions know milliseconds."""
    moments = [
        "2024-01-01 23:59:59.999",
        "2024-01-01 23:59:59.999499",
        "2024-01-01 23:59:59.999999",
        "2024-01-02 00:00:00.000001",
        "2024-01-02 00:00:00.0005",
    ]
    values = ", ".join(f"({number}, '{moment}')" for number, moment in enumerate(moments))
    db.execute(f"create table t (id integer primary key, at timestamp); insert into t values {values};")
    loads = db.pipeline("t", partitions={"type": "daily", "start": "2024-01-01", "column": "at"})

    landed = [lake.load(loads, window=day(number)).rows_added for number in (1, 2)]

    assert landed == [3, 2]
    assert lake.values("raw.t") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("date", ["2024-01-01", "2024-01-02", "2024-01-03"]),
        ("text", ["2024-01-01", "2024-01-02T08:00:00Z", "2024-01-03 00:00:00"]),
        ("integer", [1704067200, 1704153600, 1704240000]),
    ],
)
def test_windows_of_dates_texts_and_integers(type_: str, values: list[Any], db: Sqlite, lake: Lake) -> None:
    rows = ", ".join(f"({number}, {value!r})" for number, value in enumerate([*values, None], start=1))
    db.execute(
        f"create table t (id integer primary key, at {type_}); insert into t values {rows.replace('None', 'null')};"
    )
    loads = db.pipeline("t", partitions={"type": "daily", "start": "2024-01-01", "column": "at"})

    for number in (2, 2):
        lake.load(loads, window=day(number))

    assert lake.values("raw.t") == [2]


def test_a_text_that_holds_no_times_is_told_where_partitions_ask_for_times(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id int, at text); insert into t values (1, '31/01/2024'), (2, '01/02/2024'), (3, null)")
    loads = db.pipeline("t", partitions={"type": "daily", "start": "2024-01-01", "column": "at"})

    def told() -> list[str]:
        with lake.staged(loads, window=day(1)) as staged:
            return list(staged.warnings)

    (warning,) = told()
    assert "it holds texts such as '31/01/2024', none of which tells that" in warning
    db.execute("insert into t values (4, '2024-02-01')")
    assert told() == [], "they may be rows of other days"


def test_static_partitions_take_their_own_rows(db: Sqlite, lake: Lake) -> None:
    db.execute(
        "create table t (id integer primary key, at text); insert into t values (1,'eu'),(2,'us'),(3,null),(4,'eu');"
    )
    loads = db.pipeline("t", partitions={"type": "static", "keys": ["eu", "us"], "column": "at"})

    for _ in range(2):
        lake.load(loads, window=Window("at", values=("eu",)))

    assert lake.values("raw.t") == [1, 4]


def test_a_condition_narrows_every_kind_of_run(shop: Shop, lake: Lake) -> None:
    shop.sell(*((n, "ab"[n % 2], "1", f"2024-01-0{1 + n // 4} 10:00:00") for n in range(8)))
    table = {"tables": [{"name": "orders", "where": "customer = 'a' or id = 7"}]}
    daily = {"type": "daily", "start": "2024-01-01", "column": "updated_at"}
    first = Window("updated_at", datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC))

    lake.load(shop.pipeline("raw.full", config=table))
    lake.load(shop.pipeline("raw.windowed", config=table, partitions=daily), window=first)
    by_cursor = shop.pipeline("raw.by_cursor", config=table, incremental={"cursor_path": "updated_at"})
    lake.load(by_cursor)
    shop.sell((8, "a", "1", "2024-01-03 10:00:00"), (9, "b", "1", "2024-01-03 10:00:00"))
    lake.load(by_cursor)

    assert lake.values("raw.full") == [0, 2, 4, 6, 7]
    assert lake.values("raw.windowed") == [0, 2]
    assert lake.values("raw.by_cursor") == [0, 2, 4, 6, 7, 8]


@pytest.mark.parametrize("incremental", [None, {"cursor_path": "updated_at"}])
def test_only_the_columns_that_were_asked_for_arrive(incremental: Any, shop: Shop, lake: Lake) -> None:
    shop.sell((1, "ann", "1.50", "2024-01-01 00:00:00"))
    table = {"tables": [{"name": "orders", "included_columns": ["id", "updated_at"]}]}
    loads = shop.pipeline(config=table, incremental=incremental)

    for _ in range(2):
        lake.load(loads)

    assert lake.table("raw.orders").schema().column_names == ["id", "updated_at"]


def test_batches_of_any_size_are_the_whole_table(shop: Shop, lake: Lake) -> None:
    shop.sell(*((n, "ann", "1.50", None) for n in range(100)))

    lake.load(shop.pipeline(config={"chunk_size": 7}))

    assert lake.rows("raw.orders") == shop.orders()


def test_an_empty_table_lands_nothing_and_is_no_error(shop: Shop, lake: Lake) -> None:
    landed = lake.load(shop.pipeline())

    assert (landed.rows_added, landed.rows_total) == (0, 0)


@pytest.mark.parametrize("values", ["(1, 5), (2, 1.5)", "(1, 1.5)", "(1, 5), (2, 'abc')"])
def test_what_sqlite_keeps_in_a_column_of_integers_and_is_none_is_refused(values: str, db: Sqlite, lake: Lake) -> None:
    db.execute(f"create table t (id int, n integer); insert into t values {values};")

    with pytest.raises(SourceRejected, match="Table 't', column 'n': a value is not of its declared type"):
        lake.load(db.pipeline("t"))


@pytest.mark.parametrize(
    ("type_", "value"),
    [("date", "'01.02.2024'"), ("datetime", "''"), ("time", "'25:00'"), ("decimal(9, 2)", "'1,5'"), ("date", "5")],
)
def test_what_is_not_of_its_declared_type_is_told_with_its_column(
    type_: str, value: str, db: Sqlite, lake: Lake
) -> None:
    db.execute(f"create table t (id int, v {type_}); insert into t values (1, {value});")

    with pytest.raises(SourceRejected) as raised:
        lake.load(db.pipeline("t"))

    assert f"Table 't', column 'v': {value} is not of its declared type" in str(raised.value)


def test_sqlite_values_are_read_as_they_are(db: Sqlite, lake: Lake) -> None:
    db.execute(
        """
        create table t (j json, k uuid, s string, d decimal(20, 0), p decimal(9, 2), n numeric);
        insert into t values ('null', '0a', 'x', 9007199254740993, 0.1 + 0.2, 12345678901234.12),
                             ('{"a": 1.10', null, 5, 1, 1, 1e22);
        """
    )

    lake.load(db.pipeline("t"))

    assert [tuple(map(str, row.values())) for row in lake.rows("raw.t")] == [
        ("null", "0a", "x", "9007199254740993", "0.30", "12345678901234.120000000"),
        ('{"a": 1.10', "None", "5", "1", "1.00", "10000000000000000000000.000000000"),
    ]


def test_what_sqlite_keeps_as_text_in_a_column_of_booleans_is_what_it_says(db: Sqlite, lake: Lake) -> None:
    db.execute(
        "create table t (id int, b boolean); insert into t values (1, 'f'), (2, 'false'), (3, 't'), (4, 0), (5, 1);"
    )

    lake.load(db.pipeline("t"))

    assert [row["b"] for row in lake.rows("raw.t")] == [False, False, True, False, True]


@pytest.mark.parametrize("condition", ["v = ':name'", "id = 1 -- the first", "v like ':%'"])
def test_a_condition_is_taken_letter_by_letter(condition: str, db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id int, v text); insert into t values (1, ':name'), (2, 'b');")

    lake.load(db.pipeline("t", resource={"where": condition}))

    assert lake.values("raw.t") == [1]


def test_a_view_may_be_loaded(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id integer primary key, n int); insert into t values (1, 2), (2, 3);")
    db.execute("create view v as select id, n * 10 as tenfold from t where n > 2;")

    lake.load(db.pipeline("v"))

    assert lake.rows("raw.t") == [{"id": 2, "tenfold": 30}]


# Keys


def test_the_primary_key_of_the_database_is_the_key(db: Sqlite, lake: Lake) -> None:
    db.execute(
        """
        create table t (region text, number int, note text, primary key (region, number));
        insert into t values ('eu', 1, 'a'), ('eu', 2, 'a'), ('us', 1, 'a');
        """
    )
    loads = db.pipeline("t", **MERGE)
    lake.load(loads)
    db.execute("update t set note = 'b' where region = 'us'; insert into t values ('us', 2, 'b');")

    landed = lake.load(loads)

    assert (landed.rows_added, landed.rows_updated, landed.rows_total) == (1, 1, 4)
    assert lake.table("raw.t").schema().identifier_field_names() == {"region", "number"}
    assert [tuple(row.values()) for row in lake.rows("raw.t")] == [
        ("eu", 1, "a"),
        ("eu", 2, "a"),
        ("us", 1, "b"),
        ("us", 2, "b"),
    ]


def test_a_primary_key_in_mixed_case_is_found(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (\"orderId\" int primary key, note text); insert into t values (1, 'a'), (2, 'a');")
    loads = db.pipeline("t", **MERGE)
    lake.load(loads)
    db.execute("update t set note = 'b' where \"orderId\" = 2")

    lake.load(loads)

    assert lake.rows("raw.t") == [{"order_id": 1, "note": "a"}, {"order_id": 2, "note": "b"}]


def test_a_primary_key_that_is_written_down_wins(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id int primary key, \"Code\" text); insert into t values (1, 'a'), (2, 'a');")

    lake.load(db.pipeline("t", resource={"primary_key": "Code"}, **MERGE))

    assert lake.rows("raw.t") == [{"id": 2, "code": "a"}]


def test_without_a_primary_key_the_column_id_is_the_key(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id int, note text); insert into t values (1, 'a'), (1, 'b');")

    lake.load(db.pipeline("t", **MERGE))

    assert lake.rows("raw.t") == [{"id": 1, "note": "b"}]


def test_without_any_key_a_merge_is_an_error_before_anything_is_written(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (number int, note text); insert into t values (1, 'a');")

    with pytest.raises(KeyViolation, match=r"rows have no column 'id'.*with a column of: number, note"):
        lake.load(db.pipeline("t", **MERGE))

    assert not lake.catalog.table_exists("raw.t")


# Names


def test_reserved_words_and_mixed_case_are_names_like_others(db: Sqlite, lake: Lake) -> None:
    db.execute(
        """
        create table "Order" ("select" int, "fromDate" date, "group" text, "Größe" int, "with space" int);
        insert into "Order" values (1, '2024-01-01', 'a', 2, 3);
        """
    )

    lake.load(db.pipeline("Order"))

    assert list(lake.rows("raw.t")[0].values()) == [1, date(2024, 1, 1), "a", 2, 3]
    assert lake.table("raw.t").schema().column_names[:3] == ["select", "from_date", "group"]


def test_a_cursor_may_have_a_name_in_mixed_case(db: Sqlite, lake: Lake) -> None:
    loads = db.pipeline("t", incremental={"cursor_path": "updatedAt"})
    db.execute("create table t (id int, \"updatedAt\" timestamp); insert into t values (1, '2024-01-01 00:00:00');")
    lake.load(loads)
    db.execute("insert into t values (2, '2024-01-02 00:00:00')")

    landed = lake.load(loads)

    assert landed.rows_added == 1
    assert lake.values("raw.t") == [1, 2]


def test_partitions_may_have_a_column_in_mixed_case(db: Sqlite, lake: Lake) -> None:
    """It is written as the source writes it."""
    db.execute(
        'create table t (id int, "createdAt" timestamp);'
        "insert into t values (1, '2024-01-01 00:00:00'), (2, '2024-01-02 00:00:00');"
    )
    loads = db.pipeline("t", partitions={"type": "daily", "start": "2024-01-01", "column": "createdAt"})
    window = Window("createdAt", datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC))

    for _ in range(2):
        lake.load(loads, window=window)

    assert lake.rows("raw.t") == [{"id": 2, "created_at": datetime(2024, 1, 2)}]


def test_a_relative_path_begins_at_the_folder_of_floe_yaml(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id int); insert into t values (1);")

    lake.load(pipeline("sqlite:///some.db", "t", db.path.parent))

    assert lake.values("raw.t") == [1]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///shop.db", "sqlite:////data/shop.db"),
        ("sqlite:///sub/shop.db?mode=ro", "sqlite:////data/sub/shop.db?mode=ro"),
        ("sqlite+pysqlite:///shop.db", "sqlite+pysqlite:////data/shop.db"),
        ("sqlite:////abs/shop.db", "sqlite:////abs/shop.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql://host/db", "postgresql://host/db"),
    ],
)
def test_only_relative_sqlite_paths_are_moved(url: str, expected: str) -> None:
    connector = SqlDatabaseConnector(connection_string=url, tables=("t",))  # type: ignore[arg-type]

    assert connector.relative_to(Path("/data")).connection_string == expected


# Cursors


def test_values_between_initial_and_end_value_are_loaded(shop: Shop, lake: Lake) -> None:
    shop.sell(*((n, "ann", "1", f"2024-01-0{n} 00:00:00") for n in range(1, 6)))
    incremental = {"cursor_path": "updated_at", "initial_value": "2024-01-02", "end_value": "2024-01-04"}

    lake.load(shop.pipeline(incremental=incremental))

    assert lake.values("raw.orders") == [2, 3]


def test_lag_looks_back_for_late_rows(shop: Shop, lake: Lake) -> None:
    loads = shop.pipeline(
        incremental={"cursor_path": "updated_at", "lag": 3600.0}, destination={"write_disposition": "merge"}
    )
    shop.sell((1, "ann", "1", "2024-01-01 12:00:00"))
    lake.load(loads)
    shop.sell((2, "late", "1", "2024-01-01 11:30:00"), (3, "too late", "1", "2024-01-01 10:30:00"))

    lake.load(loads)

    assert lake.values("raw.orders") == [1, 2]


@pytest.mark.parametrize(("missing", "expected"), [("include", [1, 2, 3]), ("exclude", [1, 3])])
def test_rows_without_a_cursor_value_are_treated_as_was_said(
    missing: str, expected: list[int], shop: Shop, lake: Lake
) -> None:
    incremental = {"cursor_path": "updated_at", "on_cursor_value_missing": missing}
    loads = shop.pipeline(incremental=incremental, destination={"write_disposition": "merge"})
    shop.sell((1, "ann", "1", "2024-01-01 12:00:00"), (2, "no time", "1", None))
    lake.load(loads)
    shop.sell((3, "eve", "1", "2024-01-02 12:00:00"))

    lake.load(loads)

    assert lake.values("raw.orders") == expected


def test_rows_without_a_cursor_value_are_an_error_that_is_not_tried_again(shop: Shop, lake: Lake) -> None:
    shop.sell((1, "ann", "1", "2024-01-01 12:00:00"), (2, "no time", "1", None))

    with pytest.raises(PermanentError, match="updated_at"):
        lake.load(shop.pipeline(incremental={"cursor_path": "updated_at"}))


# What is not there


def test_a_missing_table_is_named(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id int)")

    with pytest.raises(SourceRejected, match=r"The database has no table tt\. Did you mean 't'\? .* There are: t\."):
        lake.load(db.pipeline("tt"))


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("missing = 1", "no such column: missing"),
        ("id = ", "syntax error"),
        ("f(id)", "no such function"),
        ("id = #", "unrecognized token"),
    ],
)
def test_a_condition_that_the_database_does_not_take_is_its_no(
    condition: str, said: str, db: Sqlite, lake: Lake
) -> None:
    db.execute("create table t (id int)")

    with pytest.raises(SourceRejected, match=said):
        lake.load(db.pipeline("t", resource={"where": condition}))


def test_a_missing_cursor_column_is_named_with_those_that_there_are(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id int, at timestamp); insert into t values (1, '2024-01-01');")

    with pytest.raises(SourceRejected, match=r"has no column 'nothing' to load by.*one of: id, at"):
        lake.load(db.pipeline("t", incremental={"cursor_path": "nothing"}))


def test_a_missing_one_of_the_columns_that_were_asked_for_is_named(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id int, at timestamp); insert into t values (1, '2024-01-01');")

    with pytest.raises(SourceRejected, match=r"has no column 'idd'. Correct `included_columns`"):
        lake.load(db.pipeline("t", resource={"included_columns": ["idd", "at"]}))


def test_a_missing_partition_column_is_named_with_those_that_there_are(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id int, created timestamp)")
    loads = db.pipeline("t", partitions={"type": "daily", "start": "2024-01-01", "column": "at"})

    with pytest.raises(SourceRejected, match=r"has no column 'at' to partition by.*one of: id, created"):
        lake.load(loads, window=day(1))


def test_a_missing_file_is_told_and_not_made(tmp_path: Path, lake: Lake) -> None:
    missing = pipeline(f"sqlite:///{tmp_path}/shp.db?timeout=5", "t")

    for connecting in (lambda: lake.load(missing), lambda: missing.connect().check_connection()):
        with pytest.raises(SourceRejected, match=rf"There is no file {tmp_path}/shp\.db, which `connection_string`"):
            connecting()
    assert not (tmp_path / "shp.db").exists()


@pytest.mark.parametrize("url", ["postgresql://u@host:port/db", "postgresql://u:secret/db"])
def test_a_port_that_is_no_number_is_told_without_what_it_may_be_of_a_password(url: str, lake: Lake) -> None:
    with pytest.raises(SourceRejected, match="is no number, or no host stands behind the password") as caught:
        lake.load(pipeline(url, "t"))

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"), [("secret.db", "is no URL of a database"), ("postgres://u:secret@h/d", "Write postgresql://")]
)
def test_what_cannot_be_a_database_is_told_before_any_run(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"connection_string: .*{said}") as caught:
        source_from("sql_database", "raw", {"connection_string": url, "tables": ["t"]})

    assert "secret" not in str(caught.value).replace("what is secret", "")


def test_all_tables_are_named_one_by_one(lake: Lake) -> None:
    with pytest.raises(ConfigurationError, match=r"tables\[0\]: '\*' is no table: .*`tables: \[customers, products\]`"):
        source_from("sql_database", "raw", {"connection_string": "sqlite:///x.db", "tables": ["*"]})


def test_a_mysql_server_that_does_not_answer_is_named_with_its_port(lake: Lake) -> None:
    (port,) = free_ports(1)

    with pytest.raises(SourceUnavailable, match=rf"MySQL server 127\.0\.0\.1:{port} cannot be reached: .*refused"):
        lake.load(pipeline(f"mysql+pymysql://root:secret@127.0.0.1:{port}/shop", "t"))


def test_a_check_of_the_connection_names_what_is_missing(db: Sqlite) -> None:
    db.execute("create table t (id int); create view v as select 1 as one;")

    assert "sqlite answers, with all 2 tables" in connector(db, "t", "v").check_connection()
    with pytest.raises(SourceRejected, match=r"no table nothing\. .* There are: t, v\."):
        connector(db, "t", "nothing").check_connection()


def connector(db: Sqlite, *tables: str) -> SqlDatabaseConnector:
    return SqlDatabaseConnector.model_validate({"connection_string": db.url, "tables": list(tables)})


# PostgreSQL


EVERY_TYPE = """
    create table s.t (
        id int primary key, small smallint, large bigint, single real, ratio double precision, price numeric(12, 2),
        exact numeric(28, 9), name text, code varchar(5), letters char(3), yes boolean, day date, clock time,
        wall timestamp, at timestamptz, key uuid, doc json, docb jsonb, raw bytea)
"""
A_ROW = """
    insert into s.t values (
        1, -3, 9223372036854775807, 1.5, 0.1, -1234567890.12, 1234567890.123456789, 'zoë 🧊', 'abc', 'ab', true,
        '2024-02-29', '12:34:56.789', '2024-02-29 12:00:00.123456', '2024-02-29 12:00:00.123456+05:30',
        '12345678-1234-5678-1234-567812345678', '{"a": 1}', '{"b": [1, null]}', '\\x00ff')
"""


def test_comments_of_the_database_describe_the_columns_of_the_table(
    backend: str, postgres: Postgres, lake: Lake
) -> None:
    postgres.execute(
        'create table s.t (id int primary key, "paidAt" timestamp)',
        "comment on column s.t.\"paidAt\" is 'When the money came'",
        "insert into s.t values (1, '2024-02-29 12:00:00')",
    )

    lake.load(pipeline(postgres.url, "t", config={"schema": "s", "backend": backend}))

    described = {field.name: field.doc for field in lake.table("raw.t").schema().fields}
    assert described == {"id": None, "paid_at": "When the money came"}


def test_the_foreign_keys_of_a_table_are_told(backend: str, postgres: Postgres, lake: Lake) -> None:
    """Two of them may lead to one table; a table of the same name in another schema is another one."""
    postgres.execute(
        "drop schema if exists other cascade",
        "create schema other",
        "create table other.t (id int primary key)",
        "create table s.people (id int primary key, boss int references s.people)",
        """create table s.t (id int primary key, "soldTo" int references s.people, "soldBy" int references s.people,
            at int references other.t)""",
    )
    config = {"connection_string": postgres.url, "schema": "s", "backend": backend, "tables": ["t", "people"]}
    source = source_from("sql_database", "raw", {"config": config})

    found = {}
    for resource in ("t", "people"):
        with lake.staged(pipeline_of(source, Path()), resource=resource) as staged:
            found[resource] = staged.foreign_keys

    people = ("people", ("id",), ("raw", "people"))
    assert found == {
        "t": (
            ForeignKey(("sold_to",), *people),
            ForeignKey(("sold_by",), *people),
            ForeignKey(("at",), "other.t", ("id",)),
        ),
        "people": (ForeignKey(("boss",), *people),),
    }


def test_postgres_types_arrive_as_declared(backend: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute(EVERY_TYPE, A_ROW, "insert into s.t (id) values (2)")

    lake.load(pipeline(postgres.url, "t", config={"schema": "s", "backend": backend}))

    full: Row = {
        "id": 1,
        "small": -3,
        "large": 2**63 - 1,
        "single": 1.5,
        "ratio": 0.1,
        "price": Decimal("-1234567890.12"),
        "exact": Decimal("1234567890.123456789"),
        "name": "zoë 🧊",
        "code": "abc",
        "letters": "ab ",
        "yes": True,
        "day": date(2024, 2, 29),
        "clock": time(12, 34, 56, 789000),
        "wall": datetime(2024, 2, 29, 12, 0, 0, 123456),
        "at": datetime(2024, 2, 29, 6, 30, 0, 123456, tzinfo=UTC),
        "key": "12345678-1234-5678-1234-567812345678",
        "doc": '{"a": 1}',
        "docb": '{"b": [1, null]}',
        "raw": b"\x00\xff",
    }
    assert lake.rows("raw.t") == [full, {**dict.fromkeys(full), "id": 2}]
    types = {field.name: str(field.field_type) for field in lake.table("raw.t").schema().fields}
    assert (types["price"], types["exact"], types["at"]) == ("decimal(12, 2)", "decimal(28, 9)", "timestamptz")


def test_a_table_of_one_backend_goes_on_with_the_other(postgres: Postgres, lake: Lake) -> None:
    postgres.execute(EVERY_TYPE, A_ROW)
    lake.load(pipeline(postgres.url, "t", config={"schema": "s", "backend": "pyarrow"}, **MERGE))

    landed = lake.load(pipeline(postgres.url, "t", config={"schema": "s", "backend": "duckdb"}, **MERGE))

    assert (landed.rows_unchanged, list(landed.columns_added)) == (1, [])


def test_a_postgres_cursor_brings_only_new_rows(backend: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute("create table s.t (id int primary key, at timestamptz)")
    loads = pipeline(postgres.url, "t", config={"schema": "s", "backend": backend}, incremental={"cursor_path": "at"})
    postgres.execute("insert into s.t values (1, '2024-01-01 00:00+00'), (2, '2024-01-01 12:00:00.000001+02')")
    lake.load(loads)
    postgres.execute("insert into s.t values (3, '2024-01-01 12:00:00.000001+02'), (4, '2024-01-02 00:00+00')")

    landed = lake.load(loads)

    assert landed.rows_added == 2
    assert lake.values("raw.t") == [1, 2, 3, 4]
    assert lake.cursor("raw.t") == {"at": datetime(2024, 1, 2, tzinfo=UTC)}


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_postgres_windows_are_those_of_the_time_zone(backend: str, zone: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute(
        "create table s.t (id int primary key, at timestamptz)",
        "insert into s.t select n, timestamptz '2024-01-01 00:00+00' + n * interval '30 minutes' "
        "from generate_series(0, 143) n",
    )
    partitions = {"type": "daily", "start": "2024-01-01", "column": "at", "timezone": zone}
    loads = pipeline(postgres.url, "t", config={"schema": "s", "backend": backend}, partitions=partitions)

    for _ in range(2):
        lake.load(loads, window=day(2, ZoneInfo(zone)))

    start = datetime(2024, 1, 2, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    expected = [n for n in range(144) if start <= moment(n) < start + timedelta(days=1)]
    assert lake.values("raw.t") == expected


def test_wide_numbers_are_read_as_they_are(backend: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute("create table s.t (id int primary key, wide numeric(38, 10))")
    postgres.execute("insert into s.t values (1, 1234567890123456789012345678.0123456789)")
    loads = pipeline(postgres.url, "t", config={"schema": "s", "backend": backend})

    lake.load(loads)

    assert lake.values("raw.t", "wide") == [Decimal("1234567890123456789012345678.0123456789")]


def test_postgres_keys_and_conditions(backend: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute(
        'create table s."Order" ("orderId" bigint, "line" int, note text, primary key ("orderId", "line"))',
        "insert into s.\"Order\" values (1, 1, 'a'), (1, 2, 'a'), (2, 1, 'x')",
    )
    config = {"schema": "s", "backend": backend}
    loads = pipeline(postgres.url, "Order", config=config, resource={"where": "note <> 'x'"}, **MERGE)
    lake.load(loads)
    postgres.execute('update s."Order" set note = \'b\' where "line" = 2')

    landed = lake.load(loads)

    assert (landed.rows_updated, landed.rows_total) == (1, 2)
    assert [tuple(row.values()) for row in lake.rows("raw.t")] == [(1, 1, "a"), (1, 2, "b")]


def test_a_wrong_password_is_the_sources_no_and_is_not_shown(backend: str, postgres: Postgres, lake: Lake) -> None:
    loads = pipeline(postgres.url_of_guest("wrong-password"), "t", config={"backend": backend})

    with pytest.raises(SourceRejected) as raised:
        lake.load(loads)

    assert "password authentication failed" in str(raised.value)
    assert "wrong-password" not in str(raised.value)


def test_a_missing_privilege_is_the_sources_no(backend: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute("create table s.t (id int)", "grant usage on schema s to guest")
    loads = pipeline(postgres.url_of_guest("right-password"), "t", config={"schema": "s", "backend": backend})

    with pytest.raises(PermanentError, match="permission denied"):
        lake.load(loads)


def moment(half_hours: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=30 * half_hours)


def test_a_table_without_rows_lands_with_its_columns(db: Sqlite, lake: Lake) -> None:
    db.execute("create table t (id integer primary key, price numeric(10, 2), at timestamp, name text)")
    loads = db.pipeline("t", destination={"write_disposition": "merge"})

    lake.load(loads)
    before = lake.table("raw.t").schema()
    db.execute("insert into t values (1, 1.5, '2024-01-01 00:00:00', 'a')")
    lake.load(loads)

    assert [str(field.field_type) for field in before.fields] == ["long", "decimal(10, 2)", "timestamp", "string"]
    assert lake.table("raw.t").schema() == before
    assert lake.values("raw.t") == [1]
