"""What a rest_api source promises, asked of a server that answers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
from pydantic import ValidationError

from floe_ingestion.classify import classify
from floe_ingestion.errors import IngestionError, SourceRejected, SourceUnavailable
from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import pipeline_of
from floe_ingestion.sources.rest_api import RestApiConnector
from floe_ingestion.staging import Window
from floe_ingestion_tests.http_server import Answer, Asked, HttpServer, serving
from floe_ingestion_tests.lake import Lake
from floe_ingestion_tests.sources.loads import load


@pytest.fixture
def api() -> Iterator[HttpServer]:
    with serving() as server:
        yield server


def connector(api: HttpServer, *resources: Any, **config: Any) -> RestApiConnector:
    return RestApiConnector.model_validate({"base_url": f"{api.url}/v1", "resources": list(resources), **config})


def refused(connector: RestApiConnector, resource: str, **run: Any) -> IngestionError:
    """The error that a load ends with."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 (dlt wraps what is raised while it extracts)
        load(connector, resource, **run)
    return classify(raised.value, "api")


def mistake(*resources: Any, **config: Any) -> str:
    """What is said about a configuration that is wrong."""
    with pytest.raises(ValidationError) as raised:
        RestApiConnector.model_validate({"base_url": "https://api.example.com", "resources": list(resources), **config})
    return str(raised.value)


def numbered(count: int, key: str = "id") -> list[dict[str, int]]:
    return [{key: number} for number in range(1, count + 1)]


# Where requests go


def test_a_path_with_a_slash_stays_below_the_base_url(api: HttpServer) -> None:
    api.route("/v1/orders", numbered(2))

    loaded = load(connector(api, {"name": "orders", "endpoint": "/orders"}), "orders")

    assert loaded.values("id") == [1, 2]


def test_a_plain_name_is_the_path(api: HttpServer) -> None:
    api.route("/v1/orders", numbered(2))

    assert load(connector(api, "orders"), "orders").values("id") == [1, 2]


def test_headers_params_and_a_bearer_token_are_sent(api: HttpServer) -> None:
    api.route("/v1/orders", numbered(1))
    config = {"headers": {"X-Team": "data"}, "auth": {"type": "bearer", "token": "s3cret"}}

    load(connector(api, {"name": "orders", "endpoint": {"params": {"state": "all"}}}, **config), "orders")

    (asked,) = api.asked
    assert asked.headers["x-team"] == "data"
    assert asked.headers["authorization"] == "Bearer s3cret"
    assert asked.params == {"state": "all"}


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"type": "api_key", "name": "X-Key", "api_key": "k"}, ("x-key", "k")),
        ({"type": "http_basic", "username": "u", "password": "p"}, ("authorization", "Basic dTpw")),
    ],
)
def test_each_kind_of_auth_is_sent(api: HttpServer, auth: dict[str, str], header: tuple[str, str]) -> None:
    api.route("/v1/orders", numbered(1))

    load(connector(api, "orders", auth=auth), "orders")

    assert api.asked[0].headers[header[0]] == header[1]


