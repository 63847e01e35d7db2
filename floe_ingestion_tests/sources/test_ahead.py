"""Reading ahead changes nothing of what is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from floe_ingestion.sources.ahead import read_ahead


class Panic(BaseException):
    """What a driver written in Rust ends with."""


def test_all_items_come_in_their_order() -> None:
    assert list(read_ahead(range(1000))) == list(range(1000))


def test_the_next_item_is_taken_while_the_last_is_worked_on() -> None:
    second_is_taken = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        second_is_taken.set()
        yield 2

    reader = read_ahead(items())
    assert next(reader) == 1
    assert second_is_taken.wait(30)
    assert list(reader) == [2]


@pytest.mark.parametrize("kind", [ValueError, Panic])
def test_what_goes_wrong_is_raised_behind_what_came_before(kind: type[BaseException]) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise kind("the server went away")

    reader = read_ahead(items())
    assert next(reader) == 1
    with pytest.raises(kind, match="the server went away"):
        next(reader)


def test_no_thread_is_left_of_a_reader_that_is_given_up() -> None:
    reader = read_ahead(iter(range(10**9)))
    assert next(reader) == 0
    reader.close()

    assert "floe-read-ahead" not in {thread.name for thread in threading.enumerate()}
