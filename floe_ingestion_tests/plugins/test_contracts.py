"""The contracts: what they ask and give, who may implement them, and that a health check ends on time."""

from __future__ import annotations

import inspect
import math
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg
import pytest

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.plugins import (
    CatalogPlugin,
    HealthStatus,
    IngestionPlugin,
    PluginMetadata,
    StagingPlugin,
    StoragePlugin,
)

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


class Plain(PluginMetadata):
    @property
    def name(self) -> str:
        return "plain"

    @property
    def version(self) -> str:
        return "1.2.3"

    @property
    def floe_api_version(self) -> str:
        return "1.0"


class Ingests(dg.ConfigurableResource[Any], IngestionPlugin):
    """What the platform's own plugin is: a Dagster resource first, and an ingestion plugin."""

    name: ClassVar[str] = "ingests"  # pyright: ignore[reportIncompatibleMethodOverride]
    working_folder: str = "/tmp"

    @property
    def version(self) -> str:
        return "1.2.3"

    @property
    def floe_api_version(self) -> str:
        return "1.0"

    def list_available_sources(self) -> list[str]:
        return ["nothing"]

    def create_pipeline(self, source: str, destination: str, config: dict[str, Any]) -> Any:
        return source, destination, config

    def run_pipeline(self, pipeline: Any) -> dict[str, Any]:
        return {"rows_loaded": 0, "tables_loaded": 0, "execution_time_s": 0.0}

    def get_dagster_asset_config(self, source: str) -> dict[str, Any]:
        return {"source_type": source}

    def check_health(self) -> str:
        return self.working_folder


class IngestsAndStages(Ingests):
    def stage(self, pipeline: Any, request: Any) -> Iterator[Any]:
        return iter(())


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("list_available_sources", ["self"]),
        ("create_pipeline", ["self", "source", "destination", "config"]),
        ("run_pipeline", ["self", "pipeline"]),
        ("get_dagster_asset_config", ["self", "source"]),
    ],
)
def test_an_ingestion_plugin_has_the_platforms_four_methods(method: str, parameters: list[str]):
    assert method in IngestionPlugin.__abstractmethods__
    assert list(inspect.signature(getattr(IngestionPlugin, method)).parameters) == parameters


@pytest.mark.parametrize(
    ("contract", "methods"),
    [
        (PluginMetadata, set[str]()),
        (
            IngestionPlugin,
            {"list_available_sources", "create_pipeline", "run_pipeline", "get_dagster_asset_config"},
        ),
        (CatalogPlugin, {"connect"}),
        (StoragePlugin, {"warehouse", "file_io_properties"}),
    ],
)
def test_a_contract_asks_for_identity_and_its_own_methods(contract: type[PluginMetadata], methods: set[str]):
    assert contract.__abstractmethods__ == {"name", "version", "floe_api_version"} | methods


def test_a_plugin_that_leaves_something_out_cannot_be_constructed():
    class Connectionless(Plain, CatalogPlugin):
        pass

    with pytest.raises(TypeError, match="connect"):
        Connectionless()  # pyright: ignore[reportAbstractUsage]


def test_identity_is_all_that_a_plugin_must_say():
    plugin = Plain()
    plugin.configure({})
    plugin.startup()
    plugin.shutdown()

    assert (plugin.description, plugin.dependencies, plugin.get_config_schema()) == ("", [], None)
    assert plugin.health_check().healthy


def test_configuration_that_nobody_reads_is_refused_without_its_values():
    with pytest.raises(ConfigurationError, match=r"'plain' .* \['password', 'user'\]") as met:
        Plain().configure({"user": "me", "password": "hunter2"})

    assert "hunter2" not in str(met.value)


def test_a_dagster_resource_can_be_a_plugin():
    plugin = Ingests(working_folder="/work")

    assert set(Ingests.model_fields) == {"working_folder"}
    assert isinstance(plugin, IngestionPlugin)
    assert isinstance(plugin, dg.ConfigurableResource)
    assert (plugin.name, plugin.version, plugin.floe_api_version) == ("ingests", "1.2.3", "1.0")
    assert plugin.health_check().message == "/work"
    assert Ingests().health_check().message == "/tmp"


def test_an_asset_names_the_contract_and_gets_the_resource():
    @dg.asset
    def reported(ingestion: dg.ResourceParam[IngestionPlugin]) -> list[str]:
        return ingestion.list_available_sources()

    result = dg.materialize([reported], resources={"ingestion": Ingests()})

    assert result.output_for_node("reported") == ["nothing"]


@pytest.mark.parametrize("contract", [PluginMetadata, IngestionPlugin, CatalogPlugin, StoragePlugin])
def test_a_contract_leaves_construction_and_fields_to_its_implementer(contract: type[PluginMetadata]):
    own = vars(contract)

    assert not {"__init__", "__new__", "__slots__"} & set(own)
    assert not inspect.get_annotations(contract)


def test_staging_is_seen_where_it_is_offered_and_only_there():
    assert isinstance(IngestsAndStages(), StagingPlugin)
    assert not isinstance(Ingests(), StagingPlugin)


