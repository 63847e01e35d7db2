"""The cursor of a load: dlt's state of one table's source, carried by the snapshot that holds its rows.

It is written in the same commit, as a snapshot property and, because expiring snapshots may drop the summary
that held it, as a table property too. So a table that is rolled back has its old cursor back.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from typing import Any

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot, ancestors_of

CURSOR = "floe.cursor"
_BEFORE = f"{CURSOR}.before."
_FIRST_COMMIT = 1
"""Sequence number of a table's first snapshot; tables of format 1 have none."""


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
    return at(table.metadata, table.current_snapshot()) if table is not None else None


def at(metadata: TableMetadata, snapshot: Snapshot | None) -> str | None:
    """The encoded cursor that goes with the rows of `snapshot`; None when it has none.

    Its newest ancestor that carries one says it; where the history was cut off before that one, what
    `cut_off` wrote; and where somebody else cut it, the table property, which is the newest of all.
    """
    oldest: Snapshot | None = None
    for ancestor in ancestors_of(snapshot, metadata):
        if (text := carried(ancestor)) is not None:
            return text or None
        oldest = ancestor
    if oldest is not None:
        if (text := metadata.properties.get(before(oldest.snapshot_id))) is not None:
            return text or None
        unnumbered = not oldest.sequence_number and oldest.parent_snapshot_id is None
        if oldest.sequence_number == _FIRST_COMMIT or unnumbered:
            return None  # nothing was cut off: the property is of a snapshot that was rolled back
    return metadata.properties.get(CURSOR) or None


def carried(snapshot: Snapshot) -> str | None:
    """The cursor of this very snapshot; empty where it was reset, None where it says nothing."""
    return snapshot.summary.additional_properties.get(CURSOR) if snapshot.summary is not None else None


def before(snapshot_id: int) -> str:
    """The table property for the cursor of what once came before this snapshot."""
    return f"{_BEFORE}{snapshot_id}"


def cut_off(metadata: TableMetadata, expired: set[int]) -> tuple[dict[str, str], list[str]]:
    """Table properties to set, and to remove, so that no kept snapshot has another cursor without `expired`."""
    kept = [snapshot for snapshot in metadata.snapshots if snapshot.snapshot_id not in expired]
    found: dict[str, str] = {}
    for snapshot in kept:
        if snapshot.parent_snapshot_id in expired and carried(snapshot) is None:
            parent = metadata.snapshot_by_id(snapshot.parent_snapshot_id)
            found[before(snapshot.snapshot_id)] = at(metadata, parent) or ""
    newest = at(metadata, metadata.current_snapshot()) or ""
    if newest != metadata.properties.get(CURSOR, ""):
        found[CURSOR] = newest  # after a rollback the property is of rows that are no longer there
    known = {before(snapshot.snapshot_id) for snapshot in kept}
    return found, [name for name in metadata.properties if name.startswith(_BEFORE) and name not in known]


def entries(state: dict[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """The cursors of dlt's state, by resource and cursor path."""
    for resource, held in state.get("resources", {}).items():
        for path, cursor in held.get("incremental", {}).items():
            yield (resource, path), cursor


def describe(text: str | None) -> dict[str, Any]:
    """The last value of each cursor path, for people; empty without a cursor."""
    return {path: cursor.get("last_value") for (_, path), cursor in entries(decode(text) if text else {})}
