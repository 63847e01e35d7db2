"""Names as they become table names: dlt's snake case, without the second that importing dlt takes."""

from __future__ import annotations

import re
from urllib.parse import unquote

_SIMILAR = str.maketrans("+-*@|", "x_xal")
_NOT_A_LETTER = re.compile(r"[^a-zA-Z\d_]+")
_BEFORE_A_WORD = re.compile("([^_])([A-Z][a-z]+)")
_BEFORE_A_CAPITAL = re.compile("([a-z0-9])([A-Z])")
_UNDERSCORES = re.compile("__+")
_OF_A_URL = re.compile(r"[?#/\x00-\x1f\x7f]")


def normalize_identifier(name: str) -> str:
    """`name` as dlt's naming convention `snake_case` writes it; a ValueError if nothing but space is in it.

    It is `dlt.common.normalizers.naming.snake_case` without a maximal length; a test compares them.
    """
    name = name.strip()
    if not name:
        raise ValueError("an empty text is no name")
    name = _NOT_A_LETTER.sub("_", name.translate(_SIMILAR))
    name = _BEFORE_A_WORD.sub(r"\1_\2", name)
    name = _BEFORE_A_CAPITAL.sub(r"\1_\2", name).lower()
    if name[0].isdigit():
        name = f"_{name}"
    stem = name.rstrip("_")
    # dlt keeps a trailing underscore apart from its separator `__` by writing an x for each.
    return _UNDERSCORES.sub("_", stem + "x" * (len(name) - len(stem)))


def normalize_column(name: str) -> str:
    """`name` as dlt writes it for a column: parts that `__` separates, as in its variants, stay apart."""
    parts = [normalize_identifier(part) for part in name.split("__") if part.strip()]
    return "__".join(parts) if parts else normalize_identifier(name)


def fits_in_location(name: str) -> bool:
    """Whether files can lie in a folder of this name: in the URL of one, some letters mean something else."""
    own = bool(name.strip()) and name not in (".", "..")
    return own and _OF_A_URL.search(name) is None and unquote(name) == name
