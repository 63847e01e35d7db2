"""From a source and its resources to the tables they land in, and what only shows when these are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from floe_ingestion.formats import BOTH_PLACES, valid_table_part
from floe_ingestion.mistakes.report import Report
from floe_ingestion.mistakes.yaml_file import YamlPath, is_list, is_mapping
from floe_ingestion.naming import normalize_identifier
from floe_ingestion.sources.base import ResourceSpec
from floe_ingestion.spec import (
    ColumnSpec,
    ContractSpec,
    DefaultsSpec,
    DestinationSpec,
    IncrementalSpec,
    SourceSpec,
    TableSpec,
)
from floe_ingestion.spec_checks import mistake_of_check, mistake_of_gates

_BESIDE_PARTITIONS = "stands beside `partitions`, and the window of a partition takes its place. Remove one"
_BESIDE_REPLACE = (
    "stands beside `write_disposition: replace`, which would drop every older row. "
    "Write `append` or `merge`, or remove `incremental`"
)


@dataclass(frozen=True)
class Resolved:
    """A table, and the places in the file that decide about it."""

    table: TableSpec
    resource: YamlPath
    """Where the resource stands."""
    incremental: YamlPath
    """Where its cursor stands, if it has one."""


def distinct(
    resources: Sequence[ResourceSpec], config: Mapping[str, Any], at: YamlPath, report: Report
) -> list[tuple[ResourceSpec, YamlPath]]:
    """The resources of the source at `at`, each with its place, but for those whose name another has."""
    places = [_place(config, index, resource.name, at) for index, resource in enumerate(resources)]
    if not resources:
        report.add((*at, "config"), "names nothing to load. Name at least one resource")
    return list(_distinct(zip(resources, places, strict=True), report))


def resolve(
    source: SourceSpec,
    resources: Sequence[tuple[ResourceSpec, YamlPath]],
    defaults: DefaultsSpec,
    at: YamlPath,
    report: Report,
) -> list[Resolved]:
    """Where each resource of the source at `at` lands; without what mistakes concern, after noting these."""
    found: list[Resolved] = []
    for resource, place in resources:
        name = _table_name(source.destination, resource, place, report)
        if name is not None:
            table = _table(source, resource, defaults, name, alone=len(resources) == 1)
            own = resource.incremental is not None
            found.append(Resolved(table, place, (*place, "incremental") if own else (*at, "incremental")))
    _check_names_of_one_table(source.destination, [resource for resource, _ in resources], at, report)
    if mistake := source.destination.mistake_of_merge({each.table.write_disposition for each in found}):
        report.add((*at, "destination"), mistake)
    _check_cursors(found, report)
    _check_checks(source, resources, found, at, report)
    return found


def check_destination(data: Any, at: YamlPath, report: Report) -> None:
    """Note a destination with two places, whatever else is wrong with it."""
    destination = data.get("destination") if is_mapping(data) else None
    if is_mapping(destination) and destination.get("table") and destination.get("schema"):
        report.add((*at, "destination"), BOTH_PLACES)


def check_source(data: Any, at: YamlPath, report: Report) -> None:
    """Note what the keys of a source alone tell about its cursor, whatever else is wrong with it."""
    destination = data.get("destination") if is_mapping(data) else None
    if not is_mapping(destination) or not is_mapping(data.get("incremental")):
        return
    if data.get("partitions") is not None:
        report.add((*at, "incremental"), _BESIDE_PARTITIONS)
        return
    overridden = _mentions(data.get("config"), "write_disposition")
    if destination.get("write_disposition") == "replace" and not overridden:
        report.add((*at, "incremental"), _BESIDE_REPLACE)


def check_collisions(found: Iterable[Resolved], report: Report) -> None:
    """Note each table that another resource lands in already, of whatever source."""
    first: dict[str, Resolved] = {}
    for each in found:
        # Catalogs such as Glue and Hive tell no case apart.
        other = first.setdefault(str(each.table).lower(), each)
        if other is not each:
            who = f"resource {other.table.resource!r} of source {other.table.source!r}"
            report.add(
                each.resource,
                f"lands in {each.table}, and so does {who} ({report.where(other.resource)}). "
                f"Give one of them another `table` or `schema`",
            )


def check_triggers(source: SourceSpec, found: Iterable[Resolved], lists: bool, at: YamlPath, report: Report) -> None:
    """Note what would never start a load of `source`, or would load the same rows again and again."""
    if source.automation is not None and source.automation.condition == "on_missing" and source.partitions is None:
        report.add(
            (*at, "automation"),
            "is `on_missing`, which loads new partitions, and the source has no `partitions`. "
            "Write `on_cron` with a `cron`, or a `schedule`",
        )
    if source.sensor is None:
        return
    if not lists:
        report.add((*at, "sensor"), f"looks for new files, and {source.type} has none. Write a `schedule`")
    elif source.partitions is not None:
        report.add((*at, "sensor"), "cannot tell which partition a new file belongs to. Remove it, or `partitions`")
    elif again := [str(each.table) for each in found if _loads_again(each.table)]:
        report.add(
            (*at, "sensor"),
            f"would append every file again with each new one to {', '.join(again)}. Write `incremental: "
            f"{{cursor_path: modification_date}}`, or another `write_disposition`",
        )


def _loads_again(table: TableSpec) -> bool:
    return table.write_disposition == "append" and table.incremental is None


def check_pools(found: Iterable[tuple[SourceSpec, YamlPath]], report: Report) -> None:
    """Note each source that wants another `concurrency` than another source of the same pool."""
    first: dict[str, tuple[SourceSpec, YamlPath]] = {}
    for source, at in found:
        if source.concurrency is None:
            continue
        other, place = first.setdefault(source.pool_name, (source, at))
        if other.concurrency != source.concurrency:
            report.add(
                (*at, "concurrency"),
                f"is {source.concurrency}, and {other.name!r} ({report.where((*place, 'concurrency'))}) gives the same "
                f"pool {source.pool_name!r} a limit of {other.concurrency}. Write it once, or name another `pool`",
            )


def _place(config: Mapping[str, Any], index: int, name: str, at: YamlPath) -> YamlPath:
    """Where the resource stands in its connector's configuration, which may list resources under any key."""
    for key, items in config.items():
        if is_list(items) and index < len(items):
            item = items[index]
            if name in (item, item.get("name") if is_mapping(item) else None):
                return (*at, "config", key, index)
    return (*at, "config")


