"""The rows of one data file as the table now types them: every row at its position, deleted ones too.

Columns are found by field id and cast. pyiceberg's own scan is asked only for files that need its projection
(without ids, renamed inside nested columns, columns that the partition holds): it reads a missing list of
structs as an empty one, and what is written anew must not be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.table import FileScanTask, Table

from floe_ingestion.iceberg.row_sets import RowSet
from floe_ingestion.iceberg.types import cast, fields_of

Item = TypeVar("Item")

_FIELD_ID = b"PARQUET:field_id"
_VALUES_AT_ONCE = 500_000


def in_groups(items: Iterable[Item], size: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """`items` in groups of neighbours that are no larger than `most` together, or one that is larger by itself."""
    group: list[Item] = []
    together = 0
    for item in items:
        if group and together + size(item) > most:
            yield group
            group, together = [], 0
        group.append(item)
        together += size(item)
    if group:
        yield group


def read_raw(table: Table, task: FileScanTask, columns: Sequence[str]) -> pa.Table:
    """Whole columns of a data file."""
    return pa.concat_tables(raw_pieces(table, task, columns, task.file.record_count))


def raw_pieces(table: Table, task: FileScanTask, columns: Sequence[str], rows_at_once: int) -> Iterator[pa.Table]:
    """Whole columns of a data file, in pieces of about so many rows, or of a row group."""
    wanted = schema_to_pyarrow(table.schema().select(*columns))
    with table.io.new_input(task.file.file_path).open() as stream, pq.ParquetFile(stream) as file:
        sources = _sources(file.schema_arrow, wanted)
        if sources is None:
            yield _scan(table, columns).to_table([FileScanTask(task.file)])
            return
        names = [name for name in sources if name is not None]
        groups_at_once = in_groups(
            range(file.num_row_groups), lambda number: file.metadata.row_group(number).num_rows, rows_at_once
        )
        for groups in list(groups_at_once) or [[]]:  # a file without rows has columns all the same
            rows = file.read_row_groups(groups, columns=names)
            found = [_values(rows, name, field) for name, field in zip(sources, wanted, strict=True)]
            yield pa.table(found, schema=wanted)


def raw_values(table: Table, task: FileScanTask, column: str, positions: pa.Array) -> pa.Array:
    """The values of one column at `positions`, ascending."""
    rows, found, start = RowSet.of(positions), [], 0
    for piece in raw_pieces(table, task, [column], _VALUES_AT_ONCE):
        found.append(piece[column].take(rows.between(start, start + piece.num_rows).positions))
        start += piece.num_rows
    return pa.chunked_array([chunk for values in found for chunk in values.chunks], found[0].type).combine_chunks()


def raw_batches(
    table: Table, task: FileScanTask, columns: Sequence[str] | None = None, rows_at_once: int = 65_536
) -> Iterator[pa.RecordBatch]:
    """Columns of a data file, all by default, in bounded memory."""
    wanted = schema_to_pyarrow(table.schema() if columns is None else table.schema().select(*columns))
    with table.io.new_input(task.file.file_path).open() as stream, pq.ParquetFile(stream) as file:
        sources = _sources(file.schema_arrow, wanted)
        if sources is None:
            scan = _scan(table, [field.name for field in wanted])
            # `to_record_batches` holds all batches of a file at once.
            yield from scan._record_batches_from_scan_tasks_and_deletes([FileScanTask(task.file)], {})
            return
        for batch in file.iter_batches(rows_at_once, columns=[name for name in sources if name is not None]):
            found = [_values(batch, name, field) for name, field in zip(sources, wanted, strict=True)]
            yield pa.RecordBatch.from_arrays(found, schema=wanted)


def _values(rows: pa.Table | pa.RecordBatch, name: str | None, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    return pa.nulls(rows.num_rows, field.type) if name is None else cast(rows.column(name), field.type)


def _scan(table: Table, columns: Sequence[str]) -> ArrowScan:
    return ArrowScan(table.metadata, table.io, table.schema().select(*columns), AlwaysTrue())


def _sources(found: pa.Schema, wanted: pa.Schema) -> list[str | None] | None:
    """For each wanted column its name in the file, None where it has none; None if that cannot be said."""
    by_id = {_id(field): field for field in found}
    if None in by_id:
        return None
    sources: list[str | None] = []
    for field in wanted:
        source = by_id.get(_id(field))
        if source is None and not field.nullable:
            return None
        if source is not None and not _alike(source, field):
            return None
        sources.append(source.name if source is not None else None)
    # With no column at all to read, Parquet would not say how many rows there are.
    return sources if any(name is not None for name in sources) else None


def _alike(source: pa.Field, target: pa.Field) -> bool:
    """Whether a cast by name gives what field ids say."""
    if _id(source) != _id(target):
        return False
    inner, outer = {child.name: child for child in fields_of(source.type)}, fields_of(target.type)
    if bool(inner) != bool(outer):
        return False
    ids = {_id(child) for child in inner.values()}
    return all(_alike(inner[child.name], child) if child.name in inner else _id(child) not in ids for child in outer)


def _id(field: pa.Field) -> bytes | None:
    return (field.metadata or {}).get(_FIELD_ID)
