"""What goes wrong between here and a real server: each ends in the right category, and the next run completes."""

from __future__ import annotations

from pathlib import Path

import pytest

from floe_ingestion.errors import (
    CatalogUnavailable,
    OutcomeUnknown,
    PermanentError,
    TransientError,
)
from floe_ingestion.pipeline import IngestionPipeline
from floe_ingestion_tests.fake_sources import Shop, pipeline_of_rows
from floe_ingestion_tests.http_server import Answer
from floe_ingestion_tests.integration.lakehouses import Plugins, RemoteLake, rest, s3
from floe_ingestion_tests.integration.proxy import Happening, Lost, Proxy, Refused, Slow
from floe_ingestion_tests.integration.servers import SeaweedFS, stopped

COMMIT = r"/namespaces/[^/]+/tables/[^/]+$"
TABLE = COMMIT
PARQUET = r"\.parquet$"
SKEWED = b"<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large</Message></Error>"
BUSY = b"<Error><Code>ServiceUnavailable</Code><Message>Please reduce your request rate</Message></Error>"


@pytest.fixture(autouse=True)
def two_orders(shop: Shop) -> None:
    shop.sell((1, "ann", "9.99", "2024-01-01 00:00:00"), (2, "bob", "0.10", "2024-01-01 12:30:00"))


def orders(shop: Shop, lake: RemoteLake) -> IngestionPipeline:
    return shop.pipeline(lake.orders, incremental={"cursor_path": "updated_at"})


def landed_once(shop: Shop, lake: RemoteLake) -> RemoteLake:
    """`lake`, its table loaded, and a new order to load."""
    lake.load(orders(shop, lake))
    shop.sell((3, "eve", "1.00", "2024-01-03 00:00:00"))
    return lake


def json_error(status: int, kind: str = "Error") -> Answer:
    body = f'{{"error": {{"message": "told to fail", "type": "{kind}", "code": {status}}}}}'
    return Answer(body.encode(), status, {"Content-Type": "application/json"})


# The server goes away


@pytest.mark.parametrize("catalog", ["rest", "sql"])
def test_a_server_that_stops_between_staging_and_commit(
    catalog: str, shop: Shop, seaweed: SeaweedFS, home: Path
) -> None:
    config = rest(seaweed.rest) if catalog == "rest" else {}
    lake = landed_once(shop, RemoteLake(home, Plugins(catalog, config, "s3", s3(seaweed.s3))))

    with lake.staged(orders(shop, lake)) as staged, stopped(seaweed), pytest.raises(CatalogUnavailable):
        lake.commit(staged)
    lake.load(orders(shop, lake))

    assert lake.rows(lake.orders) == shop.orders()


def test_a_server_that_is_killed_comes_back_with_every_row(shop: Shop, seaweed: SeaweedFS, home: Path) -> None:
    lake = landed_once(shop, RemoteLake(home, Plugins("rest", rest(seaweed.rest), "s3", s3(seaweed.s3))))
    seaweed.stop(kill=True)
    try:
        with pytest.raises(CatalogUnavailable):
            lake.load(orders(shop, lake))
    finally:
        seaweed.start()

    lake.load(orders(shop, lake))

    assert lake.rows(lake.orders) == shop.orders()


