"""The options of a connector as Markdown tables, made from its model: what the docs and the command line show."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from datetime import date
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from floe_ingestion.sources.base import ResourceSpec, SourceConnector
from floe_ingestion.spec import ColumnSpec, ContractSpec, IncrementalSpec

_HEAD = "| key | what it is | default | |\n|---|---|---|---|"
_PAGE = "../floe_yaml.md"
_ELSEWHERE: Mapping[type[BaseModel], str] = {
    ColumnSpec: f"[a type]({_PAGE}#what-may-change)",
    ContractSpec: f"[a contract]({_PAGE}#what-may-change)",
    IncrementalSpec: f"[a cursor]({_PAGE}#from-where-on)",
}
"""What is the same for every connector, and described where that is said."""
_PLAIN: Mapping[type, str] = {
    bool: "true or false",
    str: "text",
    int: "whole number",
    float: "number",
    date: "date",
    object: "anything",
}


def options_of(connector: type[SourceConnector]) -> str:
    """A table of the keys of `config`, and one of each model below it, with its place as heading."""
    parts: list[str] = []
    for place, model in _models(connector):
        if place:
            parts += [f"### `{place}`", *([_first_line(model)] if _first_line(model) else [])]
        parts.append(_table(model))
    return "\n\n".join(parts) + "\n"


def _models(connector: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """The connector's model and those below it, each once, with the place where it may stand first."""
    waiting: list[tuple[str, type[BaseModel]]] = [("", connector)]
    met: set[type[BaseModel]] = set()
    while waiting:
        place, model = waiting.pop(0)
        if model in met:
            continue
        met.add(model)
        if list(_rows(model)):
            yield place, model
        for name, info in _fields(model).items():
            at = f"{place}.{name}" if place else name
            waiting += [(f"{at}{_tag(inner)}", inner) for inner in _inner(info)]


def _tag(model: type[BaseModel]) -> str:
    """How a model says which of several it is, where it does: ` (type: bearer)`."""
    info = model.model_fields.get("type") or model.model_fields.get("format")
    if info is None or get_origin(info.annotation) is not Literal:
        return ""
    key = "type" if "type" in model.model_fields else "format"
    return f" ({key}: {get_args(info.annotation)[0]})"


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields by their keys, but for those that every resource has."""
    shared = ResourceSpec.model_fields.keys() if model is not ResourceSpec and issubclass(model, ResourceSpec) else ()
    own = {name for each in model.__mro__ if each is not ResourceSpec for name in inspect.get_annotations(each)}
    return {info.alias or name: info for name, info in model.model_fields.items() if name not in shared or name in own}


def _table(model: type[BaseModel]) -> str:
    return "\n".join([_HEAD, *_rows(model)])


def _rows(model: type[BaseModel]) -> Iterator[str]:
    told = _told(model)
    names = {info.alias or name: name for name, info in model.model_fields.items()}
    for key, info in _fields(model).items():
        what, default, meaning = _words(info.annotation), _default(info), told.get(names[key], "")
        yield f"| `{key}` | {_cell(what)} | {default} | {_cell(meaning)} |"


def _first_line(model: type[BaseModel]) -> str:
    return (inspect.getdoc(model) or "").partition("\n")[0]


def _told(model: type[BaseModel]) -> dict[str, str]:
    """What stands as a docstring below each field."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not issubclass(each, BaseModel) or each is BaseModel:
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[ast.unparse(field.target)] = " ".join(str(after.value.value).split())
    return found


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined or isinstance(value, BaseModel) or value in ((), {}, ""):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{word}`" for word in arguments)
    if origin in (Union, UnionType):
        words = dict.fromkeys(_words(each) for each in arguments if each is not type(None))
        return " or ".join(words)
    if origin is tuple:
        return f"list of {_words(arguments[0])}"
    if origin is not None:  # a mapping
        return "mapping"
    if isinstance(annotation, type):
        if annotation in _ELSEWHERE:
            return _ELSEWHERE[annotation]
        if issubclass(annotation, BaseModel):
            return "mapping, below"
        return next((word for type_, word in _PLAIN.items() if issubclass(annotation, type_)), "text")
    return "anything"


def _inner(info: FieldInfo) -> Iterator[type[BaseModel]]:
    """The models that a field may hold, but for those that are described elsewhere."""

    def walk(annotation: Any) -> Iterator[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in _ELSEWHERE:
            yield annotation
        for inner in get_args(annotation):
            yield from walk(inner)

    yield from walk(info.annotation)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
