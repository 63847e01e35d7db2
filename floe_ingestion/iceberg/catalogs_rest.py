"""Catalogs that speak Iceberg's REST protocol: any of them, and Apache Polaris."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.iceberg.catalogs import BuiltInCatalog, CatalogSettings
from floe_ingestion.iceberg.settings import given, needs, require_both_keys
from floe_ingestion.spec import StrictModel

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_TOKEN_PATH = "/v1/oauth/tokens"
_ALL_ROLES = "PRINCIPAL_ROLE:ALL"
_REALM = "Polaris-Realm"


class SigV4(StrictModel):
    """Requests signed as AWS wants them."""

    region: str = Field(min_length=1, examples=["eu-central-1"])
    service: str = Field(default="execute-api", min_length=1)
    """`glue` and `s3tables` for Amazon's own REST catalogs."""
    access_key_id: str | None = Field(default=None, repr=False)
    secret_access_key: str | None = Field(default=None, repr=False)
    session_token: str | None = Field(default=None, repr=False)
    """Without keys, those of the machine are taken."""

    @model_validator(mode="after")
    def _fits_together(self) -> SigV4:
        require_both_keys(self.access_key_id, self.secret_access_key)
        return self


class RestSettings(CatalogSettings):
    """A REST catalog. One of `token`, `credential`, `sigv4` and `auth` says who you are, or none does."""

    uri: str = Field(pattern="^https?://", examples=["https://catalog.example.com/api/catalog"])
    """Without the `/v1` that the protocol appends."""
    warehouse: str | None = None
    """Which warehouse of the server; what that is, the server decides."""
    prefix: str | None = None
    """What stands behind `/v1/` in the server's URLs; servers usually say it themselves."""
    token: str | None = Field(default=None, repr=False, examples=["${CATALOG_TOKEN}"])
    """A bearer token; it is not renewed."""
    credential: str | None = Field(default=None, repr=False, examples=["${CATALOG_CREDENTIAL}"])
    """`<client id>:<client secret>` of OAuth2; the token is asked for, and again when it has expired."""
    scope: str | None = None
    audience: str | None = None
    resource: str | None = None
    oauth2_server_uri: str | None = Field(default=None, pattern="^https?://")
    """Where tokens are asked for; by default `<uri>/v1/oauth/tokens`."""
    sigv4: SigV4 | None = None
    auth: Mapping[str, Any] | None = Field(default=None, repr=False)
    """pyiceberg's own `auth` block (`type: basic`, `google`, `entra`, `custom`), as it is."""
    headers: Mapping[str, str] = Field(default={}, repr=False)
    """Sent with every request."""
    access_delegation: Literal["vended-credentials", "none"] = "vended-credentials"
    """Whether the server is asked for credentials of the storage; they win over the storage's own."""
    endpoint_override: bool = False
    """Whether the storage's `endpoint` wins over one that the server hands out, which may be unreachable here."""
    ca_bundle: str | None = None
    """A file of certificates to trust."""
    client_certificate: str | None = None
    client_key: str | None = None
    timeout: float = Field(default=60, gt=0)
    """Seconds that the server may stay silent."""

    @model_validator(mode="after")
    def _one_identity(self) -> RestSettings:
        ways = {"token": self.token, "credential": self.credential, "sigv4": self.sigv4, "auth": self.auth}
        met = [f"`{name}`" for name, way in ways.items() if way is not None]
        if len(met) > 1:
            raise ValueError(f"{' and '.join(met)} are two identities. Write one of them")
        return self

    def all_headers(self) -> dict[str, str]:
        """Headers of every request."""
        return dict(self.headers)


class PolarisSettings(RestSettings):
    """Apache Polaris."""

    warehouse: str = Field(min_length=1, examples=["my_catalog"])
    """The name of the catalog in Polaris."""
    scope: str | None = _ALL_ROLES
    """Which of the principal's roles are active."""
    realm: str | None = None
    """By default the server's default realm."""

    @model_validator(mode="after")
    def _is_somebody(self) -> PolarisSettings:
        if self.token is None and self.credential is None and self.auth is None:
            raise ValueError("nothing says who you are. Write `credential: ${POLARIS_CREDENTIAL}` (id:secret)")
        if self.realm is not None and any(name.lower() == _REALM.lower() for name in self.headers):
            raise ValueError(f"`realm` is sent as the header {_REALM}, which `headers` holds too. Write one of them")
        return self

    def all_headers(self) -> dict[str, str]:
        return {**self.headers, **given(**{_REALM: self.realm})}


class RestCatalogPlugin(BuiltInCatalog[RestSettings]):
    """`rest`: any catalog that speaks Iceberg's REST protocol."""

    name = "rest"
    description = "Iceberg REST catalog"
    config_model: ClassVar[type[RestSettings]] = RestSettings
    knows_locations = True

    def open(self, config: RestSettings) -> Catalog:
        if config.sigv4 is not None:
            needs("boto3", "s3", "`sigv4`")
        from floe_ingestion.iceberg.rest_client import RestClient

        own_endpoint: dict[str, str] = {}
        if config.endpoint_override:
            kept = ("s3.endpoint", "s3.force-virtual-addressing")
            own_endpoint = {key: config.properties[key] for key in kept if key in config.properties}
            if "s3.endpoint" not in own_endpoint:
                raise ConfigurationError(
                    "plugins.catalog.config.endpoint_override: there is no endpoint that could win over the server's. "
                    "Write `endpoint` in the config of an s3 storage, or remove endpoint_override."
                )
        delegation = config.access_delegation != "none"
        return RestClient(config.name, rest_properties(config), own_endpoint, delegation, config.timeout)


class PolarisCatalogPlugin(RestCatalogPlugin):
    """`polaris`: Apache Polaris."""

    name = "polaris"
    description = "Apache Polaris"
    config_model = PolarisSettings


def rest_properties(config: RestSettings) -> dict[str, Any]:
    """What pyiceberg's REST catalog is given."""
    found: dict[str, Any] = given(
        uri=config.uri,
        warehouse=config.warehouse,
        prefix=config.prefix,
        token=config.token,
        credential=config.credential,
        scope=config.scope,
        audience=config.audience,
        resource=config.resource,
    )
    if config.sigv4 is None and config.auth is None:
        found["oauth2-server-uri"] = config.oauth2_server_uri or f"{config.uri.rstrip('/')}{_TOKEN_PATH}"
    if config.sigv4 is not None:
        found |= _sigv4_properties(config.sigv4)
    if config.auth is not None:
        found["auth"] = dict(config.auth)
    if tls := _tls(config):
        found["ssl"] = tls
    return {**found, **{f"header.{name}": value for name, value in config.all_headers().items()}, **config.properties}


def _sigv4_properties(sigv4: SigV4) -> dict[str, str]:
    found = {
        "rest.sigv4-enabled": True,
        "rest.signing-region": sigv4.region,
        "rest.signing-name": sigv4.service,
        "client.region": sigv4.region,
        "client.access-key-id": sigv4.access_key_id,
        "client.secret-access-key": sigv4.secret_access_key,
        "client.session-token": sigv4.session_token,
    }
    return given(**found)


def _tls(config: RestSettings) -> dict[str, Any]:
    client = given(cert=config.client_certificate, key=config.client_key)
    return {**given(cabundle=config.ca_bundle), **({"client": client} if client else {})}
