"""What can go wrong between a plugin's name and a plugin that works.

    PluginError                      of floe_ingestion.errors; all of these know plugin_type and name
    ├── PluginNotFound               nobody registers the name; known
    ├── PluginConflict               several entry points do; distributions
    └── PluginUnusable               one does, and it cannot be used; distribution, value
        ├── PluginModuleMissing      its module does not exist
        ├── PluginImportFailed       its module exists and does not import
        ├── PluginAttributeMissing   its module imports and lacks the attribute
        ├── PluginMistyped           it is no class of the type's contract
        ├── PluginIncompatible       it was written for another API version
        └── PluginNotConstructible   its class cannot be constructed without arguments

Where an exception is the reason, it is the error's `__cause__`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from types import GenericAlias
from typing import TypeGuard

from floe_ingestion.errors import PluginError
from floe_ingestion.plugins.metadata import PluginType


class PluginNotFound(PluginError):
    """Nobody registers this name for this type; `known` maps the names that are to their distributions."""

    def __init__(self, plugin_type: PluginType, name: str, known: Mapping[str, str]) -> None:
        self.plugin_type, self.name, self.known = plugin_type, name, dict(known)
        met = f"No {_title(plugin_type)} plugin is named {name!r}."
        super().__init__(f"{met} {_what_to_write(plugin_type, name, self.known)}")


class PluginConflict(PluginError):
    """Several entry points claim one name of one type; `distributions` are those that do, sorted."""

    def __init__(self, plugin_type: PluginType, name: str, claims: Iterable[EntryPoint]) -> None:
        claimed = sorted((distribution_name(entry), entry.value) for entry in claims)
        self.plugin_type, self.name = plugin_type, name
        self.distributions = tuple(distribution for distribution, _ in claimed)
        by = " and by ".join(f"{distribution} ({value})" for distribution, value in claimed)
        super().__init__(
            f"The {_title(plugin_type)} plugin {name!r} is registered by {by}, and only one may register it. "
            f"Uninstall all but one, or rename an entry point in its group {plugin_type.group}."
        )


class PluginUnusable(PluginError):
    """A registered plugin cannot be used; `value` is what its entry point says, `module:attribute`."""

    def __init__(self, plugin_type: PluginType, entry: EntryPoint, problem: str) -> None:
        self.plugin_type, self.name, self.value = plugin_type, entry.name, entry.value
        self.distribution = distribution_name(entry)
        plugin = f"The {_title(plugin_type)} plugin {self.name!r} of {self.distribution} ({self.value})"
        super().__init__(f"{plugin} {problem}")


class PluginModuleMissing(PluginUnusable):
    """The entry point names a module that does not exist."""

    def __init__(self, plugin_type: PluginType, entry: EntryPoint, missing: str) -> None:
        self.missing = missing
        super().__init__(
            plugin_type,
            entry,
            f"names a module that does not exist: there is no {missing!r}. "
            f"Reinstall {distribution_name(entry)}, or correct its entry point.",
        )


class PluginImportFailed(PluginUnusable):
    """The plugin's module raised while it was imported, perhaps because it lacks a dependency."""

    def __init__(self, plugin_type: PluginType, entry: EntryPoint, cause: Exception) -> None:
        super().__init__(
            plugin_type,
            entry,
            f"does not import: {_said(cause)}. Install what it needs, or report this to its authors.",
        )


class PluginAttributeMissing(PluginUnusable):
    """The plugin's module lacks what the entry point names."""

    def __init__(self, plugin_type: PluginType, entry: EntryPoint) -> None:
        super().__init__(
            plugin_type,
            entry,
            f"is not in its module: {entry.module!r} has no {entry.attr!r}. "
            f"Reinstall {distribution_name(entry)}, or correct its entry point.",
        )


class PluginMistyped(PluginUnusable):
    """The entry point leads to something that is no class of the type's contract."""

    def __init__(self, plugin_type: PluginType, entry: EntryPoint, met: object, expected: type) -> None:
        self.met, self.expected = met, expected
        what = f"the class {met.__qualname__}" if is_class(met) else f"a {type(met).__qualname__}, no class"
        super().__init__(
            plugin_type,
            entry,
            f"is {what}. Every plugin of {plugin_type.group} is a subclass of {expected.__name__}: "
            f"register such a class, or register this under the group of its own type.",
        )


class PluginIncompatible(PluginUnusable):
    """The plugin was written for an API version that this platform does not speak."""

    def __init__(self, plugin_type: PluginType, entry: EntryPoint, met: object, expected: str) -> None:
        self.met, self.expected = met, expected
        major, minor = expected.split(".")
        accepted = f"{major}.0" if minor == "0" else f"{major}.0 to {expected}"
        super().__init__(
            plugin_type,
            entry,
            f"says floe_api_version {met!r}, and this platform speaks {expected!r}: it accepts {accepted}. "
            f"Install a release of {distribution_name(entry)} for {expected}, or another of the platform.",
        )


class PluginNotConstructible(PluginUnusable):
    """The plugin's class raised when it was constructed without arguments and asked for its API version."""

    def __init__(self, plugin_type: PluginType, entry: EntryPoint, cause: Exception) -> None:
        super().__init__(
            plugin_type,
            entry,
            f"cannot be constructed without arguments: {_said(cause)}. "
            f"Implement every abstract method, and take configuration in configure(), not __init__().",
        )


def distribution_name(entry: EntryPoint) -> str:
    """The name of the distribution that registers `entry`, or words that say that it has none."""
    # A dist-info folder without a Name gives None on some Pythons, against the annotation.
    name: str | None = entry.dist.name if entry.dist else None
    return name or "a distribution without a name"


def is_class(met: object) -> TypeGuard[type]:
    """Whether `met` is a class; on Python 3.10, `isinstance(list[int], type)` is true and it is none."""
    return isinstance(met, type) and not isinstance(met, GenericAlias)


def _what_to_write(plugin_type: PluginType, name: str, known: Mapping[str, str]) -> str:
    if not known:
        return f"None is installed: install a distribution with an entry point in {plugin_type.group}."
    installed = ", ".join(f"{each!r} ({known[each]})" for each in sorted(known))
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"Did you mean {close[0]!r}? " if close else ""
    return f"{meant}Installed are {installed}; another needs an entry point in {plugin_type.group}."


def _title(plugin_type: PluginType) -> str:
    return plugin_type.name.lower().replace("_", " ")


def _said(cause: Exception) -> str:
    return f"{type(cause).__name__}: {cause}".rstrip(".")