def test_a_login_and_a_proxy_of_the_environment_hold_for_each_page_and_their_host_alone(
    api: HttpServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from floe_ingestion.sources.rest_answers import session_of

    (tmp_path / "netrc").write_text("machine localhost login ann password s3cret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", api.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    api.route("/v1/orders", [])
    session = session_of()
    named = api.url.replace("127.0.0.1", "localhost")
    for url in (api.url, named, named, api.url, "http://elsewhere.test"):
        session.get(f"{url}/v1/orders")
    session.get(f"{named}/v1/orders", auth=("bob", "other"))

    def login(name: str, password: str) -> str:
        return f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"

    ann, bob = login("ann", "s3cret"), login("bob", "other")
    assert [asked.headers.get("authorization") for asked in api.asked] == [None, ann, ann, None, None, bob]
    assert api.asked[4].headers["host"] == "elsewhere.test"

    page = requests.Request("GET", f"{named}/v1/orders")
    assert session.prepare_request(page).headers["Authorization"] == ann
    page.url = api.url
    assert "Authorization" not in session.prepare_request(page).headers


def test_an_api_key_may_travel_in_the_url(api: HttpServer) -> None:
    api.route("/v1/orders", numbered(1))

    load(
        connector(api, "orders", auth={"type": "api_key", "name": "key", "api_key": "k", "location": "query"}),
        "orders",
    )

    assert api.asked[0].params == {"key": "k"}


def test_a_key_in_the_url_is_in_no_error(api: HttpServer) -> None:
    api.route("/v1/orders", Answer({}, 400))
    auth = {"type": "api_key", "name": "key", "api_key": "n0t-a-variable", "location": "query"}

    assert "n0t-a-variable" not in str(refused(connector(api, "orders", auth=auth), "orders"))


def test_an_oauth_client_fetches_its_token_once(api: HttpServer) -> None:
    api.route("/token", {"access_token": "fresh", "expires_in": 3600})
    api.route("/v1/orders", lambda asked: {"items": numbered(1), "next": None})
    oauth = {
        "type": "oauth2_client_credentials",
        "access_token_url": f"{api.url}/token",
        "client_id": "me",
        "client_secret": "hush",
    }

    load(connector(api, "orders", auth=oauth), "orders")

    assert api.paths() == ["/token", "/v1/orders"]
    assert api.asked[1].headers["authorization"] == "Bearer fresh"


def test_an_endpoint_of_its_own_auth_does_not_send_the_general_one(api: HttpServer) -> None:
    api.route("/v1/orders", numbered(1))
    own = {"name": "orders", "endpoint": {"auth": {"type": "bearer", "token": "own"}}}

    load(connector(api, own, auth={"type": "bearer", "token": "general"}), "orders")

    assert api.asked[0].headers["authorization"] == "Bearer own"


@pytest.mark.parametrize(
    "secret",
    [
        {"auth": {"type": "bearer", "token": "s3cret"}},
        {"auth": {"type": "api_key", "name": "key", "api_key": "s3cret", "location": "query"}},
        {"headers": {"X-Key": "s3cret"}},
    ],
)
def test_credentials_are_not_sent_to_another_host_that_an_answer_names(api: HttpServer, secret: dict[str, Any]) -> None:
    with serving() as other:
        api.route("/v1/linked", {"items": numbered(1), "next": f"{other.url}/v1/orders"})
        api.route("/v1/moved", Answer(b"", 302, {"Location": f"{other.url}/v1/orders"}))
        api.route("/v1/parents", [{"url": f"{other.url}/v1/orders"}])
        other.route("/v1/orders", {"items": numbered(1)})
        child = {"name": "child", "endpoint": "{resources.parents.url}"}
        made = connector(api, "linked", "moved", "parents", child, **secret)

        errors = [refused(made, "linked"), refused(made, "child")]
        assert load(made, "moved").values("id") == [1]
        assert load(connector(api, "linked"), "linked").values("id") == [1, 1]

        assert all("credentials are not sent to another host" in str(error) for error in errors)
        assert other.paths() == ["/v1/orders", "/v1/orders"]
        assert not any("s3cret" in f"{asked.params} {asked.headers}" for asked in other.asked)


def test_an_api_behind_a_proxy_may_link_to_itself_without_encryption() -> None:
    from floe_ingestion.sources.own_host import stay_at

    request = requests.Request("GET", "http://api.example.com/v1/orders?page=2", headers={"X-Key": "s3cret"})
    stay_at("https://api.example.com/v1", request)

    assert request.url == "https://api.example.com/v1/orders?page=2"


def test_defaults_fill_up_what_a_resource_leaves_open(api: HttpServer) -> None:
    api.route("/v1/orders", {"rows": numbered(1)})
    defaults = {
        "endpoint": {"params": {"size": 5, "state": "open"}, "data_selector": "rows"},
        "primary_key": "id",
        "write_disposition": "merge",
    }
    made = connector(api, {"name": "orders", "endpoint": {"params": {"state": "all"}}}, resource_defaults=defaults)

    load(made, "orders")

    (spec,) = made.resource_specs()
    assert (spec.primary_key, spec.write_disposition) == (("id",), "merge")
    assert api.asked[0].params == {"size": "5", "state": "all"}


def test_what_a_resource_says_itself_stands_before_the_defaults(api: HttpServer) -> None:
    resource = {"name": "orders", "primary_key": "key", "endpoint": {"data_selector": "own"}}
    defaults = {"primary_key": "id", "endpoint": {"data_selector": "general"}}
    api.route("/v1/orders", {"general": numbered(1), "own": numbered(2)})
    made = connector(api, resource, resource_defaults=defaults)

    assert made.resource_specs()[0].primary_key == ("key",)
    assert load(made, "orders").values("id") == [1, 2]


def test_an_endpoint_sends_headers_of_its_own_beside_the_general_ones(api: HttpServer) -> None:
    api.route("/v1/orders", numbered(1))

    load(connector(api, {"name": "orders", "endpoint": {"headers": {"X-A": "1"}}}, headers={"X-B": "2"}), "orders")

    assert (api.asked[0].headers["x-a"], api.asked[0].headers["x-b"]) == ("1", "2")


def test_a_post_sends_its_json(api: HttpServer) -> None:
    api.route("/v1/search", {"items": numbered(1)})
    endpoint = {"path": "search", "method": "post", "json": {"query": {"state": "open"}}}

    load(connector(api, {"name": "orders", "endpoint": endpoint}), "orders")

    assert (api.asked[0].method, api.asked[0].json) == ("POST", {"query": {"state": "open"}})


# Pages


def pages(rows: list[Any], size: int, number: int) -> list[Any]:
    return rows[size * number : size * (number + 1)]


def test_pages_by_number_are_all_read(api: HttpServer) -> None:
    api.route(
        "/v1/orders",
        lambda asked: {"items": pages(numbered(5), 2, int(asked.params["page"]) - 1), "pages": 3},
    )
    paginator = {"type": "page_number", "base_page": 1, "total_path": "pages"}

    assert load(connector(api, "orders", paginator=paginator), "orders").values("id") == [1, 2, 3, 4, 5]


def test_pages_by_offset_are_all_read(api: HttpServer) -> None:
    def rows(asked: Asked) -> Any:
        start, limit = int(asked.params["offset"]), int(asked.params["limit"])
        return {"items": numbered(5)[start : start + limit], "total": 5}

    api.route("/v1/orders", rows)

    loaded = load(connector(api, "orders", paginator={"type": "offset", "limit": 2}), "orders")

    assert loaded.values("id") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("total_path", "all_"), [(None, 12), ("total", 7)])
def test_an_api_that_gives_fewer_rows_than_it_is_asked_for_passes_none_over(
    total_path: str | None, all_: int, api: HttpServer
) -> None:
    def page(asked: Asked) -> Any:
        begin, wanted = int(asked.params["offset"]), min(int(asked.params["limit"]), 5)
        return {"total": all_, "items": numbered(all_)[begin : begin + wanted]}

    api.route("/v1/orders", page)
    pages = {"type": "offset", "limit": 10, "total_path": total_path}

    error = refused(connector(api, "orders", paginator=pages), "orders")

    assert "asked for 10 rows at once and gives 5" in str(error)
    assert load(connector(api, "orders", paginator={**pages, "limit": 5}), "orders").rows == numbered(all_)


def test_a_last_page_may_be_short_or_empty_and_a_first_one_too(api: HttpServer) -> None:
    rows = [{"id": 1}, {"id": 2}]
    pages = iter([rows, [*rows, *rows, *rows], rows, []])
    api.route("/v1/orders", lambda asked: next(pages))

    loaded = load(connector(api, "orders", paginator={"type": "offset", "limit": 6, "total_path": None}), "orders")

    assert len(loaded.rows) == 10


def test_pages_by_cursor_are_all_read(api: HttpServer) -> None:
    def rows(asked: Asked) -> Any:
        page = int(asked.params.get("after", 0))
        return {
            "items": pages(numbered(5), 2, page),
            "meta": {"next_cursor": str(page + 1) if page < 2 else None},
        }

    api.route("/v1/orders", rows)
    paginator = {"type": "cursor", "cursor_path": "meta.next_cursor", "cursor_param": "after"}

    assert load(connector(api, "orders", paginator=paginator), "orders").values("id") == [1, 2, 3, 4, 5]


def linked(api: HttpServer, rows: list[Any], *, in_header: bool) -> None:
    def answer(asked: Asked) -> Any:
        page = int(asked.params.get("page", 0))
        link = f"{api.url}/v1/orders?page={page + 1}" if page < 2 else None
        if in_header:
            return Answer(pages(rows, 2, page), headers={"Link": f'<{link}>; rel="next"'} if link else {})
        return {"items": pages(rows, 2, page), "next": link}

    api.route("/v1/orders", answer)


@pytest.mark.parametrize("in_header", [True, False])
def test_links_to_the_next_page_are_followed_without_being_told(api: HttpServer, in_header: bool) -> None:
    linked(api, numbered(5), in_header=in_header)

    assert load(connector(api, "orders"), "orders").values("id") == [1, 2, 3, 4, 5]


def test_a_paginator_may_be_one_word(api: HttpServer) -> None:
    linked(api, numbered(5), in_header=True)

    assert load(connector(api, "orders", paginator="header_link"), "orders").values("id") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "told",
    [
        {"has_more": True},
        {"total": 300},
        {"meta": {"totalCount": 300}},
        {"total_pages": 3},
        {"next_page_token": "abc"},
        {"pagination": {"next": 2}},
    ],
)
def test_an_answer_that_tells_of_more_and_not_how_is_not_taken_for_all(api: HttpServer, told: dict[str, Any]) -> None:
    api.route("/v1/orders", {"items": numbered(2), **told})

    error = refused(connector(api, "orders"), "orders")

    assert isinstance(error, SourceRejected)
    assert "/v1/orders: the answer holds 2 rows and tells of" in str(error)
    assert "Write the `paginator`" in str(error)


