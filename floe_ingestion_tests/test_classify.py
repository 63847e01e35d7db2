"""Real errors of real things: whether trying again can help, in words, and without secrets."""

from __future__ import annotations

import errno
import socket
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import sqlalchemy as sa
from dlt.sources.helpers import requests as dlt_requests

from floe_ingestion import secrets
from floe_ingestion.classify import cause_of, classify, lake_errors, source_errors
from floe_ingestion.errors import (
    CatalogUnavailable,
    ConfigurationError,
    IngestionError,
    PermanentError,
    SourceRejected,
    SourceUnavailable,
    StaleCursor,
    TransientError,
)
from floe_ingestion_tests.http_server import Answer, HttpServer, serving


def raised_by(action: Callable[[], Any]) -> BaseException:
    """What `action` fails with."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011  (any error is what is asked for)
        action()
    return raised.value


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def api() -> Iterator[HttpServer]:
    with serving() as server:
        yield server


# HTTP


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, SourceRejected),
        (401, SourceRejected),
        (403, SourceRejected),
        (404, SourceRejected),
        (410, SourceRejected),
        (422, SourceRejected),
        (408, SourceUnavailable),
        (429, SourceUnavailable),
        (500, SourceUnavailable),
        (502, SourceUnavailable),
        (503, SourceUnavailable),
        (504, SourceUnavailable),
    ],
)
def test_a_status_says_whether_to_try_again(status: int, kind: type[IngestionError], api: HttpServer) -> None:
    api.route("/orders", Answer({}, status))

    found = classify(raised_by(requests.get(f"{api.url}/orders", timeout=5).raise_for_status), "shop.orders")

    assert type(found) is kind
    assert str(found).startswith("shop.orders: HTTPError: ")
    assert str(status) in str(found)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), (None, None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)],
)
def test_a_source_that_says_when_to_come_back_is_heard(
    header: str | None, seconds: float | None, api: HttpServer
) -> None:
    api.route("/orders", Answer({}, 429, {"Retry-After": header} if header is not None else {}))

    found = classify(raised_by(requests.get(f"{api.url}/orders", timeout=5).raise_for_status), "shop")

    assert isinstance(found, SourceUnavailable)
    assert found.retry_after == seconds


def test_a_closed_port_may_open_later() -> None:
    port = closed_port()

    found = classify(raised_by(lambda: requests.get(f"http://127.0.0.1:{port}", timeout=5)), "shop")

    assert type(found) is SourceUnavailable
    assert "127.0.0.1" in str(found)
    assert str(port) in str(found)


def test_a_server_that_is_silent_may_answer_later() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        found = classify(raised_by(lambda: requests.get(url, timeout=0.1)), "shop")

    assert type(found) is SourceUnavailable
    assert "127.0.0.1" in str(found)


def test_dlts_own_client_fails_in_the_same_words(api: HttpServer) -> None:
    api.route("/orders", Answer({}, 404))

    found = classify(raised_by(lambda: dlt_requests.get(f"{api.url}/orders")), "shop")

    assert type(found) is SourceRejected


@pytest.mark.parametrize("url", ["no url at all", "http://", "ftp://example.com"])
def test_a_bad_url_is_no_matter_of_time(url: str) -> None:
    found = classify(raised_by(lambda: requests.get(url, timeout=1)), "shop")

    assert isinstance(found, PermanentError)


def test_an_answer_that_is_no_json_is_no_crash(api: HttpServer) -> None:
    api.route("/orders", Answer(b"<html>", 200))

    found = classify(raised_by(requests.get(f"{api.url}/orders", timeout=5).json), "shop")

    assert isinstance(found, IngestionError)


# Databases


def querying(url: str, sql: str = "select 1") -> Callable[[], Any]:
    def query() -> None:
        engine = sa.create_engine(url)
        try:
            with engine.connect() as connection:
                connection.execute(sa.text(sql))
        finally:
            engine.dispose()

    return query


def test_a_database_that_is_not_there_may_come_back() -> None:
    url = f"postgresql+psycopg://someone:something@127.0.0.1:{closed_port()}/shop"

    found = classify(raised_by(querying(url)), "shop")

    assert type(found) is SourceUnavailable
    assert "something" not in str(found)


def test_a_missing_sqlite_folder_is_no_matter_of_time(tmp_path: Path) -> None:
    found = classify(raised_by(querying(f"sqlite:///{tmp_path}/no/such/shop.db")), "shop")

    assert type(found) is SourceRejected


@pytest.mark.parametrize("sql", ["select * from nothing", "select nothing", "selekt 1", "select f(1)"])
def test_a_bad_query_is_no_matter_of_time(sql: str, tmp_path: Path) -> None:
    found = classify(raised_by(querying(f"sqlite:///{tmp_path}/shop.db", sql)), "shop")

    assert type(found) is SourceRejected


def test_a_locked_database_is_a_matter_of_time(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as writer:
        writer.execute("create table t (id int)")
        writer.commit()
        writer.execute("begin exclusive")

        found = classify(raised_by(querying(f"sqlite:///{path}?timeout=0.05", "insert into t values (1)")), "shop")

    assert type(found) is SourceUnavailable


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")

    found = classify(raised_by(lambda: sa.Table("nothing", sa.MetaData(), autoload_with=engine)), "shop")

    assert type(found) is SourceRejected
    assert str(found) == "shop: there is no table 'nothing'. Check its name, and the `schema` it is in."


@pytest.mark.parametrize("url", ["no url at all", "", "nosuchdatabase://host/db", "mysql+nosuchdriver://host/db"])
def test_a_bad_connection_string_is_no_matter_of_time(url: str) -> None:
    found = classify(raised_by(querying(url)), "shop")

    assert type(found) is SourceRejected
    assert "shop: " in str(found)


def test_a_driver_that_is_not_installed_is_no_matter_of_time() -> None:
    found = classify(raised_by(querying("oracle+oracledb://host/db")), "shop")

    assert type(found) is PermanentError
    assert "oracledb" in str(found)


# Files


@pytest.mark.parametrize(
    "action",
    [
        lambda path: (path / "missing.csv").read_text(),
        lambda path: path.read_text(),
        lambda path: pq.read_table(path / "missing.parquet"),
        lambda path: (path / "some.txt" / "below").read_text(),
    ],
)
def test_a_missing_file_is_the_sources_no(action: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("x")

    found = classify(raised_by(lambda: action(tmp_path)), "files")

    assert type(found) is SourceRejected


def test_a_broken_file_is_no_matter_of_time(tmp_path: Path) -> None:
    (tmp_path / "some.parquet").write_text("this is no Parquet")

    found = classify(raised_by(lambda: pq.read_table(tmp_path / "some.parquet")), "files")

    assert isinstance(found, PermanentError)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_matter_of_time() -> None:
    def write() -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    error = raised_by(write)

    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    assert type(classify(error, "files")) is PermanentError


# What cannot be known


@pytest.mark.parametrize(
    "action",
    [
        lambda: {}["missing"],
        lambda: int("x"),
        lambda: [].nothing,  # type: ignore[attr-defined]
        lambda: pa.array([1]).cast(pa.uuid()),
        lambda: pa.table({"a": [1]}).select(["b"]),
        lambda: pa.array([2**40]).cast(pa.int8()),
        lambda: __import__("no_such_module"),
        lambda: next(iter(())),
        lambda: pa.array([2**64], pa.int64()),
    ],
)
def test_a_mistake_in_code_is_not_tried_again(action: Callable[[], Any]) -> None:
    assert type(classify(raised_by(action), "numbers")) is PermanentError


@pytest.mark.parametrize("error", [RuntimeError("who knows"), OSError("who knows"), Exception()])
def test_what_nobody_knows_is_tried_again(error: Exception) -> None:
    found = classify(error, "numbers")

    assert type(found) is TransientError
    assert str(found).startswith(f"numbers: {type(error).__name__}: ")


def test_an_error_of_ours_is_found_however_deep_it_lies() -> None:
    ours = StaleCursor("raw.numbers")

    def wrapped() -> None:
        try:
            raise ours
        except StaleCursor as error:
            raise RuntimeError("dlt says") from error

    assert classify(raised_by(wrapped), "numbers") is ours


def test_the_innermost_cause_decides(api: HttpServer) -> None:
    api.route("/orders", Answer({}, 404))

    def wrapped() -> None:
        try:
            requests.get(f"{api.url}/orders", timeout=5).raise_for_status()
        except requests.HTTPError as error:
            raise ConnectionError("could not load") from error

    assert type(classify(raised_by(wrapped), "shop")) is SourceRejected


def test_errors_that_go_in_circles_are_survived() -> None:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one

    assert type(classify(one, "numbers")) is PermanentError


def test_of_a_catalog_the_same_errors_are_the_catalogs() -> None:
    with pytest.raises(CatalogUnavailable), lake_errors("the catalog"):
        requests.get(f"http://127.0.0.1:{closed_port()}", timeout=5)

    with pytest.raises(PermanentError) as raised, lake_errors("the catalog"):
        Path("/no/such/file").read_text()
    assert type(raised.value) is PermanentError

    ours = ConfigurationError("ours")
    with pytest.raises(ConfigurationError) as same, lake_errors("the catalog"):
        raise ours
    assert same.value is ours


# Secrets


def test_expanded_values_are_hidden_in_the_sentence_and_its_cause_is_dropped() -> None:
    secrets.expand("${TOKEN}", "floe.yaml", {"TOKEN": "tok-12345"})
    error = RuntimeError("refused: tok-12345 is not valid")

    found = classify(error, "shop")

    assert "tok-12345" not in str(found)
    assert "********" in str(found)
    assert cause_of(error) is None


def test_passwords_in_urls_are_hidden_whoever_wrote_them() -> None:
    error = RuntimeError("cannot connect to postgresql://me:s3cr3t-pw@db.example.com/shop")

    assert "s3cr3t-pw" not in str(classify(error, "shop"))
    assert cause_of(error) is None


def test_a_cause_without_secrets_is_kept() -> None:
    error = RuntimeError("nothing to hide")

    assert cause_of(error) is error


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://ann:s3cret@db/shop", "SQLAlchemy knows no database 'postgres'. Write e.g. postgresql://"),
        ("mysql://ann:s3cret@db/shop", "'MySQLdb' is needed, and not installed. Write mysql+pymysql:// in the URL"),
        ("mssql+pymssql://ann:s3cret@db/shop", "'pymssql' is needed, and not installed. Install it where runs are"),
    ],
)
def test_a_driver_that_is_not_there_is_named_with_how_to_get_it(url: str, message: str) -> None:
    with pytest.raises(PermanentError) as caught, source_errors("shop.orders"):
        sa.create_engine(url)

    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)
