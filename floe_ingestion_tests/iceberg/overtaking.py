"""Catalogs in which something happens at the moment of a commit: another writer is first, or the answer is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import CommitTableResponse, Table

from floe_ingestion_tests.lake import Lake


class OvertakenCatalog(SqlCatalog):
    """Before a commit of the table reaches it, `others` commit, one of them each time."""

    others: list[Callable[[], Any]]

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        if self.others:
            self.others.pop(0)()
        return super().commit_table(table, requirements, updates)


class ForgetfulCatalog(SqlCatalog):
    """Says that the connection broke off, `after` the commit was made or before."""

    after: bool

    def commit_table(self, table: Table, requirements: Any, updates: Any) -> CommitTableResponse:
        if self.after:
            super().commit_table(table, requirements, updates)
        raise ConnectionError("the connection broke off")


def overtaken(lake: Lake, *others: Callable[[], Any]) -> OvertakenCatalog:
    """The catalog of `lake`, in which `others` are faster."""
    catalog = OvertakenCatalog(lake.catalog.name, **lake.catalog.properties)
    catalog.others = list(others)
    return catalog


def forgetful(lake: Lake, *, after: bool) -> ForgetfulCatalog:
    """The catalog of `lake`, which loses the answer to a commit."""
    catalog = ForgetfulCatalog(lake.catalog.name, **lake.catalog.properties)
    catalog.after = after
    return catalog
