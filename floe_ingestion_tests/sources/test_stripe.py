"""What a stripe source promises, asked of a Stripe on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from floe_ingestion.errors import ConfigurationError, SourceRejected, SourceUnavailable
from floe_ingestion.pipeline import IngestionPipeline
from floe_ingestion.sources.json_api import JsonApi
from floe_ingestion.sources.stripe import StripeConnector
from floe_ingestion.sources.stripe_resources import LISTINGS, TIMES
from floe_ingestion.staging import Window
from floe_ingestion_tests.http_server import Answer
from floe_ingestion_tests.lake import Lake
from floe_ingestion_tests.sources.fake_stripe import KEY, NEW_YEAR, FakeStripe, refusal, stripe
from floe_ingestion_tests.sources.landed import pipeline, source_of

UTC = timezone.utc
DAY = 86_400
NEW = {"incremental": {"cursor_path": "created"}}
Made = Callable[..., IngestionPipeline]


@pytest.fixture
def shop() -> Iterator[FakeStripe]:
    with stripe() as shop:
        yield shop


@pytest.fixture
def made(tmp_path: Path, shop: FakeStripe) -> Made:
    """The pipeline of a source."""

    def make(*resources: Any, source: dict[str, Any] | None = None, **config: Any) -> IngestionPipeline:
        given = {"base_url": shop.url, "api_key": KEY, "resources": list(resources), **config}
        return pipeline(tmp_path, "stripe", given, **(source or {}))

    return make


# From where on


def test_all_pages_land_and_the_next_run_asks_for_what_is_new(shop: FakeStripe, lake: Lake, made: Made) -> None:
    shop.fill("charges", range(230))
    charges = made("charges", source=NEW)
    lake.load(charges)
    shop.fill("charges", range(230, 233))
    lake.load(charges)
    lake.load(charges)

    assert [asked.params.get("starting_after") for asked in shop.asked] == [None, "id_0130", "id_0030", None, None]
    assert [asked.params.get("created[gte]") for asked in shop.asked[2:]] == [
        None,
        str(NEW_YEAR + 229 * 60),
        str(NEW_YEAR + 232 * 60),
    ]
    assert lake.values("bronze.charges") == [f"id_{number:04}" for number in range(233)]
    assert lake.cursor("bronze.charges") == {"created": datetime(2024, 1, 1, 3, 52, tzinfo=UTC)}


def test_of_the_same_second_none_is_left_out_and_none_lands_twice(shop: FakeStripe, lake: Lake, made: Made) -> None:
    appended = {**NEW, "destination": {"schema": "bronze", "write_disposition": "append"}}
    shop.fill("charges", range(3), seconds=0)
    lake.load(made("charges", source=appended))
    shop.fill("charges", range(3, 5), seconds=0)
    lake.load(made("charges", source=appended))

    assert lake.values("bronze.charges") == [f"id_{number:04}" for number in range(5)]


def test_without_a_cursor_what_has_changed_lands_too(shop: FakeStripe, lake: Lake, made: Made) -> None:
    shop.fill("subscriptions", range(3))
    lake.load(made("subscriptions"))
    shop.lists["subscriptions"][0].update(status="canceled", canceled_at=NEW_YEAR + DAY)
    landed = lake.load(made("subscriptions"))

    assert shop.asked[0].params["status"] == "all"
    assert (landed.rows_added, landed.rows_updated) == (0, 1)
    ended = {row["id"]: row["canceled_at"] for row in lake.rows("bronze.subscriptions")}
    assert ended == {"id_0000": datetime(2024, 1, 2, tzinfo=UTC), "id_0001": None, "id_0002": None}


def test_a_partition_asks_for_its_window(shop: FakeStripe, lake: Lake, made: Made) -> None:
    shop.fill("charges", range(6), seconds=DAY // 2)
    daily = made("charges", source={"partitions": {"type": "daily", "column": "created", "start": "2024-01-01"}})
    window = Window("created", datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC))
    lake.load(daily, window=window)
    lake.load(daily, window=window)

    assert lake.values("bronze.charges") == ["id_0002", "id_0003"]
    assert (shop.asked[0].params["created[gte]"], shop.asked[0].params["created[lt]"]) == (
        str(NEW_YEAR + DAY),
        str(NEW_YEAR + 2 * DAY),
    )


@pytest.mark.parametrize("bound", ["2024-01-02", NEW_YEAR + DAY])
def test_a_bound_may_be_written_as_a_date_or_as_stripe_does(
    shop: FakeStripe, lake: Lake, made: Made, bound: Any
) -> None:
    shop.fill("charges", range(4), seconds=DAY)
    lake.load(made("charges", source={"incremental": {"cursor_path": "created", "initial_value": bound}}))

    assert shop.asked[0].params["created[gte]"] == str(NEW_YEAR + DAY)
    assert len(lake.values("bronze.charges")) == 3


def test_a_row_that_is_deleted_while_the_list_is_read_is_tried_again(shop: FakeStripe, lake: Lake, made: Made) -> None:
    shop.fill("customers", range(150))
    kept = [row for row in shop.lists["customers"] if row["id"] != "id_0050"]
    shop.after_answer = lambda asked: shop.lists.update(customers=kept)

    with pytest.raises(SourceUnavailable, match="id_0050, the last row of a page, was deleted"):
        lake.load(made("customers"))


# What floe.yaml need not say, and what it may


def test_defaults_follow_from_the_resource(tmp_path: Path) -> None:
    found = source_of(tmp_path, "stripe", {"api_key": "${KEY}", "resources": ["events", "charges"]}).tables

    assert [(each.write_disposition, each.primary_key) for each in found] == [("merge", ("id",))] * 2
    assert [each.incremental and each.incremental.cursor_path for each in found] == ["created", None]


def test_what_is_asked_is_told_in_headers(shop: FakeStripe, lake: Lake, made: Made) -> None:
    resource = {"name": "invoices", "params": {"status": "open"}}
    lake.load(made(resource, account="acct_1", api_version="2025-01-27.acacia"))

    asked = shop.asked[0]
    assert (asked.headers["stripe-version"], asked.headers["stripe-account"]) == ("2025-01-27.acacia", "acct_1")
    assert asked.params == {"status": "open", "limit": "100"}


@pytest.mark.parametrize("name", ["checkout_sessions", "invoice_items", "subscriptions"])
def test_a_list_lands_typed(shop: FakeStripe, lake: Lake, made: Made, name: str) -> None:
    shop.add(name, "one")
    lake.load(made(name))

    listing = LISTINGS[name]
    types = {field.name: str(field.field_type) for field in lake.table(f"bronze.{name}").schema().fields}
    (row,) = lake.rows(f"bronze.{name}")
    assert row[listing.created] == datetime(2024, 1, 1, tzinfo=UTC)
    assert {types[each] for each in (listing.created, *listing.times)} == {"timestamptz"}
    assert {types[each] for each in listing.numbers} <= {"long"}
    assert {types[each] for each in listing.fractions} <= {"double"}
    assert {types[each] for each in (*listing.texts, *listing.nested)} == {"string"}


@pytest.mark.parametrize("name", LISTINGS)
def test_what_is_declared_is_what_stripe_sends(shop: FakeStripe, name: str) -> None:
    listing = LISTINGS[name]
    row = shop.add(name, "one")

    declared = {*listing.times, *listing.numbers, *listing.fractions, *listing.texts, *listing.nested, listing.created}
    assert declared <= row.keys()
    assert {each for each in row if each in TIMES} == {listing.created, *listing.times}


def test_an_empty_list_makes_a_table_without_rows(shop: FakeStripe, lake: Lake, made: Made) -> None:
    lake.load(made("charges"))

    assert lake.rows("bronze.charges") == []
    assert "created" in lake.table("bronze.charges").schema().column_names


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"resources": ["charge"]}, "Did you mean 'charges'?"),
        ({"resources": [{"name": "charges", "params": {"created[gte]": "1"}}]}, "holds created[gte], which follows"),
        ({"api_version": "newest"}, "api_version"),
        ({"base_url": "http://stripe.example.com"}, "would send the credentials unencrypted"),
        ({"acount": "x"}, "Did you mean 'account'?"),
    ],
)
def test_a_mistake_is_told_with_what_to_write(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        source_of(tmp_path, "stripe", {"api_key": "${KEY}", "resources": ["charges"], **config})

    assert said in str(raised.value)


# Limits and refusals


def test_a_rate_limit_is_waited_for(shop: FakeStripe, lake: Lake, made: Made) -> None:
    shop.fill("charges", range(2))
    shop.server.refusals = [refusal(429, "Too many requests"), refusal(429, "Too many requests", {"Retry-After": "1"})]
    lake.load(made("charges"))

    assert len(lake.values("bronze.charges")) == 2
    assert [pause > 0.9 for pause in shop.server.pauses] == [True] * 2


def test_a_limit_that_lasts_sends_the_run_away(shop: FakeStripe, lake: Lake, made: Made) -> None:
    shop.server.refusals = [refusal(429, "Too many requests", {"Retry-After": "30"})]

    with pytest.raises(SourceUnavailable, match="the rate limit is used up for 30 s more") as raised:
        lake.load(made("charges", max_wait_seconds=5))

    assert raised.value.retry_after == 30


def test_an_api_that_says_to_come_at_once_is_not_asked_for_ever(shop: FakeStripe) -> None:
    shop.server.refusals = [refusal(429, "Too many requests", {"Retry-After": "0"})] * 50
    api = JsonApi(shop.url, lambda request: request, lambda response: "", patience=2)

    with pytest.raises(SourceUnavailable, match="the rate limit is used up"):
        api.ask("charges")

    assert len(shop.asked) == 3


def test_a_server_that_is_down_is_tried_again(
    shop: FakeStripe, lake: Lake, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME__REQUEST_MAX_ATTEMPTS", "1")
    shop.server.refusals = [refusal(503, "Something went wrong on Stripe's end.", {"Retry-After": "20"})]

    with pytest.raises(SourceUnavailable, match="503 Service Unavailable \\(Something went wrong") as raised:
        lake.load(made("charges"))

    assert raised.value.retry_after == 20


def test_a_wrong_key_is_told_without_the_key(shop: FakeStripe, lake: Lake, made: Made) -> None:
    with pytest.raises(SourceRejected, match="401 Unauthorized") as raised:
        lake.load(made("charges", api_key="sk_test_wr0ng"))

    assert "Check `api_key`" in str(raised.value)
    assert "sk_test_wr0ng" not in str(raised.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refusal(403, "no"), "what the key may read"),
        (refusal(400, "Received unknown parameter: colour"), "Received unknown parameter: colour"),
        (Answer({"rows": []}), "a list of Stripe was expected"),
        (Answer({"data": [], "has_more": True}), "nothing new comes"),
    ],
)
def test_a_refusal_is_final(shop: FakeStripe, lake: Lake, made: Made, answer: Answer, said: str) -> None:
    shop.server.refusals = [answer]

    with pytest.raises(SourceRejected, match=said):
        lake.load(made("charges"))


def test_a_check_says_what_answers(shop: FakeStripe) -> None:
    given = {"base_url": shop.url, "resources": ["charges"]}

    assert StripeConnector(**given, api_key=KEY).check_connection() == (
        f"{shop.url} answers, and lists charges in version 2026-10-28.endive"
    )
    with pytest.raises(SourceRejected, match="Check `api_key`"):
        StripeConnector(**given, api_key="no").check_connection()
