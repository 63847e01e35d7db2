"""JSON's numbers as they are written: integers of more than 64 bits as decimals, which dlt can carry, not as errors."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

LONG_NUMBER = re.compile(rb"\d{19}")
"""Found in every JSON text that may hold an integer of more than 64 bits."""

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


def _integer(text: str) -> int | Decimal:
    value = int(text)
    return value if _SMALLEST <= value <= _LARGEST else Decimal(value)


EXACT: dict[str, Any] = {"parse_int": _integer}
"""Arguments of `json.loads`."""
