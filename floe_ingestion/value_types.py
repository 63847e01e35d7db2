"""Single values: which types of Python's dlt hands on as they are, and what Arrow makes of many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import uuid4

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.data_types.type_helpers import py_type_to_sc_type
from dlt.common.json import custom_encode
from dlt.common.schema.utils import autodetect_sc_type, standard_type_detections

from floe_ingestion.formats import shortened

PLAIN = frozenset({type(None), str, int, float, bool, dict, list, Decimal, datetime, date, bytes})
"""Types whose values dlt hands on as they are. Of others (models, enumerations, …) it makes something else first."""
EXACT_IN_DOUBLE = 2**53
_MARK = uuid4().hex
"""Which stands in no JSON before it is made."""
_CUT = f',"{_MARK}",'.encode()

TAKEN: dict[str, tuple[frozenset[type], ...]] = {
    "text": (frozenset({str}),),
    "bigint": (frozenset({int}),),
    "double": (frozenset({int, float}),),
    "bool": (frozenset({bool}),),
    "timestamp": (frozenset({str}), frozenset({datetime})),
    "date": (frozenset({str}), frozenset({date})),
    "decimal": (frozenset({Decimal}),),
    "binary": (frozenset({bytes}),),
    "json": (frozenset({dict, list}),),
}
"""Types of Python's whose values Arrow makes of a column's type what dlt makes of them."""


def are_plain(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether all values are such as `RowTypes` takes."""
    kinds = set(map(type, chain.from_iterable(map(dict.values, rows))))  # type: ignore[arg-type]
    return kinds <= PLAIN and all(type(name) is str for name in set(chain.from_iterable(rows)))


def type_of(value: Any) -> str:
    """The type that a column begins with where `value` is its first, in dlt's words."""
    kind = type(value)
    detected: Any = autodetect_sc_type(standard_type_detections(), kind, value)
    return str(detected or py_type_to_sc_type(kind))


def instants(texts: pa.StringArray, type_: pa.DataType) -> pa.Array:
    """ISO texts that all have an offset, or none of them: no offset means UTC."""
    in_utc = pa.timestamp("us", "UTC")
    try:
        moments = texts.cast(in_utc)
    except pa.ArrowInvalid:
        moments = pc.assume_timezone(texts.cast(pa.timestamp("us")), "UTC")
    return moments.cast(type_)


def texts_of(values: list[Any]) -> pa.BinaryArray:
    """JSON as dlt writes it, by what its own function comes to in the end; of all values at once, then cut apart."""
    marked: list[Any] = [_MARK] * (2 * len(values))
    marked[::2] = values
    *texts, _ = orjson.dumps([*marked, None], custom_encode, orjson.OPT_NON_STR_KEYS)[1:].split(_CUT)
    assert len(texts) == len(values)
    return pa.array([None if value is None else text for text, value in zip(texts, values, strict=True)], pa.binary())


def shown(value: Any) -> str:
    """`value` for a message."""
    return shortened(repr(value), 60)
