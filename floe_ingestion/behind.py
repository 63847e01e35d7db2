"""A source that lies behind its cursor: a database that was reset, or restored from a backup.

Nothing that it brings is newer than what was loaded, so that a run finds no rows and looks well.
"""

from __future__ import annotations

import shlex
from datetime import date, datetime, time, timezone
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from floe_ingestion.iceberg import cursor as cursors

if TYPE_CHECKING:
    from floe_ingestion.sources.base import Extraction


@runtime_checkable
class KnowsNewest(Protocol):
    """A connector that can tell where its source ends."""

    def newest(self, extraction: Extraction) -> Any: ...


def behind(connector: object, extraction: Extraction, cursor: str | None) -> tuple[str, ...]:
    """The warning that the source of a load without rows lies behind `cursor`; none where it does not, or may not."""
    table, incremental = extraction.table, extraction.table.incremental
    if cursor is None or incremental is None or not isinstance(connector, KnowsNewest):
        return ()
    path = incremental.cursor_path
    last = cursors.describe(cursor).get(path)
    newest = connector.newest(extraction) if last is not None else None
    if newest is None or not _is_less(newest, last):
        return ()
    return (
        f"{table}: the newest {path!r} in the source is {newest}, and the cursor is at {last}. The source was reset "
        f"or restored from a backup: what it brings is passed over until it is newer than the cursor. To load from "
        f"that value on: floe-ingestion cursor set {table} {path} {shlex.quote(str(newest))}; to load everything: "
        f"floe-ingestion cursor reset {table}.",
    )


def _is_less(newest: Any, last: Any) -> bool:
    try:
        return bool(_comparable(newest) < _comparable(last))
    except TypeError:  # the source's own type is another than the table's: nothing can be said
        return False


def _comparable(value: Any) -> Any:
    """Times without an offset are taken for UTC, as they are where they are staged; a date is its midnight."""
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)
    return datetime.combine(value, time(), timezone.utc) if isinstance(value, date) else value
