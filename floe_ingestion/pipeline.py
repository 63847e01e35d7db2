"""From a source to staged files: dlt extracts in a private folder, and the last step of its pipe writes Parquet.

Nothing is kept between runs. The cursor comes from the Iceberg table before, and goes back with the rows.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from floe_ingestion.classify import source_errors
from floe_ingestion.errors import PermanentError
from floe_ingestion.facts import documented, facts_of, foreign_keys_of, schema_of, told_by, types_of
from floe_ingestion.formats import number_of
from floe_ingestion.garbage import collected_rarely
from floe_ingestion.iceberg import cursor as cursors
from floe_ingestion.load_warnings import behind, timeless, unseen
from floe_ingestion.loading import connector_of
from floe_ingestion.naming import normalize_column
from floe_ingestion.spec import SourceSpec, TableSpec
from floe_ingestion.staging import LoadRequest, Provenance, StagedTable

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource
    from pyiceberg.catalog import Catalog

    from floe_ingestion.sources.base import Extraction

_DEFAULT_KEY = "id"
_SECONDS_BETWEEN_NEWS = 5.0


class Connector(Protocol):
    """What a pipeline needs of a source; `SourceConnector` is one."""

    json_rows: ClassVar[bool]
    """Whether its rows hold nothing but what JSON can say, so that nobody has to look."""

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]: ...

    def key_of(self, resource: DltResource) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class IngestionPipeline:
    """A source and the tables that it lands in; touches nothing until it is run."""

    name: str
    tables: tuple[TableSpec, ...]
    connect: Callable[[], Connector] = field(repr=False)
    """Makes the connector for a run: expands variables, may raise `MissingVariable`."""
    source: SourceSpec | None = None
    """The entry of floe.yaml behind it; None for a source written in Python."""

    def selected(self, resources: Sequence[str]) -> tuple[TableSpec, ...]:
        """The tables of these resources, or of all for none; an empty pipeline is an error."""
        tables = tuple(table for table in self.tables if not resources or table.resource in resources)
        if not tables:
            known = ", ".join(table.resource for table in self.tables) or "none"
            raise PermanentError(
                f"{self.name} has nothing to load: asked for {', '.join(resources) or 'everything'}, "
                f"configured: {known}."
            )
        return tables


def pipeline_of(source: SourceSpec, folder: Path) -> IngestionPipeline:
    """The pipeline of a source of floe.yaml; `folder` is where its relative paths start."""
    return IngestionPipeline(source.name, source.tables, partial(connector_of, source, folder), source)


def stage(pipeline: IngestionPipeline, request: LoadRequest, catalog: Catalog, staging: Path) -> Iterator[StagedTable]:
    """Stage the requested tables one after the other.

    The files of a table live in a folder below `staging` until the next one is asked for: commit in between.
    Raises errors of `floe_ingestion.errors` only.
    """
    from floe_ingestion.iceberg.open_load import landed_by_run

    tables = pipeline.selected(request.resources)
    connector: Connector | None = None
    for table in tables:
        provenance = request.provenance.get(table.resource, Provenance())
        with source_errors(f"{pipeline.name}.{table.resource}"), private_folder(staging) as folder:
            landed = landed_by_run(table, catalog, provenance)
            if landed is None:
                connector = connector or pipeline.connect()
                with collected_rarely():
                    landed = _stage_table(table, connector, request, catalog, folder, pipeline.tables)
            yield landed


def _built(connector: Connector, extraction: Extraction) -> DltResource:
    """The resource of one table; a connector may be anybody's."""
    from dlt.extract.resource import DltResource

    name, built = extraction.table.resource, connector.build([extraction])
    found = built.get(name) if isinstance(built, Mapping) else None
    if isinstance(found, DltResource):
        return found
    met = f"a mapping with the keys {list(built)}" if isinstance(built, Mapping) else f"a {type(built).__name__}"
    met = met if found is None else f"a {type(found).__name__} for {name!r}"
    raise PermanentError(
        f"{extraction.table}: `build` of {type(connector).__name__} returned {met}, and a mapping from the names of "
        f"resources to dlt resources is expected. Return {{{name!r}: dlt.resource(rows, name={name!r})}} there."
    )


@contextmanager
def private_folder(staging: Path) -> Iterator[Path]:
    """A folder of this load alone, gone afterwards; on the warehouse's file system where that is local."""
    staging.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="load-", dir=staging))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stage_table(
    spec: TableSpec,
    connector: Connector,
    request: LoadRequest,
    catalog: Catalog,
    folder: Path,
    siblings: Sequence[TableSpec],
) -> StagedTable:
    import pyarrow as pa

    from floe_ingestion.extraction import extract
    from floe_ingestion.iceberg.open_load import OpenLoad
    from floe_ingestion.sink import SinkStep
    from floe_ingestion.sources.base import Extraction

    window = request.window.in_table() if request.window is not None else None
    with OpenLoad(spec, catalog, folder, window, _news(spec, request.log)) as load:
        plan, table = load.plan, load.table
        known = plan.arrow if table is not None else None
        extraction = Extraction(spec, request.window, known)
        resource = _built(connector, extraction)
        told = told_by(resource)
        facts = facts_of(told)
        plan.spec = documented(spec, facts)
        plan.key = key_of(spec, connector, resource)
        if spec.keeps_versions:
            plan.constants = _validity(spec)
            # The source does not send them: dlt must not make columns of nulls for them.
            known = known and pa.schema([field for field in known if field.name not in plan.constants])
        before = cursors.current(table) if window is None else None
        schema = schema_of(spec, known)
        step = SinkStep(load.sink, types_of(spec, schema, resource, told, known), connector.json_rows)
        state = extract(spec, resource, step, schema, before, folder)
        landed = load.close()
        warnings = unseen(spec, load, landed)
        if not landed:
            warnings += behind(connector, extraction, before) + timeless(connector, extraction)
        names = {name: step.names.get(came, came) for name, came in plan.came_as.items() if name not in plan.constants}
        return load.staged(
            provenance=request.provenance.get(spec.resource, Provenance()),
            cursor_before=before,
            cursor=cursors.encode(state) if window is None else None,
            rows_read=step.rows,
            facts=facts,
            foreign_keys=foreign_keys_of(told, siblings),
            came_as=names,
            warnings=warnings,
        )


def _validity(spec: TableSpec) -> dict[str, Any]:
    """The columns that scd2 adds to every row: valid from this moment on."""
    import pyarrow as pa

    type_ = pa.timestamp("us", "UTC")
    valid_from, valid_to = spec.validity_columns
    return {valid_from: pa.scalar(datetime.now(timezone.utc), type_), valid_to: pa.scalar(None, type_)}


def key_of(spec: TableSpec, connector: Connector, resource: DltResource) -> tuple[str, ...]:
    """The columns that identify a row of a merged table: its own setting, the source's key, or `id`."""
    if spec.write_disposition != "merge":
        return ()
    key = spec.primary_key or connector.key_of(resource) or (_DEFAULT_KEY,)
    return tuple(normalize_column(name) for name in key)


def _news(spec: TableSpec, log: Callable[[str], None]) -> Callable[[int], None]:
    """Says now and then how far a long load has come."""
    rows, began = 0, time.monotonic()
    last = began

    def progress(more: int) -> None:
        nonlocal rows, last
        rows += more
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_NEWS:
            last = now
            log(f"{spec}: {number_of(rows, 'row')} in {now - began:.0f} s so far")

    return progress
