"""Lakes on real servers: a catalog and a storage plugin, configured as floe.yaml would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from pyarrow.fs import FileSelector
from pyiceberg.catalog import Catalog
from pyiceberg.io.fsspec import FsspecFileIO

from floe_ingestion import lake
from floe_ingestion_tests.integration.servers import BUCKET, KEY, REGION, SECRET, WAREHOUSE
from floe_ingestion_tests.lake import Lake


@dataclass(frozen=True)
class Plugins:
    """What `plugins` of a floe.yaml says."""

    catalog: str
    catalog_config: Mapping[str, Any]
    storage: str
    storage_config: Mapping[str, Any]

    def with_catalog(self, **config: Any) -> Plugins:
        return replace(self, catalog_config={**self.catalog_config, **config})

    def with_storage(self, **config: Any) -> Plugins:
        return replace(self, storage_config={**self.storage_config, **config})


class RemoteLake(Lake):
    """The tables of one test, in a namespace of its own."""

    def __init__(self, home: Path, plugins: Plugins, namespace: str | None = None) -> None:
        super().__init__(home)
        self.plugins = plugins
        self.namespace = namespace or f"ns_{uuid4().hex[:12]}"

    @cached_property
    def orders(self) -> str:
        """The table that most tests load."""
        return f"{self.namespace}.orders"

    def connect(self) -> Catalog:
        given = self.plugins
        return lake.connect(given.catalog, given.catalog_config, given.storage, given.storage_config, self.home)

    def but(self, plugins: Plugins) -> RemoteLake:
        """The same tables, reached in another way."""
        return RemoteLake(self.home, plugins, self.namespace)

    def objects(self) -> set[str]:
        """Every data file that lies under the table's location, whether a snapshot names it or not."""
        table = self.table(self.orders)
        scheme, _, path = f"{table.location()}/data".partition("://")
        authority = path.partition("/")[0]
        if isinstance(table.io, FsspecFileIO):
            names = table.io.get_fs(scheme).find(path.partition("@")[0] + path[len(authority) :])
            return {f"{table.location()}/data{name.partition('/data')[2]}" for name in names}
        fs = table.io.fs_by_scheme(scheme, authority)  # type: ignore[attr-defined]
        found = fs.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
        return {f"{scheme}://{info.path}" for info in found if info.is_file}


def s3(endpoint: str, prefix: str = "wh", **config: Any) -> dict[str, Any]:
    """The s3 storage's configuration for a SeaweedFS."""
    keys = {"access_key_id": KEY, "secret_access_key": SECRET}
    return {"bucket": BUCKET, "prefix": prefix, "endpoint": endpoint, "region": REGION, **keys, **config}


def rest(uri: str, **config: Any) -> dict[str, Any]:
    """The rest catalog's configuration for a SeaweedFS."""
    return {"uri": uri, "warehouse": WAREHOUSE, "credential": f"{KEY}:{SECRET}", **config}
