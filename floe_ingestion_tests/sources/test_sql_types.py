"""Whoever reads a table, what lands is what its database declares, or an error that names the column."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa
from dlt.sources.sql_database import sql_table

from floe_ingestion.errors import ContractBroken, SourceRejected, UnsupportedType
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of
from floe_ingestion.sources.postgres import is_read_by_duckdb, read_by_duckdb
from floe_ingestion.sources.sql_loader import DeclaredLoader
from floe_ingestion_tests.lake import Lake
from floe_ingestion_tests.sources.database import Postgres

EVERY_TYPE: dict[str, tuple[str, str, str]] = {
    "exact": ("numeric(20,12)", "12345678.123456789012", "-0.000000000001"),
    "wide": ("numeric(38,10)", "1234567890123456789012345678.0123456789", "0"),
    "price": ("numeric(12,2)", "-1234567890.12", "0.01"),
    "free": ("numeric", "1.5", "123456789.123456789"),
    "whole": ("numeric(5)", "12345", "-1"),
    "hundreds": ("numeric(3,-2)", "12300", "-100"),
    "fraction": ("numeric(3,5)", "0.00123", "-0.00999"),
    "small": ("smallint", "-32768", "32767"),
    "middle": ("integer", "-2147483648", "2147483647"),
    "large": ("bigint", "-9223372036854775808", "9223372036854775807"),
    "single": ("real", "1.1", "'-Infinity'"),
    "double": ("double precision", "0.1", "'Infinity'"),
    "text": ("text", "''", "'zoë 🧊 %s %% :x'"),
    "varying": ("varchar(4)", "''", "'ab'"),
    "letters": ("char(3)", "''", "'ab'"),
    "accents": ("char(4)", "'é🧊'", "'ß  '"),
    "code": ("s.code", "'x'", "'ab'"),
    "parts": ("numeric(38,38)", "0.12345678901234567890123456789012345678", "-1e-38"),
    "yes": ("boolean", "true", "false"),
    "day": ("date", "'0001-01-01'", "'9999-12-31'"),
    "clock": ("time", "'00:00'", "'23:59:59.999999'"),
    "clock_there": ("timetz", "'00:00+02'", "'23:59:59.999999-08'"),
    "wall": ("timestamp", "'0001-01-01 00:00'", "'9999-12-31 23:59:59.999999'"),
    "at": ("timestamptz", "'1900-01-01 00:00+02'", "'9999-12-31 20:00:00.000001Z'"),
    "key": ("uuid", "'12345678-1234-5678-1234-567812345678'", "'00000000-0000-0000-0000-000000000000'"),
    "doc": ("json", """'{"n": 12345678901234567890123.5, "n": 1}'""", "'null'"),
    "docb": ("jsonb", """'{"b": [1, null, 1.0]}'""", "'\"text\"'"),
    "numbers": ("int[]", "'{1,2,null}'", "'{}'"),
    "words": ("text[]", """'{a,"b,c",null}'""", "'{}'"),
    "matrix": ("int[][]", "'{{1,2},{3,4}}'", "'{}'"),
    "mood": ("s.mood", "'sad'", "'très content'"),
    "moods": ("s.mood[]", "'{sad}'", "'{}'"),
    "raw": ("bytea", "'\\x00ff'", "''"),
    "span": ("interval", "'1 year 2 mons 3 days 04:05:06.789'", "'-1 day'"),
    "cash": ("money", "'1234.5'", "'-0.01'"),
    "address": ("inet", "'192.168.0.1'", "'10.0.0.0/8'"),
    "net": ("cidr", "'10.0.0.0/8'", "'::1/128'"),
    "card": ("macaddr", "'08:00:2b:01:02:03'", "'00:00:00:00:00:00'"),
    "bits": ("bit(3)", "B'101'", "B'000'"),
    "range": ("int4range", "'[1,5)'", "'empty'"),
    "place": ("point", "'(1,2)'", "'(0,0)'"),
    "found": ("tsvector", "'a b'", "''"),
    "oid": ("oid", "4294967295", "1"),
    "pair": ("s.pair", "row(1,'a')::s.pair", "row(null,'')::s.pair"),
    "positive": ("s.positive", "5", "1"),
    "fee": ("s.fee", "5", "0.01"),
    "name": ("name", "'n'", "'m'"),
    "letter": ('"char"', "'n'", "'m'"),
    "Select": ("int", "1", "2"),
    "with % and space": ("int", "1", "2"),
}
"""Type and two values of each column."""

EXPECTED = {
    "exact": "decimal(20, 12)",
    "free": "decimal(38, 9)",
    "hundreds": "decimal(5, 0)",
    "fraction": "decimal(5, 5)",
    "small": "int",
    "middle": "int",
    "large": "long",
    "single": "float",
    "double": "double",
    "day": "date",
    "clock": "time",
    "clock_there": "string",
    "wall": "timestamp",
    "at": "timestamptz",
    "key": "string",
    "docb": "string",
    "raw": "binary",
    "span": "string",
    "oid": "long",
    "positive": "int",
    "fee": "decimal(10, 2)",
    "with_and_space": "int",
}
TEXTS = {
    "clock_there": ["00:00:00+02", "23:59:59.999999-08"],
    "doc": ['{"n": 12345678901234567890123.5, "n": 1}', "null"],
    "docb": ['{"b": [1, null, 1.0]}', '"text"'],
    "numbers": ["[1,2,null]", "[]"],
    "words": ['["a","b,c",null]', "[]"],
    "matrix": ["[[1,2],[3,4]]", "[]"],
    "moods": ['["sad"]', "[]"],
    "span": ["1 year 2 mons 3 days 04:05:06.789", "-1 days"],
    "cash": ["$1,234.50", "-$0.01"],
    "address": ["192.168.0.1", "10.0.0.0/8"],
    "pair": ["(1,a)", '(,"")'],
    "letters": ["   ", "ab "],
    "accents": ["é🧊  ", "ß   "],
}


def loading(postgres: Postgres, table: str, backend: str, resource: Any = None, **entry: Any) -> IngestionPipeline:
    """From one table of schema `s` into `raw.t`."""
    tables = [{"name": table, "table": "t", **(resource or {})}]
    config = {"connection_string": postgres.url, "schema": "s", "backend": backend, "tables": tables}
    return pipeline_of(source_from("sql_database", "raw", {"config": config, **entry}), Path())


def landed(lake: Lake) -> pa.Table:
    return lake.table("raw.t").scan().to_arrow().sort_by("id")


def types_of(lake: Lake) -> dict[str, str]:
    return {field.name: str(field.field_type) for field in lake.table("raw.t").schema().fields}


def create_every_type(postgres: Postgres) -> None:
    quoted = {f'"{name}"': values for name, values in EVERY_TYPE.items()}
    columns = ", ".join(f"{name} {values[0]}" for name, values in quoted.items())
    rows = [", ".join(values[index] for values in quoted.values()) for index in (1, 2)]
    postgres.execute(
        "create type s.mood as enum ('sad', 'très content')",
        "create type s.pair as (x int, y text)",
        "create domain s.positive as int check (value > 0)",
        "create domain s.amount as numeric(10, 2)",
        "create domain s.fee as s.amount",
        "create domain s.code as char(3)",
        f"create table s.t (id int primary key, {columns})",
        "insert into s.t (id) values (0)",
        *(f"insert into s.t values ({number}, {row})" for number, row in enumerate(rows, start=1)),
    )


def test_every_type_lands_alike_whoever_reads_it(postgres: Postgres, tmp_path: Path) -> None:
    create_every_type(postgres)
    lakes = {backend: Lake(tmp_path / backend) for backend in ("pyarrow", "duckdb", "auto")}
    for backend, lake in lakes.items():
        lake.load(loading(postgres, "t", backend))

    first, *others = [landed(lake) for lake in lakes.values()]
    assert all(other.equals(first) for other in others)
    types = types_of(lakes["auto"])
    assert {name: types[name] for name in EXPECTED} == EXPECTED
    assert {name: first.column(name).to_pylist()[1:] for name in TEXTS} == TEXTS
    assert len(types) == len(EVERY_TYPE) + 1


def test_random_values_are_those_of_the_database(postgres: Postgres, tmp_path: Path) -> None:
    """More rows than DuckDB has in hand at once, a fifth of the values null, in decimals of every width."""
    digits = [(1, 0), (4, 4), (5, 1), (9, 2), (10, 9), (18, 4), (19, 0), (28, 14), (38, 2), (38, 37)]
    made = {
        f"numeric{(precision, scale)}": f"trunc((random() - 0.5)::numeric * power(10.0, (random() * "
        f"{precision - scale})::int), (random() * {scale})::int)"
        for precision, scale in digits
    } | {
        "bigint": "(random() * 1e18)::bigint - 500000000000000000",
        "double precision": "random() - 0.5",
        "text": "repeat(chr(945 + (random() * 20)::int) || E'\\t\\n\\\\', (random() * random() * 200)::int)",
        "char(9)": "left(md5(random()::text), (random() * 9)::int)",
        "bytea": "decode(left(md5(random()::text), 2 * (random() * 16)::int), 'hex')",
        "boolean": "random() < 0.5",
        "date": "date '1900-01-01' + (random() * 70000)::int",
        "timestamp": "timestamp '1900-01-01' + random() * interval '200 years'",
        "timestamptz": "timestamptz '1900-01-01 00:00Z' + random() * interval '200 years'",
        "uuid": "gen_random_uuid()",
    }
    columns = ", ".join(f"c{index} {type_}" for index, type_ in enumerate(made))
    values = ", ".join(f"case when random() > 0.2 then {value} end" for value in made.values())
    postgres.execute(f"create table s.t (id int, {columns})", "select setseed(0.5)")
    postgres.execute(f"insert into s.t select n, {values} from generate_series(1, 5000) n")
    found = {}
    for backend in ("pyarrow", "duckdb"):
        lake = Lake(tmp_path / backend)
        lake.load(loading(postgres, "t", backend))
        found[backend] = landed(lake)

    assert found["duckdb"].equals(found["pyarrow"])
    assert all(column.null_count and len(column.unique()) > 2 for column in found["duckdb"].columns[1:])


@pytest.mark.parametrize(
    ("type_", "value", "named"),
    [
        ("numeric(10,2)", "'NaN'", True),
        ("numeric", "1.0123456789012", True),
        ("date", "'infinity'", False),
        ("date", "'0044-03-15 BC'", False),
        ("timestamp", "'-infinity'", False),
        ("timestamptz", "'20000-01-01'", False),
        ("time", "'24:00'", False),
    ],
)
def test_a_value_that_its_type_cannot_hold_in_a_table_is_refused(
    type_: str, value: str, named: bool, backend: str, postgres: Postgres, lake: Lake
) -> None:
    """The driver that SQLAlchemy uses says which value of a time it is, and not of which column: they are all named."""
    postgres.execute(f"create table s.t (id int, v {type_})", f"insert into s.t values (1, {value})")
    says = "column 'v'" if named or backend == "duckdb" else "one of the columns 'v': .*(year|hour)"

    with pytest.raises(SourceRejected, match=says):
        lake.load(loading(postgres, "t", backend))


def test_a_number_of_too_many_digits_is_refused_by_its_type(backend: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute("create table s.t (id int, v numeric(50, 2))")

    with pytest.raises(UnsupportedType, match=r"Column 'v' is of type NUMERIC\(50, 2\)"):
        lake.load(loading(postgres, "t", backend))


def test_a_table_without_rows_has_its_types(backend: str, postgres: Postgres, lake: Lake) -> None:
    create_every_type(postgres)
    postgres.execute("create table s.none (like s.t)")

    lake.load(loading(postgres, "none", backend))
    before = types_of(lake)
    lake.load(loading(postgres, "t", backend))

    assert types_of(lake) == before
    assert {name: before[name] for name in EXPECTED} == EXPECTED


@pytest.mark.parametrize("type_", ["s.mood", "pg_lsn", "interval", "timetz", "int4range", "jsonb"])
def test_a_cursor_whose_text_has_another_order_is_refused(type_: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute("create type s.mood as enum ('z', 'a')", f"create table s.t (id int, u {type_})")

    with pytest.raises(SourceRejected, match=r"column 'u': values of type .* another order than the database's"):
        lake.load(loading(postgres, "t", "auto", {"incremental": {"cursor_path": "u"}}))


def test_a_run_that_brings_nothing_new_changes_no_type(backend: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute('create table s.t (id int, u bigint, "R%" real)', "insert into s.t values (1, 5, 0.5)")
    pipeline = loading(postgres, "t", backend, {"incremental": {"cursor_path": "u"}, "schema_contract": "freeze"})

    for _ in range(2):
        lake.load(pipeline)

    assert types_of(lake) == {"id": "int", "u": "long", "rx": "float"}


def test_a_table_may_be_wide(postgres: Postgres, lake: Lake) -> None:
    columns = ", ".join(f"c{number} numeric(9, 2) default {number}" for number in range(500))
    postgres.execute(f"create table s.t (id int, {columns})", "insert into s.t values (1)")

    lake.load(loading(postgres, "t", "auto"))

    (row,) = landed(lake).to_pylist()
    assert list(row.values()) == [1, *range(500)]


def test_a_condition_may_hold_percent_signs_and_colons(backend: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute("create table s.t (id int, v text)", "insert into s.t values (1, 'a:b'), (2, 'a:b'), (4, 'c')")

    lake.load(loading(postgres, "t", backend, {"where": "v like 'a:%' and id % 2 = 0"}))

    assert lake.values("raw.t") == [2]


@pytest.mark.parametrize("kind", ["view", "materialized view"])
def test_views_are_read_as_tables_are(kind: str, backend: str, postgres: Postgres, lake: Lake) -> None:
    postgres.execute("create table s.t (id int primary key, v text)", "insert into s.t values (1, 'a')")
    postgres.execute(f"create {kind} s.seen as select id, upper(v) as v from s.t")
    loads = loading(postgres, "seen", backend)

    lake.load(loads)

    assert "with 1 table" in loads.connect().check_connection()
    assert lake.rows("raw.t") == [{"id": 1, "v": "A"}]


# Who reads


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://host/db", True),
        ("postgresql+psycopg://user:pw@host:5432/db?sslmode=require", True),
        ("postgresql+psycopg2:///db?host=/var/run/postgresql", True),
        ("postgresql+pg8000://host/db", False),
        ("sqlite:///some.db", False),
        ("mysql+pymysql://host/db", False),
        ("mssql+pyodbc://host/db", False),
    ],
)
def test_duckdb_reads_what_its_library_understands(url: str, expected: bool) -> None:
    assert is_read_by_duckdb("auto", sa.make_url(url)) is expected
    assert not is_read_by_duckdb("pyarrow", sa.make_url(url))
    if expected:
        assert is_read_by_duckdb("duckdb", sa.make_url(url))
    else:
        with pytest.raises(
            SourceRejected, match=f"begins with {re.escape(url.partition(':')[0])}://. Remove `backend`"
        ):
            is_read_by_duckdb("duckdb", sa.make_url(url))


def test_a_password_may_hold_any_character(backend: str, postgres: Postgres, lake: Lake) -> None:
    password = "it's \\a 'pass' word\"+%20&@:/?"
    url = sa.make_url(postgres.url_of_guest("")).set(password=password).render_as_string(hide_password=False)
    config = {"connection_string": url, "schema": "s", "backend": backend, "tables": ["t"]}
    postgres.execute("create table s.t (id int)", "insert into s.t values (1)", "grant usage on schema s to guest")
    postgres.execute("grant select on s.t to guest", f"alter role guest password $${password}$$")
    try:
        lake.load(pipeline_of(source_from("sql_database", "raw", {"config": config}), Path()))
    finally:
        postgres.execute("alter role guest password 'right-password'")

    assert lake.values("raw.t") == [1]


# Ranges


@pytest.fixture
def squares(postgres: Postgres) -> Postgres:
    postgres.execute(
        "create table s.t (id bigint primary key, v text)",
        "insert into s.t select n * n - 50, 'x' || n from generate_series(1, 1000) n",
    )
    return postgres


@pytest.mark.parametrize("parallel", [2, 7, 64])
def test_ranges_are_the_whole_table(parallel: int, squares: Postgres, lake: Lake) -> None:
    lake.load(loading(squares, "t", "auto", {"parallel": parallel}))

    assert lake.values("raw.t") == [n * n - 50 for n in range(1, 1001)]


@pytest.mark.parametrize("rows", [0, 1])
def test_ranges_of_hardly_any_rows_are_these(rows: int, postgres: Postgres, lake: Lake) -> None:
    postgres.execute("create table s.t (id int primary key)", f"insert into s.t select 7 where {rows} = 1")

    lake.load(loading(postgres, "t", "auto", {"parallel": 3}))

    assert lake.values("raw.t") == [7] * rows


class WhileOthersWrite(DeclaredLoader):
    """Reads its ranges, and meanwhile somebody writes into each of them."""

    def _read_by_duckdb(self, queries: list[Any], snapshot: str | None = None) -> Iterator[pa.Table]:
        with self.engine.begin() as connection:
            connection.execute(sa.text("insert into s.t values (-49 + 1, 'new'), (999000, 'new')"))
            connection.execute(sa.text("update s.t set v = 'changed'"))
        yield from super()._read_by_duckdb(queries, snapshot)


def test_all_ranges_see_the_table_of_one_moment(squares: Postgres) -> None:
    resource = sql_table(
        squares.url,
        table="t",
        schema="s",
        backend="pyarrow",
        backend_kwargs={"choice": "duckdb", "parallel": 4},
        table_loader_class=WhileOthersWrite,
    )

    read = pa.concat_tables(resource)

    assert sorted(read.column("v").to_pylist()) == sorted(f"x{n}" for n in range(1, 1001))


def test_tables_without_a_key_and_in_partitions_have_ranges_too(postgres: Postgres, tmp_path: Path) -> None:
    numbers = "select n, n % 3 from generate_series(1, 5000) n"
    postgres.execute(
        f'create table s."key%less" as {numbers}',
        f"create materialized view s.kept as {numbers}",
        "create table s.parts (n int, part int) partition by list (part)",
        *(f"create table s.part{part} partition of s.parts for values in ({part})" for part in range(3)),
        f"insert into s.parts {numbers}",
    )
    for table in ("key%less", "kept", "parts"):
        lake = Lake(tmp_path / table.replace("%", ""))
        lake.load(loading(postgres, table, "auto", {"parallel": 3}))
        assert lake.values("raw.t", "n") == list(range(1, 5001))


def test_batches_have_no_more_rows_than_asked_for(backend: str, squares: Postgres) -> None:
    resource = sql_table(
        squares.url,
        table="t",
        schema="s",
        chunk_size=300,
        backend="pyarrow",
        backend_kwargs={"choice": backend},
        table_loader_class=DeclaredLoader,
    )

    assert [rows.num_rows for rows in resource] == [300, 300, 300, 100]


def test_a_reader_that_stops_lets_the_server_stop(postgres: Postgres) -> None:
    """What it has sent has to be taken before a connection can end, and here that would take days."""
    rows = read_by_duckdb(sa.make_url(postgres.url), "select generate_series(1, 1000000000000) as n")

    assert next(rows).num_rows > 1
    rows.close()  # type: ignore[attr-defined]


def test_long_rows_come_few_at_once(postgres: Postgres) -> None:
    postgres.execute(
        "create table s.t (id int, v text)",
        "alter table s.t alter v set storage external",
        "insert into s.t select n, repeat('long', 1000000) from generate_series(1, 9) n",
        "analyze s.t",
    )
    resource = sql_table(postgres.url, table="t", schema="s", backend="pyarrow", table_loader_class=DeclaredLoader)

    read = list(resource)

    assert [rows.num_rows for rows in read] == [4, 4, 1]
    assert pa.concat_tables(read).column("id").to_pylist() == list(range(1, 10))


def test_nobody_rewrites_a_table_while_its_ranges_are_read(squares: Postgres) -> None:
    """A rewritten table has its rows on other pages, so that a range read later would have others."""
    engine = sa.create_engine(squares.url)
    table = sa.Table("t", sa.MetaData(), schema="s", autoload_with=engine)
    loader = DeclaredLoader(engine, "full_with_precision", table, {}, chunk_size=10)  # type: ignore[arg-type]
    rows = loader.load_rows({"choice": "duckdb", "parallel": 2})
    next(rows)

    with pytest.raises(psycopg.errors.LockNotAvailable):
        squares.execute("set lock_timeout = '100ms'", "cluster s.t using t_pkey")
    rows.close()  # type: ignore[attr-defined]
    squares.execute("cluster s.t using t_pkey")


def test_ranges_need_pages_and_a_reader_that_can(squares: Postgres, lake: Lake) -> None:
    squares.execute("create view s.seen as select * from s.t")

    with pytest.raises(SourceRejected, match="seen' is a view or a foreign table"):
        lake.load(loading(squares, "seen", "auto", {"parallel": 2}))
    with pytest.raises(SourceRejected, match="`parallel` is for PostgreSQL read by DuckDB"):
        lake.load(loading(squares, "t", "pyarrow", {"parallel": 2}))


# A source that changes between two runs

CHANGES = [
    ("alter table s.t add column more numeric(5, 1) default 1.5", {"more": "decimal(5, 1)"}),
    ("alter table s.t drop column v", {"v": "string"}),
    ("alter table s.t rename column v to w", {"v": "string", "w": "string"}),
    ("alter table s.t alter column n type bigint", {"n": "long"}),
    ("alter table s.t alter column p type numeric(12, 2)", {"p": "decimal(12, 2)"}),
    ("alter table s.t alter column r type double precision", {"r": "double"}),
    ("alter table s.t alter column v type int using 7", {"v": "string", "v__v_bigint": "int"}),
    ("alter table s.t alter column n type text", {"n": "int", "n__v_text": "string"}),
    ("alter table s.t alter column p type numeric(8, 4)", {"p": "decimal(8, 2)", "p__v_decimal": "decimal(8, 4)"}),
]


@pytest.fixture
def changing(postgres: Postgres) -> Postgres:
    postgres.execute(
        "create table s.t (id int primary key, v text, n int, p numeric(8, 2), r real)",
        "insert into s.t values (1, 'a', 1, 1.25, 0.5)",
    )
    return postgres


@pytest.mark.parametrize(("change", "types"), CHANGES, ids=[change.partition("s.t ")[2] for change, _ in CHANGES])
def test_a_change_of_the_source_is_followed(
    change: str, types: dict[str, str], backend: str, changing: Postgres, lake: Lake
) -> None:
    loads = loading(changing, "t", backend)
    lake.load(loads)
    changing.execute(change, "update s.t set id = 2")

    lake.load(loads)

    assert lake.values("raw.t") == [1, 2]
    assert {name: types_of(lake)[name] for name in types} == types
    assert landed(lake).slice(0, 1).select(["v", "n", "p", "r"]).to_pylist()[0]["v"] == "a"


def test_a_change_that_a_contract_forbids_is_refused(backend: str, changing: Postgres, lake: Lake) -> None:
    loads = loading(changing, "t", backend, destination={"schema_contract": "freeze"})
    lake.load(loads)
    changing.execute("alter table s.t add column more int")

    with pytest.raises(ContractBroken, match="'more'"):
        lake.load(loads)
