"""A YAML file as data that knows the line of everything in it.

PyYAML gives either data or positions, keeps the last of two equal keys, and reads the key `no` as false. Here
every key is the text that was written, since all keys are names; two equal keys are a mistake; and what is
wrong with one value does not hide the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import yaml

from floe_ingestion.errors import ConfigurationError, Problem

YamlPath = tuple[str | int, ...]
"""Keys and list positions from the top: `("ingestion", "sources", 0, "name")`."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp"))
_TEXTS = frozenset(_TAG + kind for kind in ("merge", "value"))  # `<<` and `=`, where they are values
_Entries = dict[str | int, tuple[int, yaml.Node]]
"""The children of a node, each with its line: that of its key, where it has one."""
_PLAIN_KEY = re.compile(r"[\w-]+")


class _Unreadable:
    """Stands in the data where YAML could make nothing of a value: it is there, and fits nowhere."""


class YamlFile:
    """Sections of a YAML file: `data`, the `problems` of the YAML itself, and where everything stands.

    Other sections are not looked at: they may hold tags that only their owners know. With a `line` it is a file of
    Dagster's components (`defs.yaml`), and the sections stand under `attributes` of the document around that line.
    """

    def __init__(self, name: str, text: str, sections: tuple[str, ...], line: int | None = None) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self._names = sections
        self._entries: dict[int, _Entries] = {}
        self._values: dict[int, Any] = {}
        self._open: set[int] = set()
        if line is None:
            self._loader, self._root = _composed(name, text)
        else:
            self._loader, self._root = _attributes(text, line)
        self.data: dict[str, Any] = self._sections()

    @classmethod
    def read(cls, path: Path, name: str, sections: tuple[str, ...]) -> YamlFile:
        """The file at `path`, called `name` in messages; raises `ConfigurationError` if it cannot be read."""
        try:
            return cls(name, path.read_bytes().decode("utf-8"), sections)
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            problem = Problem("", "is not UTF-8 text. Save it as UTF-8", line)
            raise ConfigurationError.of_file(name, [problem]) from error
        except RecursionError as error:
            problem = Problem("", "is nested too deeply to be read. Nest less")
            raise ConfigurationError.of_file(name, [problem]) from error
        except OSError as error:
            raise ConfigurationError(f"{name} cannot be read: {error.strerror}.") from error

    def line(self, path: YamlPath) -> int | None:
        """The line of `path`, or of the nearest thing around it that is there."""
        node, line = self._root, None
        for element in path:
            line_and_node = self._entries.get(id(node), {}).get(element)
            if line_and_node is None:
                break
            line, node = line_and_node
        return line

    def written(self, path: YamlPath) -> str | None:
        """What stands at `path` in the file, before YAML made something else of it (`no`, `007`)."""
        node = self._root
        for element in path:
            if element not in self._entries.get(id(node), {}):
                return None
            node = self._entries[id(node)][element][1]
        return node.value if isinstance(node, yaml.ScalarNode) else None

    def _sections(self) -> dict[str, Any]:
        if self._root is None:
            return {}
        if not isinstance(self._root, yaml.MappingNode):
            problem = Problem("", "is no mapping. Write sections, such as `ingestion:`", _line(self._root))
            raise ConfigurationError.of_file(self.name, [problem])
        entries = self._entries_of(self._root, ())
        return {name: self._value(entries[name][1], (name,)) for name in self._names if name in entries}

    @property
    def top_level_keys(self) -> tuple[str, ...]:
        """All sections of the file, of whoever they are."""
        if not isinstance(self._root, yaml.MappingNode):
            return ()
        pairs: list[tuple[yaml.Node, yaml.Node]] = self._root.value
        return tuple(str(key.value) for key, _ in pairs)

    def _value(self, node: yaml.Node, path: YamlPath) -> Any:
        if id(node) in self._open:
            return self._found(path, "holds itself, by an anchor (&) and an alias (*)", node)
        if id(node) not in self._values:
            self._open.add(id(node))
            self._values[id(node)] = self._new_value(node, path)
            self._open.remove(id(node))
        return self._values[id(node)]

    def _new_value(self, node: yaml.Node, path: YamlPath) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            entries = self._entries_of(node, path)
            return {key: self._value(child, (*path, key)) for key, (_, child) in entries.items()}
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            self._entries[id(node)] = {index: (_line(child), child) for index, child in enumerate(node.value)}
            return [self._value(child, (*path, index)) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _TEXTS:
            return node.value
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node, path)
        return self._found(path, "has a YAML tag (!…). Write the value without it", node)

    def _scalar(self, node: yaml.ScalarNode, path: YamlPath) -> Any:
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError, AttributeError):  # 2024-02-31; the others are what `!!bool x` meets
            met = f"looks like a {node.tag.removeprefix(_TAG)} and is none"
            return self._found(path, f"{met}. Correct it, or put it in quotes", node)

    def _entries_of(self, node: yaml.MappingNode, path: YamlPath) -> _Entries:
        if id(node) not in self._entries:
            self._entries[id(node)] = {**self._merged(node, path), **self._own(node, path)}
        return self._entries[id(node)]

    def _own(self, node: yaml.MappingNode, path: YamlPath) -> _Entries:
        entries: _Entries = {}
        for key, child in node.value:
            if key.tag == _TAG + "merge" or self._is_foreign(key, node):
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._found(path, "has a key that is no text. Write `key: value`", key)
            elif key.value in entries:
                message = f"is written twice, first in line {entries[key.value][0]}. Keep one of them"
                self._found((*path, key.value), message, key)
            else:
                entries[key.value] = (_line(key), child)
        return entries

    def _merged(self, node: yaml.MappingNode, path: YamlPath) -> _Entries:
        """What `<<: *anchor` brings; of several anchors the first one wins."""
        entries: _Entries = {}
        for key, child in node.value:
            if key.tag != _TAG + "merge":
                continue
            for anchored in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                if isinstance(anchored, yaml.MappingNode) and id(anchored) not in self._open:
                    self._open.add(id(anchored))
                    entries = {**self._entries_of(anchored, path), **entries}
                    self._open.remove(id(anchored))
                else:
                    self._found(path, "merges (<<) itself, or something that is no mapping", key)
        return entries

    def _is_foreign(self, key: yaml.Node, node: yaml.Node) -> bool:
        return node is self._root and key.value not in self._names

    def _found(self, path: YamlPath, message: str, node: yaml.Node) -> _Unreadable:
        self.problems.append(Problem(shown(path), message, _line(node)))
        return _Unreadable()


