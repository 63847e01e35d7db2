"""What object stores and their clients raise, sorted: tried again or not, and with what to do."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import exceptions as boto

from floe_ingestion.classify import classify, lake_errors
from floe_ingestion.errors import CatalogUnavailable, CommitConflict, PermanentError, TransientError
from floe_ingestion.store_errors import verdict_on


def arrow(code: str, status: int | None = None) -> OSError:
    """An error as Arrow's S3 client words it."""
    about = f" (HTTP status {status})" if status else ""
    return OSError(f"When initiating multiple part upload for key 'x' in bucket 'b': AWS Error {code}{about} during X")


def aws(code: str, status: int) -> boto.ClientError:
    """An error as botocore makes it of an answer."""
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "PutObject")


@pytest.mark.parametrize(
    "error",
    [
        arrow("NETWORK_CONNECTION"),
        arrow("SLOW_DOWN"),
        arrow("EXPIRED_TOKEN"),
        arrow("UNKNOWN", 503),
        aws("SlowDown", 503),
        aws("ExpiredToken", 400),
        aws("InternalError", 500),
        boto.EndpointConnectionError(endpoint_url="http://h"),
        boto.ConnectTimeoutError(endpoint_url="http://h"),
        boto.ReadTimeoutError(endpoint_url="http://h"),
        boto.ConnectionClosedError(endpoint_url="http://h"),
    ],
)
def test_a_store_that_does_not_answer_or_is_busy_is_tried_again(error: Exception) -> None:
    assert isinstance(classify(error, "lake"), TransientError)


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (arrow("NO_SUCH_BUCKET"), "Create the bucket"),
        (arrow("ACCESS_DENIED"), "access key"),
        (arrow("REQUEST_TIME_TOO_SKEWED"), "clock"),
        (arrow("UNKNOWN", 400), "HTTP status 400"),
        (aws("NoSuchBucket", 404), "Create the bucket"),
        (aws("AccessDenied", 403), "access key"),
        (aws("RequestTimeTooSkewed", 403), "clock"),
        (boto.NoCredentialsError(), "Unable to locate credentials"),
        (boto.ProfileNotFound(profile="x"), "could not be found"),
        (boto.SSLError(endpoint_url="https://h", error="bad"), "certificate"),
    ],
)
def test_a_store_that_says_no_is_not_tried_again_and_it_is_said_what_to_do(error: Exception, hint: str) -> None:
    found = classify(error, "lake")

    assert isinstance(found, PermanentError)
    assert hint in str(found)


def test_of_an_error_with_a_cause_in_the_store_the_cause_counts() -> None:
    error = FileNotFoundError("The specified bucket does not exist")
    error.__cause__ = aws("NoSuchBucket", 404)

    assert "Create the bucket" in str(classify(error, "lake"))


def test_other_errors_are_not_a_stores() -> None:
    assert verdict_on(OSError(28, "No space left on device")) is None
    assert verdict_on(ValueError("AWS Error SLOW_DOWN")) is None


def test_in_the_lake_no_source_is_blamed() -> None:
    with pytest.raises(CatalogUnavailable), lake_errors("raw.orders"):
        raise aws("SlowDown", 503)
    with pytest.raises(PermanentError) as caught, lake_errors("raw.orders"):
        raise aws("NoSuchBucket", 404)

    assert type(caught.value) is PermanentError


def test_what_is_an_error_of_ours_already_passes_through_the_lake() -> None:
    conflict = CommitConflict("raw.orders", 3)

    with pytest.raises(CommitConflict) as caught, lake_errors("raw.orders"):
        raise conflict

    assert caught.value is conflict
