"""What a load does to the table as it is: which rows leave, and which staged rows come."""

from __future__ import annotations

from dataclasses import dataclass, field

from floe_ingestion.iceberg.removal import Removal
from floe_ingestion.staging import StagedFile


@dataclass(frozen=True)
class Merge:
    """A planned change of the table, and its numbers."""

    removal: Removal = field(default_factory=Removal)
    files: tuple[StagedFile, ...] = ()
    """The staged rows that are written."""
    unchanged: int = 0
    """Staged rows that the table holds already, value by value."""
    updated: int = 0
    """Rows of the table that staged ones take the place of."""
    deleted: int = 0
    """Rows that leave for good: by their `hard_delete` marker, or because a full load no longer has them."""
    markers: int = 0
    """Staged rows that only say that their key is gone; they are not written."""