def _distinct(
    resources: Iterable[tuple[ResourceSpec, YamlPath]], report: Report
) -> Iterator[tuple[ResourceSpec, YamlPath]]:
    """The resources whose names stay apart when dlt normalises them."""
    first: dict[str, tuple[int, str, YamlPath]] = {}
    for index, (resource, place) in enumerate(resources):
        try:
            name = normalize_identifier(resource.name)
        except ValueError as error:
            report.add(place, f"has no name: {error}. Write e.g. `name: orders`")
            continue
        first_index, other, other_place = first.setdefault(name, (index, resource.name, place))
        if first_index == index:
            yield resource, place
        elif other == resource.name:
            where = report.where(other_place)
            report.add(place, f"names a second resource {other!r} (the first: {where}). Rename one")
        else:
            report.add(place, f"{resource.name!r} and {other!r} both become {name!r} in a table. Rename one")


def _table_name(
    destination: DestinationSpec, resource: ResourceSpec, place: YamlPath, report: Report
) -> tuple[str, ...] | None:
    """Namespace and name of the resource's table; None after a mistake was noted."""
    given = (destination.table or f"{destination.namespace}.").split(".")
    name = resource.table or (given[-1] if destination.table else resource.name)
    try:
        own = valid_table_part(resource.table) if resource.table else name
        return (*given[:-1], normalize_identifier(destination.table_prefix + own))
    except ValueError as error:
        report.add((*place, "table"), str(error))
        return None