@pytest.mark.parametrize("told", [{"has_more": False}, {"total": 2}, {"total_pages": 1}, {"next": None}])
def test_an_answer_that_says_it_is_all_is_taken_for_all(api: HttpServer, told: dict[str, Any]) -> None:
    api.route("/v1/orders", {"items": numbered(2), **told})

    assert load(connector(api, "orders"), "orders").values("id") == [1, 2]


def test_the_first_page_alone_can_be_asked_for(api: HttpServer) -> None:
    api.route("/v1/orders", {"items": numbered(2), "has_more": True})

    assert load(connector(api, "orders", paginator="single_page"), "orders").values("id") == [1, 2]


def test_pages_that_lead_in_a_circle_end_the_run(api: HttpServer) -> None:
    api.route("/v1/orders", lambda asked: {"items": [], "next": "b" if asked.params.get("cursor") == "a" else "a"})
    pages = {"type": "cursor", "cursor_path": "next", "cursor_param": "cursor"}

    assert "the same one came again" in str(refused(connector(api, "orders", paginator=pages), "orders"))
    assert len(api.asked) == 4


def test_a_page_that_comes_again_for_ever_ends_the_run(api: HttpServer) -> None:
    api.route("/v1/orders", {"items": numbered(2), "next_cursor": "abc"})
    misspelled = {"type": "cursor", "cursor_path": "next_cursor", "cursor_param": "curser"}

    error = refused(connector(api, "orders", paginator=misspelled), "orders")

    assert "the same one came again" in str(error)
    assert len(api.asked) == 3


