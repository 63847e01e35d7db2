"""Rejected rows are neither lost nor kept twice, though they land in a commit of their own, before their load's."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from floe_ingestion.errors import CatalogUnavailable, OutcomeUnknown, StaleCursor
from floe_ingestion.iceberg.commit import commit
from floe_ingestion.iceberg.expire import expire
from floe_ingestion.pipeline import IngestionPipeline
from floe_ingestion_tests.catalogs import BreakingCatalog
from floe_ingestion_tests.fake_sources import pipeline_from
from floe_ingestion_tests.lake import Lake

NAME, BESIDE = "raw.numbers", "raw.numbers__rejected"
STRICT: dict[str, Any] = {"schema_contract": {"columns": "discard_row"}}
BY_CURSOR = {**STRICT, "incremental": {"cursor_path": "id"}}


class Numbers:
    """A source of numbers, of which some have a column that the contract forbids."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.good, self.bad = [1], list[int]()
        self.pipeline: IngestionPipeline = pipeline_from(self.rows, **settings)

    def rows(self) -> Iterator[pa.Table]:
        both = sorted([*self.good, *self.bad])
        yield pa.table({"id": both, **({"size": [n if n in self.bad else None for n in both]} if self.bad else {})})


@pytest.fixture(params=[STRICT, BY_CURSOR], ids=["everything", "by cursor"])
def numbers(request: pytest.FixtureRequest, lake: Lake) -> Numbers:
    """Loaded once, and since then some were rejected."""
    return loaded(lake, request.param)


@pytest.fixture
def by_cursor(lake: Lake) -> Numbers:
    return loaded(lake, BY_CURSOR)


def loaded(lake: Lake, settings: dict[str, Any]) -> Numbers:
    numbers = Numbers(settings)
    lake.load(numbers.pipeline)
    numbers.good, numbers.bad = [2, 4], [3]
    return numbers


def rejected(lake: Lake) -> list[int]:
    return sorted(json.loads(row["row"])["id"] for row in lake.rows(BESIDE))


def die_in_between(lake: Lake, numbers: Numbers, run: str = "", landed: Sequence[int] = (1,)) -> None:
    """A load whose rejected rows land, and not its own."""
    with lake.staged(numbers.pipeline, run=run) as staged:
        assert staged.rejected is not None
        broken = BrokenForTheTable(lake)
        with pytest.raises((OutcomeUnknown, CatalogUnavailable)):
            commit(broken, staged, lake.provenance(run), lake.staging_folder)
    assert lake.values(NAME) == list(landed)


class BrokenForTheTable(BreakingCatalog):
    """Breaks off at the commit of the table itself."""

    def __init__(self, lake: Lake) -> None:
        super().__init__(lake, made=False)

    def commit_table(self, table: Any, requirements: Any, updates: Any) -> Any:
        if table.name()[-1] == NAME.split(".")[1]:
            return super().commit_table(table, requirements, updates)
        return super(BreakingCatalog, self).commit_table(table, requirements, updates)


def test_a_run_that_tries_again_keeps_what_it_rejects_once(numbers: Numbers, lake: Lake) -> None:
    """And loses nothing that has come meanwhile."""
    die_in_between(lake, numbers, run="run-1")
    assert rejected(lake) == [3]
    numbers.bad = [3, 5]

    lake.load(numbers.pipeline, run="run-1")

    assert rejected(lake) == [3, 5]
    assert {row["load_id"] for row in lake.rows(BESIDE)} == {newest_load(lake)}
    assert lake.load(numbers.pipeline, run="run-1").already_landed
    assert rejected(lake) == [3, 5]


def test_a_run_that_goes_on_from_a_failed_one_keeps_what_it_rejects_once(numbers: Numbers, lake: Lake) -> None:
    die_in_between(lake, numbers, run="run-1")
    again = replace(lake.provenance("run-2"), continues=("run-1",))

    with lake.staged(numbers.pipeline) as staged:
        commit(lake.catalog, staged, again, lake.staging_folder)

    assert rejected(lake) == [3]


