"""A source as the tests of its connector have it: what floe.yaml says, what answers, and a lake to land in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from floe_ingestion.secrets import expand
from floe_ingestion.sources.base import SourceConnector
from floe_ingestion.sources.registry import connector_class
from floe_ingestion.staging import LoadRequest, Provenance, Window

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

SCHEMA = "conformance"


@dataclass(frozen=True)
class WindowCase:
    """A window of a partitioned run, and how many rows of the source lie within it."""

    partitions: Mapping[str, Any]
    """As floe.yaml writes them."""
    start: datetime
    end: datetime
    rows: int


@dataclass(frozen=True)
class SourceCase:
    """A source as it stands in floe.yaml, and what its tests know of what answers."""

    type: str
    config: Mapping[str, Any]
    """With `${VARIABLE}` for what is secret."""
    resource: str
    """The one that is loaded; if `config` has others, they must not be."""
    rows: int
    """How many rows it has."""
    columns: Mapping[str, str]
    """Iceberg types of some columns of its table."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Values of the variables. None of them may show anywhere."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """What stands beside `config`: `incremental`, `destination` and so on. Loading twice must not double the rows."""
    add: Callable[[], int] | None = None
    """Makes more rows in the source, and says how many."""
    refused: Mapping[str, Any] | None = None
    """Keys of `config` with which the source says no: a wrong credential, or something that is not there."""
    unreachable: Mapping[str, Any] | None = None
    """Keys of `config` with which nobody answers; None where that cannot be, such as for a folder."""
    window: WindowCase | None = None
    """None for a source whose rows belong to no time."""


@dataclass(frozen=True)
class Written:
    """A case as a user has it: a folder with a floe.yaml, and a lake."""

    case: SourceCase
    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / ".floe"

    def file(self, changed: Mapping[str, Any] | None = None, source: Mapping[str, Any] | None = None) -> Path:
        entry = {"name": "conforming", "type": self.case.type, "config": {**self.case.config, **(changed or {})}}
        beside = {**self.case.source, **(source or {})}
        beside["destination"] = {"schema": SCHEMA, **beside.get("destination", {})}
        path = self.folder / "floe.yaml"
        path.write_text(yaml.safe_dump({"ingestion": {"sources": [{**entry, **beside}]}}, sort_keys=False), "utf-8")
        return path

    def source(self, changed: Mapping[str, Any] | None = None, **source: Any) -> Any:
        from floe_ingestion.loading import load_spec

        (found,) = load_spec(self.file(changed, source)).sources
        return found

    def connector(self, changed: Mapping[str, Any] | None = None) -> SourceConnector:
        """The connector as a run has it."""
        config = expand({**self.case.config, **(changed or {})}, "config", self.case.environ)
        return connector_class(self.case.type).model_validate(config).relative_to(self.folder)

    def load(self, changed: Mapping[str, Any] | None = None, window: WindowCase | None = None) -> None:
        """Load the resource, as the run of its asset does."""
        from floe_ingestion.iceberg.commit import commit
        from floe_ingestion.pipeline import pipeline_of, stage

        # A window takes the place of a cursor.
        beside = {"partitions": dict(window.partitions), "incremental": None} if window else {}
        source = self.source(changed, **beside)
        column = window.partitions["column"] if window else ""
        asked = Window(column, window.start, window.end) if window else None
        request, staging = LoadRequest((self.case.resource,), asked), self.home / "staging"
        for staged in stage(pipeline_of(source, self.folder), request, self.catalog(), staging):
            commit(self.catalog(), staged, Provenance(), staging)

    def materialize(self) -> Any:
        """Load the resource by its Dagster asset."""
        import dagster as dg

        from floe_ingestion.definitions import build_definitions

        definitions = build_definitions(self.file(), home=self.home)
        assets: Any = list(definitions.assets or ())
        key = dg.AssetKey(self._table_name())
        result = dg.materialize(assets, resources=definitions.resources, selection=[key])
        assert result.success
        return result

    def catalog(self) -> Catalog:
        from floe_ingestion import lake

        return lake.connect("sql", {}, "local", {}, self.home)

    def table(self) -> Table:
        return self.catalog().load_table(tuple(self._table_name()))

    def _table_name(self) -> list[str]:
        (table,) = [table for table in self.source().tables if table.resource == self.case.resource]
        return list(table.identifier)

    def check(self, changed: Mapping[str, Any] | None = None) -> str:
        """What the connector says of its connection."""
        return self.connector(changed).check_connection()

    def secrets_in(self, *shown: str) -> list[str]:
        """The names of the variables whose values show."""
        return [name for name, value in self.case.environ.items() if any(value in text for text in shown)]
