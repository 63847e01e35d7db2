"""Which part of a spreadsheet a text names: a sheet, a named range, or an A1 range."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from floe_ingestion.errors import SourceRejected
from floe_ingestion.formats import did_you_mean

_A1 = re.compile(r"([A-Za-z]{1,3})?(\d+)?(?::([A-Za-z]{1,3})?(\d+)?)?")
_URL = re.compile(r"https?://docs\.google\.com/spreadsheets/(?:u/\d+/)?d/([A-Za-z0-9_-]+)")
_CELLS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Area:
    """A rectangle of one sheet; ends are exclusive."""

    title: str
    first_row: int
    end_row: int
    first_column: int
    end_column: int

    def parts(self) -> Iterator[tuple[int, str]]:
        """Parts of it, each small enough for one answer: how many rows lie before it, and its A1 range."""
        step = max(_CELLS_AT_ONCE // max(self.end_column - self.first_column, 1), 1)
        for row in range(self.first_row, self.end_row, step):
            last = min(row + step, self.end_row)
            first = f"{letters(self.first_column)}{row + 1}"
            yield row - self.first_row, f"{_quoted(self.title)}!{first}:{letters(self.end_column - 1)}{last}"

    def cell(self, row: int, column: int) -> str:
        """The address of a cell, counted from the rectangle's corner."""
        return f"{_quoted(self.title)}!{letters(self.first_column + column)}{self.first_row + row + 1}"


def letters(column: int) -> str:
    """A column's letters: 0 is A, 26 is AA."""
    text = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


def spreadsheet_id(value: str) -> str:
    """The id in a URL of a spreadsheet; an id as it is."""
    match = _URL.match(value)
    return match[1] if match else value


def area_of(text: str, spreadsheet: Mapping[str, Any]) -> Area:
    """The rectangle that `text` names: a sheet by its title, a named range, or an A1 range of a sheet."""
    sheets = {sheet["properties"]["title"]: sheet["properties"] for sheet in spreadsheet.get("sheets", ())}
    named = {each["name"]: each["range"] for each in spreadsheet.get("namedRanges", ())}
    if text in sheets:
        return _area(sheets[text])
    if text in named:
        # What is 0 is left out of the answer, also the id of the first sheet.
        number = named[text].get("sheetId", 0)
        sheet = next(each for each in sheets.values() if each.get("sheetId", 0) == number)
        return _area(sheet, named[text])
    title, mark, cells = text.rpartition("!")
    title = title[1:-1].replace("''", "'") if title.startswith("'") and title.endswith("'") else title
    match = _A1.fullmatch(cells) if mark and cells else None
    if match is None or title not in sheets:
        known = [*sheets, *named]
        raise SourceRejected(
            f"The spreadsheet has no {title if match else text!r}.{did_you_mean(title if match else text, known)} "
            f"Its sheets and named ranges: {', '.join(known)}. Write one of them, or a range such as 'Sheet1!A1:F'."
        )
    return _area(sheets[title], _bounds(*match.groups(), whole=":" in cells))


def _area(sheet: Mapping[str, Any], bounds: Mapping[str, int] | None = None) -> Area:
    grid = sheet.get("gridProperties")
    if grid is None:
        raise SourceRejected(f"The sheet {sheet['title']!r} holds no cells, but a chart or a connected source.")
    rows, columns, bounds = grid.get("rowCount", 0), grid.get("columnCount", 0), bounds or {}
    return Area(
        sheet["title"],
        bounds.get("startRowIndex", 0),
        min(bounds.get("endRowIndex", rows), rows),
        bounds.get("startColumnIndex", 0),
        min(bounds.get("endColumnIndex", columns), columns),
    )


def _bounds(
    first_column: str | None, first_row: str | None, last_column: str | None, last_row: str | None, *, whole: bool
) -> dict[str, int]:
    """An A1 range in the words of the API; open where it says nothing."""
    if not whole:  # a single cell
        last_column, last_row = first_column, first_row
    bounds = {
        "startColumnIndex": first_column and _index(first_column),
        "startRowIndex": first_row and int(first_row) - 1,
        "endColumnIndex": last_column and _index(last_column) + 1,
        "endRowIndex": last_row and int(last_row),
    }
    return {key: int(value) for key, value in bounds.items() if value is not None}


def _index(column: str) -> int:
    number = 0
    for letter in column.upper():
        number = number * 26 + ord(letter) - 64
    return number - 1


def _quoted(title: str) -> str:
    return "'" + title.replace("'", "''") + "'"
