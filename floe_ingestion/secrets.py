"""`${VARIABLE}` in configuration: expanded when a run needs it, and never shown again.

Definitions keep the text with its variables. A run expands it here; every value that comes out joins the
set that `redact` hides, so that it cannot reappear in an error, a log line or metadata.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote_plus, unquote

from floe_ingestion.errors import MissingVariable

_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_URL_PASSWORD = re.compile(r"(?P<head>[a-zA-Z][a-zA-Z0-9+.-]*://[^:/@\s]*:)(?P<password>[^@\s]+)(?=@)")
_LONGEST_PASSWORD = re.compile(r"://[^:/@\s]*:(?P<password>\S+)@")
_PERCENT = re.compile("%[0-9A-F]{2}")
HIDDEN = "********"
SHORTEST_SECRET = 4  # hiding "1" or "db" wherever it occurs would make messages unreadable

_secrets: set[str] = set()


def expand(value: Any, place: str, environ: Mapping[str, str] | None = None) -> Any:
    """`value` with `${NAME}`, `${NAME:-default}` and `$$` replaced, in texts at any depth.

    `place` says where the value stands (file and YAML path), for `MissingVariable`.
    """
    environ = os.environ if environ is None else environ
    if isinstance(value, str):
        return _expand_text(value, place, environ)
    if isinstance(value, Mapping):
        return {key: expand(item, f"{place}.{key}", environ) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(expand(item, f"{place}[{index}]", environ) for index, item in enumerate(value))
    return value


def variables(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Each variable without a default in `value`, with the place that needs it."""
    if isinstance(value, str):
        for match in _VARIABLE.finditer(value):
            if match["name"] and match["default"] is None:
                yield match["name"], place
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from variables(item, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from variables(item, f"{place}[{index}]")


def empty_variables(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Those of `variables` that are set to an empty text."""
    yield from ((name, where) for name, where in variables(value, place) if os.environ.get(name) == "")


def hide(value: str) -> None:
    """Let `redact` hide `value`, and its password where it is a URL with one, however they are written."""
    found = [value]
    if match := _LONGEST_PASSWORD.search(value):
        password = match["password"]
        # Drivers take what stands behind an @ in a password for a part of the host, and name that.
        first, *rest = password.split("@")
        found += [password, unquote(password), first, *(f"{each}@" for each in rest)]
    _secrets.update(form for text in found if len(text) >= SHORTEST_SECRET for form in _forms(text))


def _forms(text: str) -> set[str]:
    """`text` as it stands in JSON, in what `repr` shows, and in URLs; also in JSON that is a text in JSON."""
    escaped = {text}
    for _ in range(2):
        escaped |= {form for each in escaped for form in _escaped(each)}
    quoted = {quote_plus(text, safe, errors="surrogatepass") for safe in ("", "/")}
    quoted |= {each.replace("+", "%20") for each in quoted}  # a plus of the text is %2B by now
    return escaped | quoted | {_PERCENT.sub(lambda match: match[0].lower(), each) for each in quoted}


def _escaped(text: str) -> tuple[str, ...]:
    raw = text.encode("utf-8", "surrogatepass")
    # Beside a double quote, `repr` escapes single ones.
    both_quotes = repr(f'{text}"')[1:-2]
    return (
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        repr(text)[1:-1],
        both_quotes,
        repr(raw)[2:-1],
    )


def redact(text: str) -> str:
    """`text` without any expanded value and without passwords in URLs."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _URL_PASSWORD.sub(rf"\g<head>{HIDDEN}", text)


def leaks(text: str) -> bool:
    """Whether `text` holds something that `redact` would hide."""
    return redact(text) != text


def _expand_text(text: str, place: str, environ: Mapping[str, str]) -> str:
    def value_of(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        value = environ.get(match["name"], match["default"])
        if value is None:
            raise MissingVariable(match["name"], place)
        if match["name"] in environ:
            hide(value)
        return value

    expanded = _VARIABLE.sub(value_of, text)
    if expanded != text and "://" in expanded:
        hide(expanded)
    return expanded
