"""`audit list`, `publish` and `drop`: loads that a gate kept on a branch of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

import click

from floe_ingestion.cli_base import Group, command, print_rows, spec_option, table_of
from floe_ingestion.formats import number_of

if TYPE_CHECKING:
    from pyiceberg.table import Table


@click.group(cls=Group)
def audit() -> None:
    """Look at loads that were not published, publish them all the same, or drop them."""


@audit.command(name="list")
@click.argument("table")
@spec_option
@click.option("--json", "as_json", is_flag=True, help="Print the loads as JSON.")
@command
def list_branches(table: str, spec_path: str, as_json: bool) -> None:
    """Show the loads of TABLE (<schema>.<table>) that wait on a branch, newest first."""
    from dataclasses import asdict

    from floe_ingestion.iceberg.audit import branches

    found = branches(table_of(spec_path, table))
    if as_json:
        click.echo(json.dumps([asdict(each) for each in found], indent=2))
        return
    if not found:
        click.echo(f"{table}: no load waits to be published")
        return
    rows = (
        (
            each.committed_at[:19],
            each.branch,
            each.partition,
            f"{each.rows_added:,}",
            f"{each.rows_deleted:,}",
            "yes" if each.can_be_published else "no: main has moved",
            each.run_id[:8],
        )
        for each in found
    )
    heads = ("committed", "branch", "partition", "added", "deleted", "can be published", "run")
    print_rows(heads, rows, title=table)


def _of_one_branch(does: Callable[[Table, str], str]) -> Callable[..., None]:
    """A command that does something with one branch, and tells what it has done."""

    @click.argument("table")
    @click.argument("branch", required=False)
    @spec_option
    @command
    @wraps(does)
    def run(table: str, branch: str | None, spec_path: str) -> None:
        from floe_ingestion.classify import lake_errors
        from floe_ingestion.iceberg.audit import one_branch

        found = table_of(spec_path, table)
        name = one_branch(found, branch)
        with lake_errors(table):
            click.echo(f"{table}: {name} is {does(found, name)}")

    return run


@audit.command()
@_of_one_branch
def publish(table: Table, branch: str) -> str:
    """Let main of TABLE move to BRANCH, with its columns and its cursor. BRANCH may be left out where one waits."""
    from floe_ingestion.iceberg import audit as audits

    audits.publish_by_hand(table, branch)
    return "published"


@audit.command()
@_of_one_branch
def drop(table: Table, branch: str) -> str:
    """Remove BRANCH of TABLE with the files that only it names. BRANCH may be left out where one waits."""
    from floe_ingestion.iceberg import audit as audits

    return f"dropped, {number_of(audits.drop(table, branch), 'file')} deleted"
