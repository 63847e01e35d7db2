"""What a table's settings speak of and no row ever had: the load goes well, and is not what was meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from floe_ingestion.formats import did_you_mean
from floe_ingestion.spec import TableSpec

if TYPE_CHECKING:
    from floe_ingestion.iceberg.open_load import OpenLoad
    from floe_ingestion.sources.base import Extraction

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
            f"{spec}: no row landed, and {left_out} have no value in {spec.partitions.column!r} that tells their "
            f"partition ({told}). Correct the source, or name another column: `partitions: {{column: …}}`."
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
