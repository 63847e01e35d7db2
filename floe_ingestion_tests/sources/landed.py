"""One source of a floe.yaml, run by run, and what it landed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from floe_ingestion.loading import load_spec
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of
from floe_ingestion.spec import SourceSpec


def source_of(folder: Path, type_: str, config: Mapping[str, Any], **source: Any) -> SourceSpec:
    """The source of a floe.yaml that is written into `folder`; it lands in `bronze`."""
    entry = {"name": "src", "type": type_, "config": dict(config), "destination": {"schema": "bronze"}, **source}
    file = folder / "floe.yaml"
    file.write_text(yaml.safe_dump({"ingestion": {"sources": [entry]}}, sort_keys=False), "utf-8")
    return load_spec(file).sources[0]


def pipeline(folder: Path, type_: str, config: Mapping[str, Any], **source: Any) -> IngestionPipeline:
    """Its pipeline."""
    return pipeline_of(source_of(folder, type_, config, **source), folder)