def test_a_total_that_is_not_there_is_said_without_the_rows(api: HttpServer) -> None:
    api.route("/v1/orders", {"items": [{"id": 1, "iban": "DE02"}]})

    error = refused(connector(api, "orders", paginator={"type": "offset", "limit": 2}), "orders")

    assert isinstance(error, SourceRejected)
    assert "its keys: items" in str(error)
    assert "DE02" not in str(error)


# Answers


def test_rows_are_taken_from_where_the_selector_says(api: HttpServer) -> None:
    api.route("/v1/orders", {"warnings": [1, 2], "result": {"orders": numbered(2)}})

    made = connector(api, {"name": "orders", "endpoint": {"data_selector": "result.orders"}})

    assert load(made, "orders").values("id") == [1, 2]


def test_a_selector_that_finds_nothing_is_an_error_and_not_zero_rows(api: HttpServer) -> None:
    api.route("/v1/orders", {"data": numbered(2)})

    error = refused(connector(api, {"name": "orders", "endpoint": {"data_selector": "dta"}}), "orders")

    assert "there is nothing at data_selector 'dta' in the answer (its keys: data)" in str(error)


def test_an_api_may_leave_the_rows_out_where_there_are_none(api: HttpServer) -> None:
    api.route("/v1/orders", {"kind": "orders"})
    endpoint = {"data_selector": "items", "on_data_missing": "empty"}

    assert load(connector(api, {"name": "orders", "endpoint": endpoint}), "orders").rows == []


def test_no_content_is_no_rows(api: HttpServer) -> None:
    api.route("/v1/orders", Answer(b"", 204))

    assert load(connector(api, {"name": "orders", "endpoint": {"data_selector": "items"}}), "orders").rows == []


def test_a_login_page_is_not_taken_for_rows(api: HttpServer) -> None:
    api.route("/v1/orders", Answer(b"<html>Sign in</html>", headers={"Content-Type": "text/html"}))

    error = refused(connector(api, {"name": "orders", "endpoint": {"params": {"key": "s3cret"}}}), "orders")

    assert isinstance(error, SourceRejected)
    assert "/v1/orders: JSON was expected, and text/html came" in str(error)
    assert "s3cret" not in str(error)


def test_json_that_breaks_off_may_be_tried_again(api: HttpServer) -> None:
    api.route("/v1/orders", Answer(b'[{"id": 1}, {"i'))

    assert isinstance(refused(connector(api, "orders"), "orders"), SourceUnavailable)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (b'[{"n": "a\tb"}]', "a\tb"),
        (b'[{"n": Infinity}]', float("inf")),
        ('\ufeff[{"n": "é"}]'.encode(), "é"),
        ('[{"n": "é"}]'.encode("utf-16"), "é"),
    ],
)
def test_what_is_nearly_json_is_read(answer: bytes, value: Any, api: HttpServer) -> None:
    api.route("/v1/orders", Answer(answer))

    assert load(connector(api, "orders"), "orders").values("n") == [value]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ('[{"n": "é"}]'.encode("latin-1"), "not in the charset of its type, application/json"),
        (b'{"id": 1}\n{"id": 2}', "is no JSON: Extra data: line 2 column 1"),
        (b"[" * 5000 + b"]" * 5000, "nested too deep"),
    ],
)
def test_what_cannot_be_read_is_not_asked_for_again(answer: bytes, sentence: str, api: HttpServer) -> None:
    api.route("/v1/orders", Answer(answer))

    error = refused(connector(api, "orders"), "orders")

    assert isinstance(error, SourceRejected)
    assert sentence in str(error)


def test_what_is_nested_too_deep_to_be_written_is_told_with_its_column(api: HttpServer, lake: Lake) -> None:
    api.route("/v1/orders", Answer(b'[{"id": 1, "deep": ' + b"[" * 500 + b"]" * 500 + b"}]"))
    config = {"base_url": f"{api.url}/v1", "resources": ["orders"]}

    with pytest.raises(SourceRejected, match="a value of 'deep' does not fit its column"):
        lake.load(pipeline_of(source_from("rest_api", "raw", {"config": config}), Path()))


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_names_what_was_asked(api: HttpServer, status: int) -> None:
    api.route("/v1/orders", Answer({}, status))

    error = refused(connector(api, "orders"), "orders")

    assert isinstance(error, SourceRejected)
    assert f"{status}" in str(error)
    assert "/v1/orders" in str(error)


