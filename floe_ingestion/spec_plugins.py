"""What floe.yaml may say about plugins: by which the library runs, and where tables live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from floe_ingestion.spec_runs import StrictModel


class PluginChoice(StrictModel):
    """One plugin by name, with its configuration; texts may hold `${VARIABLE}`."""

    type: str = Field(min_length=1, examples=["sql"])
    config: Mapping[str, Any] = {}


class PluginsSpec(StrictModel):
    """Which plugins the run uses. The default is dlt, a SQLite catalog and a local warehouse folder."""

    ingestion: PluginChoice = PluginChoice(type="dlt")
    catalog: PluginChoice = PluginChoice(type="sql")
    storage: PluginChoice = PluginChoice(type="local")
