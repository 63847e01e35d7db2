"""A real server that lets one principal do everything, another one read and write files, and a third only read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from floe_ingestion.errors import PermanentError
from floe_ingestion.iceberg.compact import compact
from floe_ingestion.iceberg.expire import expire
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.iceberg.loads import private_folder
from floe_ingestion_tests.integration.lakehouses import Plugins, RemoteLake, rest, s3
from floe_ingestion_tests.integration.servers import BUCKET, KEY, SECRET, SeaweedFS, seaweedfs

READER = {"access_key_id": "reader", "secret_access_key": "readersecret"}
WRITER = {"access_key_id": "writer", "secret_access_key": "writersecret"}
MAY = {"reader": (READER, ("Read", "List")), "writer": (WRITER, ("Read", "List", "Write"))}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A SeaweedFS that knows them."""
    folder = tmp_path_factory.mktemp("strict")
    identities: list[dict[str, object]] = [
        {"name": "loader", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    ]
    for name, (keys, actions) in MAY.items():
        credentials = [{"accessKey": keys["access_key_id"], "secretKey": keys["secret_access_key"]}]
        allowed = [f"{action}:{BUCKET}" for action in actions]
        identities.append({"name": name, "credentials": credentials, "actions": allowed})
    config = folder / "identities.json"
    config.write_text(json.dumps({"identities": identities}))
    with seaweedfs(folder, f"-s3.config={config}") as server:
        yield server


def test_a_principal_that_may_only_read_the_files_reads_and_loads_nothing(
    shop: Shop, strict: SeaweedFS, home: Path
) -> None:
    loader = RemoteLake(home, Plugins("sql", {}, "s3", s3(strict.s3)))
    reader = loader.but(loader.plugins.with_storage(**READER))
    pipeline = shop.pipeline(loader.orders, incremental={"cursor_path": "updated_at"})
    shop.sell((1, "ann", "9.99", "2024-01-01 00:00:00"))
    loader.load(pipeline)
    before = loader.objects()
    shop.sell((2, "bob", "0.10", "2024-01-02 00:00:00"))

    with pytest.raises(PermanentError, match="what they are allowed to do"):
        reader.load(pipeline)

    assert reader.values(loader.orders) == [1]
    assert loader.objects() == before
    loader.load(pipeline)
    assert loader.rows(loader.orders) == shop.orders()


def test_a_principal_that_may_read_and_write_the_files_needs_no_more(shop: Shop, strict: SeaweedFS, home: Path) -> None:
    lake = RemoteLake(home, Plugins("sql", {}, "s3", s3(strict.s3, **WRITER)))
    merge = {"write_disposition": "merge", "merge_mode": "merge-on-read"}
    pipeline = shop.pipeline(lake.orders, incremental={"cursor_path": "updated_at"}, destination=merge)
    shop.sell(*((number, "ann", "9.99", "2024-01-01 00:00:00") for number in range(5)))
    lake.load(pipeline)
    shop.change(1, "2024-01-02 00:00:00", customer="bob")
    lake.load(pipeline)
    table = lake.table(lake.orders)

    compacted = compact(table, Packing(target_file_bytes=1_000_000, min_files=2), private_folder(lake))
    expired = expire(lake.table(lake.orders), keep_last=1)

    assert (compacted.delete_files_before, expired.not_deleted) == (1, 0)
    assert expired.data_files > 0
    assert lake.rows(lake.orders) == shop.orders()


def test_a_principal_without_rights_in_the_catalog_is_told_so_and_not_tried_again(
    shop: Shop, strict: SeaweedFS, home: Path
) -> None:
    loader = RemoteLake(home, Plugins("rest", rest(strict.rest), "s3", s3(strict.s3)))
    reader = loader.but(
        loader.plugins.with_catalog(credential=f"{READER['access_key_id']}:{READER['secret_access_key']}")
    )
    pipeline = shop.pipeline(loader.orders)
    shop.sell((1, "ann", "9.99", "2024-01-01 00:00:00"))

    with pytest.raises(PermanentError, match="privileges that a load needs") as caught:
        reader.load(pipeline)

    assert READER["secret_access_key"] not in str(caught.value)
    loader.load(pipeline)
    assert loader.rows(loader.orders) == shop.orders()