def test_another_run_from_the_same_cursor_keeps_what_it_rejects_once(by_cursor: Numbers, lake: Lake) -> None:
    for _ in range(2):
        die_in_between(lake, by_cursor)

    lake.load(by_cursor.pipeline)

    assert rejected(lake) == [3]
    by_cursor.good, by_cursor.bad = [6], [7]
    lake.load(by_cursor.pipeline)
    assert rejected(lake) == [3, 7]


def test_the_first_load_of_a_table_without_rows_keeps_what_it_rejects_once(lake: Lake) -> None:
    numbers = Numbers(BY_CURSOR)
    numbers.bad = [3]
    lake.catalog.create_namespace("raw")
    lake.catalog.create_table(NAME, pa.schema([("id", pa.int64())]))
    die_in_between(lake, numbers, landed=[])

    lake.load(numbers.pipeline)

    assert rejected(lake) == [3]


def test_of_two_runs_from_one_cursor_the_rejected_rows_of_the_one_that_lands_are_kept(
    by_cursor: Numbers, lake: Lake
) -> None:
    """The other one must not take them away while it cannot know that it is too late."""
    with lake.staged(by_cursor.pipeline) as one, lake.staged(by_cursor.pipeline) as other:
        one_landed = lake.commit(one)
        with pytest.raises(StaleCursor):
            lake.commit(other)
    by_cursor.good, by_cursor.bad = [6], [7]

    last = lake.load(by_cursor.pipeline)

    assert rejected(lake) == [3, 7]
    assert {row["load_id"] for row in lake.rows(BESIDE)} == {one_landed.load_id, last.load_id}


def test_the_rejected_rows_of_a_load_that_is_on_its_way_stay(by_cursor: Numbers, lake: Lake) -> None:
    other = Numbers(STRICT)
    other.bad = [9]
    with lake.staged(by_cursor.pipeline) as ours:
        with pytest.raises((OutcomeUnknown, CatalogUnavailable)):
            commit(BrokenForTheTable(lake), ours, lake.provenance(""), lake.staging_folder)
        lake.load(other.pipeline)  # does not move the cursor

        lake.commit(ours)

    assert rejected(lake) == [3, 9]


def test_rejected_rows_stay_though_the_snapshot_of_their_load_has_expired(by_cursor: Numbers, lake: Lake) -> None:
    """That a load is not in the table's history any more does not mean that it never landed."""
    lake.load(by_cursor.pipeline)
    for number in (10, 20):
        by_cursor.good, by_cursor.bad = [number], [number + 1]
        lake.load(by_cursor.pipeline)
        expire(lake.table(NAME), keep_last=1, keep_days=0)

    assert rejected(lake) == [3, 11, 21]


def test_rejected_rows_of_a_load_that_changes_nothing_stay(lake: Lake) -> None:
    """It has no snapshot, and was not given up all the same."""
    source = Numbers({**STRICT, "incremental": {"cursor_path": "id", "lag": 10}, "write_disposition": "merge"})
    lake.load(source.pipeline)
    source.good, source.bad = [1], [0]
    second, third = lake.load(source.pipeline), lake.load(source.pipeline)
    source.good, source.bad = [20], [21]
    lake.load(source.pipeline)

    assert third.snapshot_id == second.snapshot_id
    assert rejected(lake) == [0, 0, 21]


def newest_load(lake: Lake) -> str:
    snapshot = lake.table(NAME).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return snapshot.summary.additional_properties["floe.load-id"]


def test_a_rejected_row_is_json_though_its_numbers_are_none(lake: Lake) -> None:
    """Whose words for them no reader of JSON but Python's takes."""
    odd = [math.nan, math.inf, -math.inf, 1.5]
    lake.load(pipeline_from(lambda: iter([pa.table({"id": [1]})]), **STRICT))
    lake.load(pipeline_from(lambda: iter([pa.table({"id": [2], "x": [odd[0]], "inner": [{"y": odd}]})]), **STRICT))

    [text] = lake.values(BESIDE, "row")
    row = json.loads(text, parse_constant=pytest.fail)
    assert row == {"id": 2, "x": "NaN", "inner": {"y": ["NaN", "Infinity", "-Infinity", 1.5]}}
