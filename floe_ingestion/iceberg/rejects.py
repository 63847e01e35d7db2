"""Rows that a contract keeps out of a table: kept once in `<table>__rejected`, as JSON, with the reason.

They land in a commit of their own, before that of their load, whose snapshot says what their load started from. So it
can be told later that a load was given up: this very run has tried again, or the table's cursor has moved on without
it. Its rows go then: the load that came in its place has brought them again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import In
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg.data_files import read_raw
from floe_ingestion.iceberg.history import has_landed, history_of, made_by, summary_of
from floe_ingestion.iceberg.removal import Removal, remove
from floe_ingestion.iceberg.report import landed_before
from floe_ingestion.iceberg.row_sets import RowSet
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.tables import load_table
from floe_ingestion.iceberg.writer import ParquetSink
from floe_ingestion.spec import MergeMode, TableSpec
from floe_ingestion.staging import Landed, Provenance, StagedTable

logger = logging.getLogger(__name__)

SUFFIX = "__rejected"
_LOAD_COLUMN = "load_id"
_OF_LOAD, _CURSOR_BEFORE, _SNAPSHOT_BEFORE = "floe.of-load", "floe.cursor-before", "floe.snapshot-before"
_GIVEN_UP = "floe.given-up"
_NONE = "none"


def rejected_table(spec: TableSpec) -> TableSpec:
    """The table beside `spec` that takes its rejected rows."""
    return TableSpec(
        source=spec.source,
        source_type=spec.source_type,
        resource=spec.resource,
        namespace=spec.namespace,
        name=f"{spec.name}{SUFFIX}",
    )


class Rejects:
    """Collects the rejected rows of one load; nothing is opened before there is one."""

    def __init__(self, spec: TableSpec, load_id: str, catalog: Catalog, folder: Path) -> None:
        self._spec = rejected_table(spec)
        self._load_id, self._catalog, self._folder = load_id, catalog, folder
        self._sink: ParquetSink | None = None

    def take(self, rows: pa.RecordBatch, reason: str) -> None:
        """Keep `rows` as they came."""
        if self._sink is None:
            table = load_table(self._catalog, self._spec.identifier)
            plan = SchemaPlan(self._spec, table.transaction() if table is not None else None)
            self._sink = ParquetSink(self._folder, plan)
        now = datetime.now(timezone.utc)
        kept = [_as_json(row) for row in rows.to_pylist()]
        self._sink.write(
            pa.table(
                {
                    _LOAD_COLUMN: pa.repeat(pa.scalar(self._load_id), len(kept)),
                    "rejected_at": pa.repeat(pa.scalar(now, pa.timestamp("us", "UTC")), len(kept)),
                    "reason": pa.repeat(pa.scalar(reason), len(kept)),
                    "row": pa.array(kept, pa.string()),
                }
            )
        )

    def close(self) -> StagedTable | None:
        """What there is to land; None for no rejected row."""
        if self._sink is None:
            return None
        files = self._sink.close()
        plan = self._sink.plan
        return StagedTable(self._spec, files, plan.schema, plan.partition_spec, load_id=f"{self._load_id}-rejected")

    def abort(self) -> None:
        """The load failed: stop without finishing."""
        if self._sink is not None:
            self._sink.abort()


def land_with_rejected(
    catalog: Catalog,
    staged: StagedTable,
    provenance: Provenance,
    land: Callable[[StagedTable, Provenance], Landed],
) -> Landed:
    """Land the rejected rows of `staged`, then itself: a crash in between repeats them rather than losing them."""
    assert staged.rejected is not None
    spec, beside = staged.table, staged.rejected.table
    by = replace(provenance, asset_key=f"{provenance.asset_key}{SUFFIX}")
    table = load_table(catalog, spec.identifier)
    if landed_before(table, staged, provenance) is None:
        land(_rejected_of(staged, table, load_table(catalog, beside.identifier), by), by)
    landed = land(staged, provenance)
    try:
        leaving = _given_up(staged, load_table(catalog, spec.identifier), load_table(catalog, beside.identifier))
        if leaving is not None:
            land(leaving, Provenance())
    except Exception as error:  # the load has landed; the next one that rejects rows takes them away
        logger.info("%s: the rows of loads that were given up stay for now: %s", beside, error)
    return landed


def removal_of_loads(table: Table, loads: Sequence[str], mode: MergeMode, folder: Path) -> Removal:
    """For rejected rows: those that these loads brought."""

    def doomed(task: FileScanTask) -> RowSet:
        brought_by = read_raw(table, task, [_LOAD_COLUMN])[_LOAD_COLUMN].combine_chunks()
        return RowSet.of(pc.indices_nonzero(pc.is_in(brought_by, value_set=pa.array(loads, brought_by.type))))

    return remove(table, In(_LOAD_COLUMN, loads), doomed, mode, folder)


def _rejected_of(staged: StagedTable, table: Table | None, beside: Table | None, provenance: Provenance) -> StagedTable:
    """The rejected rows of `staged`, which take the place of those that earlier attempts of its run have left."""
    assert staged.rejected is not None
    earlier = [
        said[_OF_LOAD]
        for said in _unsettled(beside)
        if made_by(said, provenance) and said[_OF_LOAD] != staged.load_id and not has_landed(table, said[_OF_LOAD])
    ]
    says = {_OF_LOAD: staged.load_id, _GIVEN_UP: ",".join(earlier)}
    if staged.cursor is not None and staged.cursor != staged.cursor_before:
        # Else the load may end without a snapshot that would tell that it was not given up.
        snapshot = table.current_snapshot() if table is not None else None
        says |= {
            _CURSOR_BEFORE: _digest(staged.cursor_before),
            _SNAPSHOT_BEFORE: str(snapshot.snapshot_id) if snapshot is not None else _NONE,
        }
    return replace(staged.rejected, given_up=tuple(earlier), says=says)


def _given_up(staged: StagedTable, table: Table | None, beside: Table | None) -> StagedTable | None:
    """A load that takes away the rejected rows of those that can never land any more; None where there are none."""
    assert staged.rejected is not None
    now = _digest(cursors.current(table))
    dead = [
        said[_OF_LOAD]
        for said in _unsettled(beside)
        if said.get(_CURSOR_BEFORE, now) != now
        and not has_landed(table, said[_OF_LOAD])
        and _reaches_back_to(table, said[_SNAPSHOT_BEFORE])
    ]
    if not dead:
        return None
    load_id = f"{staged.rejected.load_id}-given-up"
    return StagedTable(staged.rejected.table, given_up=tuple(dead), says={_GIVEN_UP: ",".join(dead)}, load_id=load_id)


def _unsettled(beside: Table | None) -> Iterator[Mapping[str, str]]:
    """What the snapshots of rejected rows say, but those whose rows were taken away again."""
    gone: set[str] = set()
    for said in map(summary_of, history_of(beside)):
        gone.update(said.get(_GIVEN_UP, "").split(","))
        if _OF_LOAD in said and said[_OF_LOAD] not in gone:
            yield said


def _reaches_back_to(table: Table | None, snapshot_id: str) -> bool:
    """Whether the table's history goes back so far without a gap: only then a load that is not in it never landed."""
    found = list(history_of(table))
    if snapshot_id == _NONE:
        return bool(found) and found[-1].parent_snapshot_id is None
    return any(str(snapshot.snapshot_id) == snapshot_id for snapshot in found)


def _digest(cursor: str | None) -> str:
    return hashlib.sha256((cursor or "").encode()).hexdigest()[:16]


def _as_json(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, default=str, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has no word for floats that are no numbers
        return json.dumps(_with_numbers_only(row), default=str, ensure_ascii=False)


def _with_numbers_only(value: Any) -> Any:
    """`value`, in which NaN and the infinite are texts, called as JavaScript and SQL call them."""
    if isinstance(value, dict):
        return {name: _with_numbers_only(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_numbers_only(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
