"""GitHub on this machine: repositories that tests fill, listed as its REST API lists them.

The rows of `data/github_shapes.json` hold, for each list, the required properties of GitHub's OpenAPI description
(npm `@octokit/openapi` 23.0.2, api.github.com.json) and those that the connector declares a type for, with values of
the described types. Compared with that description by hand, with a JSON schema validator: every answer of this fake to
the requests of `test_github.py`, and the names of all parameters that it understands.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from floe_ingestion_tests.http_server import Answer, Asked, HttpServer, serving

_SHAPES: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "github_shapes.json").read_text("utf-8"))
_PATHS = {
    "": "repositories",
    "issues": "issues",
    "issues/comments": "issue_comments",
    "pulls": "pull_requests",
    "pulls/comments": "review_comments",
    "commits": "commits",
    "releases": "releases",
    "stargazers": "stargazers",
    "actions/runs": "workflow_runs",
}
TOKEN = "ghp_an0ctopus"
_EMOTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "eyes", "rocket")
NO_REACTIONS = {"url": "https://api.github.com/reactions", "total_count": 0, **dict.fromkeys(_EMOTIONS, 0)}
Row = dict[str, Any]


class FakeGithub:
    """Answers below `url` to whoever sends `Bearer <token>`."""

    def __init__(self, server: HttpServer) -> None:
        self.server, self.url, self.tokens = server, server.url, {TOKEN}
        self.lists: dict[tuple[str, str], list[Row]] = {}
        self.empty: set[str] = set()
        """Repositories without any commit."""
        self.after_answer: Callable[[Asked], None] = lambda asked: None
        """Called when a list was answered."""
        self.assertions: list[str] = []
        """What apps have shown to be given a token."""
        server.fallback = self._answer

    def add(self, repository: str, resource: str, **values: Any) -> Row:
        """Put a row into a list."""
        row = deepcopy(_SHAPES[resource.partition(" of ")[0]]) | values
        self.lists.setdefault((repository, resource), []).append(row)
        return row

    def add_commit(self, repository: str, sha: str, date: str) -> None:
        row = self.add(repository, "commits", sha=sha)
        row["commit"]["committer"] = {"name": "Ann", "email": "ann@example.com", "date": date}

    def add_reaction(self, repository: str, issue: int, **values: Any) -> None:
        self.add(repository, f"reactions of {issue}", **values)

    def repository(self, name: str) -> None:
        """Make a repository."""
        self.add(name, "repositories", full_name=name, id=len(self.lists) + 1)

    def new_app(self, token_seconds: int = 3600) -> tuple[str, str]:
        """Private and public key of an app that is installed as number 77."""
        from cryptography.hazmat.primitives import serialization as pem
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = rsa.generate_private_key(65537, 2048)

        def token(asked: Asked) -> Answer:
            self.assertions.append(asked.headers["authorization"].removeprefix("Bearer "))
            self.tokens = {f"ghs_{len(self.assertions)}"}
            expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + token_seconds))
            return Answer({"token": min(self.tokens), "expires_at": expires}, 201)

        self.server.route("/app/installations/77/access_tokens", token)
        for repository, _ in list(self.lists):
            self.server.route(f"/repos/{repository}/installation", {"id": 77, "app_id": 12345})
        private = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.TraditionalOpenSSL, pem.NoEncryption())
        public = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
        return private.decode(), public.decode()

    @property
    def asked(self) -> list[Asked]:
        """The requests for lists."""
        return [asked for asked in self.server.asked if asked.path.startswith("/repos/")]

    def _answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return Answer({"message": "Bad credentials", "documentation_url": "…", "status": "401"}, 401)
        _, _, owner, name, *rest = asked.path.split("/")
        repository, path = f"{owner}/{name}", "/".join(rest)
        if (repository, "repositories") not in self.lists:
            return Answer({"message": "Not Found", "documentation_url": "…", "status": "404"}, 404)
        if path == "commits" and repository in self.empty:
            return Answer({"message": "Git Repository is empty.", "status": "409"}, 409)
        answer = self._list(asked, repository, path)
        self.after_answer(asked)
        return answer

    def _list(self, asked: Asked, repository: str, path: str) -> Answer:
        resource = _PATHS.get(path) or f"reactions of {path.split('/')[1]}"
        rows = list(self.lists.get((repository, resource), []))
        if resource == "repositories":
            return Answer(rows[0])
        if resource == "stargazers" and asked.headers["accept"] != "application/vnd.github.star+json":
            rows = [row["user"] for row in rows]
        rows = _in_order(resource, rows, asked.params)
        size, page = int(asked.params.get("per_page", 30)), int(asked.params.get("page", 1))
        found = rows[(page - 1) * size : page * size]
        body = {"total_count": len(rows), "workflow_runs": found} if resource == "workflow_runs" else found
        more = page * size < len(rows)
        query = "&".join(f"{key}={value}" for key, value in {**asked.params, "page": page + 1}.items())
        return Answer(body, headers={"Link": f'<{self.url}{asked.path}?{query}>; rel="next"'} if more else {})


def _in_order(resource: str, rows: list[Row], params: dict[str, str]) -> list[Row]:
    since = params.get("since", "")
    if resource == "commits":
        rows = sorted(rows, key=_committed, reverse=True)
        return [row for row in rows if _committed(row) >= since]
    if resource in ("issues", "issue_comments", "pull_requests", "review_comments"):
        if resource == "issues" and params.get("state", "open") != "all":
            rows = [row for row in rows if row["state"] == params.get("state", "open")]
        by = {"updated": "updated_at"}.get(params.get("sort", ""), "created_at")
        rows = sorted(rows, key=lambda row: str(row[by]), reverse=params.get("direction") != "asc")
        return [row for row in rows if row["updated_at"] >= since]
    if resource == "workflow_runs":
        return sorted(rows, key=lambda row: str(row["created_at"]), reverse=True)
    return rows


def _committed(row: Row) -> str:
    return str(row["commit"]["committer"]["date"])


def used_up(seconds: int) -> Answer:
    """What the primary rate limit answers."""
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + seconds)}
    return Answer({"message": "API rate limit exceeded for user ID 1."}, 403, headers)


def secondary(seconds: int) -> Answer:
    """What the secondary rate limit answers."""
    return Answer({"message": "You have exceeded a secondary rate limit."}, 403, {"Retry-After": str(seconds)})


@contextmanager
def github() -> Iterator[FakeGithub]:
    """A GitHub of a test's own."""
    with serving() as server:
        yield FakeGithub(server)
