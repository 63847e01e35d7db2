"""Tables for readers in Python: Arrow, Polars, pandas, DuckDB, or pyiceberg's own table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.table import Table

from floe_ingestion.errors import PermanentError


def as_type(table: Table, wanted: Any, row_filter: BooleanExpression | None = None) -> Any:
    """`table`, or its rows where `row_filter` holds, as the type `wanted`; Arrow for none in particular."""
    scan = table.scan(row_filter=row_filter if row_filter is not None else AlwaysTrue())
    name = f"{getattr(wanted, '__module__', '')}.{getattr(wanted, '__qualname__', '')}"
    library = name.partition(".")[0]
    if wanted is Table:
        return table
    if library == "polars":
        frame = scan.to_polars()
        return frame.lazy() if name.endswith("LazyFrame") else frame
    if library == "pandas":
        return scan.to_pandas()
    if wanted is pa.RecordBatchReader:
        return scan.to_arrow_batch_reader()
    if wanted is pa.Table or wanted in (None, Any, object) or library in ("typing", "builtins"):
        return scan.to_arrow()
    raise PermanentError(
        f"A table cannot be loaded as {name}. Annotate the input as pyarrow.Table, pyarrow.RecordBatchReader, "
        f"polars.DataFrame, polars.LazyFrame, pandas.DataFrame or pyiceberg.table.Table."
    )
