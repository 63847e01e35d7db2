"""What assets written in Python may say in their metadata about the tables they are stored in and read from.

All keys begin with `floe/`; what an asset says there is held to the same rules as floe.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timezone
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, Strict, model_validator

from floe_ingestion.formats import instant, valid_moment, valid_namespace
from floe_ingestion.mistakes.report import Report
from floe_ingestion.spec import (
    Columns,
    Contract,
    ContractSpec,
    MergeMode,
    Name,
    Names,
    PartitionsSpec,
    StrictModel,
    TableSpec,
    WriteDisposition,
)
from floe_ingestion.spec_terms import AnyTerms

PREFIX = "floe/"


def _instant(value: object) -> object:
    # Dagster keeps a time as seconds (`MetadataValue.timestamp`), and takes no datetime.
    checked = datetime.fromtimestamp(value, timezone.utc) if isinstance(value, float) else valid_moment(value)
    if isinstance(checked, str):
        checked = datetime.fromisoformat(checked.replace("Z", "+00:00"))
    return instant(checked, "UTC") if isinstance(checked, date) else checked


class _Settings(StrictModel):
    model_config = ConfigDict(alias_generator=lambda name: f"{PREFIX}{name}")


Settings = TypeVar("Settings", bound=_Settings)


class StoreSettings(_Settings):
    """How an asset's output becomes a table; what is left out is as in floe.yaml, but for `replace`."""

    table: Annotated[str, AfterValidator(valid_namespace)] | None = None
    """Another table than the asset's key names."""
    write_disposition: WriteDisposition = "replace"
    merge_strategy: Literal["upsert", "insert-only", "delete-insert"] = "upsert"
    merge_mode: MergeMode = "auto"
    hard_delete: Name | None = None
    primary_key: Names = ()
    partition_column: Name | Mapping[str, Name] | None = None
    """Which partition a row belongs to; for several dimensions by their names, which are the default."""
    partition_by: AnyTerms = ()
    schema_contract: Contract = ContractSpec()
    columns: Columns = Field(default={})
    properties: Mapping[str, str] = {}

    @model_validator(mode="after")
    def _whole(self) -> StoreSettings:
        if self.write_disposition == "merge" and not self.primary_key:
            raise ValueError("a merge needs its key: write 'floe/primary_key': ['id']")
        of_merges = [name for name in ("merge_strategy", "hard_delete") if name in self.model_fields_set]
        if of_merges and self.write_disposition != "merge":
            said = ", ".join(f"'{PREFIX}{name}'" for name in of_merges)
            raise ValueError(f"{said} is said, and nothing is merged: write '{PREFIX}write_disposition': 'merge' too")
        return self

    def table_spec(
        self, asset: str, identifier: tuple[str, ...], partitions: tuple[PartitionsSpec, ...] = ()
    ) -> TableSpec:
        """The table that takes the output of `asset`."""
        shared = self.model_fields_set & TableSpec.model_fields.keys()
        return TableSpec(
            **{name: getattr(self, name) for name in shared | {"write_disposition"}},
            source=asset,
            source_type="python",
            resource=asset,
            namespace=identifier[:-1],
            name=identifier[-1],
            partitions=partitions[0] if partitions else None,
            more_partitions=partitions[1:],
            own_names=True,
        )


class ReadSettings(_Settings):
    """Which part of an upstream table an input gets, and as of when."""

    columns: Names = ()
    row_filter: Name | None = None
    """As pyiceberg writes it: `total > 10 and region = 'eu'`."""
    snapshot_id: Annotated[int, Strict()] | None = None
    as_of: Annotated[datetime, BeforeValidator(_instant)] | None = None
    """The table as it was then; a time without an offset is one of UTC."""
    ref: Name | None = None
    """A tag or a branch."""

    @model_validator(mode="after")
    def _one_moment(self) -> ReadSettings:
        moments = [name for name in ("snapshot_id", "as_of", "ref") if getattr(self, name) is not None]
        if len(moments) > 1:
            said = " and ".join(f"'{PREFIX}{name}'" for name in moments)
            raise ValueError(f"{said} each name a moment of the table; keep one")
        return self


def plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` as it was written: Dagster wraps some of it."""
    return {key: getattr(value, "value", value) for key, value in metadata.items()}


def settings_of(model: type[Settings], metadata: Mapping[str, Any], place: str) -> Settings:
    """What `metadata` says under keys of ours; raises a `ConfigurationError` with every mistake, naming `place`."""
    report = Report(place)
    said = {key: value for key, value in plain(metadata).items() if key.startswith(PREFIX)}
    settings = report.validated(model, said, ()).model
    report.close()
    assert settings is not None
    return settings
