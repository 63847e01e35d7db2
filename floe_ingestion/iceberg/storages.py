"""The built-in storages: a folder, S3 and what speaks like it, Google Cloud Storage, Azure."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote

from pydantic import Field, model_validator

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.iceberg.settings import BuiltIn, Settings, given, needs, require_both_keys
from floe_ingestion.plugins import StoragePlugin

FSSPEC = "pyiceberg.io.fsspec.FsspecFileIO"
_HOUR = 3600

Config = TypeVar("Config", bound="StorageSettings")


class StorageSettings(Settings):
    """What a storage's `config` may say."""

    @abstractmethod
    def location(self) -> str:
        """The warehouse as a URI without a trailing slash; raises ConfigurationError where it is not said."""

    @abstractmethod
    def file_io(self) -> dict[str, str]:
        """pyiceberg's FileIO properties."""


class _BuiltInStorage(BuiltIn[Config], StoragePlugin):
    kind = "storage"

    def warehouse(self, config: Mapping[str, Any]) -> str:
        """The warehouse as a URI."""
        return self.settings(config).location()

    def file_io_properties(self, config: Mapping[str, Any]) -> dict[str, str]:
        """What pyiceberg needs to know to reach the files; it holds credentials."""
        found = self.settings(config)
        return {**found.file_io(), **found.properties}


class LocalSettings(StorageSettings):
    """Tables in a folder of this machine, or of one that it has mounted."""

    path: str | None = Field(default=None, min_length=1, examples=["/data/warehouse"])
    """The folder; by default `warehouse` in `home`."""

    def location(self) -> str:
        if self.path is None and self.home is None:
            raise ConfigurationError("The local storage needs `path`, e.g. path: /data/warehouse.")
        path = Path(self.path) if self.path is not None else Path(str(self.home)) / "warehouse"
        folder = str(path.absolute())
        if any(mark in folder for mark in "#?") or unquote(folder) != folder:
            # pyiceberg would write to what stands before them.
            raise ConfigurationError(
                f"{folder} cannot hold tables: #, ? and codes such as %20 mean something else in the URI of a file. "
                f"Choose another folder."
            )
        return f"file://{folder}"

    def file_io(self) -> dict[str, str]:
        return {}


class _BucketSettings(StorageSettings):
    prefix: str = ""
    """The folder of the warehouse in there; the whole of it by default."""

    def _under(self, root: str) -> str:
        return "/".join([root, *(part for part in self.prefix.split("/") if part)])


class S3Settings(_BucketSettings):
    """Amazon S3, or a server that speaks its protocol (MinIO, SeaweedFS, Ceph, R2).

    Without keys, those of the machine are taken: `AWS_…` variables, profile, or the instance's role.
    """

    bucket: str | None = Field(default=None, min_length=1, examples=["lake"])
    """Needed where the catalog does not say by itself where tables live (sql, glue, hive)."""
    endpoint: str | None = Field(default=None, pattern="^https?://", examples=["http://localhost:9000"])
    """URL of a server other than Amazon's."""
    region: str | None = Field(default=None, examples=["eu-central-1"])
    """By default the bucket's is asked for; of a server with an `endpoint`, us-east-1."""
    path_style: bool | None = None
    """Whether the bucket is a part of the path and not of the host's name; with an `endpoint` true by default."""
    access_key_id: str | None = Field(default=None, repr=False, examples=["${AWS_ACCESS_KEY_ID}"])
    secret_access_key: str | None = Field(default=None, repr=False, examples=["${AWS_SECRET_ACCESS_KEY}"])
    session_token: str | None = Field(default=None, repr=False)
    """With keys that are valid for a while only."""
    role_arn: str | None = None
    """A role to assume."""
    role_session_name: str | None = None
    sse: Literal["AES256", "aws:kms"] | None = None
    """Encryption that the server is told to use; without it, the bucket's default."""
    sse_kms_key_id: str | None = None
    connect_timeout: float | None = None
    """Seconds."""
    request_timeout: float | None = None
    """Seconds."""

    @model_validator(mode="after")
    def _fits_together(self) -> S3Settings:
        require_both_keys(self.access_key_id, self.secret_access_key)
        if self.session_token is not None and self.access_key_id is None:
            raise ValueError("`session_token` goes with `access_key_id` and `secret_access_key`. Write all three")
        if self.path_style and self.endpoint is None:
            raise ValueError("`path_style: true` is for servers with an `endpoint`. Write one, or leave it out")
        if self.sse_kms_key_id is not None and self.sse != "aws:kms":
            raise ValueError("`sse_kms_key_id` goes with `sse: aws:kms`. Write both")
        if self.sse is not None and self.role_arn is not None:
            raise ValueError("`sse` and `role_arn` cannot be combined. Let the bucket's default encryption do it")
        return self

    def location(self) -> str:
        if self.bucket is None:
            raise ConfigurationError("The s3 storage needs `bucket` for this catalog, e.g. bucket: lake.")
        return self._under(f"s3://{self.bucket}")

    def file_io(self) -> dict[str, str]:
        virtual_host = None if self.path_style is None else not self.path_style
        found = {
            "s3.endpoint": self.endpoint,
            "s3.region": self.region or ("us-east-1" if self.endpoint else None),
            "s3.force-virtual-addressing": virtual_host if self.endpoint else None,
            "s3.access-key-id": self.access_key_id,
            "s3.secret-access-key": self.secret_access_key,
            "s3.session-token": self.session_token,
            "s3.role-arn": self.role_arn,
            "s3.role-session-name": self.role_session_name,
            "s3.server-side-encryption": self.sse,
            "s3.sse-kms-key-id": self.sse_kms_key_id,
            "s3.connect-timeout": self.connect_timeout,
            "s3.request-timeout": self.request_timeout,
        }
        if self.sse is not None:  # Arrow's client cannot ask for it
            needs("s3fs", "s3", "`sse`")
            found["py-io-impl"] = FSSPEC
        return given(**found)


