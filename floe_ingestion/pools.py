"""`concurrency:` of floe.yaml: how many steps of a pool run at once, as Dagster's instance keeps it.

A code location can name the pool of an asset and not its limit: limits are the instance's, so that somebody
who may change it has to tell it (`floe-ingestion pools --apply`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.spec import SourceSpec


@dataclass(frozen=True)
class Pool:
    """One pool of floe.yaml, beside what an instance knows of it."""

    name: str
    sources: tuple[str, ...]
    asked: int | None
    """What `concurrency` says; None where no source of the pool says anything."""
    limit: int | None
    """What the instance lets run at once; None for any number."""

    @property
    def differs(self) -> bool:
        """Whether floe.yaml asks for another limit than the instance has."""
        return self.asked is not None and self.asked != self.limit


def live_instance() -> dg.DagsterInstance:
    """The instance of DAGSTER_HOME; raises `ConfigurationError` where there is none to tell."""
    from dagster._core.errors import DagsterHomeNotSetError

    try:
        return dg.DagsterInstance.get()
    except DagsterHomeNotSetError as error:
        raise ConfigurationError(
            "DAGSTER_HOME is not set, and limits of pools are kept in the Dagster instance that lives there. "
            "Set it to the folder of the instance that runs the assets."
        ) from error


def pools(sources: Iterable[SourceSpec], instance: dg.DagsterInstance) -> list[Pool]:
    """The pools of `sources`, sorted by name."""
    storage = instance.event_log_storage
    kept = storage.get_pool_limits() if storage.supports_global_concurrency_limits else ()
    limits = {pool.name: pool.limit for pool in kept}
    by_name: dict[str, list[SourceSpec]] = {}
    for source in sources:
        by_name.setdefault(source.pool_name, []).append(source)
    return [
        Pool(
            name,
            tuple(source.name for source in members),
            next((source.concurrency for source in members if source.concurrency is not None), None),
            limits.get(name, instance.global_op_concurrency_default_limit),
        )
        for name, members in sorted(by_name.items())
    ]


def apply(pool: Pool, instance: dg.DagsterInstance) -> None:
    """Give the instance the limit that floe.yaml asks for; takes effect at once."""
    if not instance.event_log_storage.supports_global_concurrency_limits:
        raise ConfigurationError(
            "The storage of this Dagster instance keeps no limits of pools. Use SQLite or PostgreSQL."
        )
    if pool.asked is not None:
        instance.event_log_storage.set_concurrency_slots(pool.name, pool.asked)
