"""What is said about a mistake: what was met, and what to write instead.

Never a value that may be a secret: by the keys that lead to a value it is told whether it can be shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from pydantic.fields import FieldInfo

from floe_ingestion.formats import did_you_mean, shortened
from floe_ingestion.mistakes.yaml_file import YamlPath, is_list, is_mapping, leaves
from floe_ingestion.secrets import HIDDEN, SHORTEST_SECRET, redact

Written = Callable[[YamlPath], "str | None"]
"""Gives the text of a value before YAML made something else of it."""

_SECRET_KEY = re.compile(
    r"connection_string|passw|pwd|token|credential|secret|api_?key|private_?key|access_?key|headers|authorization",
    re.IGNORECASE,
)
_DOLLARS = re.compile(r"\$\$|\$\{[A-Za-z_]\w*(?::-[^}]*)?\}|(?P<open>\$\{)|\A\$(?P<name>[A-Z_][A-Z0-9_]*)\Z", re.ASCII)
_LONGEST_SHOWN = 60

_ANY_PAIR = " (`key: value`)"
_MAPPING = f"a mapping{_ANY_PAIR}"
_LIST = "a list"
# What pydantic expected, by the beginning of its error's type.
_EXPECTED = {
    "string_type": "a text",
    "int_": "a whole number",
    "float_": "a number",
    "finite_number": "a number that is finite",
    "bool_": "true or false",
    "datetime_": "a time such as 2024-01-31T06:00:00Z",
    "date_": "a date such as 2024-01-31",
    **dict.fromkeys(["mapping_type", "dict_type", "model_type", "model_attributes_type"], _MAPPING),
    **dict.fromkeys(["list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"], _LIST),
}
_LIMITS = {
    "greater_than_equal": ("ge", "a number of {} or more"),
    "greater_than": ("gt", "a number above {}"),
    "less_than_equal": ("le", "a number of {} or less"),
    "less_than": ("lt", "a number below {}"),
    "string_too_short": ("min_length", "a text of {} or more characters"),
    "string_too_long": ("max_length", "a text of at most {} characters"),
    "string_pattern_mismatch": ("pattern", "a text that matches {}"),
    "too_short": ("min_length", "{} or more of them"),
    "too_long": ("max_length", "at most {} of them"),
}
_PATTERNS = {
    "^https?://": "a URL that begins with http:// or https://",
    "^thrift://": "a URL that begins with thrift://",
}
# In the order in which isinstance tells them apart: true is an int, and a time is a date.
_TYPES = (
    (bool, "true/false"),
    (int, "a whole number"),
    (float, "a number"),
    (datetime, "a time"),
    (date, "a date"),
)


@dataclass(frozen=True)
class Mistake:
    """One mistake in the data of a model, and a sentence about it."""

    path: YamlPath
    message: str
    is_unknown_key: bool = False
    meant: str | None = None
    """The known key that an unknown one is probably a misspelling of."""


@dataclass(frozen=True)
class Found:
    """One of pydantic's errors, with its path in the data."""

    path: YamlPath
    kind: str
    met: Any
    context: Mapping[str, Any]
    said: str
    branches: tuple[tuple[YamlPath, str], ...]
    """Where a union was entered, and by which of its members."""
    expected: tuple[str, ...]
    """The types or words that would have done; empty where the mistake is another."""


def expected(kind: str, context: Mapping[str, Any]) -> tuple[str, ...]:
    """What would have done instead of a value of the wrong type, or of a word that is not known."""
    if kind in ("literal_error", "enum"):
        return (str(context["expected"]),)
    return tuple(words for beginning, words in _EXPECTED.items() if kind.startswith(beginning))


def sentence(found: Found, fields: Mapping[str, FieldInfo], data: Any, at: YamlPath, written: Written) -> str:
    """What was met and what to write instead; `fields` are the keys that are known around it."""
    if found.kind == "missing":
        key = str(found.path[-1])
        examples = fields[key].examples if key in fields else None
        return f"is missing; write `{key}: {examples[0] if examples else '…'}`"
    if found.kind in ("value_error", "assertion_error"):
        return scrubbed(str(found.context["error"]).rstrip("."), data, at)
    if found.kind in ("union_tag_invalid", "union_tag_not_found"):
        return _about_tag(found)
    about, last = _about_value(found, data, at, written), str(found.path[-1]) if found.path else ""
    examples = fields[last].examples if last in fields else None
    return about.replace(_ANY_PAIR, f", such as `{last}: {examples[0]}`") if examples else about