def test_the_contracts_import_nothing_heavy():
    heavy = {"dagster", "dlt", "pyiceberg", "pyarrow"}
    program = f"import sys, floe_ingestion.plugins; print(sorted({heavy!r} & set(sys.modules)))"

    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"


class Hangs(Plain):
    """Its check waits until the test lets it go."""

    def __init__(self) -> None:
        self.go, self.ended = threading.Event(), threading.Event()

    def check_health(self) -> str:
        self.go.wait(60)
        self.ended.set()
        return "late"


def test_a_health_check_stops_waiting_at_its_timeout():
    plugin = Hangs()

    status = plugin.health_check(timeout=0.2)

    assert not plugin.ended.is_set(), "its check is still blocked"
    assert (status.state, status.healthy) == ("unhealthy", False)
    assert status.message == "No answer within 0.2 seconds."
    assert status.seconds > 0

    plugin.go.set()
    assert plugin.ended.wait(60)
    assert status.message == "No answer within 0.2 seconds.", "a late answer changes nothing"


def test_a_health_check_without_a_timeout_has_one_all_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("floe_ingestion.plugins.metadata.DEFAULT_HEALTH_TIMEOUT", 0.2)
    plugin = Hangs()

    status = plugin.health_check()

    assert not plugin.ended.is_set(), "its check is still blocked"
    assert status.message == "No answer within 0.2 seconds."
    plugin.go.set()


def test_a_hanging_health_check_does_not_hold_the_process_at_exit():
    program = (
        "import threading\n"
        "from floe_ingestion.plugins import PluginMetadata\n"
        "class Hangs(PluginMetadata):\n"
        "    name, version, floe_api_version = 'hangs', '1.2.3', '1.0'\n"
        "    def check_health(self): threading.Event().wait()\n"
        "print(Hangs().health_check(timeout=0.1).state)\n"
    )

    # A TimeoutExpired means that the interpreter waits for the thread; nothing else in it can take a minute.
    command = [sys.executable, "-c", program]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert shown.stdout.strip() == "unhealthy"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this works")


@pytest.mark.parametrize("raised", [ValueError("no such host"), SystemExit(3), Unprintable()], ids=repr)
def test_a_check_that_raises_is_reported_and_not_raised(raised: BaseException):
    class Raises(Plain):
        def check_health(self) -> str:
            raise raised

    status = Raises().health_check(timeout=60)

    assert status.state == "unhealthy"
    assert type(raised).__name__ in status.message
    assert status.details == {"error": type(raised).__name__}


def test_a_process_that_can_start_no_thread_is_reported_and_not_raised():
    usual = threading.stack_size(2**47)  # larger than the address space, so that no thread can have it
    try:
        status = Plain().health_check()
    finally:
        threading.stack_size(usual)

    assert status.state == "unhealthy"
    assert "thread" in status.message


@pytest.mark.parametrize("timeout", [0, -1, -0.5, math.nan, math.inf])
def test_a_timeout_that_cannot_be_waited_for_is_refused(timeout: float):
    with pytest.raises(ValueError, match="number of seconds above 0"):
        Plain().health_check(timeout=timeout)


def test_a_check_says_how_it_found_things():
    class Slow(Plain):
        def check_health(self) -> HealthStatus:
            return HealthStatus("degraded", "Replica only.", {"lag": 3})

    status = Slow().health_check(timeout=60)

    assert (status.state, status.message, status.details) == ("degraded", "Replica only.", {"lag": 3})
    assert not status.healthy
    assert status.seconds > 0


class RestCatalog(Plain, CatalogPlugin):
    """A real pyiceberg catalog; connecting asks the server for its configuration."""

    def __init__(self, port: int) -> None:
        self.port, self.ended = port, threading.Event()

    def connect(self, config: Mapping[str, Any]) -> Catalog:
        from pyiceberg.catalog import load_catalog

        return load_catalog("rest", type="rest", uri=f"http://127.0.0.1:{self.port}", **config)

    def check_health(self) -> str:
        try:
            self.connect({})
        finally:
            self.ended.set()
        return "connected"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, socket.socket]]:
    """A port of this machine that is bound and, until a test listens, refuses connections."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server.getsockname()[1], server


def test_a_catalog_that_refuses_connections_is_reported_unreachable(port: tuple[int, socket.socket]):
    plugin = RestCatalog(port[0])

    status = plugin.health_check(timeout=60)

    assert status.state == "unhealthy"
    assert "refused" in status.message
    assert status.details["error"] == "ConnectionError"


def test_a_catalog_that_accepts_and_never_answers_is_reported_unreachable(port: tuple[int, socket.socket]):
    number, server = port
    server.listen()
    server.settimeout(60)
    plugin = RestCatalog(number)

    status = plugin.health_check(timeout=0.5)

    connection, _ = server.accept()
    with connection:
        assert not plugin.ended.is_set(), "pyiceberg is connected and still waits for an answer"
    assert status.state == "unhealthy"
    assert status.message == "No answer within 0.5 seconds."

    server.close()
    assert plugin.ended.wait(60)
