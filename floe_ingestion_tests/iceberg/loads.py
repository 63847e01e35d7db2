"""Loads as `pipeline.py` stages them, without dlt in front: Arrow goes straight into a sink."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg.open_load import OpenLoad
from floe_ingestion.spec import TableSpec
from floe_ingestion.staging import Landed, StagedTable, Window
from floe_ingestion_tests.lake import Lake, Row

Rows = pa.Table | pa.RecordBatch | Sequence[Row]


def staged(
    lake: Lake,
    spec: TableSpec,
    *batches: Rows,
    key: Sequence[str] = (),
    window: Window | None = None,
    cursor: int | None = None,
) -> StagedTable:
    """A load of `batches`, staged from what the table is now.

    `cursor` is where it leaves a cursor called `id`; none by default.
    """
    with OpenLoad(spec, lake.catalog, private_folder(lake), window) as load_:
        load_.plan.key = tuple(key)
        for batch in batches:
            load_.sink.write(as_arrow(batch))
        load_.close()
    if cursor is None:
        return load_.staged()
    return load_.staged(cursor_before=cursors.current(load_.table), cursor=cursors.encode(state(cursor)))


def load(
    lake: Lake,
    spec: TableSpec,
    *batches: Rows,
    key: Sequence[str] = (),
    window: Window | None = None,
    cursor: int | None = None,
    run: str = "",
) -> Landed:
    """Stage `batches` and commit them."""
    return lake.commit(staged(lake, spec, *batches, key=key, window=window, cursor=cursor), run)


def state(cursor: int) -> dict[str, object]:
    """dlt's state of a source whose one resource stands at `cursor`."""
    return {"resources": {"numbers": {"incremental": {"id": {"last_value": cursor}}}}}


def private_folder(lake: Lake) -> Path:
    folder = lake.staging_folder / uuid4().hex
    folder.mkdir(parents=True)
    return folder


def as_arrow(rows: Rows) -> pa.Table | pa.RecordBatch:
    return rows if isinstance(rows, (pa.Table, pa.RecordBatch)) else pa.Table.from_pylist(list(rows))


def numbers(values: Iterable[int], **columns: object) -> list[Row]:
    """A row for each of `values`, as `id`, with the same `columns` beside it."""
    return [{"id": value, **columns} for value in values]
