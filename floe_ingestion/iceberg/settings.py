"""A plugin's `config` block as a strict model; what is wrong is told key by key, and no secret is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

from pydantic import Field, ValidationError, model_validator

from floe_ingestion.errors import ConfigurationError, Problem
from floe_ingestion.mistakes.problems import mistakes
from floe_ingestion.plugins import PluginMetadata
from floe_ingestion.spec import StrictModel
from floe_ingestion.version import __version__


class Settings(StrictModel):
    """What catalogs and storages have in common: `-` in a key is `_`, and pyiceberg's own properties."""

    home: str | None = Field(default=None, repr=False, exclude=True)
    """Given by the run: where everything lives that has no other place."""
    properties: Mapping[str, str] = Field(default={}, repr=False)
    """Further properties for pyiceberg, by their names there; they win over what the other keys say."""

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, data: Any) -> Any:
        """pyiceberg writes `oauth2-server-uri`, this library `oauth2_server_uri`: both are understood."""
        if not isinstance(data, Mapping):
            return data
        spelled = {str(key).replace("-", "_"): value for key, value in data.items()}
        if len(spelled) < len(data):
            raise ValueError("a key is written twice, with `-` and with `_`. Write it once")
        return spelled


Config = TypeVar("Config", bound=Settings)


class BuiltIn(PluginMetadata, Generic[Config]):
    """A catalog or storage of this package, with a model of its configuration."""

    version = __version__
    floe_api_version = "1.0"
    kind: ClassVar[Literal["catalog", "storage"]]
    config_model: ClassVar[type[Settings]]

    def get_config_schema(self) -> type[Settings]:
        return self.config_model

    def settings(self, config: Mapping[str, Any]) -> Config:
        """`config` as a model; raises `ConfigurationError` that names each key and says what to write."""
        try:
            return cast(Config, self.config_model.model_validate(config))
        except ValidationError as error:
            at = ("plugins", self.kind, "config")
            found = mistakes(error, self.config_model, config, at, lambda path: None)
            problems = [Problem(".".join(map(str, (*at, *each.path))), each.message) for each in found]
            lines = [f"  {problem.path}: {problem.message}" for problem in problems]
            text = "\n".join([f"The {self.name} {self.kind} is not configured right.", *lines])
            raise ConfigurationError(text, problems) from None  # not from the error: it holds the values


def given(**properties: object) -> dict[str, str]:
    """Properties as pyiceberg wants them: those that are set, as texts."""
    return {key: _text(value) for key, value in properties.items() if value is not None}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def needs(package: str, extra: str, what: str) -> None:
    """Raise `ConfigurationError` where `package` is not installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ConfigurationError(f"{what} needs {package}. Install it: pip install 'floe-ingestion[{extra}]'.")


def require_both_keys(access_key_id: str | None, secret_access_key: str | None) -> None:
    """Raise `ValueError` for one AWS key without the other."""
    if (access_key_id is None) != (secret_access_key is None):
        raise ValueError("`access_key_id` and `secret_access_key` go together. Write both, or neither")
