"""floe.yaml as a `Spec`: every mistake of the file at once, or none and every table resolved.

Nothing is created, connected, expanded or read from the environment.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from floe_ingestion.choices import check_choices
from floe_ingestion.errors import ConfigurationError, PluginError
from floe_ingestion.formats import nearest
from floe_ingestion.mistakes.report import Model, Report
from floe_ingestion.mistakes.sentences import scrubbed
from floe_ingestion.mistakes.yaml_file import YamlFile, YamlPath, is_list, is_mapping, shown
from floe_ingestion.naming import normalize_identifier
from floe_ingestion.resolution import (
    Resolved,
    check_collisions,
    check_destination,
    check_pools,
    check_source,
    check_triggers,
    distinct,
    resolve,
)
from floe_ingestion.secrets import empty_variables, expand
from floe_ingestion.sources.base import ResourceSpec, SourceConnector
from floe_ingestion.sources.registry import connector_class
from floe_ingestion.spec import DefaultsSpec, PluginsSpec, SourceSpec, Spec, StrictModel
from floe_ingestion.spec_partition_keys import mistake_of_column

SECTIONS = ("plugins", "ingestion")
_Find = Callable[[str], type[SourceConnector]]
_SOURCES: YamlPath = ("ingestion", "sources")
# Keys of a source that have no part in which tables it lands: a mistake there must not hide one elsewhere.
_ASIDE = frozenset(
    {"description", "owners", "tags", "group", "enabled", "schedule", "sensor", "automation", "freshness"}
    | {"retry", "pool", "concurrency", "maintenance", "checks"}
)


class _Section(StrictModel):
    """`ingestion`, whose parts are read one by one."""

    defaults: Any = None
    sources: list[Any] = Field(min_length=1, examples=["[{name: orders, type: rest_api, …}]"])


@dataclass(frozen=True)
class _Entry:
    """One source as far as it could be understood."""

    at: YamlPath
    source: SourceSpec
    tables: tuple[Resolved, ...]


def load_spec(path: str | os.PathLike[str]) -> Spec:
    """The file at `path`, validated and with the tables of each source resolved.

    Raises a `ConfigurationError` with one `Problem` for each mistake: its YAML path and line, what was met
    and what to write instead.
    """
    name = os.fspath(path)
    if not Path(name).is_file():
        raise ConfigurationError(
            f"{name} is not there, or is no file. Write it (an `ingestion:` section with `sources:`), or say "
            f"where it is: `--spec` of a command, or the environment variable FLOE_SPEC."
        )
    file = YamlFile.read(Path(name), name, SECTIONS)
    return spec_of(file.data, Report(name, file), file.top_level_keys)


def spec_of(data: Mapping[str, Any], report: Report, keys: Sequence[str] = ()) -> Spec:
    """The sections `plugins` and `ingestion` of `data` as a spec, called as `report` is; `keys` are all sections.

    Raises a `ConfigurationError` with every mistake.
    """
    name = report.name
    plugins = _plugins(data, keys, report)
    section = _section(data, keys, report)
    at = ("ingestion", "defaults")
    defaults = report.validated(DefaultsSpec, section.get("defaults", {}), at).model or DefaultsSpec()
    entries = _entries(section, defaults, report)
    report.close()
    return Spec(
        path=name,
        plugins=plugins,
        defaults=defaults,
        sources=tuple(_source(entry, defaults, f"{name}: {shown(entry.at)}", report) for entry in entries),
    )


def source_from(source_type: str, destination: str, config: Mapping[str, Any]) -> SourceSpec:
    """A source that was configured in Python, with its tables resolved.

    `destination` is `<schema>.<table>` for one resource or `<schema>` for many. `config` is what floe.yaml
    holds under the source's `config`, or a whole entry of its `sources`: one with a key `config`, such as
    `SourceSpec.as_entry` makes. Raises a `ConfigurationError` with every mistake.
    """
    name = f"create_pipeline({source_type!r})"
    report = Report(name)
    entry: dict[str, Any] = dict(config) if "config" in config else {"config": dict(config)}
    _agree(entry, "type", source_type, report)
    entry.setdefault("name", source_type)
    entry["destination"] = _destination(entry.get("destination", {}), destination, report)
    found = _entry(entry, (), DefaultsSpec(), report)
    report.close()
    assert found is not None
    return _source(found, DefaultsSpec(), name, report)


def connector_of(source: SourceSpec, folder: Path) -> SourceConnector:
    """The connector of `source` for a run: variables are expanded, and relative paths start at `folder`.

    Raises `MissingVariable`, or a `ConfigurationError` that shows no expanded value; pydantic's own error would.
    """
    report, config = Report(source.place), expand(dict(source.config), f"{source.place}.config")
    connector = report.validated(connector_class(source.type), config, ("config",)).model
    if connector is None:
        for name, place in empty_variables(dict(source.config), "config"):
            report.add(("config",), f"the environment variable {name}, which {place} names, is empty. Give it a value")
    report.close()
    assert connector is not None
    return connector.relative_to(folder)


def _destination(given: Any, place: str, report: Report) -> Any:
    if not is_mapping(given):
        return given
    destination, key = dict(given), "table" if "." in place else "schema"
    if given.get("schema") is not None and given.get("table") is None:
        key = "schema"  # a namespace may have dots
    _agree(destination, key, place, report, ("destination",))
    return destination


def _agree(entry: dict[str, Any], key: str, value: str, report: Report, at: YamlPath = ()) -> None:
    """Put the argument `value` into the entry, which may say the same and nothing else."""
    if entry.setdefault(key, value) != value:
        report.add((*at, key), f"is not {value!r}, which was passed as an argument. Leave it out here")


def _plugins(data: Mapping[str, Any], keys: Sequence[str], report: Report) -> PluginsSpec:
    if "plugins" not in data:
        # Other sections are not ours, but plugins passed over would land rows in the default warehouse.
        for key in keys:
            if key not in SECTIONS and nearest(key, ["plugins"]):
                report.add((key,), "is not read. Did you mean 'plugins'?")
    plugins = report.validated(PluginsSpec, data.get("plugins", {}), ("plugins",)).model or PluginsSpec()
    check_choices(plugins, report)
    return plugins


def _section(data: Mapping[str, Any], keys: Sequence[str], report: Report) -> Mapping[str, Any]:
    if "ingestion" not in data:
        near = [key for key in keys if nearest(key, ["ingestion"])]
        instead = f"is it what {near[0]!r} should be?" if near else "write `ingestion:` with `sources:` in it"
        report.add(("ingestion",), f"is missing; {instead}")
        return {}
    section = report.validated(_Section, data["ingestion"], ("ingestion",)).data
    return section if is_mapping(section) else {}


def _entries(section: Mapping[str, Any], defaults: DefaultsSpec, report: Report) -> list[_Entry]:
    sources = section.get("sources")
    if not is_list(sources):
        return []
    # A look at the entry points of all installed packages takes 10 ms.
    find = functools.cache(connector_class)
    places = [(*_SOURCES, index) for index in range(len(sources))]
    found = [_entry(source, at, defaults, report, find) for source, at in zip(sources, places, strict=True)]
    entries = [entry for entry in found if entry is not None]
    _check_names(sources, report)
    check_collisions((table for entry in entries for table in entry.tables), report)
    check_pools(((entry.source, entry.at) for entry in entries), report)
    return entries


def _entry(
    raw: Any, at: YamlPath, defaults: DefaultsSpec, report: Report, find: _Find = connector_class
) -> _Entry | None:
    checked = report.validated(SourceSpec, raw, at, despite=_ASIDE)
    check_destination(raw, at, report)
    check_source(checked.data, at, report)
    connector = _connector(checked.data, at, report, find)
    if connector is None:
        return None
    config = checked.data.get("config", {})
    specs = _resource_specs(connector, config, (*at, "config"), report)
    if specs is None:
        return None
    resources = distinct(specs, config, at, report)
    if checked.model is None:
        return None
    entry = _Entry(at, checked.model, tuple(resolve(checked.model, resources, defaults, at, report)))
    check_triggers(entry.source, entry.tables, connector.lists, at, report)
    if mistake := next(filter(None, (mistake_of_column(each.table) for each in entry.tables)), None):
        report.add((*at, "partitions"), mistake)
    return entry


def _connector(source: Any, at: YamlPath, report: Report, find: _Find) -> type[SourceConnector] | None:
    """What the `type` of the source names; None after a mistake was noted."""
    if not is_mapping(source) or not isinstance(source.get("type"), str):
        return None
    try:
        return find(source["type"])
    except PluginError as error:
        report.add((*at, "type"), str(error).rstrip("."))
        return None


def _resource_specs(
    connector: type[SourceConnector], config: Any, at: YamlPath, report: Report
) -> tuple[ResourceSpec, ...] | None:
    """What the connector makes of `config`; None after its mistakes were noted."""
    if not is_mapping(config):
        return None
    report.check_variables(config, at)
    try:
        configured = report.validated(connector, config, at, despite=_scalars(connector, config)).model
        return configured.resource_specs() if configured else None
    except ConfigurationError as error:
        report.add(at, scrubbed(str(error).rstrip("."), config, at))
        return None


def _scalars(connector: type[SourceConnector], config: Mapping[str, Any]) -> set[str]:
    """Optional keys that hold no resources: mistakes there need not hide those of the tables."""
    optional = {info.alias or name for name, info in connector.model_fields.items() if not info.is_required()}
    return {key for key in optional if not is_list(config.get(key)) and not is_mapping(config.get(key))}


def _check_names(sources: Sequence[Any], report: Report) -> None:
    """Note the names of sources that are equal, or become so when dlt normalises them."""
    first: dict[str, tuple[str, YamlPath]] = {}
    for index, source in enumerate(sources):
        name = source.get("name") if is_mapping(source) else None
        if not isinstance(name, str) or not name.strip():
            continue
        place = (*_SOURCES, index, "name")
        other, other_place = first.setdefault(normalize_identifier(name), (name, place))
        if other_place != place:
            same = "is given twice" if other == name else f"and {other!r} are one name to dlt"
            first_place = report.where(other_place)
            report.add(place, f"{name!r} {same} (the first: {first_place}). Rename one of the sources")


def _source(entry: _Entry, defaults: DefaultsSpec, place: str, report: Report) -> SourceSpec:
    destination = _completed(entry.source.destination, defaults, ("write_disposition", "schema_contract"))
    source = _completed(entry.source, defaults, ("retry", "schedule", "maintenance", "group"))
    source = source.model_copy(update={"destination": destination})
    lines = {each.table.resource: report.line(each.resource) for each in entry.tables}
    return source.resolved(
        place,
        tuple(each.table for each in entry.tables),
        {resource: line for resource, line in lines.items() if line is not None},
    )


def _completed(model: Model, defaults: DefaultsSpec, keys: tuple[str, ...]) -> Model:
    given = {key: getattr(defaults, key) for key in keys if getattr(model, key) is None}
    return model.model_copy(update={key: value for key, value in given.items() if value is not None})