def test_a_status_that_means_no_rows_can_be_named(api: HttpServer) -> None:
    made = connector(
        api, {"name": "orders", "endpoint": {"response_actions": [{"status_code": 404, "action": "ignore"}]}}
    )

    assert load(made, "orders").rows == []


def test_a_server_that_is_busy_is_asked_again(api: HttpServer) -> None:
    answers = iter([Answer({}, 503, {"Retry-After": "1"}), Answer(numbered(1))])
    api.route("/v1/orders", lambda asked: next(answers))

    assert load(connector(api, "orders"), "orders").values("id") == [1]


def test_dlts_runtime_configuration_says_how_often_a_busy_server_is_asked(
    api: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME__REQUEST_MAX_ATTEMPTS", "1")
    api.route("/v1/orders", Answer({}, 503))

    assert isinstance(refused(connector(api, "orders"), "orders"), SourceUnavailable)
    assert len(api.asked) == 1


@pytest.mark.parametrize("number", [9007199254740993, -(2**63), 123456789012345678901])
def test_integers_of_any_length_arrive_exactly(api: HttpServer, number: int) -> None:
    api.route("/v1/orders", [{"id": number}])

    assert load(connector(api, "orders"), "orders").values("id") == [number]


# Cursors


def dated(*moments: str) -> list[dict[str, Any]]:
    return [{"id": number, "updated_at": moment} for number, moment in enumerate(moments, 1)]


def test_the_next_run_takes_only_what_is_new_even_if_the_api_sends_all(api: HttpServer) -> None:
    orders = connector(api, {"name": "orders", "incremental": {"cursor_path": "updated_at"}})
    api.route("/v1/orders", dated("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"))
    first = load(orders, "orders")
    api.route("/v1/orders", dated("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"))

    second = load(orders, "orders", after=first)

    assert first.values("id") == [1, 2]
    assert second.values("id") == [3]
    assert load(orders, "orders", after=second).rows == []


def test_the_cursor_is_kept_under_the_name_of_the_resource(api: HttpServer) -> None:
    orders = connector(api, {"name": "orders", "incremental": {"cursor_path": "updated_at"}})
    api.route("/v1/orders", dated("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"))

    state = load(orders, "orders").state

    assert state["resources"]["orders"]["incremental"]["updated_at"]["last_value"] == "2024-01-02T00:00:00Z"


def test_the_api_is_asked_from_the_cursor_on(api: HttpServer) -> None:
    incremental = {
        "cursor_path": "updated_at",
        "start_param": "since",
        "initial_value": "2024-01-01T00:00:00Z",
    }
    orders = connector(api, {"name": "orders", "incremental": incremental})
    api.route("/v1/orders", dated("2024-01-05T00:00:00Z"))

    load(orders, "orders", after=load(orders, "orders"))

    assert [asked.params["since"] for asked in api.asked] == ["2024-01-01T00:00:00Z", "2024-01-05T00:00:00Z"]


def test_without_an_initial_value_the_first_request_has_no_start(api: HttpServer) -> None:
    orders = connector(api, {"name": "orders", "incremental": {"cursor_path": "updated_at", "start_param": "since"}})
    api.route("/v1/orders", dated("2024-01-05T00:00:00Z"))

    load(orders, "orders")

    assert api.asked[0].params == {}


def test_a_text_cannot_begin_a_cursor_of_numbers(api: HttpServer) -> None:
    api.route("/v1/orders", [{"id": 1, "at": 1700000000}])
    incremental = {"cursor_path": "at", "initial_value": "2024-01-01"}

    error = refused(connector(api, {"name": "orders", "incremental": incremental}), "orders")

    assert "numbers and texts have no order" in str(error)


@pytest.mark.parametrize(
    ("start", "sent"),
    [(date(2024, 1, 2), "2024-01-02"), (datetime(2024, 1, 2, tzinfo=timezone.utc), "2024-01-02T00:00:00Z")],
)
def test_a_date_or_time_of_yaml_can_begin_a_cursor_of_text(api: HttpServer, start: Any, sent: str) -> None:
    incremental = {"cursor_path": "updated_at", "start_param": "since", "initial_value": start}
    orders = connector(api, {"name": "orders", "incremental": incremental})
    api.route("/v1/orders", dated("2024-01-01T23:59:59Z", "2024-01-02T00:00:00Z"))

    loaded = load(orders, "orders")

    assert loaded.values("id") == [2]
    assert api.asked[0].params == {"since": sent}


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5Z"),
        ("2024-01-01T00:00:00.12Z", "2024-01-01T00:00:00.123Z"),
        ("2024-01-01T01:30:00+02:00", "2024-01-01T00:00:00Z"),
        ("2024-01-01T00:00:00+01:00", "2023-12-31T23:30:00Z"),
        ("2024-01-01", "2024-01-01T00:00:01Z"),
    ],
)
def test_a_row_that_is_later_is_loaded_however_its_time_is_written(api: HttpServer, earlier: str, later: str) -> None:
    orders = connector(api, {"name": "orders", "incremental": {"cursor_path": "updated_at"}})
    api.route("/v1/orders", dated(earlier))
    first = load(orders, "orders")
    api.route("/v1/orders", dated(earlier, later))

    second = load(orders, "orders", after=first)

    assert second.values("id") == [2]
    assert second.state["resources"]["orders"]["incremental"]["updated_at"]["last_value"] == later


