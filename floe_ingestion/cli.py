"""`floe-ingestion`: check a floe.yaml, run its assets, look at what landed.

Exit codes: 0 success, 1 failure, 2 wrong usage or wrong configuration.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from floe_ingestion.cli_audit import audit
from floe_ingestion.cli_base import DEBUG, FAILURE, Group, command, print_rows, spec_option, table_of
from floe_ingestion.cli_tables import cursor, maintain
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.formats import number_of
from floe_ingestion.garbage import collected_rarely
from floe_ingestion.version import __version__

if TYPE_CHECKING:
    from floe_ingestion.iceberg.history import SnapshotRow
    from floe_ingestion.pools import Pool
    from floe_ingestion.spec import SourceSpec, Spec


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="floe-ingestion")
def main() -> None:
    """Databases, APIs and files into Apache Iceberg tables."""


@main.command()
@spec_option
@click.option("--connect", is_flag=True, help="Also connect to the catalog and to every source.")
@command
def validate(spec_path: str, connect: bool) -> None:
    """Check a floe.yaml; with --connect, also that everything answers."""
    from floe_ingestion.loading import load_spec
    from floe_ingestion.secrets import variables

    spec = load_spec(spec_path)
    tables = sum(len(source.tables) for source in spec.sources)
    click.echo(f"{spec.path} is right: {number_of(len(spec.sources), 'source')}, {number_of(tables, 'table')}.")
    places = [(source.config, f"{source.place}.config") for source in spec.sources]
    places += [(plugin.config, f"{spec.path}: plugins.{name}.config") for name, plugin in spec.plugins]
    for config, at in places:
        for name, place in variables(config, at):
            if name not in os.environ:
                click.echo(f"  not set here, needed by a run: {name} ({place})")
    if connect and not _connect(spec):
        sys.exit(FAILURE)


def _connect(spec: Spec) -> bool:
    """Connect to everything; one line each; whether all answered."""
    from floe_ingestion.classify import classify
    from floe_ingestion.definitions import lake_of

    def catalog() -> str:
        schemas = lake_of(spec).connect().list_namespaces()
        return f"the {spec.plugins.catalog.type} catalog answers, with {number_of(len(schemas), 'schema')}"

    folder = Path(spec.path).resolve().parent
    checks: list[tuple[str, Callable[[], str]]] = [("catalog", catalog)]
    for source in spec.sources:
        checks.append((source.name, partial(_check_source, source, folder)))
    well = True
    for name, check in checks:
        try:
            click.echo(f"  {name}: {check()}")
        except ConfigurationError:
            raise
        except Exception as error:  # whatever a driver raises becomes one readable line
            click.echo(f"  {name}: {classify(error, name)}", err=True)
            well = False
    return well


def _check_source(source: SourceSpec, folder: Path) -> str:
    from floe_ingestion.loading import connector_of

    return connector_of(source, folder).check_connection()


@main.command()
@spec_option
@command
def sources(spec_path: str) -> None:
    """List the sources of a floe.yaml and the tables that they land in."""
    from floe_ingestion.loading import load_spec

    rows = (
        (
            source.name if source.enabled else f"{source.name} (disabled)",
            source.type,
            table.resource,
            str(table),
            table.write_disposition,
            table.partitions.type if table.partitions else "",
            table.incremental.cursor_path if table.incremental else "",
        )
        for source in load_spec(spec_path).sources
        for table in source.tables
    )
    print_rows(("source", "type", "resource", "table", "how", "partitions", "cursor"), rows)


@main.command()
@click.argument("source_type", metavar="TYPE")
@command
def options(source_type: str) -> None:
    """Show what the `config` of a source of TYPE may hold, as Markdown."""
    from floe_ingestion.sources.options import options_of
    from floe_ingestion.sources.registry import ConnectorNotFound, connector_class

    try:
        connector = connector_class(source_type)
    except ConnectorNotFound as error:
        raise click.UsageError(str(error)) from error
    click.echo(options_of(connector), nl=False)


@main.command()
@click.argument("names", metavar="[SOURCE]...", nargs=-1)
@spec_option
@click.option("--partition", metavar="KEY", help="The partition to load.")
@click.option("--partitions", "span", metavar="FROM..TO", help="A range of partitions, both included, as one load.")
@click.option("--json", "as_json", is_flag=True, help="Print what landed as JSON.")
@command
def run(names: tuple[str, ...], spec_path: str, partition: str | None, span: str | None, as_json: bool) -> None:
    """Materialise sources, all by default, in this process: the same assets that Dagster shows.

    The run is recorded in the Dagster instance of DAGSTER_HOME, where that is set.
    """
    from floe_ingestion.running import parse_span, run_sources

    if partition and span:
        raise click.UsageError("Write --partition or --partitions, not both.")
    debug = bool(click.get_current_context().meta[DEBUG])
    results = run_sources(spec_path, names, parse_span(partition, span), quiet=as_json, debug=debug)
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], indent=2, default=str))
    else:
        for result in results:
            for line in result.lines():
                click.echo(line)
    if any(not result.success for result in results):
        sys.exit(FAILURE)


@main.command()
@click.argument("table")
@spec_option
@click.option("--json", "as_json", is_flag=True, help="Print the snapshots as JSON.")
@command
def history(table: str, spec_path: str, as_json: bool) -> None:
    """Show the snapshots of TABLE (<schema>.<table>), newest first."""
    from floe_ingestion.iceberg.history import snapshots

    rows = snapshots(table_of(spec_path, table))
    if as_json:
        click.echo(json.dumps([row.as_dict() for row in rows], indent=2))
        return
    heads = ("committed", "snapshot", "operation", "partition", "added", "deleted", "rows", "cursor", "run")
    print_rows(heads, map(_snapshot_row, rows), title=table)


def _snapshot_row(snapshot: SnapshotRow) -> tuple[str, ...]:
    return (
        snapshot.committed_at[:19],
        str(snapshot.snapshot_id),
        snapshot.operation,
        snapshot.partition,
        f"{snapshot.rows_added:,}",
        f"{snapshot.rows_deleted:,}",
        f"{snapshot.rows_total:,}",
        ", ".join(f"{path}={value}" for path, value in snapshot.cursor.items()),
        snapshot.run_id[:8],
    )


@main.command()
@spec_option
@click.option("--apply", is_flag=True, help="Give the instance the limits that floe.yaml asks for.")
@command
def pools(spec_path: str, apply: bool) -> None:
    """Show the pool of each source, and how many steps of it run at once in the Dagster instance of DAGSTER_HOME."""
    from floe_ingestion import pools as dagster_pools
    from floe_ingestion.loading import load_spec

    spec, instance = load_spec(spec_path), dagster_pools.live_instance()
    if apply:
        for pool in dagster_pools.pools(spec.sources, instance):
            if pool.differs:
                dagster_pools.apply(pool, instance)
                click.echo(f"{pool.name}: at most {pool.asked} at once now")
        return
    heads = ("pool", "sources", "concurrency in floe.yaml", "limit in Dagster")
    print_rows(heads, map(_pool_row, dagster_pools.pools(spec.sources, instance)))


def _pool_row(pool: Pool) -> tuple[str, ...]:
    asked = "" if pool.asked is None else str(pool.asked)
    limit = "none" if pool.limit is None else str(pool.limit)
    return pool.name, ", ".join(pool.sources), asked, f"{limit} (differs)" if pool.differs else limit


main.add_command(maintain)
main.add_command(cursor)
main.add_command(audit)


def program() -> None:
    """`main`, in a process that does nothing else: in it Python looks for garbage rarely, and not at all as it ends.

    Of a short run of one table that took a third of the time, and found modules that live as long as the process.
    """
    atexit.register(gc.freeze)
    with collected_rarely():
        main()