def _check_names_of_one_table(
    destination: DestinationSpec, resources: Sequence[ResourceSpec], at: YamlPath, report: Report
) -> None:
    unnamed = [resource.name for resource in resources if resource.table is None]
    if destination.table is not None and len(unnamed) > 1:
        report.add(
            (*at, "destination", "table"),
            f"is one table, for {len(unnamed)} resources: {', '.join(unnamed)}. Write `schema: "
            f"{destination.table.rpartition('.')[0]}` instead, or give all but one resource a `table`",
        )


def _check_cursors(found: Iterable[Resolved], report: Report) -> None:
    for each in found:
        table = each.table
        if table.incremental is None:
            continue
        if table.partitions is not None:
            report.add(each.incremental, _BESIDE_PARTITIONS)
        elif table.write_disposition == "replace":
            report.add(each.incremental, _BESIDE_REPLACE)


def _check_checks(
    source: SourceSpec,
    resources: Sequence[tuple[ResourceSpec, YamlPath]],
    found: Iterable[Resolved],
    at: YamlPath,
    report: Report,
) -> None:
    """Note the checks whose defaults the table does not give."""
    own = {place for resource, place in resources if resource.checks is not None}
    for each in found:
        place = (*(each.resource if each.resource in own else at), "checks")
        table = each.table
        for mistake in (mistake_of_gates(table), *(mistake_of_check(check, table) for check in table.checks)):
            if mistake is not None:
                report.add(place, mistake)


def _table(
    source: SourceSpec, resource: ResourceSpec, defaults: DefaultsSpec, name: tuple[str, ...], alone: bool
) -> TableSpec:
    destination, usual = source.destination, resource.usual
    disposition = _first("write_disposition", resource, destination, defaults, usual) or "append"
    nested = _first("nested", resource, destination, defaults) or "json"
    texts = {} if nested == "struct" else dict.fromkeys(usual.nested, ColumnSpec(type="string"))
    # What a destination says of tables in the same words holds for each of them.
    shared = TableSpec.model_fields.keys() & DestinationSpec.model_fields.keys()
    decided = {
        "source": source.name,
        "source_type": source.type,
        "resource": resource.name,
        "namespace": name[:-1],
        "name": name[-1],
        "write_disposition": disposition,
        "schema_contract": _first("schema_contract", resource, destination, defaults) or ContractSpec(),
        "primary_key": _first("primary_key", resource, destination, usual) or (),
        "nested": nested,
        "columns": _columns({**texts, **usual.columns}, _columns(destination.columns, resource.columns)),
        # Of several tables, each need not have all that is said of them together.
        "declared": tuple({**(destination.columns if alone else {}), **resource.columns}),
        "incremental": _first("incremental", resource, source) or _usual_cursor(source, resource, disposition),
        "partitions": source.partitions,
        # An empty list says that there are none.
        "checks": next((each.checks for each in (resource, source, defaults) if each.checks is not None), ()),
        "description": _first("description", resource, source),
    }
    return TableSpec.model_validate({key: getattr(destination, key) for key in shared} | decided)


def _usual_cursor(source: SourceSpec, resource: ResourceSpec, disposition: str) -> IncrementalSpec | None:
    """The cursor that the connector proposes, where there is a use for one and nobody has written `null`."""
    cursor = resource.usual.incremental
    asked_for_none = "incremental" in source.model_fields_set | resource.model_fields_set
    if cursor is None or asked_for_none or source.partitions is not None or disposition == "replace":
        return None
    return cursor.model_copy(update={"lag": None}) if disposition == "append" else cursor


def _first(key: str, *models: BaseModel) -> Any:
    """What the first model says that says anything."""
    return next((value for model in models if (value := getattr(model, key))), None)


def _mentions(data: Any, key: str) -> bool:
    if is_mapping(data):
        return key in data or any(_mentions(value, key) for value in data.values())
    return is_list(data) and any(_mentions(value, key) for value in data)


def _columns(general: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the resource's own winning, also where only the spelling of a column differs."""
    spelled = {normalize_identifier(name) for name in own}
    kept = {name: column for name, column in general.items() if normalize_identifier(name) not in spelled}
    return {**kept, **own}