def test_a_lag_looks_back_behind_the_cursor(api: HttpServer) -> None:
    orders = connector(api, {"name": "orders", "incremental": {"cursor_path": "updated_at", "lag": 3600}})
    api.route("/v1/orders", dated("2024-01-01T12:00:00Z"))
    first = load(orders, "orders")
    api.route("/v1/orders", dated("2024-01-01T12:00:00Z", "2024-01-01T11:30:00Z", "2024-01-01T10:30:00Z"))

    assert load(orders, "orders", after=first).values("id") == [1, 2]


def test_requests_can_say_where_the_cursor_stands(api: HttpServer) -> None:
    resource = {
        "name": "orders",
        "endpoint": {"method": "POST", "json": {"from": "{incremental.start_value}"}},
        "incremental": {"cursor_path": "updated_at", "initial_value": "2024-01-01T00:00:00Z"},
    }
    api.route("/v1/orders", dated("2024-01-05T00:00:00Z"))

    load(connector(api, resource), "orders")

    assert api.asked[0].json == {"from": "2024-01-01T00:00:00Z"}


# Windows of partitioned runs


def daily(**more: Any) -> dict[str, Any]:
    return {
        "type": "daily",
        "column": "updated_at",
        "start": "2024-01-01",
        "timezone": "Europe/Berlin",
        **more,
    }


def new_years_day() -> Window:
    zone = ZoneInfo("Europe/Berlin")
    return Window("updated_at", datetime(2024, 1, 1, tzinfo=zone), datetime(2024, 1, 2, tzinfo=zone))


def test_the_api_is_asked_for_the_window_in_utc(api: HttpServer) -> None:
    api.route("/v1/orders", dated("2024-01-01T12:00:00Z"))
    partitions = daily(start_param="from", end_param="to")

    load(connector(api, "orders"), "orders", partitions=partitions, window=new_years_day())

    assert api.asked[0].params == {"from": "2023-12-31T23:00:00Z", "to": "2024-01-01T23:00:00Z"}


def test_a_window_leaves_no_cursor_and_drops_no_row(api: HttpServer) -> None:
    api.route("/v1/orders", dated("2023-01-01", "2024-01-01T12:00:00Z", "2025-01-01T00:00:00+05:00"))

    made = connector(api, {"name": "orders", "incremental": {"cursor_path": "updated_at"}})

    loaded = load(made, "orders", partitions=daily(start_param="from"), window=new_years_day())

    assert loaded.values("id") == [1, 2, 3]  # the writer keeps the window, by the types of the table
    assert not loaded.state.get("resources", {}).get("orders", {}).get("incremental")


def test_requests_can_say_the_window(api: HttpServer) -> None:
    body = {"from": "{incremental.start_value}", "to": "{incremental.end_value}"}
    api.route("/v1/orders", dated("2024-01-01T12:00:00Z"))
    made = connector(api, {"name": "orders", "endpoint": {"method": "POST", "json": body}})

    loaded = load(made, "orders", partitions=daily(), window=new_years_day())

    assert api.asked[0].json == {"from": "2023-12-31T23:00:00Z", "to": "2024-01-01T23:00:00Z"}
    assert loaded.values("id") == [1]


def test_a_static_partition_asks_for_everything(api: HttpServer) -> None:
    api.route("/v1/orders", [{"id": 1, "region": "eu"}, {"id": 2, "region": "us"}])
    partitions = {"type": "static", "column": "region", "keys": ["eu", "us"]}

    loaded = load(connector(api, "orders"), "orders", partitions=partitions, window=Window("region", values=("eu",)))

    assert loaded.values("id") == [1, 2]


# Parents and children


def with_children(api: HttpServer, **config: Any) -> RestApiConnector:
    """Three parents on a page each; the children of later parents are older."""
    api.route("/v1/parents", lambda asked: pages(numbered(3), 1, int(asked.params["page"])))
    for parent in (1, 2, 3):
        api.route(
            f"/v1/parents/{parent}/kids",
            [{"kid": parent * 10, "updated_at": f"2024-01-0{9 - parent}T00:00:00Z"}],
        )
    paginator = {"type": "page_number", "total_path": None}
    return connector(
        api,
        {"name": "parents", "endpoint": {"path": "parents", "paginator": paginator}},
        {"name": "kids", "endpoint": "parents/{resources.parents.id}/kids", **config},
    )


