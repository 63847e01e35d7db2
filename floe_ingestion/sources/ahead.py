"""Reading ahead: the next batch is fetched while the last one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")
_Taken = tuple[Item] | BaseException | None
"""An item, what a source raised, or None for its end."""
_LOOKS_UP, _PATIENCE = 0.1, 5.0
"""Seconds."""


def read_ahead(*sources: Iterable[Item]) -> Iterator[Item]:
    """The items of all `sources` as they come, each taken by a thread of its own; one waits, and one in each thread.

    It pays where taking one leaves Python to others, as a database driver does. What a source raises is raised here.
    """
    waiting: queue.Queue[_Taken[Item]] = queue.Queue(1)
    given_up = threading.Event()
    threads = [_reading(items, waiting, given_up) for items in sources]
    try:
        open_sources = len(threads)
        while open_sources:
            taken = waiting.get()
            if isinstance(taken, tuple):
                yield taken[0]
            elif taken is None:
                open_sources -= 1
            else:
                raise taken
    finally:
        given_up.set()
        for thread in threads:
            thread.join(_PATIENCE)  # a server that does not answer must not keep a run from ending


def _reading(items: Iterable[Item], waiting: queue.Queue[_Taken[Item]], given_up: threading.Event) -> threading.Thread:
    """A thread that puts what it takes of `items` into `waiting`, and how it ended."""

    def hand_over(taken: _Taken[Item]) -> None:
        while not given_up.is_set():
            with suppress(queue.Full):
                return waiting.put(taken, timeout=_LOOKS_UP)

    def take() -> None:
        end: BaseException | None = None
        try:
            for item in items:
                hand_over((item,))
                if given_up.is_set():
                    return
        except BaseException as error:  # for whoever reads, whatever it is: a Rust driver panics with no Exception
            end = error
        hand_over(end)

    thread = threading.Thread(target=take, name="floe-read-ahead", daemon=True)
    thread.start()
    return thread
