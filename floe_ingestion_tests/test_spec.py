"""The models of floe.yaml, and the texts in them that Dagster or a clock must understand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Any

import dagster as dg
import pytest
from dagster._utils.schedules import is_valid_cron_schedule
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.formats import (
    instant,
    valid_cron,
    valid_group,
    valid_name,
    valid_owner,
    valid_pool,
    valid_tag_key,
    valid_tag_value,
    valid_zone,
)
from floe_ingestion.spec import (
    ColumnSpec,
    ContractSpec,
    DestinationSpec,
    IncrementalSpec,
    PartitionsSpec,
    RetrySpec,
    SourceSpec,
    Spec,
)

DESTINATION = DestinationSpec(schema="bronze")
PATIENT = settings(deadline=None)  # Dagster takes its time the first time


def accepts(check: Callable[[str], object], text: str) -> bool:
    try:
        check(text)
    except (ValueError, dg.DagsterInvalidDefinitionError):
        return False
    return True


@PATIENT
@given(
    st.text("ab@.-_+team:", max_size=12)
    | st.emails()
    | st.builds("{}@{}.{}".format, *[st.text("abAB09._-", min_size=1, max_size=9)] * 3)
)
@example("team:")
@example("team:data science")
@example("ann@example.com")
@example("ann@example.com\n")
def test_owners_are_those_that_dagster_accepts(text: str) -> None:
    assert accepts(valid_owner, text) == accepts(lambda owner: dg.AssetSpec("a", owners=[owner]), text)


@PATIENT
@given(st.text("aZ0_.-/ ", max_size=70))
@example("team/domain")
@example("a/b/c")
@example("dagster/kind/x")
@example("a" * 64)
@example("a" * 64 + "/b")
def test_keys_of_tags_are_those_that_dagster_accepts(text: str) -> None:
    if not text.endswith("\n") and not text.startswith("dagster/"):
        assert accepts(valid_tag_key, text) == accepts(lambda key: dg.AssetSpec("a", tags={key: ""}), text)


@PATIENT
@given(st.text("aZ0_.-/ ", max_size=70))
@example("a" * 63)
@example("a" * 64)
def test_values_of_tags_are_those_that_dagster_accepts(text: str) -> None:
    assert accepts(valid_tag_value, text) == accepts(lambda value: dg.AssetSpec("a", tags={"a": value}), text)


@PATIENT
@given(st.text("aZ0_./ -", min_size=1, max_size=10))
def test_what_is_a_group_here_is_one_to_dagster(text: str) -> None:
    if accepts(valid_group, text) and "/" not in text:  # levels came with a later Dagster than the oldest supported
        assert accepts(lambda group: dg.AssetSpec("a", group_name=group), text)


@PATIENT
@given(st.text("aZ0_./ \t-", max_size=10))
def test_what_is_a_pool_here_is_one_to_dagster(text: str) -> None:
    def define(pool: str) -> None:
        dg.asset(name="a", pool=pool)(lambda: None)

    if accepts(valid_pool, text):
        assert accepts(define, text)


def cron_field(low: int, high: int) -> st.SearchStrategy[str]:
    number, step = st.integers(low, high).map(str), st.integers(1, 99).map(str)
    spans = st.just("*") | number | st.builds("{}-{}".format, number, number)
    parts = spans | st.builds("{}/{}".format, spans, step)
    return st.lists(parts, min_size=1, max_size=3).map(",".join)


CRON = st.builds(
    "{} {} {} {} {}".format,
    *[cron_field(low, high) for low, high in [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]],
)


@PATIENT
@given(CRON | st.sampled_from(["@daily", "@weekly", "@midnight"]))
@example("0 6 * * MON-FRI")
@example("0 0 L * *")
@example("0 0 * * 5#2")
@example("0 0 1 jan *")
def test_no_cron_expression_that_dagster_accepts_is_refused(text: str) -> None:
    if is_valid_cron_schedule(text):
        assert valid_cron(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0 6 * *",
        "0 6 * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "@dayly",
    ],
)
def test_a_cron_expression_that_never_comes_is_refused_as_by_dagster(text: str) -> None:
    assert not accepts(valid_cron, text)
    assert not text or not is_valid_cron_schedule(text)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia"])
def test_a_time_zone_is_one_of_the_iana_list(zone: str) -> None:
    assert valid_zone(zone) == zone


@pytest.mark.parametrize("zone", ["Berlin", "europe/berlin!", "", "Europe", "../etc/passwd", "a\0b", "\ud800"])
def test_no_other_text_is_a_time_zone(zone: str) -> None:
    with pytest.raises(ValueError, match=r"no time zone of the IANA list\. (Did you mean|Write e\.g\.)"):
        valid_zone(zone)


@PATIENT
@given(st.text(max_size=12))
def test_the_name_that_is_suggested_is_a_name(text: str) -> None:
    try:
        valid_name(text)
    except ValueError as error:
        suggestion = str(error).rpartition("such as ")[2].strip("'")
        assert valid_name(suggestion) == suggestion


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (RetrySpec, {"jitter": 1}),
        (RetrySpec, {"max_retries": True}),
        (RetrySpec, {"max_retries": "3"}),
        (RetrySpec, {"delay_seconds": "2.5"}),
        (IncrementalSpec, {"cursor_path": "c", "initial_value": True}),
        (IncrementalSpec, {"cursor_path": "c", "lag": "1"}),
        (PartitionsSpec, {"type": "daily", "column": "c", "start": 2024}),
        (PartitionsSpec, {"type": "daily", "column": "c", "start": "1704067200"}),
        (DestinationSpec, {"schema": 5}),
    ],
)
def test_a_value_of_another_type_is_not_bent_into_shape(model: type[Any], data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(data)


def test_short_words_stand_for_what_they_are_short_for() -> None:
    destination = DestinationSpec.model_validate(
        {"schema": "s", "schema_contract": "freeze", "primary_key": "id", "columns": {"price": "double"}}
    )

    assert destination.schema_contract == ContractSpec(tables="evolve", columns="freeze", data_type="freeze")
    assert destination.primary_key == ("id",)
    assert destination.columns == {"price": ColumnSpec(type="double")}


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (date(2024, 1, 2), date(2024, 1, 1)),
        (date(2024, 1, 1), date(2024, 1, 1)),
        (date(2024, 1, 1), datetime(2023, 12, 31, 22, tzinfo=timezone.utc)),
        (datetime(2024, 1, 1, 1), datetime(2024, 1, 1, 0, tzinfo=timezone.utc)),
    ],
)
def test_partitions_end_after_they_start_by_the_clock_of_their_zone(start: date, end: date) -> None:
    with pytest.raises(ValidationError, match="is not after the start"):
        PartitionsSpec(type="daily", column="c", start=start, end=end, timezone="Europe/Berlin")


@PATIENT
@given(st.dates() | st.datetimes() | st.datetimes(timezones=st.just(timezone(timedelta(hours=-11)))))
@example(date.min)
@example(datetime.max.replace(tzinfo=timezone(timedelta(hours=-11))))
def test_every_moment_of_the_calendar_has_its_place_in_time(moment: date) -> None:
    assert instant(moment, "Pacific/Auckland").utcoffset() == timedelta(0)


def test_a_source_is_found_by_its_name_and_another_lists_them() -> None:
    source = SourceSpec(name="orders", type="x", destination=DESTINATION)
    spec = Spec(path="floe.yaml", sources=(source,))

    assert spec.source("orders") is source
    with pytest.raises(
        ConfigurationError, match=r"floe\.yaml has no source 'order'\. Did you mean 'orders'\? Its sources: orders\."
    ):
        spec.source("order")


def test_what_is_resolved_is_another_source_and_the_first_stays_as_it_was() -> None:
    source = SourceSpec(name="orders", type="x", destination=DESTINATION)

    resolved = source.resolved("floe.yaml: ingestion.sources[0]", ())

    assert (source.place, resolved.place) == ("floe.yaml", "floe.yaml: ingestion.sources[0]")


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RetrySpec().max_retries = 5  # type: ignore[misc]