def is_mapping(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether `value` is what YAML makes of a mapping."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether `value` is what YAML makes of a list, or what Python code writes for one."""
    return isinstance(value, (list, tuple))


def leaves(data: Any, at: YamlPath) -> Iterator[tuple[YamlPath, Any]]:
    """Whatever in `data`, which stands at `at`, is neither a mapping nor a list, with its path."""
    if is_mapping(data):
        for key, value in data.items():
            yield from leaves(value, (*at, key))
    elif is_list(data):
        for index, value in enumerate(data):
            yield from leaves(value, (*at, index))
    else:
        yield at, data


def shown(path: YamlPath) -> str:
    """`path` as a person writes it: `ingestion.sources[0].name`."""
    text = ""
    for element in path:
        if isinstance(element, int):
            text += f"[{element}]"
        elif _PLAIN_KEY.fullmatch(element):
            text += f".{element}" if text else element
        else:
            text += f"[{element!r}]"
    return text


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _composed(name: str, text: str) -> tuple[yaml.SafeLoader, yaml.Node | None]:
    try:
        loader = yaml.SafeLoader(text)
        return loader, loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError.of_file(name, [_syntax_problem(error)]) from None
    except yaml.reader.ReaderError as error:
        message = f"holds the character {chr(error.character)!a}, which YAML forbids. Remove it"
        line = text.count("\n", 0, error.position) + 1
        raise ConfigurationError.of_file(name, [Problem("", message, line)]) from None


def _attributes(text: str, line: int) -> tuple[yaml.SafeLoader, yaml.Node | None]:
    """What stands under `attributes` in the document around `line`; None where there is none."""
    loader, found = yaml.SafeLoader(text), None
    while loader.check_node():
        node = loader.get_node()
        if node is not None and (found is None or _line(node) <= line):
            found = node
    pairs = found.value if isinstance(found, yaml.MappingNode) else []
    return loader, next((value for key, value in pairs if key.value == "attributes"), None)


# PyYAML's words for what goes wrong, and ours; the first that fits.
_SYNTAX = (
    ("found undefined alias", "a value that begins with * has to stand in quotes"),
    ("found duplicate anchor", "an anchor (&) is given twice"),
    (r"found character '\\t'", "a tab indents the line. Use spaces"),
    ("that cannot start any token", "a value that begins with this character has to stand in quotes"),
    (
        "mapping values are not allowed",
        "the line has a second `:`, or another indentation than the last, or a `:` before it has no space",
    ),
    ("found another document", "a second document begins (---). Keep one"),
    ("found '<stream end>'", "the file ends here, and a bracket that was opened before is not closed"),
    ("end of stream|<stream end>", "a quote or bracket is opened here and never closed"),
    (r"but got '\{'", 'inside {…} and […], a variable has to stand in quotes: "${VARIABLE}"'),
    ("expected ',' or", "a comma is missing here, or a bracket that was opened before is not closed"),
    (r"but found '[]}]'", "a bracket is closed here and was never opened"),
    ("but found '<scalar>'", "more text stands behind a value in quotes. Put the whole value in quotes"),
    (
        "while parsing a block|could not find expected ':'",
        "the line is indented otherwise than those it goes with, or its `:` has no space behind it",
    ),
)


def _syntax_problem(error: yaml.MarkedYAMLError) -> Problem:
    """A sentence without the text of the file, which may hold a secret."""
    said = f"{error.context}: {error.problem}"
    mark = error.problem_mark or error.context_mark
    if error.context_mark and re.search("end of stream|<stream end>", said):
        mark = error.context_mark
    quoted = re.sub(r"'[^' ]{2,}'", "…", str(error.problem))
    words = next((ours for theirs, ours in _SYNTAX if re.search(theirs, said)), quoted)
    column = f" at column {mark.column + 1}" if mark else ""
    return Problem("", f"is no YAML{column}: {words}", mark.line + 1 if mark else None)
