"""A table's cursor, looked at and changed by hand: one commit without rows, as safe beside loads as theirs."""

from __future__ import annotations

import getpass
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.table import Table

from floe_ingestion.errors import CommitConflict, ConfigurationError
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg.history import OPERATION, committed_at, history_of
from floe_ingestion.iceberg.snapshot import FileChanges, LoadSnapshot
from floe_ingestion.iceberg.tables import name_of

USER = "floe.user"
_ATTEMPTS = 10


@dataclass(frozen=True)
class CursorChange:
    """What a change by hand did."""

    table: str
    before: dict[str, Any]
    """The last value of each cursor path."""
    after: dict[str, Any]
    snapshot_id: int | None
    """None where there was nothing to change."""


def describe(table: Table) -> dict[str, Any]:
    """The cursor of the main branch: last values, dlt's whole state, and the snapshot that brought it."""
    text = cursors.current(table)
    bearer = next((each for each in history_of(table) if cursors.carried(each) is not None), None)
    return {
        "table": name_of(table),
        "values": cursors.describe(text),
        "snapshot_id": bearer.snapshot_id if bearer is not None else None,
        "committed_at": committed_at(bearer) if bearer is not None else None,
        "state": cursors.decode(text) if text else {},
    }


def reset(table: Table) -> CursorChange:
    """Forget the cursor: the next run loads everything again. A rollback behind this commit brings it back."""
    return _commit(table, "cursor reset", lambda text: None)


def set_value(table: Table, path: str, value: str) -> CursorChange:
    """Let the next run load what lies at or behind `value`, which is read as what the cursor holds now.

    `path` may be `<resource>.<cursor path>` where several resources share one. Raises `ConfigurationError`
    where there is no such cursor, or `value` is none.
    """

    def changed(text: str | None) -> str | None:
        state = cursors.decode(text) if text else {}
        entry = _entry(name_of(table), state, path)
        known = entry.get("last_value") if entry.get("last_value") is not None else entry.get("initial_value")
        entry["last_value"] = _typed(value, known, path)
        # Of the rows at the old value: whether those at the new one are in the table, nobody knows.
        entry["unique_hashes"] = []
        return cursors.encode(state)

    return _commit(table, f"cursor set {path}={value}", changed)


def _commit(table: Table, operation: str, changed: Callable[[str | None], str | None]) -> CursorChange:
    name = name_of(table)
    for attempt in range(_ATTEMPTS):
        table.refresh()
        before = cursors.current(table)
        after = changed(before)
        if after == before:
            return CursorChange(name, cursors.describe(before), cursors.describe(after), None)
        try:
            snapshot_id = _send(table, operation, before, after)
        except (CommitFailedException, ValidationException):
            time.sleep(min(0.05 * 2**attempt, 1.0) * random.uniform(0.5, 1.0))
            continue
        return CursorChange(name, cursors.describe(before), cursors.describe(after), snapshot_id)
    raise CommitConflict(name, _ATTEMPTS)


def _send(table: Table, operation: str, before: str | None, after: str | None) -> int:
    transaction = table.transaction()
    transaction.set_properties({cursors.CURSOR: after or ""})
    summary = {OPERATION: operation, USER: _user(), cursors.CURSOR: after or ""}
    snapshot = LoadSnapshot(
        transaction, summary, FileChanges(), still_valid=lambda moved: cursors.current(moved) == before
    )
    snapshot.commit()
    transaction.commit_transaction()
    return snapshot.snapshot_id


def _entry(table: str, state: dict[str, Any], path: str) -> dict[str, Any]:
    """The one cursor of `state` that `path` names."""
    entries = dict(cursors.entries(state))
    found = [name for name in entries if path in (name, name[1], ".".join(name))]
    if not entries:
        raise ConfigurationError(
            f"{table} has no cursor to set. Run its source first, or write `incremental: {{initial_value: …}}`."
        )
    if len(found) != 1:
        known = ", ".join(".".join(name) if found else name[1] for name in found or entries)
        what = "is the cursor of several resources" if found else "is no cursor of it"
        raise ConfigurationError(f"{table}: {path!r} {what}. Write one of: {known}.")
    return entries[found[0]]


def _typed(text: str, known: Any, path: str) -> Any:
    """`text` as a value like `known`."""
    try:
        if isinstance(known, datetime):
            return _moment(text, known)
        if isinstance(known, date):
            return date.fromisoformat(text)
        if isinstance(known, (int, float, Decimal)):
            return type(known)(text)
        if isinstance(known, str):
            return text
    except (ValueError, InvalidOperation) as error:
        raise ConfigurationError(
            f"{path}: {text!r} is no value for a cursor that stands at {known!s}. Write it as that is written."
        ) from error
    raise ConfigurationError(f"{path}: the cursor has no value yet, so that nothing tells what {text!r} means. Run it.")


def _moment(text: str, known: datetime) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if known.tzinfo is not None:
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    if moment.tzinfo is not None:
        raise ValueError("the source's times have no offset")
    return moment


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return ""
