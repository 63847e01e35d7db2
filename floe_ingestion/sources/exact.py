"""JSON's numbers as they are written: integers of more than 64 bits as decimals, which dlt can carry, not as errors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

_DIGITS = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else ord(" ") for byte in range(256))
_LONG = b"0" * 19
_EVERY = 4
_SAMPLED = b"0" * (len(_LONG) // _EVERY)
SMALLEST, LARGEST = -(2**63), 2**63 - 1


def within_64_bits(value: Any) -> Any:
    """A longer integer as a decimal; anything else as it is."""
    return Decimal(value) if type(value) is int and not SMALLEST <= value <= LARGEST else value


def _integer(text: str) -> int | Decimal:
    value = int(text)
    return value if SMALLEST <= value <= LARGEST else Decimal(value)


def may_hold_long_number(text: bytes) -> bool:
    """True for every JSON text that holds an integer of more than 64 bits, and for few others.

    A regular expression takes as long for it as orjson for all of the parsing. Of so many digits in a row every
    fourth byte is one, too.
    """
    return _SAMPLED in text[::_EVERY].translate(_DIGITS) and _LONG in text.translate(_DIGITS)


EXACT: dict[str, Any] = {"parse_int": _integer}
"""Arguments of `json.loads`."""
