"""Which failures Dagster tries again, after how long, and what its run page says of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from floe_ingestion import dlt_asset
from floe_ingestion.errors import (
    CatalogUnavailable,
    CommitConflict,
    ConfigurationError,
    ContractBroken,
    GateFailed,
    IngestionError,
    KeyViolation,
    MissingVariable,
    OtherTable,
    OutcomeUnknown,
    OutsideWindow,
    PermanentError,
    PluginError,
    SchemaConflict,
    SourceRejected,
    SourceUnavailable,
    StaleCursor,
    TransientError,
    UnsupportedType,
)
from floe_ingestion.retries import dagster_failures, retry_policy
from floe_ingestion.secrets import hide
from floe_ingestion.spec import RetrySpec
from floe_ingestion_tests.dagster_fixtures import QUIET, Project, category, failure, materialize, retries

pytestmark = pytest.mark.dagster

TRANSIENT = [
    TransientError("x"),
    SourceUnavailable("x"),
    CatalogUnavailable("x"),
    CommitConflict("t", 3),
    StaleCursor("t"),
    OutcomeUnknown("t", "load", OSError()),
]
PERMANENT = [
    PermanentError("x"),
    ConfigurationError("x"),
    MissingVariable("X", "floe.yaml"),
    PluginError("x"),
    SourceRejected("x"),
    SchemaConflict("t", "c", "int", "string"),
    UnsupportedType("c", "interval", "Cast it."),
    ContractBroken("t", "c", "int"),
    GateFailed("t", "audit-load", {"row_count": "0 rows"}),
    KeyViolation("x"),
    OtherTable("t", "r", "other"),
    OutsideWindow("x"),
]


def descendants(error: type[IngestionError]) -> set[type[IngestionError]]:
    return {error}.union(*(descendants(child) for child in error.__subclasses__()))


def failed(error: Exception, retry: RetrySpec | None = None) -> dg.Failure:
    with pytest.raises(dg.Failure) as caught, dagster_failures("shop.orders", retry):
        raise error
    return caught.value


def run(body: Callable[[int], None], retry: RetrySpec) -> tuple[dg.ExecuteInProcessResult, int]:
    """An asset whose attempt n does `body(n)`; the run, and how many attempts there were."""
    calls: list[int] = []

    @dg.asset(retry_policy=retry_policy(retry))
    def attempt(context) -> None:  # type: ignore[no-untyped-def]  # Dagster reads no annotation that is text
        calls.append(len(calls) + 1)
        with dagster_failures("shop.orders", retry, last=context.retry_number >= retry.max_retries):
            body(calls[-1])

    return dg.materialize([attempt], run_config=QUIET, raise_on_error=False), len(calls)


def at_once(max_retries: int) -> RetrySpec:
    return RetrySpec(max_retries=max_retries, delay_seconds=0, backoff="none", jitter=False)


# The policy


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        ({}, dg.RetryPolicy(3, 10, dg.Backoff.EXPONENTIAL, dg.Jitter.PLUS_MINUS)),
        ({"backoff": "linear", "jitter": False}, dg.RetryPolicy(3, 10, dg.Backoff.LINEAR)),
        ({"max_retries": 1, "delay_seconds": 0.5, "backoff": "none", "jitter": False}, dg.RetryPolicy(1, 0.5)),
        ({"max_retries": 0}, None),
    ],
)
def test_the_policy_says_what_floe_yaml_says(settings: dict[str, Any], policy: dg.RetryPolicy | None) -> None:
    assert retry_policy(RetrySpec.model_validate(settings)) == policy


# Failures


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: type(error).__name__)
def test_a_transient_error_is_a_failure_that_may_be_tried_again(error: IngestionError) -> None:
    met = failed(error)

    assert (met.allow_retries, met.description) == (True, str(error))
    assert met.metadata["category"].value == type(error).__name__
    assert met.metadata["tried again"].value is True


@pytest.mark.parametrize("error", PERMANENT, ids=lambda error: type(error).__name__)
def test_a_permanent_error_is_a_failure_that_is_not_tried_again(error: IngestionError) -> None:
    met = failed(error)

    assert (met.allow_retries, met.description) == (False, str(error))
    assert met.metadata["category"].value == type(error).__name__
    assert met.metadata["tried again"].value is False


def test_every_error_of_the_library_is_transient_or_permanent_and_none_is_forgotten_here() -> None:
    ours = {error for error in descendants(IngestionError) if error.__module__ == "floe_ingestion.errors"}

    assert {type(error) for error in TRANSIENT + PERMANENT} == ours - {IngestionError}


def test_an_error_of_another_library_is_told_with_what_was_being_done() -> None:
    assert failed(ConnectionResetError("gone")).description == "shop.orders: ConnectionResetError: gone"
    assert failed(KeyError("price")).allow_retries is False


@pytest.mark.parametrize(
    "error", [dg.Failure("mine"), dg.RetryRequested(max_retries=1), GeneratorExit(), KeyboardInterrupt()]
)
def test_what_dagster_or_the_user_means_is_left_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, dagster_failures("shop.orders"):
        raise error

    assert caught.value is error


def test_the_cause_of_a_failure_is_shown_unless_it_tells_a_secret() -> None:
    hide("tr0ub4dor")
    harmless, telling = ConnectionError("no route"), ConnectionError("no route for tr0ub4dor")

    assert failed(harmless).__cause__ is harmless
    assert failed(telling).__cause__ is None
    assert failed(telling).description == "shop.orders: ConnectionError: no route for ********"


def test_a_failure_says_what_to_do_for_its_kind_and_each_kind_has_words_of_its_own() -> None:
    words = [failed(error).metadata["what to do"].value for error in TRANSIENT + PERMANENT]

    assert len(set(words)) == len(TRANSIENT + PERMANENT)


# Runs


def test_a_permanent_failure_ends_the_run_at_its_first_attempt() -> None:
    def body(attempt: int) -> None:
        raise SourceRejected("no such table")

    result, attempts = run(body, at_once(5))

    assert (result.success, attempts, category(result)) == (False, 1, "SourceRejected")


def test_a_transient_failure_is_tried_again_as_often_as_the_policy_says() -> None:
    def body(attempt: int) -> None:
        raise SourceUnavailable("busy")

    result, attempts = run(body, at_once(2))

    assert (result.success, attempts, failure(result)) == (False, 3, "busy")


def test_without_retries_a_transient_failure_ends_the_run() -> None:
    def body(attempt: int) -> None:
        raise SourceUnavailable("busy", retry_after=0)

    result, attempts = run(body, RetrySpec(max_retries=0))

    assert (result.success, attempts) == (False, 1)


def test_a_source_that_says_when_is_asked_again_then_and_not_when_the_policy_would() -> None:
    def body(attempt: int) -> None:
        if attempt == 1:
            raise SourceUnavailable("busy", retry_after=0.2)

    began = time.monotonic()
    result, attempts = run(body, RetrySpec(max_retries=3, delay_seconds=600))

    assert (result.success, attempts, retries(result)) == (True, 2, 1)
    assert time.monotonic() - began >= 0.2


def test_a_source_that_says_when_for_ever_is_not_asked_for_ever() -> None:
    def body(attempt: int) -> None:
        raise SourceUnavailable("busy", retry_after=0)

    result, attempts = run(body, RetrySpec(max_retries=2, delay_seconds=600))

    assert (result.success, attempts) == (False, 3)


# What the run page says when no attempt is left


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (data,) = [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]
    assert data is not None, failure(result)
    return {"said": data.description, **{name: value.value for name, value in data.metadata.items()}}


@pytest.mark.parametrize("max_retries", [0, 2])
@pytest.mark.parametrize("retry_after", [None, 0])
def test_the_last_failure_says_that_it_is_not_tried_again(max_retries: int, retry_after: float | None) -> None:
    def body(attempt: int) -> None:
        raise SourceUnavailable("busy", retry_after)

    assert told(run(body, at_once(max_retries))[0]) == {
        "said": "busy",
        "category": "SourceUnavailable",
        "what to do": SourceUnavailable.what_to_do,
        "tried again": False,
    }


def test_a_failure_before_the_last_says_that_it_is_tried_again() -> None:
    said: list[Any] = []

    def body(attempt: int) -> None:
        if attempt < 3:
            raise SourceUnavailable("busy")

    @dg.asset(retry_policy=retry_policy(at_once(2)))
    def listened(context) -> None:  # type: ignore[no-untyped-def]
        try:
            with dagster_failures("shop.orders", at_once(2), last=context.retry_number >= 2):
                body(context.retry_number + 1)
        except dg.Failure as met:
            said.append(met.metadata["tried again"].value)
            raise

    assert dg.materialize([listened], run_config=QUIET, raise_on_error=False).success
    assert said == [True, True]


@pytest.mark.parametrize("max_retries", [0, 1])
def test_a_commit_that_fails_at_the_last_attempt_says_so(tmp_path: Path, max_retries: int) -> None:
    project = Project(tmp_path)

    @dlt_asset(table="bronze.cats", retry=at_once(max_retries))
    def cats() -> Iterator[dict[str, Any]]:
        yield {"name": "Tom"}
        # The catalog goes away between the rows and their commit.
        (tmp_path / ".floe" / "catalog.db").write_bytes(b"this is no database")

    result = materialize([cats], project.resources, fails=True)

    assert told(result)["tried again"] is False
