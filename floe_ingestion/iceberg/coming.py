"""What rows of a load do to those of their key in the table: take their place, or say that it is gone."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from floe_ingestion.iceberg.keys import ROW, StagedRows
from floe_ingestion.iceberg.matches import Matches
from floe_ingestion.spec import TableSpec

_KEY, _COMING = "key", "coming"


def marked_rows(rows: StagedRows, spec: TableSpec) -> pa.Array:
    """The staged rows that say that their key is gone."""
    marker = spec.column(spec.hard_delete) if spec.hard_delete is not None else None
    if marker is None or marker not in rows.columns:
        return pa.array([], pa.int64())
    values = rows.column(marker).combine_chunks()
    gone = pc.fill_null(values, False) if pa.types.is_boolean(values.type) else pc.is_valid(values)
    return pc.indices_nonzero(gone).cast(pa.int64())


def rows_of_many(found: Matches) -> pa.Array:
    """The staged rows whose key the table has several times: they take the place of all of these, like one or not."""
    counted = pc.value_counts(found.rows_matched.combine_chunks())
    return counted.field("values").filter(pc.greater(counted.field("counts"), 1))


def replaced(part: StagedRows, found: Matches, marked: pa.Array) -> int:
    """How many rows of the table others of their key take the place of; the rest of those that match goes."""
    there = pa.table([found.rows_matched], names=[ROW]).group_by(ROW).aggregate([([], "count_all")])
    if there.num_rows == 0:
        return 0
    comes = pc.invert(pc.is_in(part.keys[ROW], value_set=marked)).cast(pa.int64())
    if part.first_rows is not None:  # of a key with several rows, the first one stands for all
        by_key = pa.table([part.index.numbers, comes], names=[_KEY, _COMING]).group_by(_KEY)
        comes = by_key.aggregate([(_COMING, "sum")]).sort_by(_KEY)[f"{_COMING}_sum"]
        rows = pc.index_in(there[ROW], value_set=part.first_rows)
    else:
        rows = there[ROW]
    return int(pc.sum(pc.min_element_wise(there["count_all"], comes.take(rows))).as_py() or 0)
