"""A PostgreSQL, once for each test process, and the two ways to read it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from floe_ingestion_tests.sources.database import Postgres, running_postgres


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with running_postgres() as found:
        yield found


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    """With an empty schema `s`."""
    server.execute("drop schema if exists s cascade", "create schema s")
    return server


@pytest.fixture(params=["pyarrow", "duckdb"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name
