"""The commands for tables that are there: `maintain`, and `cursor show`, `set` and `reset`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from floe_ingestion.cli_base import FAILURE, Command, Group, command, spec_option, table_of
from floe_ingestion.errors import ConfigurationError

if TYPE_CHECKING:
    from floe_ingestion.iceberg.cursor_change import CursorChange
    from floe_ingestion.spec import MaintenanceSpec, SourceSpec, Spec
    from floe_ingestion.upkeep import Upkeep

_OPERATIONS = ("compact", "expire", "orphans")


@click.command(cls=Command)
@click.argument("names", metavar="[SOURCE]...", nargs=-1)
@spec_option
@click.option("--expire", is_flag=True, help="Expire old snapshots, with their files.")
@click.option("--compact", is_flag=True, help="Write small files, and those with many deleted rows, anew.")
@click.option("--orphans", is_flag=True, help="Delete old files that no snapshot names.")
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@command
def maintain(names: tuple[str, ...], spec_path: str, dry_run: bool, as_json: bool, **operations: bool) -> None:
    """Keep the tables of sources in shape, all by default.

    Without --expire, --compact or --orphans, what `maintenance` of floe.yaml asks for; with them, these alone,
    by its settings or else by their defaults.
    """
    from floe_ingestion.loading import load_spec

    spec = load_spec(spec_path)
    asked = tuple(name for name in _OPERATIONS if operations[name])
    found = _maintained(spec, _chosen(spec, names, asked), dry_run, quiet=as_json)
    if as_json:
        click.echo(json.dumps([_as_dict(source, each) for source, each in found], indent=2))
    if any(each.error is not None for _, each in found):
        sys.exit(FAILURE)


@click.group(cls=Group)
def cursor() -> None:
    """Look at the cursor of a table, or change it: where its next load starts."""


@cursor.command()
@click.argument("table")
@spec_option
@command
def show(table: str, spec_path: str) -> None:
    """Print the cursor of TABLE (<schema>.<table>) as JSON, with the snapshot that carries it."""
    from floe_ingestion.iceberg.cursor_change import describe

    click.echo(json.dumps(describe(table_of(spec_path, table)), indent=2, default=str))


@cursor.command(name="set")
@click.argument("table")
@click.argument("path")
@click.argument("value")
@spec_option
@command
def set_value(table: str, path: str, value: str, spec_path: str) -> None:
    """Let the next run of TABLE load what lies at or behind VALUE of the cursor PATH."""
    from floe_ingestion.iceberg import cursor_change

    _tell(cursor_change.set_value(table_of(spec_path, table), path, value))


@cursor.command()
@click.argument("table")
@spec_option
@command
def reset(table: str, spec_path: str) -> None:
    """Forget the cursor of TABLE: its next run loads everything again."""
    from floe_ingestion.iceberg import cursor_change

    _tell(cursor_change.reset(table_of(spec_path, table)))


def _maintained(
    spec: Spec, chosen: Sequence[tuple[SourceSpec, MaintenanceSpec]], dry_run: bool, quiet: bool
) -> list[tuple[str, Upkeep]]:
    """What became of each table, beside the name of its source; told at once unless `quiet`."""
    from floe_ingestion.definitions import lake_of
    from floe_ingestion.upkeep import keep_up, remove_abandoned

    lake = lake_of(spec)
    catalog = lake.connect()
    done: list[tuple[str, Upkeep]] = []
    for source, maintenance in chosen:
        for kept in keep_up(catalog, source.tables, maintenance, lake.staging_folder, dry_run=dry_run):
            done.append((source.name, kept))
            if not quiet:
                _print(kept)
    first = next((maintenance for _, maintenance in chosen if maintenance.orphans is not None), None)
    for told in remove_abandoned(first, lake.staging_folder, dry_run=dry_run) if first is not None else ():
        if not quiet:
            click.echo(told)
    return done


def _chosen(spec: Spec, names: Sequence[str], asked: Sequence[str]) -> list[tuple[SourceSpec, MaintenanceSpec]]:
    """The sources to look after, each with what to do."""
    sources = [spec.source(name) for name in names] or [source for source in spec.sources if source.enabled]
    found = [(source, _operations(source, asked)) for source in sources]
    chosen = [(source, maintenance) for source, maintenance in found if maintenance is not None]
    if not chosen:
        where = ", ".join(names) if names else spec.path
        raise ConfigurationError(
            f"{where} asks for no maintenance. Write `maintenance:` at a source or in `ingestion.defaults`, or say "
            f"what to do: --compact, --expire, --orphans."
        )
    return chosen


def _operations(source: SourceSpec, asked: Sequence[str]) -> MaintenanceSpec | None:
    from floe_ingestion.spec import MaintenanceSpec

    configured = source.maintenance
    if not asked:
        return configured
    settings = {name: getattr(configured, name, None) or {} for name in asked}
    return MaintenanceSpec.model_validate(settings)


def _print(kept: Upkeep) -> None:
    for told in kept.sentences():
        click.echo(told)
    if kept.error is not None:
        click.echo(f"{kept.table} failed: {kept.error}", err=True)


def _as_dict(source: str, kept: Upkeep) -> dict[str, Any]:
    from floe_ingestion.iceberg.maintenance import as_dict

    return {
        "source": source,
        "table": kept.table,
        "exists": not kept.missing,
        "error": str(kept.error) if kept.error is not None else None,
        "operations": [as_dict(report) for report in kept.reports],
    }


def _tell(change: CursorChange) -> None:
    if change.snapshot_id is None:
        click.echo(f"{change.table}: nothing to change")
        return
    for moment, values in (("before", change.before), ("after", change.after)):
        told = ", ".join(f"{path}={value}" for path, value in values.items()) or "none"
        click.echo(f"{change.table}: cursor {moment}: {told}")
