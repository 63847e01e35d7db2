"""The cursor of a load: dlt's state of one table's source, carried by the snapshot that holds its rows.

It is written in the same commit, as a snapshot property and, because expiring snapshots may drop the summary
that held it, as a table property too. So a table that is rolled back has its old cursor back.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

CURSOR = "floe.cursor"


def encode(state: Any) -> str | None:
    """dlt's state as text for a snapshot summary; None for an empty state."""
    from dlt.common.json import json

    # Typed JSON keeps datetimes datetimes: plain JSON would make the next run fail on coercion.
    return base64.b64encode(zlib.compress(json.typed_dumpb(state))).decode() if state else None


def decode(text: str) -> Any:
    """What `encode` was given."""
    from dlt.common.json import json

    return json.typed_loadb(zlib.decompress(base64.b64decode(text)))


def current(table: Table | None) -> str | None:
    """The encoded cursor that the table's main branch stands at; None when it has none."""
    if table is None:
        return None
    snapshot = table.current_snapshot()
    for ancestor in ancestors_of(snapshot, table.metadata) if snapshot else ():
        summary = ancestor.summary
        if summary is not None and CURSOR in summary.additional_properties:
            return summary.additional_properties[CURSOR] or None
    return table.properties.get(CURSOR) or None


def describe(text: str | None) -> dict[str, Any]:
    """The last value of each cursor path, for people; empty without a cursor."""
    state = decode(text) if text else {}
    return {
        path: entry.get("last_value")
        for resource in state.get("resources", {}).values()
        for path, entry in resource.get("incremental", {}).items()
    }
