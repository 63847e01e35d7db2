"""What a load warns of though nothing failed: settings that no row met, and a source that lies behind its cursor."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import date, datetime, time, timezone
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from floe_ingestion.formats import did_you_mean, number_of
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.sources.base import Extraction, SourceConnector
from floe_ingestion.spec import TableSpec

if TYPE_CHECKING:
    from floe_ingestion.iceberg.open_load import OpenLoad

_TIME = "a date or time, as text one like 2024-01-31"


@runtime_checkable
class KnowsTexts(Protocol):
    """A connector that asks its source for the rows of a window, so that no others come to be counted."""

    def timeless_text(self, extraction: Extraction) -> str | None: ...


def unseen(spec: TableSpec, load: OpenLoad, landed: bool) -> tuple[str, ...]:
    """Warnings about a closed load: columns that `spec` names and the table still lacks, rows of no partition."""
    return (*(_columns(spec, load) if landed else ()), *_partitions(spec, load, landed))


def _columns(spec: TableSpec, load: OpenLoad) -> Iterator[str]:
    assert load.plan.schema is not None
    # A column of nothing but nulls came, and has no type yet that would let it into the table.
    known = {*load.plan.schema.column_names, *load.plan.came_as}
    declared = spec.columns if spec.declared is None else spec.declared
    for name in declared:
        if spec.column(name) not in known:
            yield _sentence(spec, f"`columns` declares {name!r}", "is not in the table", spec.column(name), known)
    marker = spec.hard_delete
    if marker is not None and spec.column(marker) not in known:
        yield _sentence(spec, f"`hard_delete` names {marker!r}", "deletes none", spec.column(marker), known)


def _sentence(spec: TableSpec, met: str, so: str, name: str, known: set[str]) -> str:
    hint = did_you_mean(name, known)
    return f"{spec}: {met}, which no row has had so far; it {so}.{hint} Columns: {', '.join(sorted(known))}."


def _partitions(spec: TableSpec, load: OpenLoad, landed: bool) -> Iterator[str]:
    left_out = load.sink.discarded.get("no partition", 0)
    if left_out and not landed and spec.partitions is not None:
        told = "one of its keys" if spec.partitions.by_keys else _TIME
        yield (
            f"{spec}: no row landed, {number_of(left_out, 'row')} without a value in {spec.partitions.column!r} that "
            f"tells the partition ({told}). Correct the source, or name another column: `partitions: {{column: …}}`."
        )


def timeless(connector: object, extraction: Extraction) -> tuple[str, ...]:
    """The warning that the source has texts where the window of a load without rows asked for times."""
    window = extraction.window
    if window is None or window.start is None or not isinstance(connector, KnowsTexts):
        return ()
    text = connector.timeless_text(extraction)
    if text is None:
        return ()
    return (
        f"{extraction.table}: no row landed. The column {window.column!r} says to which partition a row belongs, and "
        f"it holds texts such as {text!r}, none of which tells that ({_TIME}). Correct the source, or name another "
        f"column: `partitions: {{column: …}}`.",
    )


def behind(connector: object, extraction: Extraction, cursor: str | None) -> tuple[str, ...]:
    """The warning that the source of a load without rows lies behind `cursor`; none where it does not, or may not.

    One that was reset, or restored from a backup, brings nothing newer than what was loaded: a run finds no rows and
    looks well.
    """
    table, incremental = extraction.table, extraction.table.incremental
    if cursor is None or incremental is None or not isinstance(connector, SourceConnector):
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
