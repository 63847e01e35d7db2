"""A project as a user has one: a folder with floe.yaml, a SQLite database to read, and the lake that it lands in."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from floe_ingestion import DltIngestionResource, IcebergIOManager, build_definitions
from floe_ingestion.iceberg.history import SnapshotRow, snapshots
from floe_ingestion.resources import IcebergLakeResource
from floe_ingestion.translator import IO_MANAGER_KEY

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Run config without a log: pytest would keep it all."""

Span = tuple[str, str]


class Project:
    """Everything below `folder`; `sqlite:///source.db` is its database, `.floe` its lake."""

    def __init__(self, folder: Path, spec: str = "") -> None:
        self.folder = folder
        self.path = folder / "floe.yaml"
        self.database = folder / "source.db"
        self.lake = IcebergLakeResource(home=str(folder / ".floe"))
        if spec:
            self.write(spec)

    def write(self, spec: str) -> Path:
        """Write floe.yaml; its path."""
        self.path.write_text(spec)
        return self.path

    def sql(self, *statements: str) -> None:
        """Run statements in the source database."""
        with closing(sqlite3.connect(self.database)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    def definitions(self) -> dg.Definitions:
        """What floe.yaml describes."""
        return build_definitions(self.path, home=self.folder / ".floe")

    @property
    def resources(self) -> dict[str, Any]:
        """The resources of assets that are written in Python."""
        return {"ingestion": DltIngestionResource(lake=self.lake), IO_MANAGER_KEY: IcebergIOManager(lake=self.lake)}

    def run(
        self,
        *keys: str,
        partition: str | None = None,
        span: Span | None = None,
        instance: dg.DagsterInstance | None = None,
        fails: bool = False,
    ) -> dg.ExecuteInProcessResult:
        """Materialise assets of floe.yaml, all by default; that it succeeds, or `fails`, is asserted."""
        definitions = self.definitions()
        return materialize(
            list(definitions.assets or ()),
            definitions.resources or {},
            *keys,
            partition=partition,
            span=span,
            instance=instance,
            fails=fails,
        )

    @property
    def catalog(self) -> Catalog:
        """The lake's catalog."""
        return self.lake.connect()

    def table(self, name: str) -> Table:
        """`<schema>.<table>`."""
        return self.catalog.load_table(name)

    def rows(self, name: str, *columns: str) -> list[Any]:
        """Sorted rows: values for one column, tuples for more; all columns by default."""
        table = self.table(name).scan().to_arrow()
        chosen = [table.column(column).to_pylist() for column in columns or table.column_names]
        return sorted(chosen[0] if len(chosen) == 1 else zip(*chosen, strict=True))

    def snapshots(self, name: str) -> list[SnapshotRow]:
        """The snapshots of a table, oldest first."""
        return snapshots(self.table(name))[::-1]


def materialize(
    assets: Sequence[Any],
    resources: Mapping[str, Any],
    *keys: str,
    partition: str | None = None,
    span: Span | None = None,
    instance: dg.DagsterInstance | None = None,
    fails: bool = False,
) -> dg.ExecuteInProcessResult:
    """Run `assets`, or those of `keys`, in this process."""
    result = dg.materialize(
        assets,
        resources=resources,
        selection=[dg.AssetKey.from_user_string(key) for key in keys] or None,
        partition_key=partition,
        tags={RANGE_START: span[0], RANGE_END: span[1]} if span else None,
        instance=instance,
        run_config=QUIET,
        raise_on_error=False,
    )
    assert result.success is not fails, failure(result) if not fails else "the run succeeded"
    return result


@cache
def _one_instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def materialize_again(*args: Any, instance: dg.DagsterInstance | None = None, **settings: Any) -> Any:
    """`materialize` where the history of runs means nothing: a new instance costs a quarter of a small run."""
    return materialize(*args, instance=instance or _one_instance(), **settings)


def metadata(result: dg.ExecuteInProcessResult, key: str) -> dict[str, Any]:
    """The metadata of the last materialisation of an asset, as plain values."""
    asset_key = dg.AssetKey.from_user_string(key)
    found = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    (*_, last) = [each for each in found if each.asset_key == asset_key]
    return {name: value.value for name, value in last.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the run page shows of the failed step."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            told = data.user_failure_data.description if data.user_failure_data else None
            return told or (data.error.to_string() if data.error else "")
    return "no step failed"


def category(result: dg.ExecuteInProcessResult) -> str:
    """The name of the error that failed the run."""
    (data,) = [event.step_failure_data.user_failure_data for event in result.all_events if event.is_step_failure]
    assert data is not None, failure(result)
    return str(data.metadata["category"].value)


def retries(result: dg.ExecuteInProcessResult) -> int:
    """How often a step of the run was tried again."""
    return sum(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events)
