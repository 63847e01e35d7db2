"""The tables of sources kept in shape, one after the other: what the command line and Dagster's jobs do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from floe_ingestion.classify import lake_errors
from floe_ingestion.errors import IngestionError
from floe_ingestion.pipeline import private_folder
from floe_ingestion.spec import MaintenanceSpec, TableSpec

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from floe_ingestion.iceberg.maintenance import Report


@dataclass(frozen=True)
class Upkeep:
    """What became of one table."""

    table: str
    reports: tuple[Report, ...] = ()
    """One for each operation that was done; none for a table that does not exist."""
    error: IngestionError | None = None
    """What kept it from the operations that were still to do."""
    missing: bool = False

    def sentences(self) -> list[str]:
        """What was done, for people."""
        from floe_ingestion.iceberg.maintenance import sentence

        return [f"{self.table}: not there yet"] if self.missing else [sentence(report) for report in self.reports]


def keep_up(
    catalog: Catalog,
    tables: Sequence[TableSpec],
    spec: MaintenanceSpec,
    staging: Path,
    *,
    properties: Mapping[str, str] | None = None,
    dry_run: bool,
) -> Iterator[Upkeep]:
    """Do what `spec` asks for to each of `tables`, and to the table of its rejected rows where there is one.

    `staging` is the folder where loads are staged. A table that fails keeps no other from its turn.
    """
    from floe_ingestion.iceberg.rejects import SUFFIX

    for table in tables:
        yield _kept(catalog, table.identifier, spec, staging, properties or {}, dry_run)
        beside = _kept(catalog, (*table.namespace, table.name + SUFFIX), spec, staging, properties or {}, dry_run)
        if not beside.missing:
            yield beside


def remove_abandoned(spec: MaintenanceSpec, staging: Path, *, dry_run: bool) -> list[str]:
    """Delete the folders of loads that were killed, where `spec` asks for orphans; a sentence about each."""
    from floe_ingestion.iceberg.orphans import remove_abandoned_loads

    if spec.orphans is None:
        return []
    folders = remove_abandoned_loads(staging, spec.orphans.older_than_days, dry_run)
    return [f"{folder}: {'would be ' if dry_run else ''}deleted; a load that was killed left it" for folder in folders]


def _kept(
    catalog: Catalog,
    identifier: tuple[str, ...],
    spec: MaintenanceSpec,
    staging: Path,
    properties: Mapping[str, str],
    dry_run: bool,
) -> Upkeep:
    from floe_ingestion.iceberg.maintenance import maintain
    from floe_ingestion.iceberg.tables import load_table

    name = ".".join(identifier)
    done: list[Report] = []
    try:
        with lake_errors(name), private_folder(staging) as folder:
            table = load_table(catalog, identifier)
            if table is None:
                return Upkeep(name, missing=True)
            for report in maintain(table, spec, folder, properties, dry_run):
                done.append(report)
    except IngestionError as error:
        return Upkeep(name, tuple(done), error)
    return Upkeep(name, tuple(done))
