"""A cursor that looks at whole pages lets through, and remembers, what dlt's own does row by row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.pipeline import StateInjectableContext
from dlt.extract.incremental import Incremental
from dlt.extract.pipe import Pipe
from hypothesis import example, given, settings
from hypothesis import strategies as st

from floe_ingestion.sources.instants import instant_of, latest, ranks_of
from floe_ingestion.sources.paging import PageCursor, in_pages

Row = dict[str, Any]
Pages = list[list[Row]]

INSTANTS = [
    f"2024-01-01T00:00:0{second}{fraction}{offset}"
    for second in range(3)
    for fraction in ("", ".0", ".5", ".25")
    for offset in ("Z", "", "+00:00")
] + ["2024-01-01T02:00:01+02:00", "2024-01-01"]


def rows_with(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Pages]]:
    """Runs, each of pages, each of rows; now and then without a value, or without a cursor at all."""
    row = st.fixed_dictionaries({"id": st.integers(0, 3)}, optional={"at": st.none() | values})
    return st.lists(st.lists(st.lists(row, max_size=6), max_size=3), min_size=1, max_size=3)


def outcome(kind: type[Incremental[Any]], runs: list[Pages], **said: Any) -> tuple[list[Any], Any]:
    """What passes, run after run, and the state that is left; an error is the end of it."""
    state: Any = {}
    passed: list[Any] = []
    for pages in copy.deepcopy(runs):
        cursor = kind("at", **said)
        with state_of(state):
            cursor.bind(Pipe("r"))
            try:
                for page in pages:
                    passed.append(cursor(page) or None)
            except Exception as error:  # whichever dlt has for it
                return [*passed, type(error)], _sorted(state)
    return passed, _sorted(state)


@contextmanager
def state_of(state: Any) -> Iterator[None]:
    container, section = Container(), ConfigSectionContext(source_state_key="s")
    with container.injectable_context(StateInjectableContext(state=state)), container.injectable_context(section):
        yield


def _sorted(state: Any) -> Any:
    if "sources" not in state:
        return None  # between two given values there is no state
    found = copy.deepcopy(state["sources"]["s"]["resources"]["r"]["incremental"]["at"])
    found["unique_hashes"] = sorted(found["unique_hashes"])
    return found


@pytest.mark.parametrize("missing", ["include", "exclude", "raise"])
@pytest.mark.parametrize("key", [None, "id", ()], ids=["by row", "by key", "not at all"])
@settings(deadline=None, max_examples=30)
@given(runs=rows_with(st.sampled_from(INSTANTS)))
@example(runs=[[[{"id": 0, "at": "2024-01-01T00:00:00Z"}] * 2], [[{"id": 0, "at": "2024-01-01T00:00:00.0Z"}] * 2]])
def test_instants_pass_as_they_do_row_by_row(missing: str, key: Any, runs: list[Pages]) -> None:
    wanted: Any = {"on_cursor_value_missing": missing, "primary_key": key, "last_value_func": latest}

    assert outcome(PageCursor, runs, **wanted) == outcome(Incremental, runs, **wanted)


@pytest.mark.parametrize("func", [max, latest])
@pytest.mark.parametrize("initial", [None, 2])
@settings(deadline=None, max_examples=30)
@given(runs=rows_with(st.integers(0, 5) | st.sampled_from(["a", "2024-01-01T00:00:00Z"])))
def test_values_of_any_kind_pass_as_they_do_row_by_row(
    func: Callable[..., Any], initial: Any, runs: list[Pages]
) -> None:
    wanted: Any = {"on_cursor_value_missing": "include", "last_value_func": func, "initial_value": initial}

    assert outcome(PageCursor, runs, **wanted) == outcome(Incremental, runs, **wanted)


@pytest.mark.parametrize(
    "said", [{"lag": 1}, {"initial_value": 1, "end_value": 4}, {"row_order": "asc"}], ids=["lag", "end", "order"]
)
@settings(deadline=None, max_examples=30)
@given(runs=rows_with(st.integers(0, 5)))
def test_cursors_of_other_settings_pass_the_same(said: Any, runs: list[Pages]) -> None:
    wanted: Any = {"on_cursor_value_missing": "include", **said}

    assert outcome(PageCursor, runs, **wanted) == outcome(Incremental, runs, **wanted)


def test_of_a_page_dlt_sees_only_what_can_tell_it_something() -> None:
    cursor = PageCursor("at", initial_value=5)
    with state_of({}):
        cursor.bind(Pipe("r"))
        kept = cursor([{"id": number, "at": number} for number in range(1000)])

    assert len(kept) == 995
    assert cursor.custom_metrics["incremental"][0]["unfiltered_items_count"] == 2  # rows 5 and 999


@settings(deadline=None)
@given(st.lists(st.none() | st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.sampled_from(INSTANTS)))
def test_many_instants_are_compared_as_each_of_them_would_be(values: list[str | None]) -> None:
    one_by_one = [None if value is None else instant_of(value) for value in values]

    ranks = ranks_of(values)
    assert (ranks and ranks.to_pylist()) == (one_by_one if any(rank is not None for rank in one_by_one) else None)


def test_single_rows_become_pages_in_their_order() -> None:
    items = [{"id": 1}, {"id": 2}, [{"id": 3}], {"id": 4}, "other", {"id": 5}]

    assert list(in_pages(items)) == [[{"id": 1}, {"id": 2}], [{"id": 3}], [{"id": 4}], "other", [{"id": 5}]]
