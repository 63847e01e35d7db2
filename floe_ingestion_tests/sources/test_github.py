"""What a github source promises, asked of a GitHub on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jwt
import pytest

from floe_ingestion.errors import ConfigurationError, SourceRejected, SourceUnavailable
from floe_ingestion.pipeline import IngestionPipeline
from floe_ingestion.sources.github import GithubConnector
from floe_ingestion.sources.github_resources import LISTINGS
from floe_ingestion.staging import Window
from floe_ingestion_tests.http_server import Answer
from floe_ingestion_tests.lake import Lake
from floe_ingestion_tests.sources.fake_github import NO_REACTIONS, TOKEN, FakeGithub, github, secondary, used_up
from floe_ingestion_tests.sources.landed import pipeline, source_of

UTC = timezone.utc
A, B = "octo/a", "octo/b"
OURS = {
    "commits": {"authored_at", "committed_at", "message"},
    "reactions": {"issue_number"},
    "stargazers": {"user_id", "user_login"},
}
"""Columns that the connector makes of what lies deeper, or of what was asked for."""
Made = Callable[..., IngestionPipeline]


@pytest.fixture
def hub() -> Iterator[FakeGithub]:
    with github() as hub:
        hub.repository(A)
        hub.repository(B)
        yield hub


@pytest.fixture
def made(tmp_path: Path, hub: FakeGithub) -> Made:
    """The pipeline of a source; repository `octo/a` unless said otherwise."""

    def make(*resources: Any, repositories: Any = A, source: dict[str, Any] | None = None, **config: Any) -> Any:
        given = {"base_url": hub.url, "token": TOKEN, "repositories": repositories, "resources": list(resources)}
        return pipeline(tmp_path, "github", {**given, **config}, **(source or {}))

    return make


def day(number: int) -> str:
    return (datetime(2024, 1, 1) + timedelta(days=number)).strftime("%Y-%m-%dT%H:%M:%SZ")


def fill(hub: FakeGithub, resource: str, numbers: range, repository: str = A) -> None:
    for number in numbers:
        hub.add(repository, resource, id=number, number=number, updated_at=day(number))


# From where on


def test_all_pages_land_and_the_next_run_asks_for_what_is_new(hub: FakeGithub, lake: Lake, made: Made) -> None:
    fill(hub, "issues", range(230))
    issues = made("issues")
    lake.load(issues)
    first = len(hub.asked)
    hub.add(A, "issues", id=7, number=7, title="new", updated_at=day(300))
    hub.lists[A, "issues"].remove(next(row for row in hub.lists[A, "issues"] if row["id"] == 7))
    hub.add(A, "issues", id=230, number=230, updated_at=day(301))
    landed = lake.load(issues)

    assert first == 3
    assert [asked.params.get("since") for asked in hub.asked] == [None, None, None, "2024-08-16T23:59:59Z"]
    assert hub.asked[0].params["per_page"] == "100"
    assert (landed.rows_added, landed.rows_updated) == (1, 1)
    assert lake.values("bronze.issues") == list(range(231))
    assert {row["title"] for row in lake.rows("bronze.issues") if row["id"] == 7} == {"new"}
    assert lake.cursor("bronze.issues") == {"octo/a:updated_at": day(301)}


def test_a_run_without_news_lands_nothing(hub: FakeGithub, lake: Lake, made: Made) -> None:
    fill(hub, "issues", range(3))
    appended = made("issues", source={"destination": {"schema": "bronze", "write_disposition": "append"}})
    lake.load(appended)
    lake.load(appended)

    assert lake.values("bronze.issues") == [0, 1, 2]


def test_a_list_without_since_is_read_until_it_is_old(hub: FakeGithub, lake: Lake, made: Made) -> None:
    fill(hub, "pull_requests", range(250))
    pulls = made("pull_requests")
    lake.load(pulls)
    fill(hub, "pull_requests", range(250, 260))
    lake.load(pulls)

    assert [asked.params.get("page") for asked in hub.asked] == [None, "2", "3", None]
    assert lake.values("bronze.pull_requests") == list(range(260))


def test_each_repository_goes_on_where_it_was(hub: FakeGithub, lake: Lake, made: Made) -> None:
    fill(hub, "issues", range(100, 103))
    fill(hub, "issues", range(3), B)
    lake.load(made("issues"))
    lake.load(made("issues", repositories=[A, B]))
    hub.add(B, "issues", id=3, number=3, updated_at=day(3))  # older than all of the other repository
    lake.load(made("issues", repositories=[A, B]))

    assert lake.values("bronze.issues") == [0, 1, 2, 3, 100, 101, 102]
    assert {row["repository"] for row in lake.rows("bronze.issues") if row["id"] < 100} == {B}


def test_what_changes_while_it_is_read_lands_once(hub: FakeGithub, lake: Lake, made: Made) -> None:
    """A new row pushes the last of the first page to the second one."""
    fill(hub, "issues", range(150))
    hub.after_answer = lambda asked: None if "page" in asked.params else fill(hub, "issues", range(500, 501))
    issues = made("issues", source={"destination": {"schema": "bronze", "write_disposition": "append"}})
    lake.load(issues)
    hub.after_answer = lambda asked: None
    lake.load(issues)

    assert lake.values("bronze.issues") == [*range(150), 500]


def test_commits_of_a_branch_that_is_merged_late_land(hub: FakeGithub, lake: Lake, made: Made) -> None:
    hub.add_commit(A, "new", day(40))
    commits = made("commits")
    lake.load(commits)
    hub.add_commit(A, "old", day(20))
    hub.add_commit(A, "older", day(5))
    lake.load(commits)

    assert hub.asked[-1].params["since"] == "2024-01-10T23:59:59Z"
    assert lake.values("bronze.commits", "sha") == ["new", "old"]
    assert {row["committed_at"] for row in lake.rows("bronze.commits") if row["sha"] == "new"} == {
        datetime(2024, 2, 10, tzinfo=UTC)
    }


def test_the_branch_of_commits_can_be_named(hub: FakeGithub, lake: Lake, made: Made) -> None:
    hub.add_commit(A, "new", day(40))
    lake.load(made({"name": "commits", "params": {"sha": "develop"}}))

    assert hub.asked[0].params == {"sha": "develop", "per_page": "100"}


def test_a_partition_asks_for_its_window(hub: FakeGithub, lake: Lake, made: Made) -> None:
    fill(hub, "issues", range(250))
    daily = {"partitions": {"type": "daily", "column": "updated_at", "start": "2024-01-01"}}
    window = Window("updated_at", datetime(2024, 1, 3, tzinfo=UTC), datetime(2024, 1, 4, tzinfo=UTC))
    lake.load(made("issues", source=daily), window=window)

    assert lake.values("bronze.issues") == [2]
    assert hub.asked[0].params["since"] == "2024-01-02T23:59:59Z"


# What floe.yaml need not say, and what it may


def test_defaults_follow_from_the_resource_and_give_way(tmp_path: Path) -> None:
    def tables(**source: Any) -> list[tuple[Any, ...]]:
        config = {"repositories": [A], "resources": ["issues", "commits", "stargazers"]}
        found = source_of(tmp_path, "github", config, **source).tables
        return [
            (each.write_disposition, each.primary_key, each.incremental and (each.incremental.lag or 0))
            for each in found
        ]

    replaced = {"destination": {"schema": "bronze", "write_disposition": "replace"}}
    appended = {"destination": {"schema": "bronze", "write_disposition": "append", "primary_key": "node_id"}}
    assert tables() == [
        ("merge", ("id",), 0),
        ("merge", ("repository", "sha"), 30 * 86_400),
        ("replace", ("repository", "user_id"), None),
    ]
    assert [found[2] for found in tables(incremental=None)] == [None] * 3
    assert [(found[0], found[2]) for found in tables(**replaced)] == [("replace", None)] * 3
    assert tables(**appended) == [
        ("append", ("node_id",), 0),
        ("append", ("node_id",), 0),
        ("append", ("node_id",), None),
    ]


@pytest.mark.parametrize("resource", LISTINGS)
def test_what_is_declared_is_what_github_sends(hub: FakeGithub, resource: str) -> None:
    listing = LISTINGS[resource]

    declared = {*listing.times, *listing.numbers, *listing.texts}
    assert declared - hub.add(A, resource).keys() == OURS.get(resource, set())


@pytest.mark.parametrize("resource", ["commits", "reactions", "repositories", "stargazers", "workflow_runs"])
def test_a_list_lands_typed(hub: FakeGithub, lake: Lake, made: Made, resource: str) -> None:
    if resource == "commits":
        hub.add_commit(A, "abc", day(1))
    elif resource == "reactions":
        hub.add(A, "issues", number=4)
        hub.add(A, "issues", number=5, reactions=NO_REACTIONS)
        hub.add(A, "reactions of 4", id=9, content="rocket")
    elif resource != "repositories":
        hub.add(A, resource)
    lake.load(made(resource))

    (row,) = lake.rows(f"bronze.{resource}")
    types = {field.name: str(field.field_type) for field in lake.table(f"bronze.{resource}").schema().fields}
    listing = LISTINGS[resource]
    assert row["repository"] == A
    assert {types[name] for name in listing.times} <= {"timestamptz"}
    assert {types[name] for name in listing.numbers} <= {"long"}
    assert {types[name] for name in (*listing.texts, *listing.nested)} == {"string"}
    if resource == "reactions":
        assert (row["issue_number"], row["content"]) == (4, "rocket")
        assert [asked.path for asked in hub.asked][1:] == ["/repos/octo/a/issues/4/reactions"]
    if resource == "stargazers":
        assert (row["user_id"], row["user_login"]) == (1, "login")


def test_objects_and_lists_land_as_structs_where_asked_for(hub: FakeGithub, lake: Lake, made: Made) -> None:
    hub.add(A, "issues", id=1, user={"login": "ann"}, labels=[{"name": "bug"}], assignees=[])
    lake.load(made({"name": "issues", "nested": "struct"}))

    (row,) = lake.rows("bronze.issues")
    assert (row["user"], row["labels"]) == ({"login": "ann"}, [{"name": "bug"}])
    assert "assignees" not in row  # no value, no type


@pytest.mark.parametrize("resource", ["issues", "commits"])
def test_an_empty_list_makes_a_table_without_rows(hub: FakeGithub, lake: Lake, made: Made, resource: str) -> None:
    hub.empty.add(A)
    lake.load(made(resource))

    assert lake.rows(f"bronze.{resource}") == []
    assert "node_id" in lake.table(f"bronze.{resource}").schema().column_names


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"repositories": ["https://github.com/octo/a"]}, "Write <owner>/<name>"),
        ({"repositories": []}, "repositories"),
        ({"resources": ["isues"]}, "Did you mean 'issues'?"),
        ({"resources": [{"name": "issues", "params": {"sort": "created"}}]}, "holds sort, which follows from"),
        ({"token": "x", "app": {"app_id": 1, "private_key": "k"}}, "holds both `token` and `app`"),
        ({"base_url": "http://github.example.com/api/v3"}, "would send the credentials unencrypted"),
        ({"tokn": "x"}, "Did you mean 'token'?"),
    ],
)
def test_a_mistake_is_told_with_what_to_write(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        source_of(tmp_path, "github", {"repositories": [A], "resources": ["issues"], **config})

    assert said in str(raised.value)


# Limits and refusals


def test_every_kind_of_rate_limit_is_waited_for(hub: FakeGithub, lake: Lake, made: Made) -> None:
    fill(hub, "issues", range(2))
    hub.server.refusals = [used_up(0), secondary(1), Answer({"message": "slow down"}, 429, {"Retry-After": "1"})]
    lake.load(made("issues"))

    assert lake.values("bronze.issues") == [0, 1]
    assert [pause > 0.9 for pause in hub.server.pauses] == [True] * 3


def test_a_long_rate_limit_sends_the_run_away_until_it_is_over(hub: FakeGithub, lake: Lake, made: Made) -> None:
    hub.server.refusals = [used_up(1800)]

    with pytest.raises(SourceUnavailable, match="the rate limit is used up for") as raised:
        lake.load(made("issues"))

    assert 1700 < (raised.value.retry_after or 0) < 1803


def test_a_wrong_token_is_told_without_the_token(hub: FakeGithub, lake: Lake, made: Made) -> None:
    with pytest.raises(SourceRejected, match="401 Unauthorized \\(Bad credentials\\)") as raised:
        lake.load(made("issues", token="ghp_wr0ng"))

    assert "Check `token`" in str(raised.value)
    assert "ghp_wr0ng" not in str(raised.value)


def test_a_repository_that_is_not_there_is_named(lake: Lake, made: Made) -> None:
    with pytest.raises(SourceRejected, match="There is no repository octo/none, or the token may not see it"):
        lake.load(made("issues", repositories="octo/none"))


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "what the token is allowed to read"), (410, "switched off in the repository"), (422, "422")],
)
def test_a_refusal_is_final(hub: FakeGithub, lake: Lake, made: Made, status: int, said: str) -> None:
    hub.server.refusals = [Answer({"message": "no"}, status)]

    with pytest.raises(SourceRejected, match=said):
        lake.load(made("issues"))


def test_the_token_is_not_sent_to_another_host(hub: FakeGithub, lake: Lake, made: Made) -> None:
    hub.server.refusals = [Answer([], headers={"Link": '<https://evil.example.com/issues?page=2>; rel="next"'})]

    with pytest.raises(SourceRejected, match="not sent to another host"):
        lake.load(made("issues"))


# Logging in


def test_a_check_names_what_answers(hub: FakeGithub) -> None:
    given = {"base_url": hub.url, "repositories": [A, B], "resources": ["issues"]}

    assert GithubConnector(**given, token=TOKEN).check_connection() == f"{hub.url} answers, and shows octo/a, octo/b"
    with pytest.raises(SourceRejected, match="Bad credentials"):
        GithubConnector(**given, token="no").check_connection()


def test_an_app_asks_with_the_token_of_its_installation(hub: FakeGithub, lake: Lake, made: Made) -> None:
    private, public = hub.new_app()
    fill(hub, "issues", range(3))
    app = {"app_id": 12345, "private_key": private.replace("\n", "\\n"), "installation_id": None}
    lake.load(made("issues", token=None, app=app))

    claims = jwt.decode(hub.assertions[0], public, algorithms=["RS256"])
    assert claims["iss"] == "12345"
    assert claims["exp"] - claims["iat"] <= 600
    assert lake.values("bronze.issues") == [0, 1, 2]


def test_a_token_of_an_app_is_renewed_before_it_expires(hub: FakeGithub, lake: Lake, made: Made) -> None:
    private, _ = hub.new_app(token_seconds=200)
    fill(hub, "issues", range(230))
    lake.load(made("issues", token=None, app={"app_id": 1, "private_key": private, "installation_id": 77}))

    assert len(hub.assertions) == 3
    assert len(lake.values("bronze.issues")) == 230


def test_a_key_that_is_none_is_told_without_it(lake: Lake, made: Made) -> None:
    with pytest.raises(ConfigurationError, match=r"app\.private_key is no RSA key") as raised:
        lake.load(made("issues", token=None, app={"app_id": 1, "private_key": "s3cret"}))

    assert "s3cret" not in str(raised.value)


def test_without_pyjwt_an_app_says_what_to_install(hub: FakeGithub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    app = {"app_id": 1, "private_key": "k", "installation_id": 77}
    made = GithubConnector(base_url=hub.url, repositories=A, resources=["issues"], app=app)

    with pytest.raises(ConfigurationError, match=r"pip install 'floe-ingestion\[github-app\]'"):
        made.check_connection()
