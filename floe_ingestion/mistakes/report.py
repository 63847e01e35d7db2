"""The mistakes of one configuration while they are found: each with its line, none hidden by another."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from floe_ingestion.errors import ConfigurationError, Problem
from floe_ingestion.mistakes.problems import mistakes
from floe_ingestion.mistakes.sentences import Mistake, about_variable
from floe_ingestion.mistakes.yaml_file import YamlFile, YamlPath, is_mapping, leaves, shown

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Validated(Generic[Model]):
    """What came of the data of one place."""

    model: Model | None
    """None where the data has mistakes."""
    data: Any
    """As the file has it, but for unknown keys: renamed to what was probably meant, or gone."""


class Report:
    """Collects what is wrong with a file, or with data that was passed in Python under the name `name`.

    `close` raises it all as one error.
    """

    def __init__(self, name: str, file: YamlFile | None = None) -> None:
        self.name = name
        self._file = file
        self._problems = list(file.problems) if file else []
        self._unreadable = {problem.path for problem in self._problems}
        self._misspelled: dict[YamlPath, YamlPath] = {}

    def line(self, path: YamlPath) -> int | None:
        """The line of `path` in the file, if there is one."""
        return self._file.line(self._as_written(path)) if self._file else None

    def where(self, path: YamlPath) -> str:
        """Where `path` stands, for a sentence about something else."""
        line = self.line(path)
        return f"line {line}" if line else shown(self._as_written(path))

    def add(self, path: YamlPath, message: str) -> None:
        """Note a mistake at `path`; not twice, nor where YAML itself could make nothing of the value."""
        path = self._as_written(path)
        problem = Problem(shown(path), message, self._file.line(path) if self._file else None)
        if problem not in self._problems and problem.path not in self._unreadable:
            self._problems.append(problem)

    def check_variables(self, data: Any, at: YamlPath) -> None:
        """Note each text in `data` of `at` that looks like a variable and is none."""
        for path, value in leaves(data, at):
            if isinstance(value, str) and (mistake := about_variable(value)) is not None:
                self.add(path, mistake)

    def validated(
        self,
        model: type[Model],
        data: Any,
        at: YamlPath,
        despite: Collection[str] = (),
        expanded: bool = True,
    ) -> Validated[Model]:
        """`data` of `at` as a `model`, all that is wrong with it noted.

        An unknown key is noted and then read as the known one it resembles, or left out, so that it hides
        no other mistake. Mistakes at the keys `despite` are noted and keep no model from being returned, but
        without these keys. What is not `expanded` yet may hold variables, of which only the run can tell.
        """
        guessed: set[YamlPath] = set()
        while True:
            try:
                return Validated(model.model_validate(data), data)
            except ValidationError as error:
                found = mistakes(error, model, data, at, self._written)
            found = [each for each in found if expanded or not _is_variable(data, each.path)]
            repaired, renamed = _repaired(data, found, guessed)
            for each in found:
                if (each.is_unknown_key or repaired is None) and not _is_about(each.path, guessed):
                    self.add((*at, *each.path), each.message)
            guessed.update(renamed)
            self._misspelled.update({(*at, *new): (*at, *old) for new, old in renamed.items()})
            if repaired is None:
                return Validated(_without(model, data, [each.path for each in found], despite), data)
            data = repaired

    def close(self) -> None:
        """Raise the one `ConfigurationError`, if there is any mistake."""
        if self._problems:
            raise ConfigurationError.of_file(self.name, self._problems)

    def _as_written(self, path: YamlPath) -> YamlPath:
        for end in range(len(path), 0, -1):
            if path[:end] in self._misspelled:
                *parent, key = self._misspelled[path[:end]]
                return (*self._as_written(tuple(parent)), key, *path[end:])
        return path

    def _written(self, path: YamlPath) -> str | None:
        return self._file.written(path) if self._file else None


def _repaired(
    data: Any, found: Iterable[Mistake], guessed: Collection[YamlPath]
) -> tuple[Any | None, dict[YamlPath, YamlPath]]:
    """`data` without unknown keys, each renamed to what was probably meant; None if it has none.

    Beside it the renamed paths, with what was written there. A guess that is unknown again is left out, so
    that this comes to an end.
    """
    repaired, changed = copy.deepcopy(data), False
    renamed: dict[YamlPath, YamlPath] = {}
    for mistake in found:
        parent = _at(repaired, mistake.path[:-1]) if mistake.is_unknown_key else None
        if not is_mapping(parent) or mistake.path[-1] not in parent:
            continue
        changed = True
        value = parent.pop(mistake.path[-1])
        if mistake.meant and mistake.meant not in parent and mistake.path not in guessed:
            parent[mistake.meant] = value
            new = (*mistake.path[:-1], mistake.meant)
            renamed[new] = mistake.path
    return (repaired if changed else None), renamed


def _at(data: Any, path: YamlPath) -> Any:
    for element in path:
        data = data[element]
    return data


def _is_variable(data: Any, path: YamlPath) -> bool:
    try:
        value = _at(data, path)
    except (LookupError, TypeError):  # of a key that is missing
        return False
    return isinstance(value, str) and "${" in value


def _is_about(path: YamlPath, guessed: Collection[YamlPath]) -> bool:
    """Whether a mistake at `path` may come of a guess, in it or in the mapping around it."""
    return any(path[: len(guess)] == guess or path == guess[:-1] for guess in guessed)


def _without(model: type[Model], data: Any, mistaken: Iterable[YamlPath], keys: Collection[str]) -> Model | None:
    """The model of `data` without what is mistaken in it, if that is in no key but `keys`."""
    roots = {path[0] if path else None for path in mistaken}
    if not is_mapping(data) or not roots.issubset(keys):
        return None
    try:
        return model.model_validate({key: value for key, value in data.items() if key not in roots})
    except ValidationError:
        return None