def test_a_child_is_asked_for_each_row_of_its_parent(api: HttpServer) -> None:
    made = with_children(api, include_from_parent=["id"])

    loaded = load(made, "kids")

    assert loaded.values("kid") == [10, 20, 30]
    assert loaded.values("_parents_id") == [1, 2, 3]


def test_a_parent_without_the_field_has_no_children_and_one_that_none_has_is_a_mistake(api: HttpServer) -> None:
    api.route("/v1/orders", [{"id": None}, {"id": 2}, {"other": 3}])
    api.fallback = lambda asked: [{"path": asked.path}]
    children = [{"name": name, "endpoint": f"{name}/{{resources.orders.{name}}}"} for name in ("id", "idd")]
    made = connector(api, "orders", *children)

    assert load(made, "id").values("path") == ["/v1/id/2"]
    assert isinstance(error := refused(made, "idd"), SourceRejected)
    assert "idd: no row of orders has 'idd', which it is asked by. They have: id." in str(error)


def test_a_field_of_a_parent_cannot_lead_a_childs_request_elsewhere(api: HttpServer) -> None:
    names = ["a?b=1", "a#b", "50%", "a/b c", "ü:1", "%2e%2e", "", 7]
    api.route("/v1/orders", [{"name": name, "link": f"/v1/x/{number}?y=1"} for number, name in enumerate(names)])
    api.fallback = lambda asked: [{"asked": asked.path, **asked.params}]
    param = {"type": "resolve", "resource": "orders", "field": "name"}
    children = [
        {"name": "lines", "endpoint": "x/{resources.orders.name}/lines", "include_from_parent": ["name"]},
        {
            "name": "named",
            "endpoint": {"path": "x/{key}/lines", "params": {"key": param, "of": "{resources.orders.name}"}},
        },
        {"name": "led", "endpoint": "{resources.orders.name}/lines"},
        {"name": "linked", "endpoint": "{resources.orders.link}"},
    ]
    made = connector(api, "orders", *children)
    escaped = ["a%3Fb=1", "a%23b", "50%25", "a/b%20c", "%C3%BC:1", "%252e%252e", "7"]

    lines = load(made, "lines")
    assert lines.values("asked") == [f"/v1/x/{name}/lines" for name in escaped]
    assert lines.values("_orders_name") == [name for name in names if name != ""]
    assert load(made, "named").values("of") == [str(name) for name in names if name != ""]
    assert load(made, "named").values("asked") == lines.values("asked")
    assert load(made, "led").values("asked") == [f"/v1/{name}/lines" for name in escaped]
    assert load(made, "linked").values("y") == ["1"] * len(names)

    api.route("/v1/orders", [{"name": "a/../../b"}])
    assert isinstance(error := refused(made, "lines"), SourceRejected)
    assert "lines: a row of orders cannot stand in the path that is asked for: 'a/../../b' leads to" in str(error)


def test_a_parent_is_loaded_without_its_children(api: HttpServer) -> None:
    loaded = load(with_children(api), "parents")

    assert loaded.values("id") == [1, 2, 3]
    assert set(api.paths()) == {"/v1/parents"}


def test_a_grandchild_finds_its_way(api: HttpServer) -> None:
    api.route("/v1/a", numbered(2))
    for number in (1, 2):
        api.route(f"/v1/a/{number}/b", [{"key": f"k{number}"}])
        api.route(f"/v1/c/k{number}", {"leaf": number})
    made = connector(
        api,
        "a",
        {"name": "b", "endpoint": "a/{resources.a.id}/b"},
        {
            "name": "c",
            "endpoint": {
                "path": "c/{key}",
                "params": {"key": {"type": "resolve", "resource": "b", "field": "key"}},
            },
        },
    )

    assert load(made, "c").values("leaf") == [1, 2]


def test_a_single_thing_is_one_row_although_it_links_to_the_next(api: HttpServer) -> None:
    api.route("/v1/orders", numbered(1))
    api.route("/v1/orders/1", {"id": 1, "lines": [1, 2], "next": f"{api.url}/v1/orders/2"})
    made = connector(api, "orders", {"name": "details", "endpoint": "orders/{resources.orders.id}"})

    assert load(made, "details").values("lines") == [[1, 2]]
    assert api.paths() == ["/v1/orders", "/v1/orders/1"]


def test_children_of_later_parents_are_not_lost_to_the_cursor_of_earlier_ones(api: HttpServer) -> None:
    made = with_children(api, incremental={"cursor_path": "updated_at", "start_param": "since"})

    first = load(made, "kids")
    second = load(made, "kids", after=first)

    assert first.values("kid") == [10, 20, 30]
    assert second.rows == []
    asked = [asked.params.get("since") for asked in api.asked if asked.path.endswith("/kids")]
    assert asked == [None, None, None, *["2024-01-08T00:00:00Z"] * 3]


