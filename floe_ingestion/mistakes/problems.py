"""pydantic's errors as mistakes of a file: each once, at its YAML path, in our words (`sentences.py`)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from floe_ingestion.formats import nearest
from floe_ingestion.mistakes.sentences import Found, Mistake, Written, expected, sentence, unknown_key
from floe_ingestion.mistakes.yaml_file import YamlPath, is_list, is_mapping

_NEARLY_THE_SAME = 0.85
"""How alike two keys are where a letter or two is wrong (`tables`, `table`)."""


def mistakes(
    error: ValidationError, model: type[BaseModel], data: Any, at: YamlPath, written: Written
) -> list[Mistake]:
    """What is wrong with `data`, which stands at `at` in the file and should have been a `model`.

    The paths of the mistakes begin at `data`.
    """
    found = _chosen([_located(each, data) for each in error.errors(include_url=False)])
    # pydantic counts no item that is wrong: a list of those is not too short.
    found = [each for each in found if each.kind != "too_short" or not _is_around(each.path, found)]
    return [_mistake(each, model, data, at, written) for each in found]


def _is_around(path: YamlPath, found: Iterable[Found]) -> bool:
    return any(len(each.path) > len(path) and each.path[: len(path)] == path for each in found)


def _mistake(found: Found, model: type[BaseModel], data: Any, at: YamlPath, written: Written) -> Mistake:
    fields = _fields(model, found)
    if found.kind != "extra_forbidden":
        return Mistake(found.path, sentence(found, fields, data, at, written))
    key = str(found.path[-1])
    misspelled = difflib.get_close_matches(key, fields, cutoff=_NEARLY_THE_SAME)
    homes = [] if misspelled else [name for name, info in fields.items() if _knows(info, key)]
    return Mistake(found.path, unknown_key(key, fields, homes), True, None if homes else nearest(key, fields))


def _knows(field: FieldInfo, key: str) -> bool:
    """Whether what stands at a field is a mapping that has `key`."""
    return any(_is_model(kind) and key in _keys(kind) for kind in _members(field.annotation))


def _located(error: Any, data: Any) -> Found:
    """`error` with its path in the data: of pydantic's `loc`, what is no key is the member of a union."""
    path: YamlPath = ()
    branches: list[tuple[YamlPath, str]] = []
    absent = len(error["loc"]) - 1 if error["type"] in ("missing", "extra_forbidden") else None
    for index, element in enumerate(error["loc"]):
        if _holds(data, element):
            path, data = (*path, element), data[element]
        elif index == absent:
            path = (*path, element)
        else:
            branches.append((path, str(element)))
    kind, context = error["type"], error.get("ctx", {})
    return Found(path, kind, error["input"], context, error["msg"], tuple(branches), expected(kind, context))


def _holds(data: Any, element: str | int) -> bool:
    if is_list(data):
        return isinstance(element, int) and element < len(data)
    return is_mapping(data) and element in data


def _chosen(found: Iterable[Found], depth: int = 0) -> list[Found]:
    """Of each union only the member that fits best, or one error that names what all of them expect."""
    chosen: list[Found] = []
    unions: dict[YamlPath, dict[str, list[Found]]] = {}
    for each in found:
        if len(each.branches) > depth:
            place, member = each.branches[depth]
            unions.setdefault(place, {}).setdefault(member, []).append(each)
        else:
            chosen.append(each)
    for place, members in unions.items():
        fitting = [errors for errors in members.values() if not _is_mismatch(errors, place)]
        if fitting:
            best: list[Found] = min([_chosen(errors, depth + 1) for errors in fitting], key=len)
            chosen += best
        else:
            every = [each for errors in members.values() for each in errors]
            words = dict.fromkeys(word for each in every for word in each.expected)
            chosen.append(replace(every[0], expected=tuple(words)))
    return chosen


def _is_mismatch(errors: list[Found], place: YamlPath) -> bool:
    """Whether a member of a union could not even begin with what it met."""
    return all(each.path == place and each.expected for each in errors)


def _fields(model: type[BaseModel], found: Found) -> dict[str, FieldInfo]:
    """The keys that the model knows around `found`; those of all members where a union stands there."""
    labels = {label for _, label in found.branches}
    kinds: list[Any] = [model]
    for element in found.path[:-1]:
        kinds = [inner for kind in _entered(kinds, labels) for inner in _inner(kind, element)]
    models = [kind for kind in _entered(kinds, labels) if _is_model(kind)]
    # What is excluded is given by the run, and no key of the file.
    return {name: info for kind in models for name, info in _keys(kind).items() if not info.exclude}


def _entered(kinds: list[Any], labels: set[str]) -> list[Any]:
    """Of the members of a union those that pydantic says it tried; all of them where it names none."""
    entered = [kind for kind in kinds if _is_model(kind) and (kind.__name__ in labels or labels & _tags(kind))]
    return entered or kinds


def _inner(kind: Any, element: str | int) -> Iterator[Any]:
    """The types that may stand at `element` of a value of type `kind`."""
    if _is_model(kind):
        if element in _keys(kind):
            yield from _members(_keys(kind)[str(element)].annotation)
    elif arguments := [argument for argument in get_args(kind) if argument is not Ellipsis]:
        yield from _members(arguments[-1])  # of a mapping its values, of a list its items


def _members(annotation: Any) -> Iterator[Any]:
    """The types that `annotation` allows, one by one."""
    if hasattr(annotation, "__value__"):  # type X = …
        yield from _members(annotation.__value__)
    elif get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    else:
        yield annotation


def _keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _tags(model: type[BaseModel]) -> set[str]:
    """The words that may tell this model from the others of its union (`type: bearer`)."""
    annotations = [info.annotation for info in model.model_fields.values()]
    literals = [annotation for annotation in annotations if get_origin(annotation) is Literal]
    return {str(word) for literal in literals for word in get_args(literal)}


def _is_model(kind: Any) -> bool:
    # To Python 3.10, list[int] is a type as well, and issubclass refuses it.
    return get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, BaseModel)
