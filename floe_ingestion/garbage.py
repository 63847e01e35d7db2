"""How often Python looks for garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_COLLECTED_EVERY = 200_000
"""Objects that may hold others, of which a page of 1,000 rows makes some thousands."""


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Python looks for garbage seldom while libraries are imported and rows made: objects that all live on.

    It took an eighth of the time of a load, and found next to nothing. Where another load of this process has seen to
    it, it is that one which gives the threshold back.
    """
    before = gc.get_threshold()
    if not 0 < before[0] < _COLLECTED_EVERY:
        yield
        return
    gc.set_threshold(_COLLECTED_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
