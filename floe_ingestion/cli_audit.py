"""`audit list`, `publish` and `drop`: loads that a gate kept on a branch of their own."""

from __future__ import annotations

import json

import click

from floe_ingestion.cli_base import command, spec_option, table_of, width


@click.group()
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
    from rich.console import Console
    from rich.table import Table

    shown = Table("committed", "branch", "partition", "added", "deleted", "can be published", "run", title=table)
    for each in found:
        shown.add_row(
            each.committed_at[:19],
            each.branch,
            each.partition,
            f"{each.rows_added:,}",
            f"{each.rows_deleted:,}",
            "yes" if each.can_be_published else "no: main has moved",
            each.run_id[:8],
        )
    Console(width=width()).print(shown)


@audit.command()
@click.argument("table")
@click.argument("branch", required=False)
@spec_option
@command
def publish(table: str, branch: str | None, spec_path: str) -> None:
    """Let main of TABLE move to BRANCH, with its columns and its cursor. BRANCH may be left out where one waits."""
    from floe_ingestion.classify import lake_errors
    from floe_ingestion.iceberg import audit as audits

    found = table_of(spec_path, table)
    name = audits.one_branch(found, branch)
    with lake_errors(table):
        audits.publish_by_hand(found, name)
    click.echo(f"{table}: {name} is published")


@audit.command()
@click.argument("table")
@click.argument("branch", required=False)
@spec_option
@command
def drop(table: str, branch: str | None, spec_path: str) -> None:
    """Remove BRANCH of TABLE with the files that only it names. BRANCH may be left out where one waits."""
    from floe_ingestion.classify import lake_errors
    from floe_ingestion.iceberg import audit as audits

    found = table_of(spec_path, table)
    name = audits.one_branch(found, branch)
    with lake_errors(table):
        files = audits.drop(found, name)
    click.echo(f"{table}: {name} is dropped, {files} files deleted")
