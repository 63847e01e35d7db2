"""Catalogs in which things go wrong around a commit: others are quicker, files expire, or the answer is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog.sql import SqlCatalog

from floe_ingestion_tests.lake import Lake

if TYPE_CHECKING:
    from pyiceberg.table import CommitTableResponse, Table


class RacingCatalog(SqlCatalog):
    """The catalog of `lake`, where each of `others` does something just before one of our commits arrives."""

    def __init__(self, lake: Lake, *others: Callable[[], Any]) -> None:
        super().__init__("floe", **lake.catalog.properties)
        self.others = list(others)

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        if self.others:
            self.others.pop(0)()
        return super().commit_table(table, requirements, updates)


class FollowedCatalog(SqlCatalog):
    """The catalog of `lake`, where `other` does something just behind our first commit."""

    def __init__(self, lake: Lake, other: Callable[[], Any]) -> None:
        super().__init__("floe", **lake.catalog.properties)
        self.others = [other]

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        made = super().commit_table(table, requirements, updates)
        if self.others:
            self.others.pop()()
        return made


class ExpiringCatalog(SqlCatalog):
    """The catalog of `lake`, where `meanwhile` happens once: after a load has been told how the table is."""

    def __init__(self, lake: Lake, meanwhile: Callable[[], Any]) -> None:
        super().__init__("floe", **lake.catalog.properties)
        self.meanwhile: Callable[[], Any] | None = meanwhile

    def load_table(self, identifier: Any) -> Table:
        table = super().load_table(identifier)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return table


class BreakingCatalog(SqlCatalog):
    """The catalog of `lake`, whose connection breaks off at the first commit: before, or after it was made."""

    def __init__(self, lake: Lake, *, made: bool, back: bool = True) -> None:
        super().__init__("floe", **lake.catalog.properties)
        self.made, self.back = made, back
        self.broken = False

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        if self.made:
            super().commit_table(table, requirements, updates)
        self.broken = True
        raise ConnectionError("the connection was reset")

    def load_table(self, identifier: Any) -> Table:
        """Not `back`: the catalog cannot be asked what became of the commit either."""
        if self.broken and not self.back:
            raise ConnectionError("connection refused")
        return super().load_table(identifier)


class OverwritingCatalog(SqlCatalog):
    """The catalog of `lake`, which lets another first writer create the table over ours, once: `other` does it."""

    def __init__(self, lake: Lake, other: Callable[[], Any]) -> None:
        super().__init__("floe", **lake.catalog.properties)
        self.other: Callable[[], Any] | None = other

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        answer = super().commit_table(table, requirements, updates)
        if self.other is not None:
            other, self.other = self.other, None
            self.drop_table(table.name())
            other()
        return answer