def unknown_key(key: str, known: Iterable[str], homes: Sequence[str] = ()) -> str:
    """A sentence on a key that nobody reads; `homes` are keys beside it whose mappings would have it."""
    keys = sorted(known)
    hint = f" Write it inside of {' or '.join(map(repr, homes))}." if homes else did_you_mean(key, keys)
    return f"is no known key.{hint}" + (f" Known keys: {', '.join(keys)}" if keys else "")


def about_variable(text: str) -> str | None:
    """A sentence on a text that looks like a variable and is none: the run would take it as it is."""
    for match in _DOLLARS.finditer(text):
        if match["open"]:
            return "holds a `${` that begins no variable. Write `${NAME}` or `${NAME:-default}`; `$$` is a dollar sign"
        if name := match["name"]:
            return f"is no variable without braces. Write `${{{name}}}`; `$${name}` is that text itself"
    return None


def is_secret(path: YamlPath) -> bool:
    """Whether what stands at `path` may be a secret, by the keys that lead there."""
    return any(isinstance(key, str) and _SECRET_KEY.search(key) for key in path)


def _met(value: Any, hidden: bool) -> str:
    """`value` and its type as a person would say it; `hidden` leaves the value out."""
    if value is None:
        return "empty"
    if is_mapping(value) or is_list(value):
        what = "mapping" if is_mapping(value) else "list"
        return f"a {what}" if value else f"an empty {what}"
    if value == "":
        return "an empty text"
    if isinstance(value, str):
        return "a text" if hidden else repr(shortened(redact(value), _LONGEST_SHOWN))
    name = next((name for kind, name in _TYPES if isinstance(value, kind)), "something else")
    return name if hidden else f"{str(value).lower() if isinstance(value, bool) else value} ({name})"


def _about_value(found: Found, data: Any, at: YamlPath, written: Written) -> str:
    path = (*at, *found.path)
    instead = _either(found.expected) or _limit(found)
    # A text in the place of a mapping may be anything, such as a whole connection string.
    hidden = is_secret(path) or (isinstance(found.met, str) and instead in (_MAPPING, _LIST))
    if not instead:
        said = scrubbed(found.said, data, at).removeprefix("Input should be ")
        return f"is {_met(found.met, hidden)}; write {said[:1].lower()}{said[1:]}"
    about = f"is {_met(found.met, hidden)}; write {instead}"
    if isinstance(found.met, str):
        return about if hidden else _with_hint(about, found)
    if found.expected == ("a text",) and isinstance(found.met, (int, float, date)):
        text = None if hidden else written(path)
        return f"{about}: put it in quotes" + (f", '{text}'" if text else "")
    return about


def _with_hint(about: str, found: Found) -> str:
    if "${" in found.met:
        return f"{about}. A variable is a text until the run"
    hint = did_you_mean(found.met, re.findall(r"'([^']*)'", " ".join(found.expected)))
    return f"{about}.{hint}" if hint else about


def _about_tag(found: Found) -> str:
    """On a mapping whose `type`, or the like, says which keys it may have."""
    key = str(found.context["discriminator"]).strip("'")
    known = re.findall(r"'([^']*)'", str(found.context.get("expected_tags", "")))
    tag = found.context.get("tag")
    if tag is None:
        return f"does not say its `{key}`; write `{key}: …`"
    about, hint = f"has the {key} {tag!r}; write {_either(map(repr, known))}", did_you_mean(str(tag), known)
    return f"{about}.{hint}" if hint else about


def _limit(found: Found) -> str:
    if found.kind not in _LIMITS:
        return ""
    name, words = _LIMITS[found.kind]
    limit = found.context[name]
    return "a text that is not empty" if found.met == "" else _PATTERNS.get(limit, words.format(limit))


def _either(words: Iterable[str]) -> str:
    *first, last = list(words) or [""]
    return f"{', '.join(first)} or {last}" if first else last


def scrubbed(message: str, data: Any, at: YamlPath) -> str:
    """`message` of a model's own check, without the texts that stand at keys of secrets."""
    texts = [str(value) for path, value in leaves(data, at) if is_secret(path)]
    secrets = [text for text in texts if len(text) >= SHORTEST_SECRET and not text.startswith("${")]
    for secret in sorted(secrets, key=len, reverse=True):
        for text in (secret, repr(secret)[1:-1]):
            message = message.replace(text, HIDDEN)
    return redact(message)
