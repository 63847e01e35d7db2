"""Apache Polaris: the requests that it expects, seen by a proxy before another REST server; and the real one.

The real one is that of POLARIS_URI, POLARIS_CREDENTIAL and POLARIS_WAREHOUSE (and POLARIS_REALM; where Polaris hands
out no credentials, also AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and MINIO_URL).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from floe_ingestion.errors import ConfigurationError
from floe_ingestion_tests.fake_sources import pipeline_of_rows
from floe_ingestion_tests.integration.lakehouses import Plugins, RemoteLake, s3
from floe_ingestion_tests.integration.proxy import Changed, Proxy, proxying
from floe_ingestion_tests.integration.servers import KEY, REGION, SECRET, WAREHOUSE, SeaweedFS

DELEGATION = "x-iceberg-access-delegation"
NEEDED = ("POLARIS_URI", "POLARIS_CREDENTIAL", "POLARIS_WAREHOUSE")
MISSING = [name for name in NEEDED if not os.environ.get(name)]


@pytest.fixture
def polaris(seaweed: SeaweedFS) -> Iterator[Proxy]:
    """A REST server that lives where Polaris does, and whose requests can be looked at."""
    with proxying(seaweed.rest, "/api/catalog") as proxy:
        yield proxy


def config(polaris: Proxy, **more: Any) -> dict[str, Any]:
    return {"uri": polaris.url, "warehouse": WAREHOUSE, "credential": f"{KEY}:{SECRET}", **more}


@pytest.fixture
def lake(polaris: Proxy, seaweed: SeaweedFS, home: Path) -> RemoteLake:
    return RemoteLake(home, Plugins("polaris", config(polaris, realm="acme"), "s3", s3(seaweed.s3)))


def hand_out(polaris: Proxy, **properties: str) -> None:
    """Let the server's answers about tables carry these properties, as Polaris' do."""

    def change(answer: Any) -> Any:
        return {**answer, "config": {**answer.get("config", {}), **properties}}

    polaris.fail("GET", "/tables/", Changed(change), times=1000)
    polaris.fail("POST", "/tables$", Changed(change), times=1000)


# What it is asked


def test_a_token_is_asked_for_with_the_principals_credential_and_all_its_roles(
    lake: RemoteLake, polaris: Proxy
) -> None:
    lake.connect()

    asked = polaris.of("POST", "oauth")[0]
    assert asked.path == "/api/catalog/v1/oauth/tokens"
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.headers["polaris-realm"] == "acme"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": [KEY],
        "client_secret": [SECRET],
        "scope": ["PRINCIPAL_ROLE:ALL"],
    }


def test_the_catalog_is_named_as_the_warehouse(lake: RemoteLake, polaris: Proxy) -> None:
    lake.connect()

    (asked,) = polaris.of("GET", "/v1/config$")
    assert (asked.path, asked.params) == ("/api/catalog/v1/config", {"warehouse": WAREHOUSE})


def test_every_request_says_who_asks_in_which_realm_and_that_credentials_are_wanted(
    lake: RemoteLake, polaris: Proxy
) -> None:
    lake.load(pipeline_of_rows([{"id": 1}], lake.orders))

    asked = [each for each in polaris.asked if "/oauth/" not in each.path]
    assert len(asked) > 4
    assert all(each.path.startswith("/api/catalog/v1/") for each in asked)
    assert all(each.headers["authorization"].startswith("Bearer ey") for each in asked)
    assert {each.headers["polaris-realm"] for each in asked} == {"acme"}
    assert {each.headers[DELEGATION] for each in asked} == {"vended-credentials"}


def test_a_table_is_created_by_the_commit_of_its_first_rows(lake: RemoteLake, polaris: Proxy) -> None:
    lake.load(pipeline_of_rows([{"id": 1}], lake.orders))

    (created,), (committed,) = polaris.of("POST", "/tables$"), polaris.of("POST", "/tables/orders$")
    assert created.path == f"/api/catalog/v1/{WAREHOUSE}/namespaces/{lake.namespace}/tables"
    assert created.json["stage-create"] is True
    assert created.json.get("location") is None  # Polaris says where
    assert committed.json["requirements"] == [{"type": "assert-create"}]
    assert "add-snapshot" in [update["action"] for update in committed.json["updates"]]


def test_a_namespace_that_exists_is_not_created_again(lake: RemoteLake, polaris: Proxy) -> None:
    """Polaris would refuse it to a principal without NAMESPACE_CREATE."""
    lake.load(pipeline_of_rows([{"id": 1}], lake.orders))
    lake.load(pipeline_of_rows([{"id": 1}], f"{lake.namespace}.others"))

    assert len(polaris.of("POST", "/namespaces$")) == 1


def test_no_credentials_are_asked_for_where_delegation_is_off(lake: RemoteLake, polaris: Proxy) -> None:
    lake.but(lake.plugins.with_catalog(access_delegation="none")).load(pipeline_of_rows([{"id": 1}], lake.orders))

    assert all(DELEGATION not in each.headers for each in polaris.asked)


def test_scope_token_server_and_headers_can_be_others(lake: RemoteLake, polaris: Proxy) -> None:
    given = {
        "scope": "PRINCIPAL_ROLE:loader",
        "oauth2-server-uri": f"{polaris.url}/v1/oauth/tokens?by=us",
        "headers": {"X-Team": "data"},
    }

    lake.but(lake.plugins.with_catalog(**given)).connect()

    asked = polaris.of("POST", "oauth")[0]
    assert asked.params == {"by": "us"}
    assert parse_qs(asked.body.decode())["scope"] == ["PRINCIPAL_ROLE:loader"]
    assert {each.headers["x-team"] for each in polaris.asked} == {"data"}


# What it hands out


def test_credentials_that_it_hands_out_are_used(
    polaris: Proxy, seaweed: SeaweedFS, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    lake = RemoteLake(home, Plugins("polaris", config(polaris), "s3", {"endpoint": seaweed.s3, "region": REGION}))
    hand_out(polaris, **{"s3.access-key-id": KEY, "s3.secret-access-key": SECRET})

    lake.load(pipeline_of_rows([{"id": 1}], lake.orders))

    assert lake.values(lake.orders) == [1]


def test_an_endpoint_that_cannot_be_reached_from_here_is_overridden(lake: RemoteLake, polaris: Proxy) -> None:
    hand_out(polaris, **{"s3.endpoint": "http://127.0.0.1:9"})
    here = lake.but(lake.plugins.with_catalog(endpoint_override=True))

    here.load(pipeline_of_rows([{"id": 1}], here.orders))

    assert here.values(here.orders) == [1]
    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        lake.rows(lake.orders)


def test_an_override_without_an_endpoint_is_a_mistake(lake: RemoteLake) -> None:
    broken = lake.but(Plugins("polaris", {**lake.plugins.catalog_config, "endpoint_override": True}, "local", {}))

    with pytest.raises(ConfigurationError, match="Write `endpoint`"):
        broken.connect()


# The real one


@pytest.mark.skipif(bool(MISSING), reason=f"no Polaris to ask: {', '.join(MISSING)} not set")
def test_a_real_polaris_takes_loads_merges_and_new_columns(home: Path) -> None:
    catalog = {
        "uri": os.environ.get("POLARIS_URI"),
        "warehouse": os.environ.get("POLARIS_WAREHOUSE"),
        "credential": os.environ.get("POLARIS_CREDENTIAL"),
    }
    storage: dict[str, str] = {"region": os.environ.get("AWS_REGION", REGION)}
    if realm := os.environ.get("POLARIS_REALM"):
        catalog["realm"] = realm
    if key := os.environ.get("AWS_ACCESS_KEY_ID"):
        storage |= {"access_key_id": key, "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"]}
        catalog["access_delegation"] = "none"
    override = {}
    if endpoint := os.environ.get("MINIO_URL"):
        storage["endpoint"] = endpoint
        override = {"endpoint_override": True}
    lake = RemoteLake(home, Plugins("polaris", {**catalog, **override}, "s3", storage))
    merge = {"write_disposition": "merge", "primary_key": ["id"]}
    try:
        lake.load(pipeline_of_rows([{"id": 1}, {"id": 2}], lake.orders, **merge))
        lake.load(pipeline_of_rows([{"id": 2, "note": "x"}, {"id": 3}], lake.orders, **merge))

        assert lake.rows(lake.orders) == [
            {"id": 1, "note": None},
            {"id": 2, "note": "x"},
            {"id": 3, "note": None},
        ]
    finally:
        if lake.catalog.table_exists(lake.orders):
            lake.catalog.drop_table(lake.orders)
        lake.catalog.drop_namespace(lake.namespace)
