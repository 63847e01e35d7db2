"""Rows by the page: what dlt does for each row alone, done for many of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.jsonpath import extract_simple_field_name
from dlt.extract.incremental import Incremental

from floe_ingestion.errors import SourceRejected
from floe_ingestion.formats import did_you_mean
from floe_ingestion.sources.instants import latest, ranks_of

_ROWS = 1_000


class PageCursor(Incremental[Any]):
    """dlt's incremental, which is shown only those rows of a page that can change its state.

    These are the rows of the page's greatest value, those of the value where the load began, and those without a
    value. Of all others their value alone tells whether they lie behind the beginning.
    """

    def __call__(self, rows: Any, meta: Any = None) -> Any:
        """`rows` without those that were landed before."""
        if isinstance(rows, (pa.Table, pa.RecordBatch)) and rows.num_rows:
            self._require_column(rows.schema.names)
        ranks = self._ranks(rows)
        if ranks is None:
            return super().__call__(rows, meta)
        start, of_rows = ranks[0], ranks[1:]
        newest = pc.equal(of_rows, pc.max(of_rows))
        tells = (pc.or_(newest, pc.equal(of_rows, start)) if start.is_valid else newest).fill_null(True)
        later = pc.greater(of_rows, start).fill_null(False) if start.is_valid else pa.repeat(True, len(rows))
        telling = [rows[index] for index in pc.indices_nonzero(tells).to_pylist()]
        kept = {id(row) for row in super().__call__(telling, meta) or ()}
        if len(kept) == len(telling) and pc.all(pc.or_(later, tells)).as_py():
            return rows
        chosen = zip(rows, tells.to_pylist(), later.to_pylist(), strict=True)
        return [row for row, tell, is_later in chosen if (id(row) in kept if tell else is_later)] or None

    def _require_column(self, known: list[str]) -> None:
        if self.cursor_path not in known:
            raise SourceRejected(
                f"{self.resource_name}: there is no column {self.cursor_path!r} to load by."
                f"{did_you_mean(self.cursor_path, known)} Write `incremental: {{cursor_path: …}}` with one of: "
                f"{', '.join(known)}."
            )

    def _ranks(self, rows: Any) -> pa.Array | None:
        """What the value of the beginning and those of `rows` are compared by; None for what dlt judges alone."""
        if not isinstance(rows, list) or len(rows) < 2 or set(map(type, rows)) != {dict}:
            return None
        simple = _simple_name(self.cursor_path)
        if not simple or self.end_value is not None or self.row_order or self.last_value_func not in (max, latest):
            return None
        # `_start_value` and not `start_value`: the latter is made anew at each access.
        values = [self._start_value, *values_of(simple, rows)]
        ranks = ranks_of(values, as_they_are=self.last_value_func is max)
        return None if ranks is None or ranks[1:].null_count == len(rows) else ranks


@cache
def _simple_name(path: str) -> str | None:
    # Compiling it takes as long as comparing a page.
    return extract_simple_field_name(path)


def values_of(name: str, rows: list[dict[str, Any]]) -> list[Any]:
    """What `rows` have by that name; None where they have nothing."""
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name) for row in rows]


def in_pages(items: Iterable[Any]) -> Iterator[Any]:
    """`items` in their order, single rows gathered into lists."""
    page: list[Any] = []
    for item in items:
        if type(item) is dict:
            page.append(item)
            if len(page) >= _ROWS:
                yield page
                page = []
            continue
        if page:
            yield page
            page = []
        yield item
    if page:
        yield page
