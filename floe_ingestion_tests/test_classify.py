"""What real things raise, sorted into what is tried again and what is not, with secrets hidden."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from floe_ingestion.classify import cause_of, classify
from floe_ingestion.errors import PermanentError, SourceRejected, SourceUnavailable, TransientError
from floe_ingestion.secrets import expand
from floe_ingestion_tests.http_server import Answer, serving


def raised_by(call: Callable[[], Any]) -> BaseException:
    """What `call` raises."""
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def query(url: str, sql: str = "select 1") -> None:
    with sa.create_engine(url).connect() as connection:
        connection.execute(sa.text(sql))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, SourceRejected),
        (403, SourceRejected),
        (404, SourceRejected),
        (429, SourceUnavailable),
        (500, SourceUnavailable),
        (503, SourceUnavailable),
    ],
)
def test_an_answer_of_a_server_says_whether_to_come_back(status, kind):
    with serving() as server:
        server.route("/", Answer(status=status, headers={"Retry-After": "7"}))
        error = raised_by(lambda: requests.get(server.url, timeout=5).raise_for_status())

    found = classify(error, "tickets")
    assert type(found) is kind
    assert str(found).startswith("tickets: HTTPError")


def test_a_server_that_says_when_to_come_back_is_heard():
    with serving() as server:
        server.route("/", Answer(status=429, headers={"Retry-After": "7"}))
        error = raised_by(lambda: requests.get(server.url, timeout=5).raise_for_status())

    assert classify(error, "tickets").retry_after == 7


def test_a_port_that_nobody_listens_on_is_tried_again():
    error = raised_by(lambda: requests.get(f"http://127.0.0.1:{closed_port()}/", timeout=5))

    assert type(classify(error, "tickets")) is SourceUnavailable


def test_a_database_that_does_not_answer_is_tried_again():
    error = raised_by(lambda: query(f"postgresql+psycopg://user:secret@127.0.0.1:{closed_port()}/shop"))

    assert type(classify(error, "shop")) is SourceUnavailable


@pytest.mark.parametrize(
    ("url", "sql"),
    [
        ("sqlite:///{folder}/missing/shop.db", "select 1"),
        ("sqlite:///{folder}/shop.db", "select * from nothing"),
        ("sqlite:///{folder}/shop.db", "select no_such_column from orders"),
        ("sqlite:///{folder}/shop.db", "selct 1"),
        ("this is no url", "select 1"),
        ("nosuchdialect://host/database", "select 1"),
    ],
)
def test_what_a_database_refuses_is_not_tried_again(url, sql, tmp_path: Path):
    sqlite3.connect(tmp_path / "shop.db").execute("create table orders (id integer)")
    error = raised_by(lambda: query(url.format(folder=tmp_path), sql))

    assert isinstance(classify(error, "shop"), PermanentError)


def test_a_missing_file_is_not_tried_again(tmp_path):
    error = raised_by(lambda: (tmp_path / "nothing.csv").open())

    assert type(classify(error, "files")) is SourceRejected


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), ValueError("x"), ImportError("x")], ids=repr)
def test_a_mistake_in_a_program_is_not_tried_again(error):
    assert isinstance(classify(error, "planets"), PermanentError)


def test_what_nobody_knows_is_tried_again():
    class Odd(Exception):
        """Of a library that nobody has heard of."""

    assert isinstance(classify(Odd("strange"), "planets"), TransientError)


def test_an_error_of_ours_stays_what_it_is():
    ours = SourceRejected("no such table")
    wrapped = RuntimeError("dlt failed")
    wrapped.__cause__ = ours

    assert classify(wrapped, "shop") is ours


def test_a_secret_is_hidden_in_the_sentence_and_cut_from_the_traceback():
    expand("${TICKETS_TOKEN}", "floe.yaml", {"TICKETS_TOKEN": "s3cr3t-token"})
    error = ValueError("https://api/?token=s3cr3t-token was refused")

    assert "s3cr3t-token" not in str(classify(error, "tickets"))
    assert cause_of(error) is None
