"""A plugin's `config` block as a strict model; what is wrong is told key by key, and no secret is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from floe_ingestion.errors import ConfigurationError, Problem
from floe_ingestion.mistakes.problems import mistakes
from floe_ingestion.spec import StrictModel

Model = TypeVar("Model", bound=BaseModel)


class Settings(StrictModel):
    """What catalogs and storages have in common: `-` in a key is `_`, and pyiceberg's own properties."""

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


def settings(model: type[Model], config: Mapping[str, Any], kind: str, name: str) -> Model:
    """`config` as a `model`; `kind` and `name` are those of the plugin, e.g. catalog and polaris.

    Raises `ConfigurationError` that names each key and says what to write.
    """
    try:
        return model.model_validate(config)
    except ValidationError as error:
        at = ("plugins", kind, "config")
        found = mistakes(error, model, config, at, lambda path: None)
        problems = [Problem(".".join(map(str, (*at, *each.path))), each.message) for each in found]
        lines = [f"  {problem.path}: {problem.message}" for problem in problems]
        # Not from the error: it holds the values.
        raise ConfigurationError("\n".join([f"The {name} {kind} is not configured right.", *lines]), problems) from None


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
