"""Servers, once for each test process, and the lakes that stand on them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from floe_ingestion_tests.integration.clouds import AZURITE, azure, gcs
from floe_ingestion_tests.integration.lakehouses import Plugins, RemoteLake, rest, s3
from floe_ingestion_tests.integration.proxy import Proxy, proxying
from floe_ingestion_tests.integration.servers import SeaweedFS, postgres, seaweedfs


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """S3 and an Iceberg REST catalog."""
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL database."""
    # Not in pytest's folder: PostgreSQL does not run as root, and nobody else may enter that one.
    with tempfile.TemporaryDirectory(prefix="floe-pg-") as folder, postgres(Path(folder)) as url:
        yield url


@pytest.fixture(scope="session")
def gcs_storage() -> Iterator[dict[str, Any]]:
    """Google Cloud Storage."""
    with gcs() as storage:
        yield storage


@pytest.fixture(scope="session")
def azure_storage() -> Iterator[dict[str, Any]]:
    """Azure Blob Storage."""
    with azure() as storage:
        yield storage


LAKES = ["sqlite+local", "sqlite+s3", "postgres+s3", "rest+s3", "sqlite+gcs", *(["sqlite+azure"] if AZURITE else [])]


@pytest.fixture(params=LAKES)
def lakehouse(request: pytest.FixtureRequest, home: Path) -> RemoteLake:
    """A lake on each pair of catalog and storage."""
    if request.param == "sqlite+local":
        return RemoteLake(home, Plugins("sql", {}, "local", {}))
    if request.param in ("sqlite+gcs", "sqlite+azure"):
        cloud = request.param.partition("+")[2]
        return RemoteLake(home, Plugins("sql", {}, cloud, request.getfixturevalue(f"{cloud}_storage")))
    storage = s3(request.getfixturevalue("seaweed").s3)
    if request.param == "sqlite+s3":
        return RemoteLake(home, Plugins("sql", {}, "s3", storage))
    if request.param == "postgres+s3":
        return RemoteLake(home, Plugins("sql", {"uri": request.getfixturevalue("postgres_url")}, "s3", storage))
    return RemoteLake(home, Plugins("rest", rest(request.getfixturevalue("seaweed").rest), "s3", storage))


@pytest.fixture
def rest_proxy(seaweed: SeaweedFS) -> Iterator[Proxy]:
    """In front of the REST catalog."""
    with proxying(seaweed.rest) as proxy:
        yield proxy


@pytest.fixture
def s3_proxy(seaweed: SeaweedFS) -> Iterator[Proxy]:
    """In front of S3."""
    with proxying(seaweed.s3) as proxy:
        yield proxy


@pytest.fixture
def proxied(home: Path, rest_proxy: Proxy, s3_proxy: Proxy) -> RemoteLake:
    """A lake on REST and S3, both behind proxies."""
    return RemoteLake(home, Plugins("rest", rest(rest_proxy.url), "s3", s3(s3_proxy.url)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows what the server printed."""
    report: Any = yield
    server = getattr(item, "funcargs", {}).get("seaweed")
    if report.failed and isinstance(server, SeaweedFS):
        report.sections.append(("SeaweedFS printed", server.log()))
    return report
