"""Reading ahead: the next batch is fetched while the last one is worked on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

Item = TypeVar("Item")
_LOOKS_UP, _PATIENCE = 0.1, 5.0
"""Seconds."""


def read_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """`items`, of which the next is taken by a thread of its own; no more than two wait.

    It pays where taking one leaves Python to others, as a database driver does. What `items` raises is raised here.
    """
    waiting: queue.Queue[tuple[Item, ...] | BaseException | None] = queue.Queue(1)
    given_up = threading.Event()

    def hand_over(taken: tuple[Item, ...] | BaseException | None) -> None:
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
    try:
        while isinstance(taken := waiting.get(), tuple):
            yield taken[0]
        if taken is not None:
            raise taken
    finally:
        given_up.set()
        thread.join(_PATIENCE)  # a server that does not answer must not keep a run from ending
