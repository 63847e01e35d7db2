"""Glue, at moto; REST with signed requests, at SeaweedFS; and catalogs that pyiceberg is configured for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from floe_ingestion.errors import CatalogUnavailable, ConfigurationError, PermanentError
from floe_ingestion_tests.fake_sources import Shop, pipeline_of_rows
from floe_ingestion_tests.integration.lakehouses import Plugins, RemoteLake, s3
from floe_ingestion_tests.integration.proxy import Proxy
from floe_ingestion_tests.integration.servers import BUCKET, KEY, REGION, SECRET, WAREHOUSE, SeaweedFS

GLUE: dict[str, Any] = {"region": REGION, "access_key_id": KEY, "secret_access_key": SECRET, "max_retries": 2}


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """The URL of a server that speaks as Glue and S3 do, with the bucket `lake`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": REGION}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        server.stop()


@pytest.fixture
def glue(aws: str, home: Path) -> RemoteLake:
    return RemoteLake(home, Plugins("glue", {**GLUE, "endpoint": aws}, "s3", s3(aws)))


def test_glue_takes_appends_merges_and_new_columns(shop: Shop, glue: RemoteLake) -> None:
    shop.sell((1, "ann", "9.99", "2024-01-01 00:00:00"), (2, "bob", "0.10", "2024-01-01 12:30:00"))
    merge = {"write_disposition": "merge"}
    pipeline = shop.pipeline(glue.orders, incremental={"cursor_path": "updated_at"}, destination=merge)
    glue.load(pipeline)
    shop.change(2, "2024-01-03 00:00:00", customer="bert")
    shop.execute("alter table orders add column note text")

    landed = glue.load(pipeline)

    assert (landed.rows_updated, landed.columns_added) == (1, ["note"])
    assert [row["customer"] for row in glue.rows(glue.orders)] == ["ann", "bert"]


def test_two_first_loads_into_glue_make_one_table(glue: RemoteLake) -> None:
    with (
        glue.staged(pipeline_of_rows([{"id": 1}], glue.orders)) as one,
        glue.staged(pipeline_of_rows([{"id": 2}], glue.orders)) as other,
    ):
        glue.commit(one)
        glue.commit(other)

    assert glue.values(glue.orders) == [1, 2]


def test_a_glue_that_is_not_there_is_tried_again(home: Path) -> None:
    endpoint = "http://127.0.0.1:9"
    lake = RemoteLake(home, Plugins("glue", {**GLUE, "endpoint": endpoint}, "s3", s3(endpoint)))

    with pytest.raises(CatalogUnavailable):
        lake.load(pipeline_of_rows([{"id": 1}], lake.orders))


def test_a_glue_without_a_bucket_is_not_configured_right(aws: str, home: Path) -> None:
    lake = RemoteLake(home, Plugins("glue", {**GLUE, "endpoint": aws}, "s3", {"endpoint": aws}))

    with pytest.raises(ConfigurationError, match="bucket: lake"):
        lake.connect()


def test_requests_signed_by_sigv4_are_taken(seaweed: SeaweedFS, home: Path) -> None:
    signing = {"region": REGION, "service": "s3tables", "access_key_id": KEY, "secret_access_key": SECRET}
    config = {"uri": seaweed.rest, "warehouse": WAREHOUSE, "sigv4": signing}
    lake = RemoteLake(home, Plugins("rest", config, "s3", s3(seaweed.s3)))

    lake.load(pipeline_of_rows([{"id": 1}], lake.orders))

    assert lake.values(lake.orders) == [1]


def test_requests_signed_by_a_wrong_secret_are_refused(seaweed: SeaweedFS, home: Path) -> None:
    signing = {"region": REGION, "service": "s3tables", "access_key_id": KEY, "secret_access_key": "wrong-secret"}
    config = {"uri": seaweed.rest, "warehouse": WAREHOUSE, "sigv4": signing}

    lake = RemoteLake(home, Plugins("rest", config, "s3", s3(seaweed.s3)))

    with pytest.raises(PermanentError, match="signature"):
        lake.load(pipeline_of_rows([{"id": 1}], lake.orders))


def test_files_that_the_server_encrypts_go_through_s3fs(seaweed: SeaweedFS, home: Path) -> None:
    lake = RemoteLake(home, Plugins("sql", {}, "s3", s3(seaweed.s3, sse="AES256")))

    lake.load(pipeline_of_rows([{"id": 1}], lake.orders))

    assert "fsspec" in type(lake.table(lake.orders).io).__module__
    assert lake.values(lake.orders) == [1]


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ({"secret_access_key": "wrong-secret"}, "access key"),
        ({"bucket": "nobody-made-it"}, "Create the bucket"),
    ],
)
def test_s3fs_says_what_is_wrong_as_well(storage: dict[str, str], message: str, seaweed: SeaweedFS, home: Path) -> None:
    lake = RemoteLake(home, Plugins("sql", {}, "s3", s3(seaweed.s3, sse="AES256", **storage)))

    with pytest.raises(PermanentError, match=message):
        lake.load(pipeline_of_rows([{"id": 1}], lake.orders))


def test_a_rest_catalog_is_not_told_where_the_storage_would_put_tables(
    seaweed: SeaweedFS, rest_proxy: Proxy, home: Path
) -> None:
    config = {"uri": rest_proxy.url, "credential": f"{KEY}:{SECRET}"}

    for storage, storage_config in (("local", {}), ("s3", s3(seaweed.s3))):
        RemoteLake(home, Plugins("rest", config, storage, storage_config)).connect()

    assert [asked.params for asked in rest_proxy.of("GET", "/v1/config$")] == [{}, {}]


# pyiceberg's own configuration

READ = """
import sys
from pathlib import Path
from floe_ingestion import lake
print(lake.connect("pyiceberg", {"name": sys.argv[1]}, "local", {}, Path(sys.argv[2])).properties["warehouse"])
"""


def connected(name: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Connect to a catalog by its name, in a process that reads this configuration of pyiceberg."""
    given = {**os.environ, "PYICEBERG_HOME": str(folder), **environ}
    command = [sys.executable, "-c", READ, name, str(folder)]
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=120)


def test_a_catalog_of_pyiceberg_yaml_needs_its_name_alone(tmp_path: Path) -> None:
    uri, warehouse = f"sqlite:///{tmp_path / 'prod.db'}", f"file://{tmp_path / 'wh'}"
    (tmp_path / ".pyiceberg.yaml").write_text(f"catalog:\n  prod:\n    uri: {uri}\n    warehouse: {warehouse}\n")

    assert connected("prod", tmp_path).stdout.strip() == warehouse


def test_a_catalog_of_environment_variables_needs_its_name_alone(tmp_path: Path) -> None:
    warehouse = f"file://{tmp_path / 'wh'}"
    given = {
        "PYICEBERG_CATALOG__PROD__URI": f"sqlite:///{tmp_path / 'prod.db'}",
        "PYICEBERG_CATALOG__PROD__WAREHOUSE": warehouse,
    }

    assert connected("prod", tmp_path, **given).stdout.strip() == warehouse


def test_a_catalog_that_pyiceberg_does_not_know_is_named(tmp_path: Path) -> None:
    given = {"PYICEBERG_CATALOG__PROD__URI": f"sqlite:///{tmp_path / 'prod.db'}"}

    said = connected("prot", tmp_path, **given).stderr

    assert "ConfigurationError" in said
    assert "Did you mean 'prod'?" in said
