"""What an asset returned, staged for the same commit as a load: batch by batch as Arrow, each file written once.

The library that holds the rows is recognised without importing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from floe_ingestion.errors import OutsideWindow, PermanentError
from floe_ingestion.formats import number_of
from floe_ingestion.load_warnings import unseen
from floe_ingestion.spec import TableSpec
from floe_ingestion.staging import Provenance, StagedTable, Window

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog

    from floe_ingestion.iceberg.writer import ParquetSink

    Batch: TypeAlias = pa.Table | pa.RecordBatch

_BATCH_ROWS = 100_000
KNOWN = (
    "a pyarrow Table, RecordBatch, RecordBatchReader or Dataset, a Polars DataFrame or LazyFrame, a pandas DataFrame, "
    "a DuckDB relation, anything else that offers Arrow streams, or a list of dicts"
)


def batches_of(rows: Any) -> Iterator[Batch] | None:
    """`rows` batch by batch, at least one where columns are known; None for what is no rows.

    A reader, a LazyFrame or a relation is run while the batches are taken.
    """
    kind = type(rows)
    library = kind.__module__.partition(".")[0]
    if library == "pyarrow":
        return _of_pyarrow(rows)
    if library == "polars" and kind.__name__ == "LazyFrame":
        return _of_lazy_frame(rows)
    if library == "polars" and kind.__name__ == "DataFrame":
        return _pieces(of_polars(rows))
    if library == "pandas" and kind.__name__ == "DataFrame":
        return _pieces(_of_pandas(rows))
    if library in ("duckdb", "_duckdb"):
        return _of_duckdb(rows)
    if isinstance(rows, list):
        return _of_dicts(rows)
    return _of_stream(rows) if hasattr(rows, "__arrow_c_stream__") else None


def stage_rows(
    batches: Iterator[Batch],
    spec: TableSpec,
    window: Window | None,
    provenance: Provenance,
    catalog: Catalog,
    folder: Path,
) -> StagedTable:
    """The rows of `batches` as files in `folder`; none are taken where this very run has landed them already.

    Raises `OutsideWindow` for rows of other partitions.
    """
    from floe_ingestion.iceberg.open_load import OpenLoad, landed_by_run

    if (landed := landed_by_run(spec, catalog, provenance)) is not None:
        return landed
    with OpenLoad(spec, catalog, folder, window) as load:
        load.plan.key = spec.primary_key if spec.write_disposition == "merge" else ()
        for batch in batches:
            load.sink.write(batch)
        any_landed = load.close()
        _require_inside(spec, load.sink)
        return load.staged(provenance=provenance, warnings=unseen(spec, load, any_landed))


def _require_inside(spec: TableSpec, sink: ParquetSink) -> None:
    """A source may send more than it was asked for; an asset that returns more has made a mistake."""
    outside, unknown = sink.discarded.get("outside window", 0), sink.discarded.get("no partition", 0)
    if outside or unknown:
        columns = ", ".join(repr(each.column) for each in (spec.partitions, *spec.more_partitions) if each)
        without = f", and {number_of(unknown, 'row')} without a value there" if unknown else ""
        raise OutsideWindow(
            f"{spec}: the asset returned {number_of(outside, 'row')} whose {columns} lies outside the partition being "
            f"materialized{without}. Nothing was written. Return the rows of the partition alone."
        )


def of_polars(frame: Any) -> pa.Table:
    """A data frame of Polars, which would give addresses in memory for Python objects."""
    objects = [name for name, type_ in frame.schema.items() if str(type_) == "Object"]
    if objects:
        raise PermanentError(
            f"The column {objects[0]!r} of a Polars frame holds Python objects (pl.Object), which no table can. Give "
            f"it a type of Polars, such as pl.String, or leave it out."
        )
    return frame.to_arrow()


def _of_stream(rows: Any) -> Iterator[Batch] | None:
    import pyarrow as pa

    try:
        return _of_reader(pa.RecordBatchReader.from_stream(rows))
    except pa.ArrowInvalid:
        return None  # a stream of values, such as a Series of Polars, and not of rows


def _of_pyarrow(rows: Any) -> Iterator[Batch] | None:
    import pyarrow as pa
    import pyarrow.dataset as ds

    if isinstance(rows, (pa.Table, pa.RecordBatch)):
        return _pieces(rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows]))
    if isinstance(rows, pa.RecordBatchReader):
        return _of_reader(rows)
    scanner = rows.scanner() if isinstance(rows, ds.Dataset) else rows
    return _of_reader(scanner.to_reader()) if isinstance(scanner, ds.Scanner) else None


def _pieces(table: pa.Table) -> Iterator[Batch]:
    """A frame may be one batch of all its rows, which would be cast at once and become one row group."""
    return iter(table.to_batches(max_chunksize=_BATCH_ROWS) or [table])


def _of_reader(reader: pa.RecordBatchReader) -> Iterator[Batch]:
    yield reader.schema.empty_table()
    yield from reader


def _of_duckdb(rows: Any) -> Iterator[Batch] | None:
    # The last two are older names, of a relation and of a connection.
    for name in ("to_arrow_reader", "fetch_arrow_reader", "fetch_record_batch"):
        if hasattr(rows, name):
            return _of_reader(getattr(rows, name)(_BATCH_ROWS))
    return None


def _of_lazy_frame(frame: Any) -> Iterator[Batch]:
    yield of_polars(frame.head(0).collect())
    if hasattr(frame, "collect_batches"):
        for batch in frame.collect_batches(chunk_size=_BATCH_ROWS):
            yield batch.to_arrow()
    else:
        yield frame.collect(engine="streaming").to_arrow()


def _of_pandas(frame: Any) -> pa.Table:
    import pyarrow as pa

    # An index with a name says something; one without only counts.
    named = any(name is not None for name in frame.index.names)
    try:
        return pa.Table.from_pandas(frame.reset_index() if named else frame, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise PermanentError(
            f"The values of a column are not of one type: {'. '.join(map(str, error.args))}. Return rows whose values "
            f"of a column are alike."
        ) from error


def _of_dicts(rows: list[Any]) -> Iterator[Batch] | None:
    import pyarrow as pa

    if not all(isinstance(row, dict) for row in rows):
        return None
    # Arrow itself takes the columns of the first row for those of all.
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column(name, [row.get(name) for row in rows]) for name in names}
    return _pieces(pa.table(columns)) if rows else iter([])


def _column(name: str, values: list[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise PermanentError(
            f"The values of {name!r} are not of one type: {error}. Return rows whose values of a column are alike."
        ) from error