def test_the_cursor_of_a_parent_is_kept_with_the_child(api: HttpServer) -> None:
    api.route("/v1/orders", dated("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"))
    for number in (1, 2, 3):
        api.route(f"/v1/orders/{number}/items", [{"item": number}])
    made = connector(
        api,
        {"name": "orders", "incremental": {"cursor_path": "updated_at"}},
        {"name": "items", "endpoint": "orders/{resources.orders.id}/items"},
    )
    first = load(made, "items")
    api.route("/v1/orders", dated("2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z", "2024-01-03T00:00:00Z"))

    second = load(made, "items", after=first)

    assert first.values("item") == [1, 2]
    assert second.values("item") == [3]
    assert set(second.state["resources"]) == {"orders"}


# check_connection


def test_a_check_says_what_answered_and_reads_one_page(api: HttpServer) -> None:
    linked(api, numbered(5), in_header=True)

    assert (
        connector(api, "orders").check_connection()
        == f"{api.url}/v1 answers, with 2 rows on the first page of 'orders'"
    )
    assert len(api.asked) == 1


def test_a_check_asks_a_busy_server_once(api: HttpServer) -> None:
    api.route("/v1/orders", Answer({}, 503))

    with pytest.raises(SourceUnavailable):
        connector(api, "orders").check_connection()
    assert len(api.asked) == 1


def test_a_check_of_wrong_credentials_is_rejected(api: HttpServer) -> None:
    api.route("/v1/orders", Answer({}, 401))

    with pytest.raises(SourceRejected, match="401"):
        connector(api, "orders").check_connection()


# Mistakes in floe.yaml


@pytest.mark.parametrize(
    ("resource", "sentence"),
    [
        ({"name": "a", "endpoint": {"path": "x/{id}"}}, "nothing fills {id} in the path 'x/{id}'"),
        ({"name": "a", "endpoint": {"path": "x/{id"}}, "the path 'x/{id' is not understood"),
        (
            {"name": "a", "endpoint": "x/{resources.oders.id}"},
            "no resource 'oders' to take a field of. Did you mean 'orders'?",
        ),
        ({"name": "a", "include_from_parent": "id"}, "has no parent to include from"),
        ({"name": "a", "endpoint": {"incremental": {}}}, "write it beside `endpoint`"),
        (
            {"name": "a", "endpoint": {"params": {"s": {"type": "incremental"}}}},
            "start_param: s}` beside `endpoint`",
        ),
        ({"name": "a", "endpoint": {"params": {"s": {"x": 1}}}}, "the parameter 's' is a mapping"),
        ({"name": "a", "endpoint": {"json": {}, "data": {}}}, "both `json` and `data`"),
        ({"name": "a", "endpoint": "x/{resources.a.id}"}, "is its own parent, by way of a"),
        ({"name": "a", "endpoint": {"response_actions": [{}]}}, "write `status_code: 404`"),
        (
            {
                "name": "a",
                "endpoint": {"params": {"k": {"type": "resolve", "resource": "orders", "field": "id"}}},
            },
            "has no {k}",
        ),
        (
            {
                "name": "a",
                "endpoint": {"path": "x/{resources.orders.id}", "json": {"t": "{incremental.start_value}"}},
            },
            "a child cannot say {incremental.…}",
        ),
        (
            {
                "name": "a",
                "endpoint": {"params": {"since": "{incremental.start_value}"}},
                "incremental": {"cursor_path": "at"},
            },
            "the first run has no value; write `initial_value`",
        ),
        (
            {"name": "a", "endpoint": {"params": {"x": "{resources.orders.id}", "y": "{resources.b.id}"}}},
            "has one parent",
        ),
    ],
)
def test_a_mistake_in_a_resource_is_told_with_what_to_write(resource: dict[str, Any], sentence: str) -> None:
    assert sentence in mistake(resource, "orders", "b")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"base_url": "api.example.com"}, "is no URL of an API. Write e.g. https://"),
        ({"base_url": "https://me:pw@api.example.com"}, "Write them as `auth: {type: http_basic, …}`"),
        ({"paginator": "page_numer"}, "page_numer"),
        ({"paginator": {"type": "offset"}}, "limit"),
        ({"auth": {"type": "bearer"}}, "token"),
        ({"timeout": 3}, "timeout"),
    ],
)
def test_a_mistake_in_the_source_is_found_when_it_is_read(config: dict[str, Any], sentence: str) -> None:
    assert sentence in mistake("orders", **config)


def test_secrets_are_not_in_the_text_of_a_connector() -> None:
    made = RestApiConnector.model_validate(
        {
            "base_url": "https://api.example.com",
            "headers": {"X-Key": "hush1"},
            "auth": {"type": "bearer", "token": "hush2"},
            "resources": [
                {
                    "name": "a",
                    "endpoint": {
                        "params": {"key": "hush5"},
                        "headers": {"X": "hush3"},
                        "auth": {"type": "bearer", "token": "hush4"},
                    },
                }
            ],
        }
    )

    assert "hush" not in repr(made)