class GcsSettings(_BucketSettings):
    """Google Cloud Storage. Without `token` or `key_file`, the machine's own credentials are taken."""

    bucket: str | None = Field(default=None, min_length=1, examples=["lake"])
    """Needed where the catalog does not say by itself where tables live (sql, glue, hive)."""
    project: str | None = None
    token: str | None = Field(default=None, repr=False, examples=["${GCS_TOKEN}"])
    """An OAuth2 access token."""
    token_expires_at: int | None = None
    """When the token ends, in milliseconds since 1970; by default an hour from now."""
    key_file: str | None = Field(default=None, examples=["/secrets/lake.json"])
    """A service account's key, as JSON."""
    endpoint: str | None = Field(default=None, pattern="^https?://")
    """URL of an emulator."""

    @model_validator(mode="after")
    def _one_identity(self) -> GcsSettings:
        if self.token is not None and self.key_file is not None:
            raise ValueError("`token` and `key_file` are two identities. Write one of them")
        return self

    def location(self) -> str:
        if self.bucket is None:
            raise ConfigurationError("The gcs storage needs `bucket` for this catalog, e.g. bucket: lake.")
        return self._under(f"gs://{self.bucket}")

    def file_io(self) -> dict[str, str]:
        found = {
            "gcs.project-id": self.project,
            "gcs.oauth2.token": self.token or self.key_file,
            "gcs.oauth2.token-expires-at": self._expires_at() if self.token else None,
            "gcs.service.host": self.endpoint,
        }
        if self.key_file is not None:  # Arrow's client takes an access token only
            needs("gcsfs", "gcs", "`key_file`")
            found["py-io-impl"] = FSSPEC
        return given(**found)

    def _expires_at(self) -> int:
        """Arrow's client wants to know."""
        return self.token_expires_at or int((time.time() + _HOUR) * 1000)


class AzureSettings(_BucketSettings):
    """Azure Data Lake Storage. Of the ways to say who you are, one."""

    account: str | None = Field(default=None, min_length=1, examples=["mylake"])
    """The storage account's name."""
    container: str | None = Field(default=None, min_length=1, examples=["lake"])
    """Needed, with `account`, where the catalog does not say by itself where tables live (sql, glue, hive)."""
    account_key: str | None = Field(default=None, repr=False, examples=["${AZURE_ACCOUNT_KEY}"])
    sas_token: str | None = Field(default=None, repr=False)
    connection_string: str | None = Field(default=None, repr=False)
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: str | None = Field(default=None, repr=False)
    """With `tenant_id` and `client_id`: a service principal."""

    @model_validator(mode="after")
    def _one_identity(self) -> AzureSettings:
        principal = (self.tenant_id, self.client_id, self.client_secret)
        if any(principal) and not all(principal):
            raise ValueError("`tenant_id`, `client_id` and `client_secret` go together. Write all three")
        ways = [self.account_key, self.sas_token, self.connection_string, self.client_secret]
        if sum(way is not None for way in ways) > 1:
            raise ValueError(
                "only one of `account_key`, `sas_token`, `connection_string` and `client_secret` says who you are"
            )
        return self

    def location(self) -> str:
        if self.account is None or self.container is None:
            raise ConfigurationError(
                "The azure storage needs `account` and `container` for this catalog, e.g. account: mylake, "
                "container: lake."
            )
        return self._under(f"abfss://{self.container}@{self.account}.dfs.core.windows.net")

    def file_io(self) -> dict[str, str]:
        needs("adlfs", "azure", "the azure storage")  # pyiceberg gives Arrow's client paths that it does not take
        return given(
            **{
                "adls.account-name": self.account,
                "adls.account-key": self.account_key,
                "adls.sas-token": self.sas_token,
                "adls.connection-string": self.connection_string,
                "adls.tenant-id": self.tenant_id,
                "adls.client-id": self.client_id,
                "adls.client-secret": self.client_secret,
                "py-io-impl": FSSPEC,
            }
        )


class LocalStoragePlugin(_BuiltInStorage[LocalSettings]):
    """`local`: tables in a folder."""

    name = "local"
    description = "A folder on this machine"
    config_model = LocalSettings


class S3StoragePlugin(_BuiltInStorage[S3Settings]):
    """`s3`: tables in a bucket of S3, or of a server that speaks its protocol."""

    name = "s3"
    description = "Amazon S3, MinIO and others like it"
    config_model = S3Settings


class GcsStoragePlugin(_BuiltInStorage[GcsSettings]):
    """`gcs`: tables in a bucket of Google Cloud Storage."""

    name = "gcs"
    description = "Google Cloud Storage"
    config_model = GcsSettings


class AzureStoragePlugin(_BuiltInStorage[AzureSettings]):
    """`azure`: tables in a container of Azure Data Lake Storage."""

    name = "azure"
    description = "Azure Data Lake Storage"
    config_model = AzureSettings
