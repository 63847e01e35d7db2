"""Programs that tests need and no Python package brings: without one its tests are skipped, but in CI they fail."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(message: str) -> NoReturn:
    """End a test, or what it needs, with `message`: what is missing, and how to get it."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
