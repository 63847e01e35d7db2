"""The built-in catalogs: pyiceberg's, each with a strict configuration; those over HTTP are in `catalogs_rest.py`."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, cast

from pydantic import Field, model_validator

from floe_ingestion.classify import lake_errors
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.formats import did_you_mean
from floe_ingestion.iceberg.settings import Settings, given, needs, settings
from floe_ingestion.plugins import CatalogPlugin
from floe_ingestion.version import __version__

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_SQLITE_LOCK_SECONDS = 60
_FIRST_START_ATTEMPTS = 5

Config = TypeVar("Config", bound="CatalogSettings")


class CatalogSettings(Settings):
    """What a catalog's `config` may say."""

    name: str = Field(default="floe", min_length=1)
    """What the catalog calls itself. Spark and others that share a `sql` catalog must use the same name."""
    home: str | None = Field(default=None, repr=False, exclude=True)
    """Given by the run: where everything lives that has no other place."""


class BuiltInCatalog(CatalogPlugin, Generic[Config]):
    """Validates what it is given, and opens a pyiceberg catalog with it."""

    version = __version__
    floe_api_version = "1.0"
    config_model: ClassVar[type[CatalogSettings]]

    def get_config_schema(self) -> type[CatalogSettings]:
        return self.config_model

    def connect(self, config: Mapping[str, Any]) -> Catalog:
        """The catalog.

        Raises `ConfigurationError`, `CatalogUnavailable`, and `PermanentError` where the catalog says no.
        """
        found = self.settings(config)
        with lake_errors(f"the {self.name} catalog"):
            return self.open(found)

    def settings(self, config: Mapping[str, Any]) -> Config:
        """`config` as this catalog's model; raises ConfigurationError."""
        return cast(Config, settings(self.config_model, config, "catalog", self.name))

    @abstractmethod
    def open(self, config: Config) -> Catalog:
        """The pyiceberg catalog."""

    def check_health(self) -> str:
        """Nothing to ask before `connect` says which catalog it is."""
        return f"a {self.name} catalog is checked by connecting to it"


class SqlSettings(CatalogSettings):
    """A catalog in a database."""

    uri: str | None = Field(default=None, repr=False, examples=["sqlite:///catalog.db"])
    """A SQLAlchemy URL; by default the SQLite file `catalog.db` in `home`."""
    warehouse: str | None = None
    """Where tables live, as a URI; by default what the storage says."""


class SqlCatalogPlugin(BuiltInCatalog[SqlSettings]):
    """`sql`: SQLite by default, or PostgreSQL."""

    name = "sql"
    description = "Iceberg catalog in SQLite or PostgreSQL"
    config_model = SqlSettings

    def open(self, config: SqlSettings) -> Catalog:
        from pyiceberg.catalog.sql import SqlCatalog
        from sqlalchemy.exc import OperationalError, ProgrammingError

        properties = {**given(uri=_sql_uri(config), warehouse=config.warehouse), **config.properties}
        for attempt in range(_FIRST_START_ATTEMPTS):
            try:
                return SqlCatalog(config.name, **properties)
            except (OperationalError, ProgrammingError) as error:
                # Two first writers create the catalog's own tables at once: the loser finds them made.
                if "already exists" not in str(error) or attempt == _FIRST_START_ATTEMPTS - 1:
                    raise
                time.sleep(0.1 * 2**attempt)
        raise AssertionError("unreachable")


class GlueSettings(CatalogSettings):
    """AWS Glue. Without keys, those of the machine are taken: `AWS_…` variables, profile, or its role."""

    warehouse: str | None = None
    """Where tables live, as a URI; by default what the storage says."""
    catalog_id: str | None = None
    """The account whose catalog it is; by default one's own."""
    region: str | None = Field(default=None, examples=["eu-central-1"])
    endpoint: str | None = Field(default=None, pattern="^https?://")
    """URL of a server other than Amazon's."""
    profile: str | None = None
    access_key_id: str | None = Field(default=None, repr=False, examples=["${AWS_ACCESS_KEY_ID}"])
    secret_access_key: str | None = Field(default=None, repr=False, examples=["${AWS_SECRET_ACCESS_KEY}"])
    session_token: str | None = Field(default=None, repr=False)
    max_retries: int | None = None
    retry_mode: Literal["standard", "adaptive", "legacy"] | None = None
    skip_archive: bool | None = None
    """Whether Glue keeps no archive of older versions of a table; true by default."""

    @model_validator(mode="after")
    def _fits_together(self) -> GlueSettings:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("`access_key_id` and `secret_access_key` go together. Write both, or neither")
        return self


