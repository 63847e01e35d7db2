"""Which failures Dagster tries again, and how its run page tells about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from floe_ingestion.classify import cause_of, classify
from floe_ingestion.errors import PermanentError, SourceUnavailable
from floe_ingestion.spec import RetrySpec

_BACKOFF = {"exponential": dg.Backoff.EXPONENTIAL, "linear": dg.Backoff.LINEAR, "none": None}


def retry_policy(spec: RetrySpec) -> dg.RetryPolicy | None:
    """Dagster's policy; None for no retries."""
    if spec.max_retries == 0:
        return None
    return dg.RetryPolicy(
        max_retries=spec.max_retries,
        delay=spec.delay_seconds,
        backoff=_BACKOFF[spec.backoff],
        jitter=dg.Jitter.PLUS_MINUS if spec.jitter else None,
    )


@contextmanager
def dagster_failures(place: str, retry: RetrySpec | None = None, *, last: bool = False) -> Iterator[None]:
    """Errors as Dagster failures: permanent ones stop the retries at once.

    A source that said when to come back (`Retry-After`) is asked again then. `last` says that this attempt is
    the last one that the policy allows.
    """
    try:
        yield
    except (GeneratorExit, dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        found = classify(error, place)
        cause = None if found is error else cause_of(error)
        after = found.retry_after if isinstance(found, SourceUnavailable) else None
        if after is not None and retry is not None and not last:
            raise dg.RetryRequested(max_retries=retry.max_retries, seconds_to_wait=after) from found
        permanent = isinstance(found, PermanentError)
        raise dg.Failure(
            description=str(found),
            metadata={
                "category": type(found).__name__,
                "what to do": found.what_to_do,
                "tried again": not permanent and not last,
            },
            allow_retries=not permanent,
        ) from cause


def failed_runs_before(run: dg.DagsterRun, instance: dg.DagsterInstance) -> tuple[str, ...]:
    """The runs that `run` goes on from, back to the last that succeeded."""
    found: list[str] = []
    parent = run.parent_run_id
    while parent is not None:
        before = instance.get_run_by_id(parent)
        if before is None or before.is_success:
            break
        found.append(parent)
        parent = before.parent_run_id
    return tuple(found)


def is_last_attempt(context: dg.OutputContext) -> bool:
    """Whether the retry policy of the step behind an output allows no further attempt."""
    policy = context.op_def.retry_policy
    return context.step_context.previous_attempt_count >= (policy.max_retries if policy is not None else 0)
