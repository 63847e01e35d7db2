"""A grid of cells as one Arrow table: header, empty rows and columns, types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from floe_ingestion.errors import SourceRejected
from floe_ingestion.formats import number_of
from floe_ingestion.iceberg.columns import declared_columns
from floe_ingestion.naming import normalize_column
from floe_ingestion.sources.base import Extraction
from floe_ingestion.sources.known_columns import column_cursor, known_columns
from floe_ingestion.sources.sheet_cells import CellError, Misfit, column, text_of
from floe_ingestion.sources.sheet_ranges import letters

if TYPE_CHECKING:
    from floe_ingestion.sources.google_sheets import SheetResource
    from floe_ingestion.sources.sheet_ranges import Area

Row = tuple[int, Sequence[Any]]
"""Its number, counted from the first row of the area, and its values."""


def table_of(
    grid: Sequence[Sequence[Any]], area: Area, resource: SheetResource, extraction: Extraction, zone: str
) -> pa.Table:
    """The rows below the header; of a sheet without any the columns whose types are known."""
    rows = _rows(grid, area, resource)
    header: Sequence[Any] = rows.pop(0)[1] if resource.header and rows else ()
    declared = {name: each.type for name, each in declared_columns(extraction.table).items() if each.type is not None}
    types = known_columns(extraction)
    width = max((len(values) for _, values in rows), default=0)
    filled = {at for _, values in rows for at, value in enumerate(values) if value is not None}
    titled = {at for at, title in enumerate(resource.column_names or header) if title not in (None, "")}
    columns: dict[str, Any] = {}
    for at, name in _names(header, resource, sorted(filled | titled), area).items():
        values = [row[at] if at < len(row) else None for _, row in rows] if at < width else [None] * len(rows)
        known = types.field(name).type if name in types.names else None
        try:
            made = column(values, known if name in declared else None, known, zone)
        except Misfit as error:
            raise SourceRejected(
                f"{area.cell(rows[error.index][0], at)} holds {error.value!r}, and the column {name!r} is declared "
                f"{declared.get(name, error.type)}. Correct the cell or the type, or write the text into "
                f"`null_values` where it means nothing."
            ) from error
        if not pa.types.is_null(made.type):
            columns[name] = made
    return pa.table(columns)


def cursor_of(extraction: Extraction) -> Any:
    """dlt's incremental on a column of the sheet; None without one, and in a partitioned run."""
    spec = extraction.cursor
    if spec is None:
        return None
    by_name = spec.model_copy(update={"cursor_path": normalize_column(spec.cursor_path)})
    return column_cursor(by_name, known_columns(extraction))


def _names(header: Sequence[Any], resource: SheetResource, used: Sequence[int], area: Area) -> dict[int, str]:
    """For each column that is used its name in the table: the header's, or its letter's where it has none.

    Names that are equal are numbered: `amount`, `amount_2`.
    """
    given = resource.column_names or [text_of(name) if name is not None else "" for name in header]
    if resource.column_names and used and used[-1] >= len(given):
        raise SourceRejected(
            f"{area.cell(0, used[-1])} holds a value, and `column_names` names {number_of(len(given), 'column')}. "
            f"Name them all."
        )
    names: dict[int, str] = {}
    for index in used:
        written = given[index].strip() if index < len(given) else ""
        name = normalize_column(written or f"column_{letters(area.first_column + index)}")
        stem, number = name, 2
        while name in names.values():
            name, number = f"{stem}_{number}", number + 1
        names[index] = name
    return names


def _rows(grid: Sequence[Sequence[Any]], area: Area, resource: SheetResource) -> list[Row]:
    """The rows that are not empty, with what means nothing as None."""
    found: list[Row] = []
    for number, row in enumerate(grid):
        values = [_meant(value, area, number, at, resource) for at, value in enumerate(row)]
        if any(value is not None for value in values):
            found.append((number, values))
    return found


def _meant(value: Any, area: Area, row: int, at: int, resource: SheetResource) -> Any:
    if isinstance(value, CellError):
        if resource.on_cell_error == "raise":
            raise SourceRejected(
                f"{area.cell(row, at)} holds a formula without a value ({value.type}). Mend it, or write "
                f"`on_cell_error: empty` to take such cells for empty ones."
            )
        return None
    return None if isinstance(value, str) and value in resource.null_values else value
