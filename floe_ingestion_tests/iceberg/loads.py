"""Loads as `pipeline.py` stages them, without dlt in front: Arrow goes straight into a sink."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.tables import load_table, properties_of
from floe_ingestion.iceberg.writer import ParquetSink, WriteSettings
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
    table = load_table(lake.catalog, spec.identifier)
    plan = SchemaPlan(spec, table.transaction() if table is not None else None, key)
    folder = private_folder(lake)
    sink = ParquetSink(folder, plan, WriteSettings.of(properties_of(table, spec)), window)
    try:
        for batch in batches:
            sink.write(as_arrow(batch))
        files = sink.close()
    except BaseException:
        sink.abort()
        raise
    return StagedTable(
        table=spec,
        files=files,
        schema=plan.schema,
        partition_spec=plan.partition_spec,
        key=tuple(key),
        window=window,
        cursor_before=cursors.current(table) if cursor is not None else None,
        cursor=cursors.encode(state(cursor)) if cursor is not None else None,
        discarded=dict(sink.discarded),
    )


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
