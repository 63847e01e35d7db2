"""What the commands of `floe-ingestion` share: their options, and errors as messages and exit codes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from floe_ingestion.errors import ConfigurationError, IngestionError
from floe_ingestion.formats import did_you_mean

if TYPE_CHECKING:
    from pyiceberg.table import Table

FAILURE, USAGE = 1, 2
_LONGEST_SENTENCE = 300
DEBUG = "floe_ingestion.debug"
"""Where click's context says whether tracebacks are wanted."""


class Command(click.Command):
    """A command that a group lists with its whole first sentence, which click would cut to one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        file = next((text for text in args if text.endswith((".yaml", ".yml"))), None)
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if file is not None and "extra argument" in error.message:
                told = f"{error.message}. A floe.yaml is named by an option: --spec {file}"
                raise click.UsageError(told, ctx) from error
            raise

    def get_short_help_str(self, limit: int = 0) -> str:
        return super().get_short_help_str(max(limit, _LONGEST_SENTENCE))


class Group(click.Group):
    """A group of such commands, listed likewise."""

    command_class = Command

    def get_short_help_str(self, limit: int = 0) -> str:
        return super().get_short_help_str(max(limit, _LONGEST_SENTENCE))


def spec_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--spec`, also from the environment variable FLOE_SPEC."""
    return click.option(
        "--spec",
        "spec_path",
        envvar="FLOE_SPEC",
        default="floe.yaml",
        show_default=True,
        show_envvar=True,
        help="The floe.yaml to read.",
    )(function)


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Errors as one readable message and an exit code."""

    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @wraps(function)
    def run(debug: bool, *args: Any, **kwargs: Any) -> None:
        click.get_current_context().meta[DEBUG] = debug
        with _readable_errors(debug):
            function(*args, **kwargs)

    return run


def table_of(spec_path: str, name: str) -> Table:
    """The table that a user names `<schema>.<table>`."""
    from floe_ingestion.definitions import lake_of
    from floe_ingestion.iceberg.tables import load_table
    from floe_ingestion.loading import load_spec

    if "." not in name:
        raise click.UsageError(f"{name!r} names no schema. Write <schema>.<table>, e.g. bronze.{name}.")
    spec = load_spec(spec_path)
    found = load_table(lake_of(spec).connect(), tuple(name.split(".")))
    if found is None:
        known = [str(table) for source in spec.sources for table in source.tables]
        hint = did_you_mean(name, known) if name not in known else ""
        raise IngestionError(
            f"There is no table {name}.{hint} `floe-ingestion sources` lists the tables; run its source."
        )
    return found


def print_rows(heads: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None) -> None:
    """A table, wide enough that no name is cut where the output is not a terminal."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(*heads, title=title)
    for row in rows:
        shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200).print(shown)


@contextmanager
def _readable_errors(debug: bool) -> Iterator[None]:
    try:
        yield
    except IngestionError as error:
        if debug:
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(USAGE if isinstance(error, ConfigurationError) else FAILURE)
    except (click.ClickException, click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:  # of Dagster, or a mistake of ours
        if debug:
            raise
        from floe_ingestion.classify import classify

        click.echo(f"Error: {classify(error, 'floe-ingestion')} (--debug shows where)", err=True)
        sys.exit(FAILURE)
