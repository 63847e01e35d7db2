"""What the built-in catalogs and storages take as configuration, and what they make of it for pyiceberg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.iceberg.catalogs import (
    BuiltInCatalog,
    CatalogSettings,
    GlueCatalogPlugin,
    GlueSettings,
    HiveCatalogPlugin,
    HiveSettings,
    PyicebergCatalogPlugin,
    SqlSettings,
    _glue_properties,
    _hive_properties,
    _sql_uri,
)
from floe_ingestion.iceberg.catalogs_rest import (
    PolarisCatalogPlugin,
    PolarisSettings,
    RestCatalogPlugin,
    RestSettings,
    rest_properties,
)
from floe_ingestion.iceberg.settings import needs
from floe_ingestion.iceberg.storages import (
    AzureStoragePlugin,
    GcsStoragePlugin,
    LocalStoragePlugin,
    S3StoragePlugin,
    StorageSettings,
)
from floe_ingestion.plugins import PluginRegistry, PluginType, StoragePlugin
from floe_ingestion.secrets import expand

DOCS = Path(__file__).resolve().parents[2] / "docs"
REST = {"uri": "https://catalog.example.com"}
POLARIS = {"uri": "http://polaris:8181/api/catalog", "warehouse": "lake", "credential": "id:verysecret"}


class Anything(dict[str, str]):
    """An environment in which every variable is set."""

    def __missing__(self, key: str) -> str:
        return f"https://{key.lower()}.example.com" if key.endswith("URL") else key.lower()

    def __contains__(self, key: object) -> bool:
        return True

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]


def blocks() -> Iterator[Any]:
    """Each YAML block of the pages about catalogs and storages."""
    for page in ("lakehouse.md", "polaris.md"):
        found = re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
        for number, text in enumerate(found, 1):
            yield pytest.param(yaml.safe_load(text)["plugins"], id=f"{page} block {number}")


@pytest.mark.parametrize("plugins", blocks())
def test_every_block_of_the_pages_is_understood(plugins: dict[str, Any]) -> None:
    registry = PluginRegistry()
    assert plugins
    for kind, choice in plugins.items():
        plugin: Any = registry.get(PluginType[kind.upper()], choice["type"])
        plugin.settings(expand(choice["config"], "docs", Anything()))


def test_every_built_in_catalog_and_storage_has_a_section() -> None:
    page = (DOCS / "lakehouse.md").read_text()
    registry = PluginRegistry()

    for kind in (PluginType.CATALOG, PluginType.STORAGE):
        for name in registry.names(kind):
            assert f"\n### {name}\n" in page


def test_every_configuration_is_strict_and_says_what_it_is_for() -> None:
    registry = PluginRegistry()
    for kind in (PluginType.CATALOG, PluginType.STORAGE):
        for name in registry.names(kind):
            model = registry.get(kind, name).get_config_schema()
            assert model is not None
            assert issubclass(model, (CatalogSettings, StorageSettings))
            assert model.model_config["extra"] == "forbid"
            assert model.model_config["frozen"]
            assert model.__doc__


# What pyiceberg is given


def test_a_rest_catalog_is_given_texts_and_nothing_that_is_not_set() -> None:
    assert rest_properties(RestSettings(**REST, credential="id:secret")) == {
        "uri": "https://catalog.example.com",
        "credential": "id:secret",
        "oauth2-server-uri": "https://catalog.example.com/v1/oauth/tokens",
    }


def test_polaris_has_its_scope_realm_and_token_server() -> None:
    assert rest_properties(PolarisSettings(**POLARIS, realm="acme", headers={"X-Team": "data"})) == {
        **POLARIS,
        "scope": "PRINCIPAL_ROLE:ALL",
        "oauth2-server-uri": "http://polaris:8181/api/catalog/v1/oauth/tokens",
        "header.X-Team": "data",
        "header.Polaris-Realm": "acme",
    }


def test_certificates_and_pyicebergs_own_auth_reach_it() -> None:
    config = RestSettings.model_validate(
        {
            **REST,
            "auth": {"type": "basic", "basic": {"username": "a", "password": "b"}},
            "ca_bundle": "/ca.pem",
            "client-certificate": "/me.pem",
            "properties": {"rest-page-size": "10"},
        }
    )

    found = rest_properties(config)

    assert found["ssl"] == {"cabundle": "/ca.pem", "client": {"cert": "/me.pem"}}
    assert found["auth"]["type"] == "basic"
    assert found["rest-page-size"] == "10"
    assert "oauth2-server-uri" not in found


def test_glue_and_hive_are_given_their_own_names() -> None:
    glue = GlueSettings(region="eu-west-1", catalog_id="1", max_retries=3, skip_archive=False, warehouse="s3://lake")
    hive = HiveSettings(uri="thrift://h:9083", kerberos=True, hive2_compatible=False, warehouse="s3://lake")

    assert _glue_properties(glue) == {
        "warehouse": "s3://lake",
        "glue.id": "1",
        "glue.region": "eu-west-1",
        "glue.skip-archive": "false",
        "glue.max-retries": 3,
    }
    assert _hive_properties(hive) == {
        "uri": "thrift://h:9083",
        "warehouse": "s3://lake",
        "hive.hive2-compatible": "false",
        "hive.kerberos-authentication": "true",
    }


@pytest.mark.parametrize(
    ("written", "used"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql+psycopg2://u:p@h/d"),
        ("sqlite:///c.db", "sqlite:///c.db?timeout=60"),
        ("sqlite:///c.db?cache=shared", "sqlite:///c.db?cache=shared&timeout=60"),
        ("sqlite:///c.db?timeout=5", "sqlite:///c.db?timeout=5"),
    ],
)
def test_a_database_url_names_a_driver_that_is_installed(written: str, used: str) -> None:
    assert _sql_uri(SqlSettings(uri=written)) == used


S3 = S3StoragePlugin()


def test_s3_of_amazon_needs_a_bucket_alone() -> None:
    assert S3.warehouse({"bucket": "lake"}) == "s3://lake"
    assert S3.file_io_properties({"bucket": "lake"}) == {}


def test_another_server_has_its_bucket_in_the_path_and_a_region() -> None:
    config = {"bucket": "lake", "prefix": "/a/b/", "endpoint": "http://h:9000", "access_key_id": "k"}

    assert S3.warehouse({**config, "secret_access_key": "s"}) == "s3://lake/a/b"
    assert S3.file_io_properties({**config, "secret_access_key": "s", "session_token": "t"}) == {
        "s3.endpoint": "http://h:9000",
        "s3.region": "us-east-1",
        "s3.access-key-id": "k",
        "s3.secret-access-key": "s",
        "s3.session-token": "t",
    }


@pytest.mark.parametrize(("path_style", "virtual"), [(True, "false"), ("true", "false"), (False, "true")])
def test_path_style_is_the_opposite_of_virtual_addressing(path_style: bool | str, virtual: str) -> None:
    found = S3.file_io_properties({"endpoint": "http://h:9000", "path_style": path_style})

    assert found["s3.force-virtual-addressing"] == virtual


def test_a_role_encryption_and_time_limits_reach_pyiceberg() -> None:
    role = S3.file_io_properties({"role_arn": "arn:r", "role_session_name": "floe", "request_timeout": "5"})
    sse = S3.file_io_properties({"sse": "aws:kms", "sse_kms_key_id": "key"})

    assert role == {"s3.role-arn": "arn:r", "s3.role-session-name": "floe", "s3.request-timeout": "5.0"}
    assert sse == {
        "s3.server-side-encryption": "aws:kms",
        "s3.sse-kms-key-id": "key",
        "py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO",
    }


def test_clients_take_what_the_storages_say() -> None:
    """Nothing is connected: the clients are only made."""
    from pyiceberg.io import load_file_io
    from pyiceberg.io.pyarrow import PyArrowFileIO

    azure = AzureStoragePlugin().file_io_properties({"account": "a", "container": "c", "account_key": "a2V5"})
    gcs = GcsStoragePlugin().file_io_properties({"bucket": "b", "token": "t"})
    s3 = S3.file_io_properties({"endpoint": "http://h:9000", "path_style": True, "connect_timeout": 2})

    load_file_io(azure).new_input("abfss://c@a.dfs.core.windows.net/x")
    PyArrowFileIO(gcs).new_input("gs://b/x")
    PyArrowFileIO(s3).new_input("s3://b/x")


def test_gcs_and_azure_say_where_tables_live() -> None:
    assert GcsStoragePlugin().warehouse({"bucket": "lake", "prefix": "wh"}) == "gs://lake/wh"
    azure = {"account": "mylake", "container": "lake", "prefix": "wh"}
    assert AzureStoragePlugin().warehouse(azure) == "abfss://lake@mylake.dfs.core.windows.net/wh"


def test_a_local_folder_is_a_file_uri(tmp_path: Path) -> None:
    assert LocalStoragePlugin().warehouse({"home": str(tmp_path)}) == f"file://{tmp_path}/warehouse"
    assert LocalStoragePlugin().warehouse({"path": str(tmp_path)}) == f"file://{tmp_path}"


# Mistakes


@pytest.mark.parametrize(
    ("plugin", "config", "said"),
    [
        (RestCatalogPlugin(), {"url": "https://x"}, "config.url: is no known key. Did you mean 'uri'?"),
        (RestCatalogPlugin(), {}, "config.uri: is missing; write `uri: https://"),
        (
            RestCatalogPlugin(),
            {"uri": "catalog:8181"},
            "config.uri: is 'catalog:8181'; write a URL that begins with http://",
        ),
        (RestCatalogPlugin(), {**REST, "token": "t", "credential": "c"}, "`token` and `credential` are two identities"),
        (RestCatalogPlugin(), {**REST, "sigv4": {}}, "config.sigv4.region: is missing; write `region: eu-central-1`"),
        (RestCatalogPlugin(), {**REST, "timeout": 0}, "config.timeout: is 0 (a whole number); write a number above 0"),
        (RestCatalogPlugin(), {**REST, "access_delegation": "no"}, "write 'vended-credentials' or 'none'"),
        (RestCatalogPlugin(), {**REST, "oauth2-server-uri": "x", "oauth2_server_uri": "y"}, "is written twice"),
        (RestCatalogPlugin(), {**REST, "s3.endpoint": "x"}, "config.s3.endpoint: is no known key"),
        (PolarisCatalogPlugin(), {**POLARIS, "credential": None}, "Write `credential: ${POLARIS_CREDENTIAL}`"),
        (PolarisCatalogPlugin(), {**REST, "token": "t"}, "config.warehouse: is missing; write `warehouse: my_catalog`"),
        (PolarisCatalogPlugin(), {**POLARIS, "realm": "a", "headers": {"polaris-realm": "b"}}, "Write one of them"),
        (GlueCatalogPlugin(), {"access_key_id": "k"}, "Write both, or neither"),
        (HiveCatalogPlugin(), {"uri": "http://h"}, "config.uri: is 'http://h'; write a URL that begins with thrift://"),
        (S3, {"access_key_id": "k"}, "`access_key_id` and `secret_access_key` go together"),
        (S3, {"session_token": "t"}, "Write all three"),
        (S3, {"path_style": True}, "`path_style: true` is for servers with an `endpoint`"),
        (S3, {"sse": "AES256", "sse_kms_key_id": "k"}, "`sse_kms_key_id` goes with `sse: aws:kms`"),
        (S3, {"sse": "AES256", "role_arn": "r"}, "cannot be combined"),
        (S3, {"buket": "lake"}, "config.buket: is no known key. Did you mean 'bucket'?"),
        (GcsStoragePlugin(), {"token": "t", "key_file": "k"}, "two identities"),
        (AzureStoragePlugin(), {"tenant_id": "t"}, "Write all three"),
        (AzureStoragePlugin(), {"account_key": "k", "sas_token": "s"}, "only one of"),
        (LocalStoragePlugin(), {"folder": "x"}, "config.folder: is no known key. Known keys: path, properties"),
        (PyicebergCatalogPlugin(), {}, "needs its `name`: pyiceberg is configured for no catalog 'default'"),
    ],
)
def test_a_mistake_names_the_key_and_says_what_to_write(plugin: Any, config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect_or_ask(plugin, config)

    assert said in str(caught.value)


def test_a_mistake_shows_no_secret() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PolarisCatalogPlugin().connect({**POLARIS, "token": ["verysecret"], "uri": 5})

    assert "verysecret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_model_shows_no_secret() -> None:
    assert "verysecret" not in repr(PolarisSettings.model_validate(POLARIS))


@pytest.mark.parametrize("plugin", [S3, GcsStoragePlugin(), AzureStoragePlugin(), LocalStoragePlugin()])
def test_a_storage_that_must_say_where_tables_live_says_what_it_needs(plugin: StoragePlugin) -> None:
    with pytest.raises(ConfigurationError, match=r"needs `.*e\.g\. "):
        plugin.warehouse({})


def test_what_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'floe-ingestion[hive]'")):
        needs("a_package_that_nobody_wrote", "hive", "The hive catalog")


def connect_or_ask(plugin: Any, config: dict[str, Any]) -> object:
    return plugin.connect(config) if isinstance(plugin, BuiltInCatalog) else plugin.file_io_properties(config)