@pytest.mark.parametrize("merge", [False, True])
def test_a_server_that_is_killed_in_the_middle_of_an_upload(
    merge: bool, shop: Shop, proxied: RemoteLake, s3_proxy: Proxy, seaweed: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("floe_ingestion.iceberg.placing._ATTEMPTS", 1)
    pipeline = shop.pipeline(
        proxied.orders,
        incremental={"cursor_path": "updated_at"},
        destination={"write_disposition": "merge"} if merge else {},
    )
    proxied.load(pipeline)
    shop.change(2, "2024-01-03 00:00:00", customer="bert") if merge else shop.sell((3, "eve", "1.00", "2024-01-03"))
    with proxied.staged(pipeline) as staged:
        s3_proxy.fail("PUT", PARQUET, Happening(lambda: seaweed.stop(kill=True)))
        try:
            with pytest.raises(CatalogUnavailable):
                proxied.commit(staged)
        finally:
            s3_proxy.work()
            seaweed.start()

    proxied.load(pipeline)

    assert proxied.rows(proxied.orders) == shop.orders()


def test_a_server_that_is_killed_in_the_middle_of_a_commit(
    shop: Shop, proxied: RemoteLake, rest_proxy: Proxy, seaweed: SeaweedFS
) -> None:
    lake = landed_once(shop, proxied)
    with lake.staged(orders(shop, lake), run="run-1") as staged:
        rest_proxy.fail("POST", COMMIT, Happening(lambda: seaweed.stop(kill=True)))
        try:
            with pytest.raises(OutcomeUnknown):
                lake.commit(staged, run="run-1")
        finally:
            seaweed.start()

    lake.load(orders(shop, lake), run="run-1")

    assert lake.rows(lake.orders) == shop.orders()


# The commit's request and its answer


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_catalog_that_cannot_commit_now_is_asked_again_later(
    status: int, shop: Shop, proxied: RemoteLake, rest_proxy: Proxy
) -> None:
    lake = landed_once(shop, proxied)
    rest_proxy.fail("POST", COMMIT, json_error(status))

    with pytest.raises(TransientError):
        lake.load(orders(shop, lake))
    lake.load(orders(shop, lake))

    assert lake.rows(lake.orders) == shop.orders()


def test_a_commit_whose_answer_is_lost_is_found_and_reported(
    shop: Shop, proxied: RemoteLake, rest_proxy: Proxy
) -> None:
    lake = landed_once(shop, proxied)
    rest_proxy.fail("POST", COMMIT, Lost())

    landed = lake.load(orders(shop, lake), run="run-1")

    assert (landed.rows_added, landed.rows_total) == (1, 3)
    assert len(rest_proxy.of("POST", COMMIT)) == 2
    assert lake.load(orders(shop, lake), run="run-1").already_landed
    assert lake.rows(lake.orders) == shop.orders()


def test_a_first_commit_whose_answer_is_lost_is_found_and_reported(
    shop: Shop, proxied: RemoteLake, rest_proxy: Proxy
) -> None:
    rest_proxy.fail("POST", COMMIT, Lost())

    landed = proxied.load(orders(shop, proxied))

    assert landed.rows_added == 2
    assert proxied.rows(proxied.orders) == shop.orders()


def test_a_commit_of_which_nobody_knows_keeps_its_files_and_the_retry_finds_it(
    shop: Shop, proxied: RemoteLake, rest_proxy: Proxy
) -> None:
    """Its answer is lost, and when the load is looked up the catalog does not answer either."""
    lake = landed_once(shop, proxied)
    with lake.staged(orders(shop, lake), run="run-1") as staged:
        rest_proxy.fail("POST", COMMIT, Lost())
        # The first look at the table is the commit's own beginning, the second is the look-up.
        rest_proxy.fail("GET", TABLE, Slow(0.0))
        rest_proxy.fail("GET", TABLE, Refused())
        with pytest.raises(OutcomeUnknown):
            lake.commit(staged, run="run-1")
    rest_proxy.work()

    assert lake.load(orders(shop, lake), run="run-1").already_landed
    assert lake.rows(lake.orders) == shop.orders()


def test_a_commit_that_never_arrived_is_made_good_by_the_next_run(
    shop: Shop, proxied: RemoteLake, rest_proxy: Proxy
) -> None:
    lake = landed_once(shop, proxied)
    rest_proxy.fail("POST", COMMIT, Refused())

    with pytest.raises(OutcomeUnknown):
        lake.load(orders(shop, lake))
    lake.load(orders(shop, lake))

    assert lake.rows(lake.orders) == shop.orders()


def test_a_catalog_that_stays_silent_is_not_waited_for_for_ever(
    shop: Shop, proxied: RemoteLake, rest_proxy: Proxy
) -> None:
    landed_once(shop, proxied)
    impatient = proxied.but(proxied.plugins.with_catalog(timeout=0.5))
    with impatient.staged(orders(shop, proxied)) as staged:
        rest_proxy.fail("POST", COMMIT, Slow(2.0))
        with pytest.raises(TransientError):
            impatient.commit(staged)

    proxied.load(orders(shop, proxied))

    assert proxied.values(proxied.orders) == [1, 2, 3]


# Who asks


def test_a_principal_that_may_not_write_is_told_so_and_leaves_nothing(
    shop: Shop, proxied: RemoteLake, rest_proxy: Proxy
) -> None:
    lake = landed_once(shop, proxied)
    before = lake.objects()
    rest_proxy.fail("POST", COMMIT, json_error(403, "ForbiddenException"))

    with pytest.raises(PermanentError, match="privileges that a load needs"):
        lake.load(orders(shop, lake))

    assert lake.objects() == before
    lake.load(orders(shop, lake))
    assert lake.rows(lake.orders) == shop.orders()


@pytest.mark.parametrize("status", [401, 419])
def test_a_token_that_expires_in_a_long_load_is_renewed(
    status: int, shop: Shop, proxied: RemoteLake, rest_proxy: Proxy
) -> None:
    lake = landed_once(shop, proxied)
    tokens = len(rest_proxy.of("POST", "/oauth/tokens$"))
    rest_proxy.fail("POST", COMMIT, json_error(status, "NotAuthorizedException"))

    lake.load(orders(shop, lake))

    assert len(rest_proxy.of("POST", "/oauth/tokens$")) == tokens + 1
    assert lake.rows(lake.orders) == shop.orders()


@pytest.mark.parametrize("wrong", [{"credential": "testkey:wrong-secret"}, {"credential": None, "token": "expired"}])
def test_wrong_credentials_of_the_catalog_are_not_tried_again(
    wrong: dict[str, str | None], shop: Shop, proxied: RemoteLake
) -> None:
    lake = proxied.but(proxied.plugins.with_catalog(**wrong))

    with pytest.raises(PermanentError, match="credential") as caught:
        lake.load(orders(shop, lake))

    assert "wrong-secret" not in str(caught.value)
    proxied.load(orders(shop, proxied))
    assert proxied.rows(proxied.orders) == shop.orders()


@pytest.mark.parametrize("wrong", [{"secret_access_key": "wrong-secret"}, {"access_key_id": "nobody"}])
def test_wrong_credentials_of_the_storage_are_not_tried_again(
    wrong: dict[str, str], shop: Shop, proxied: RemoteLake
) -> None:
    lake = proxied.but(proxied.plugins.with_storage(**wrong))

    with pytest.raises(PermanentError, match="access key"):
        lake.load(orders(shop, lake))

    proxied.load(orders(shop, proxied))
    assert proxied.rows(proxied.orders) == shop.orders()


def test_a_missing_bucket_is_named_and_not_tried_again(shop: Shop, seaweed: SeaweedFS, home: Path) -> None:
    lake = RemoteLake(home, Plugins("sql", {}, "s3", s3(seaweed.s3, bucket="nobody-made-it")))

    with pytest.raises(PermanentError, match=r"nobody-made-it.*Create the bucket"):
        lake.load(orders(shop, lake))

    right = lake.but(lake.plugins.with_storage(bucket="lake"))
    right.load(orders(shop, right))
    assert right.rows(right.orders) == shop.orders()


def test_a_catalog_that_is_not_there_is_tried_again(home: Path) -> None:
    for catalog, config in (
        ("rest", rest("http://127.0.0.1:9")),
        ("sql", {"uri": "postgresql://app:secret@127.0.0.1:9/catalog"}),
    ):
        with pytest.raises(CatalogUnavailable) as caught:
            RemoteLake(home, Plugins(catalog, config, "local", {})).connect()
        assert "secret" not in str(caught.value)


def test_a_database_that_does_not_exist_is_not_tried_again(postgres_url: str, home: Path) -> None:
    wrong = postgres_url.replace("/postgres?", "/nobody_made_it?")

    with pytest.raises(PermanentError, match="does not exist"):
        RemoteLake(home, Plugins("sql", {"uri": wrong}, "local", {})).connect()


# The upload


def test_an_upload_that_is_refused_for_a_while_is_tried_again(shop: Shop, proxied: RemoteLake, s3_proxy: Proxy) -> None:
    for method in ("PUT", "POST"):
        s3_proxy.fail(method, PARQUET, Answer(BUSY, 503), times=4)

    proxied.load(orders(shop, proxied))

    assert proxied.rows(proxied.orders) == shop.orders()


def test_an_upload_of_which_less_has_arrived_is_sent_again(shop: Shop, proxied: RemoteLake, s3_proxy: Proxy) -> None:
    s3_proxy.fail("HEAD", PARQUET, Answer(b"", 200, {"Content-Length": "1"}))

    proxied.load(orders(shop, proxied))

    assert len([asked for asked in s3_proxy.of("POST", PARQUET) if "uploads" in asked.params]) == 2
    assert proxied.rows(proxied.orders) == shop.orders()


def test_an_upload_that_breaks_off_leaves_no_file(
    shop: Shop, proxied: RemoteLake, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("floe_ingestion.iceberg.placing._ATTEMPTS", 2)
    lake = landed_once(shop, proxied)
    before = lake.objects()
    for method in ("PUT", "POST"):
        s3_proxy.fail(method, PARQUET, Refused(), times=1000)

    with pytest.raises(CatalogUnavailable):
        lake.load(orders(shop, lake))
    s3_proxy.work()

    assert lake.objects() == before
    lake.load(orders(shop, lake))
    assert lake.rows(lake.orders) == shop.orders()


def test_a_clock_that_is_wrong_is_told_of_and_not_tried_again(shop: Shop, proxied: RemoteLake, s3_proxy: Proxy) -> None:
    lake = landed_once(shop, proxied)
    for method in ("PUT", "POST"):
        s3_proxy.fail(method, PARQUET, Answer(SKEWED, 403, {"Content-Type": "application/xml"}), times=1000)

    with pytest.raises(PermanentError, match="clock"):
        lake.load(orders(shop, lake))
    s3_proxy.work()
    lake.load(orders(shop, lake))

    assert lake.rows(lake.orders) == shop.orders()


def test_of_several_files_none_stays_where_one_cannot_be_uploaded(proxied: RemoteLake, s3_proxy: Proxy) -> None:
    rows = [{"id": number, "day": f"d{number}"} for number in range(6)]
    pipeline = pipeline_of_rows(rows, proxied.orders, partition_by=["day"])
    proxied.load(pipeline_of_rows(rows[:1], proxied.orders, partition_by=["day"]))
    before = proxied.objects()
    for method in ("PUT", "POST"):
        s3_proxy.fail(method, r"-00003\.parquet$", Answer(b"", 403), times=1000)

    with pytest.raises(PermanentError):
        proxied.load(pipeline)
    s3_proxy.work()

    assert proxied.objects() == before
    proxied.load(pipeline)
    assert proxied.values(proxied.orders) == [0, 0, 1, 2, 3, 4, 5]


def test_where_the_manifests_find_no_room_nothing_is_left(shop: Shop, proxied: RemoteLake, s3_proxy: Proxy) -> None:
    """The rows are there already when the storage says that it is full."""
    lake = landed_once(shop, proxied)
    before = lake.objects()
    for method in ("PUT", "POST"):
        s3_proxy.fail(method, r"\.avro$", Answer(b"", 507), times=1000)

    with pytest.raises(PermanentError):
        lake.load(orders(shop, lake))
    s3_proxy.work()

    assert lake.objects() == before
    lake.load(orders(shop, lake))
    assert lake.rows(lake.orders) == shop.orders()
