"""What GitHub's REST API lists of a repository, in which order, and what identifies a row.

The columns are those of GitHub's OpenAPI description: text is declared too, because a title may look like a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from floe_ingestion.sources.base import Usual
from floe_ingestion.spec import ColumnSpec, IncrementalSpec, WriteDisposition

ResourceName = Literal[
    "commits",
    "issue_comments",
    "issues",
    "pull_requests",
    "reactions",
    "releases",
    "repositories",
    "review_comments",
    "stargazers",
    "workflow_runs",
]

_NEWEST_FIRST = {"sort": "updated", "direction": "desc"}
_MONTH = 30 * 86_400.0


@dataclass(frozen=True)
class Listing:
    """One list of the API."""

    path: str
    """Below /repos/<owner>/<name>."""
    times: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ("node_id",)
    nested: tuple[str, ...] = ("user",)
    """Objects and lists, which land as JSON."""
    params: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ("id",)
    write_disposition: WriteDisposition = "merge"
    cursor: str | None = None
    """The usual cursor."""
    newest_first_by: str | None = None
    """Values of this field fall from row to row, so that the first older one ends a run."""
    has_since: bool = False
    """Whether the API leaves out what is older than `since`, by `newest_first_by` or the cursor."""
    lag: float | None = None
    rows_at: str | None = None
    accept: str = "application/vnd.github+json"

    @property
    def usual(self) -> Usual:
        """What floe.yaml need not say."""
        columns = {"repository": "string", **dict.fromkeys(self.numbers, "long"), **dict.fromkeys(self.texts, "string")}
        columns |= dict.fromkeys(self.times, "timestamptz")
        cursor = IncrementalSpec(cursor_path=self.cursor, lag=self.lag) if self.cursor else None
        return Usual(
            write_disposition=self.write_disposition,
            primary_key=self.key,
            columns={name: ColumnSpec(type=type_) for name, type_ in columns.items()},
            nested=self.nested,
            incremental=cursor,
        )


_CREATED = ("created_at", "updated_at")
_COMMENT_TEXTS = ("node_id", "body", "author_association")

LISTINGS: Mapping[str, Listing] = {
    "repositories": Listing(
        path="",
        times=("created_at", "updated_at", "pushed_at"),
        numbers=("id", "stargazers_count", "forks_count", "open_issues_count", "size"),
        texts=("node_id", "name", "full_name", "description", "language", "default_branch"),
        nested=("owner", "license", "topics"),
    ),
    "issues": Listing(
        path="issues",
        times=(*_CREATED, "closed_at"),
        numbers=("id", "number", "comments"),
        texts=("node_id", "state", "state_reason", "title", "body", "active_lock_reason", "author_association"),
        nested=("user", "assignee", "assignees", "labels", "milestone", "pull_request", "reactions"),
        params={"state": "all", **_NEWEST_FIRST},
        cursor="updated_at",
        newest_first_by="updated_at",
        has_since=True,
    ),
    "issue_comments": Listing(
        path="issues/comments",
        times=_CREATED,
        numbers=("id",),
        texts=_COMMENT_TEXTS,
        params=_NEWEST_FIRST,
        cursor="updated_at",
        newest_first_by="updated_at",
        has_since=True,
    ),
    "pull_requests": Listing(
        path="pulls",
        times=(*_CREATED, "closed_at", "merged_at"),
        numbers=("id", "number"),
        texts=("node_id", "state", "title", "body", "active_lock_reason", "merge_commit_sha", "author_association"),
        nested=("user", "assignee", "assignees", "labels", "milestone", "requested_reviewers", "head", "base"),
        params={"state": "all", **_NEWEST_FIRST},
        cursor="updated_at",
        newest_first_by="updated_at",
    ),
    "review_comments": Listing(
        path="pulls/comments",
        times=_CREATED,
        numbers=("id", "pull_request_review_id", "in_reply_to_id", "line", "original_line"),
        texts=(*_COMMENT_TEXTS, "path", "diff_hunk", "commit_id", "side"),
        params=_NEWEST_FIRST,
        cursor="updated_at",
        newest_first_by="updated_at",
        has_since=True,
    ),
    # A branch that is merged brings commits that are older than what was loaded: hence the lag.
    "commits": Listing(
        path="commits",
        times=("authored_at", "committed_at"),
        texts=("sha", "node_id", "message"),
        nested=("commit", "author", "committer", "parents"),
        key=("repository", "sha"),
        cursor="committed_at",
        has_since=True,
        lag=_MONTH,
    ),
    # A release may be published, or edited, long after the time that it carries.
    "releases": Listing(
        path="releases",
        times=(*_CREATED, "published_at"),
        numbers=("id",),
        texts=("node_id", "tag_name", "target_commitish", "name", "body"),
        nested=("author", "assets"),
    ),
    "stargazers": Listing(
        path="stargazers",
        times=("starred_at",),
        numbers=("user_id",),
        texts=("user_login",),
        key=("repository", "user_id"),
        write_disposition="replace",
        accept="application/vnd.github.star+json",
    ),
    "reactions": Listing(
        path="issues/{number}/reactions",
        times=("created_at",),
        numbers=("id", "issue_number"),
        texts=("node_id", "content"),
        write_disposition="replace",
    ),
    # A run changes until it has ended, and may be started again for 30 days: hence the lag.
    "workflow_runs": Listing(
        path="actions/runs",
        times=(*_CREATED, "run_started_at"),
        numbers=("id", "run_number", "run_attempt", "workflow_id", "check_suite_id"),
        texts=("node_id", "name", "head_branch", "head_sha", "path", "event", "status", "conclusion", "display_title"),
        nested=("actor", "triggering_actor", "head_commit", "head_repository", "pull_requests"),
        cursor="created_at",
        newest_first_by="created_at",
        lag=_MONTH,
        rows_at="workflow_runs",
    ),
}

assert set(LISTINGS) == set(get_args(ResourceName))
