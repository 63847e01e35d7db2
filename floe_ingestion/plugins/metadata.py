"""What every plugin of the platform says about itself, and the eleven types of plugin there are.

The contracts are plain ABCs without `__init__`, `__slots__` or annotated class attributes: a pydantic model
may implement one (`class DltIngestionResource(dg.ConfigurableResource, IngestionPlugin)`), and pydantic
neither calls a foreign `__init__` nor may it take an annotation of ours for one of its fields.
"""

from __future__ import annotations

import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

from floe_ingestion.errors import ConfigurationError

DEFAULT_HEALTH_TIMEOUT = 5.0
"""Seconds that `health_check()` waits when it is given no timeout."""


class PluginType(Enum):
    """The types of plugin; a member's value is the entry-point group that its plugins register under."""

    COMPUTE = "floe.computes"
    ORCHESTRATOR = "floe.orchestrators"
    CATALOG = "floe.catalogs"
    STORAGE = "floe.storage"
    TELEMETRY_BACKEND = "floe.telemetry_backends"
    LINEAGE_BACKEND = "floe.lineage_backends"
    DBT = "floe.dbt"
    SEMANTIC_LAYER = "floe.semantic_layers"
    INGESTION = "floe.ingestion"
    SECRETS = "floe.secrets"
    IDENTITY = "floe.identity"

    @property
    def group(self) -> str:
        """The entry-point group, e.g. `floe.ingestion`."""
        return self.value


@dataclass(frozen=True)
class HealthStatus:
    """What a health check found, and how long it took."""

    state: Literal["healthy", "degraded", "unhealthy"]
    message: str = ""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seconds: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether the plugin can be used without reservation; a degraded one is not healthy."""
        return self.state == "healthy"


class PluginMetadata(ABC):
    """The base of every plugin: who it is, how it is configured, and whether it is well.

    A plugin must be constructible without arguments, because the registry calls `cls()`. The abstract
    properties may be implemented by a property or by a plain class attribute, a `ClassVar` in a pydantic
    model; type checkers like only the property.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that users write, the same as the entry point's."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The plugin's own version, a semantic version such as `1.4.0`."""

    @property
    @abstractmethod
    def floe_api_version(self) -> str:
        """The contract version that the plugin was written for, `<major>.<minor>`, e.g. `1.0`."""

    @property
    def description(self) -> str:
        """One line for people."""
        return ""

    @property
    def dependencies(self) -> list[str]:
        """Names of the plugins that must be started before this one."""
        return []

    def get_config_schema(self) -> type | None:
        """The class, usually a pydantic model, that describes the configuration; None if there is none."""
        return None

    def configure(self, config: Mapping[str, Any]) -> None:
        """Take configuration, before `startup()`.

        Raises ConfigurationError by default when there is any: a setting that nobody reads would be lost in
        silence.
        """
        if config:
            keys = sorted(map(str, config.keys()))  # and no values: they may be secrets
            raise ConfigurationError(
                f"Plugin {self.name!r} takes no configuration and was given {keys}. "
                f"Remove these keys, or let {type(self).__name__} override configure()."
            )

    def startup(self) -> None:  # noqa: B027  optional by design
        """Acquire what the plugin needs while it is in use; nothing by default."""

    def shutdown(self) -> None:  # noqa: B027  optional by design
        """Release what `startup()` acquired; nothing by default."""

    def check_health(self) -> str | HealthStatus:
        """Look whether the plugin can do its work; the hook that `health_check` runs, to be overridden.

        Return a short message when all is well, or a `HealthStatus` to say more (`degraded`, details).
        Raise when it is not: the exception's text is shown to people, so it must hold no secret. This runs
        in a thread of its own.
        """
        return ""

    def health_check(self, timeout: float | None = None) -> HealthStatus:
        """Run `check_health()` and wait at most `timeout` seconds of wall clock for it (5 by default).

        A check that raises or does not answer in time is reported as `unhealthy`, never raised. A check
        that hangs is left behind in a daemon thread, which does not hold the process at exit. The bound
        needs a check that lets other threads run, as everything that waits for a network does.

        Raises ValueError for a timeout that is not above 0, or is longer than a thread can wait.
        """
        limit = DEFAULT_HEALTH_TIMEOUT if timeout is None else timeout
        if not 0 < limit <= threading.TIMEOUT_MAX:
            raise ValueError(
                f"A health check waits a number of seconds above 0, and at most {threading.TIMEOUT_MAX:.0f}; "
                f"met timeout={timeout!r}. Leave it out to wait {DEFAULT_HEALTH_TIMEOUT:g} seconds."
            )
        started = time.monotonic()
        status = _run_bounded(self.check_health, limit)
        return replace(status, seconds=time.monotonic() - started)


def _run_bounded(check: Callable[[], str | HealthStatus], limit: float) -> HealthStatus:
    """The check's own status, or an unhealthy one after `limit` seconds without it."""
    found: list[HealthStatus] = []
    thread = threading.Thread(target=lambda: found.append(_run(check)), name="floe-health-check", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # The process may start no more threads, or is shutting down.
        return _unhealthy(error)
    thread.join(limit)
    # Not thread.is_alive(): a check that answered at the last moment has answered.
    if not found:
        return HealthStatus("unhealthy", f"No answer within {limit:g} seconds.", {"timeout": limit})
    return found[0]


def _run(check: Callable[[], str | HealthStatus]) -> HealthStatus:
    try:
        met = check()
    # A SystemExit too: out of a thread it would vanish, and look like a timeout.
    except BaseException as error:
        return _unhealthy(error)
    return met if isinstance(met, HealthStatus) else HealthStatus("healthy", met)


def _unhealthy(error: BaseException) -> HealthStatus:
    # traceback, because str(error) may itself raise.
    text = "".join(traceback.format_exception_only(error)).strip()
    return HealthStatus("unhealthy", text, {"error": type(error).__name__})
