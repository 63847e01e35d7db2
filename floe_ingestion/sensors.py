"""The sensors of a source: on new files, and on the automation conditions of its tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from floe_ingestion.classify import source_errors
from floe_ingestion.formats import number_of
from floe_ingestion.loading import connector_of
from floe_ingestion.spec import SourceSpec
from floe_ingestion.spec_runs import SensorSpec
from floe_ingestion.translator import table_key


def source_sensors(source: SourceSpec, job: dg.UnresolvedAssetJobDefinition, folder: Path) -> list[dg.SensorDefinition]:
    """The sensors that floe.yaml asks for; `folder` is where the source's relative paths start."""
    found: list[dg.SensorDefinition] = []
    if source.sensor is not None:
        found.append(_file_sensor(source, source.sensor, job, folder))
    if source.automation is not None and source.automation.enabled:
        found.append(_automation_sensor(source))
    return found


def _file_sensor(
    source: SourceSpec, sensor: SensorSpec, job: dg.UnresolvedAssetJobDefinition, folder: Path
) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{source.name}_files",
        job=job,
        description=f"Loads {source.name} when a file has come, changed or gone. Files are listed, not read.",
        minimum_interval_seconds=sensor.minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if sensor.enabled else dg.DefaultSensorStatus.STOPPED,
    )
    def files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with source_errors(f"{source.name}: its files cannot be listed"):
            listing = connector_of(source, folder).listing()
        if not listing:
            return dg.SkipReason(f"{source.name} has no files yet.")
        changes, _, seen = (context.cursor or "0 ").partition(" ")
        if seen == (now := _digest(listing)):
            return dg.SkipReason(f"{source.name} has the same {number_of(len(listing), 'file')} as before.")
        # Counted, because the same files may come back after others: that is another change, and another run.
        cursor = f"{int(changes) + 1} {now}"
        return dg.SensorResult([dg.RunRequest(run_key=cursor)], cursor=cursor)

    return files


def _automation_sensor(source: SourceSpec) -> dg.SensorDefinition:
    """Started, and for this source alone: Dagster's default one, which serves all other assets, is stopped."""
    return dg.AutomationConditionSensorDefinition(
        name=f"{source.name}_automation",
        target=dg.AssetSelection.assets(*(table_key(table) for table in source.tables)),
        default_status=dg.DefaultSensorStatus.RUNNING,
    )


def _digest(listing: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(listing, sort_keys=True, default=str).encode()).hexdigest()