class GlueCatalogPlugin(BuiltInCatalog[GlueSettings]):
    """`glue`: AWS Glue's Data Catalog."""

    name = "glue"
    description = "AWS Glue Data Catalog"
    config_model = GlueSettings

    def open(self, config: GlueSettings) -> Catalog:
        needs("boto3", "glue", "The glue catalog")
        from pyiceberg.catalog.glue import GlueCatalog

        return GlueCatalog(config.name, **_glue_properties(config))


class HiveSettings(CatalogSettings):
    """A Hive metastore."""

    uri: str = Field(pattern="^thrift://", examples=["thrift://metastore:9083"])
    """Several metastores may be named, parted by commas."""
    warehouse: str | None = None
    """Where tables live, as a URI; by default what the storage says."""
    hive2_compatible: bool | None = None
    kerberos: bool | None = None
    """Whether to authenticate by Kerberos."""
    kerberos_service_name: str | None = None
    ugi: str | None = None
    """The user, as `name:password`, where the metastore takes one."""


class HiveCatalogPlugin(BuiltInCatalog[HiveSettings]):
    """`hive`: a Hive metastore."""

    name = "hive"
    description = "Hive metastore"
    config_model = HiveSettings

    def open(self, config: HiveSettings) -> Catalog:
        needs("thrift", "hive", "The hive catalog")
        from pyiceberg.catalog.hive import HiveCatalog

        return HiveCatalog(config.name, **_hive_properties(config))


class PyicebergSettings(CatalogSettings):
    """A catalog that pyiceberg is configured for, by `.pyiceberg.yaml` or `PYICEBERG_CATALOG__…`."""

    name: str = Field(default="default", min_length=1)
    """The catalog's name there."""


class PyicebergCatalogPlugin(BuiltInCatalog[PyicebergSettings]):
    """`pyiceberg`: whatever pyiceberg's own configuration says under a name."""

    name = "pyiceberg"
    description = "A catalog of .pyiceberg.yaml or PYICEBERG_CATALOG__…"
    config_model = PyicebergSettings
    knows_locations = True

    def open(self, config: PyicebergSettings) -> Catalog:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.utils.config import Config as Configuration

        configured = Configuration()  # read anew: pyiceberg keeps what it read when it was imported
        found = configured.get_catalog_config(config.name)
        if found is None:
            known = configured.get_known_catalogs()
            unnamed = "" if "name" in config.model_fields_set else "The pyiceberg catalog needs its `name`: "
            raise ConfigurationError(
                f"{unnamed}pyiceberg is configured for no catalog {config.name!r}.{did_you_mean(config.name, known)} "
                f"Known are {', '.join(sorted(known)) or 'none'}; name another one in .pyiceberg.yaml, or by "
                f"PYICEBERG_CATALOG__{config.name.upper()}__URI."
            )
        return load_catalog(config.name, **cast("dict[str, str]", {**found, **config.properties}))


def _sql_uri(config: SqlSettings) -> str:
    uri = config.uri
    if uri is None:
        if config.home is None:
            raise ConfigurationError("The sql catalog needs `uri`, e.g. uri: sqlite:///catalog.db.")
        folder = Path(config.home).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{folder / 'catalog.db'}"
    if uri.startswith("sqlite") and "timeout=" not in uri:
        # Without it a second process meets "database is locked" after five seconds.
        return f"{uri}{'&' if '?' in uri else '?'}timeout={_SQLITE_LOCK_SECONDS}"
    scheme, _, rest = uri.partition("://")
    if scheme in ("postgresql", "postgres"):
        needs("psycopg", "postgres", "A sql catalog in PostgreSQL")
        # SQLAlchemy's default driver is psycopg2 before 2.1, and `postgres` it does not know.
        return f"postgresql+psycopg://{rest}"
    return uri


def _glue_properties(config: GlueSettings) -> dict[str, Any]:
    found = {
        "warehouse": config.warehouse,
        "glue.id": config.catalog_id,
        "glue.region": config.region,
        "glue.endpoint": config.endpoint,
        "glue.profile-name": config.profile,
        "glue.access-key-id": config.access_key_id,
        "glue.secret-access-key": config.secret_access_key,
        "glue.session-token": config.session_token,
        "glue.retry-mode": config.retry_mode,
        "glue.skip-archive": config.skip_archive,
    }
    attempts: dict[str, Any] = {} if config.max_retries is None else {"glue.max-retries": config.max_retries}
    return {**given(**found), **attempts, **config.properties}  # botocore wants that one as a number


def _hive_properties(config: HiveSettings) -> dict[str, str]:
    found = {
        "uri": config.uri,
        "warehouse": config.warehouse,
        "hive.hive2-compatible": config.hive2_compatible,
        "hive.kerberos-authentication": config.kerberos,
        "hive.kerberos-service-name": config.kerberos_service_name,
        "ugi": config.ugi,
    }
    return {**given(**found), **config.properties}
