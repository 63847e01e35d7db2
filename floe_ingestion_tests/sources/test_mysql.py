"""Tables of MariaDB land as declared, and MySQL's with them; where there is a server: no Python package brings one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from floe_ingestion.errors import PermanentError, SourceRejected
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of
from floe_ingestion.staging import Window
from floe_ingestion_tests.lake import Lake
from floe_ingestion_tests.needs import missing
from floe_ingestion_tests.sources.database import MariaDB, mariadb_program, running_mariadb

EVERY_TYPE: dict[str, tuple[str, str, str, Any]] = {
    "price": ("decimal(12, 2)", "-1234567890.12", "decimal(12, 2)", Decimal("-1234567890.12")),
    "wide": ("decimal(38, 10)", "1234567890123456789012345678.5", "decimal(38, 10)", None),
    "tiny": ("tinyint", "-128", "int", -128),
    "yes": ("boolean", "true", "int", 1),
    "positive": ("tinyint unsigned", "255", "long", 255),
    "middle": ("mediumint", "-8388608", "int", -8388608),
    "whole": ("int", "-2147483648", "int", -(2**31)),
    "whole_positive": ("int unsigned", "4294967295", "long", 2**32 - 1),
    "large": ("bigint", "-9223372036854775808", "long", -(2**63)),
    "large_positive": ("bigint unsigned", "18446744073709551615", "decimal(20, 0)", Decimal(2**64 - 1)),
    "single": ("float", "1.1", "double", 1.1),
    "double": ("double", "0.1234567890123456", "double", 0.1234567890123456),
    "letters": ("char(3)", "'ab'", "string", "ab"),
    "words": ("varchar(20)", "'zoë 🧊 %s'", "string", "zoë 🧊 %s"),
    "empty": ("text", "''", "string", ""),
    "fixed": ("binary(3)", "x'0a'", "binary", b"\n\x00\x00"),
    "varying": ("varbinary(10)", "x'00ff'", "binary", b"\x00\xff"),
    "blob": ("blob", "x'00ff'", "binary", b"\x00\xff"),
    "day": ("date", "'9999-12-31'", "date", date(9999, 12, 31)),
    "wall": ("datetime(6)", "'2024-02-29 12:00:00.123456'", "timestamp", datetime(2024, 2, 29, 12, 0, 0, 123456)),
    "clock": ("time(6)", "'12:34:56.789'", "time", time(12, 34, 56, 789000)),
    "year": ("year", "2024", "long", 2024),
    "choice": ("enum('a', 'é')", "'é'", "string", "é"),
    "choices": ("set('x', 'y')", "'y,x'", "string", "x,y"),
    "doc": ("json", """'{"a": [1, null]}'""", "string", '{"a": [1, null]}'),
    "bits": ("bit(8)", "b'10000001'", "long", 129),
    "key_": ("uuid", "'12345678-1234-5678-1234-567812345678'", "string", "12345678-1234-5678-1234-567812345678"),
    "Select": ("int", "1", "int", 1),
    "with space %": ("int", "1", "int", 1),
}
"""Declared type, value, the type in the table, and the value there."""


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    program = mariadb_program()
    if program is None:
        missing("There is no program mariadbd on this machine: install Debian's mariadb-server-core.")
    with running_mariadb(program) as found:
        yield found


@pytest.fixture
def maria(server: MariaDB) -> MariaDB:
    server.execute("drop table if exists t")
    return server


def loading(server: MariaDB, **entry: Any) -> IngestionPipeline:
    config = {"connection_string": server.url, "tables": ["t"]}
    return pipeline_of(source_from("sql_database", "raw", {"config": config, **entry}), Path())


def test_mysql_types_arrive_as_declared(maria: MariaDB, lake: Lake) -> None:
    columns = ", ".join(f"`{name}` {type_}" for name, (type_, *_) in EVERY_TYPE.items())
    values = ", ".join(value for _, value, *_ in EVERY_TYPE.values())
    maria.execute(
        f"create table t (id int primary key, {columns})",
        "insert into t (id) values (1)",
        f"insert into t values (2, {values})",
    )

    lake.load(loading(maria))

    (nulls, row) = lake.rows("raw.t")
    assert set(list(nulls.values())[1:]) == {None}
    wide = Decimal("1234567890123456789012345678.5")
    assert list(row.values()) == [2, *(wide if name == "wide" else value for name, (*_, value) in EVERY_TYPE.items())]
    types = [str(field.field_type) for field in lake.table("raw.t").schema().fields]
    assert types == ["int", *(type_ for _, _, type_, _ in EVERY_TYPE.values())]


@pytest.mark.parametrize("value", ["100:00:00", "-01:00:00"])
def test_a_time_that_is_none_of_a_day_is_refused(value: str, maria: MariaDB, lake: Lake) -> None:
    maria.execute("create table t (id int, v time)", f"insert into t values (1, '{value}')")

    with pytest.raises(SourceRejected, match="column 'v'"):
        lake.load(loading(maria))


def test_a_day_that_is_none_is_refused(maria: MariaDB, lake: Lake) -> None:
    maria.execute(
        "create table t (id int, v date)",
        "set sql_mode = ''",
        "insert into t values (1, '2024-01-01'), (2, '0000-00-00')",
    )

    with pytest.raises(PermanentError, match=r"column 'v': .*0000-00-00"):
        lake.load(loading(maria))


def test_64_bits_are_a_number_without_a_sign(maria: MariaDB, lake: Lake) -> None:
    maria.execute("create table t (v bit(64))", "insert into t values (18446744073709551615)")

    lake.load(loading(maria))

    assert lake.values("raw.t", "v") == [Decimal(2**64 - 1)]


def test_a_cursor_and_the_key_of_mysql_are_taken(maria: MariaDB, lake: Lake) -> None:
    maria.execute(
        "create table t (a int, b int, at datetime(6), v text, primary key (a, b))",
        "insert into t values (1, 1, '2024-01-01 00:00:00.5', 'x'), (1, 2, '2024-01-01 00:00:00.5', 'x')",
    )
    loads = loading(maria, incremental={"cursor_path": "at"}, destination={"write_disposition": "merge"})
    lake.load(loads)
    maria.execute("update t set v = 'y', at = '2024-01-02' where b = 2")

    landed = lake.load(loads)

    assert (landed.rows_added, landed.rows_updated, landed.rows_total) == (0, 1, 2)
    assert lake.values("raw.t", "v") == ["x", "y"]


def test_windows_of_mysql_are_days(maria: MariaDB, lake: Lake) -> None:
    maria.execute(
        "create table t (id int primary key, at datetime(6))",
        "insert into t values (1, '2024-01-01 23:59:59.999999'), (2, '2024-01-02'), (3, '2024-01-03')",
    )
    loads = loading(maria, partitions={"type": "daily", "start": "2024-01-01", "column": "at"})
    start, end = (datetime(2024, 1, number, tzinfo=timezone.utc) for number in (2, 3))

    for _ in range(2):
        lake.load(loads, window=Window("at", start, end))

    assert lake.values("raw.t") == [2]


def test_a_table_of_mysql_without_rows_has_its_types(maria: MariaDB, lake: Lake) -> None:
    maria.execute("create table t (id bigint unsigned, v double, c time, b bit(8), y year)")

    lake.load(loading(maria))

    types = [str(field.field_type) for field in lake.table("raw.t").schema().fields]
    assert types == ["decimal(20, 0)", "double", "time", "long", "long"]
