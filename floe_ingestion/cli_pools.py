"""The command `pools`: what floe.yaml asks of Dagster's concurrency pools, and what the instance has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from floe_ingestion.cli_base import Command, command, print_rows, spec_option

if TYPE_CHECKING:
    from floe_ingestion.pools import Pool


@click.command(cls=Command)
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
    print_rows(heads, map(_row, dagster_pools.pools(spec.sources, instance)))


def _row(pool: Pool) -> tuple[str, ...]:
    asked = "" if pool.asked is None else str(pool.asked)
    limit = "none" if pool.limit is None else str(pool.limit)
    return pool.name, ", ".join(pool.sources), asked, f"{limit} (differs)" if pool.differs else limit
