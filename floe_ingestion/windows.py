"""Dagster's partitions, of whatever kind, as the windows of rows that they stand for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import dagster as dg

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.spec import PartitionsSpec
from floe_ingestion.spec_partitions import PartitionType
from floe_ingestion.staging import Window

_ONLY = ""
"""The dimension of partitions that have one."""
_SHORTEST_DAY, _SHORTEST_MONTH = timedelta(hours=22), timedelta(days=28)


def columns_of(definition: dg.PartitionsDefinition, said: str | Mapping[str, str] | None, asset: str) -> dict[str, str]:
    """The column of each dimension that tells the partition of a row, from `floe/partition_column`.

    Raises `ConfigurationError` where it cannot be told.
    """
    if not isinstance(definition, dg.MultiPartitionsDefinition):
        if isinstance(said, str):
            return {_ONLY: said}
        raise ConfigurationError(
            f"{asset} is partitioned, and nothing says which column tells the partition of a row. Write it into the "
            f"metadata of that asset: 'floe/partition_column': 'day'."
        )
    names = [dimension.name for dimension in definition.partitions_defs]
    if isinstance(said, str) or not set(said or ()) <= set(names):
        example = ", ".join(f"'{name}': '<column>'" for name in names)
        raise ConfigurationError(
            f"{asset} is partitioned by {' and '.join(names)}. Write 'floe/partition_column': {{{example}}}, or leave "
            f"out what is called like its dimension."
        )
    return {name: (said or {}).get(name, name) for name in names}


def windows_of(
    definition: dg.PartitionsDefinition, columns: Mapping[str, str], keys: Iterable[str]
) -> tuple[Window, ...]:
    """The rows of the partitions `keys`: each lies in one of these windows, as few as will do."""
    if not isinstance(definition, dg.MultiPartitionsDefinition):
        return tuple(_windows(definition, columns[_ONLY], keys))
    first, second = definition.partitions_defs
    return tuple(
        replace(window, also=also)
        for firsts, seconds in _products(definition, keys)
        for window in _windows(first.partitions_def, columns[first.name], firsts)
        for also in _windows(second.partitions_def, columns[second.name], seconds)
    )


def partitions_specs(
    definition: dg.PartitionsDefinition, columns: Mapping[str, str], keys: Sequence[str]
) -> tuple[PartitionsSpec, ...]:
    """The same partitions as floe.yaml writes them, a dimension each: a new table is partitioned by them."""
    if not isinstance(definition, dg.MultiPartitionsDefinition):
        return (_spec(definition, columns[_ONLY], list(keys)),)
    parts = [definition.get_partition_key_from_str(key).keys_by_dimension for key in keys]
    return tuple(
        _spec(each.partitions_def, columns[each.name], [part[each.name] for part in parts])
        for each in definition.partitions_defs
    )


def _products(
    definition: dg.MultiPartitionsDefinition, keys: Iterable[str]
) -> Iterator[tuple[list[str], frozenset[str]]]:
    """Keys of the first dimension, and those of the second that each of them stands with."""
    first, second = (dimension.name for dimension in definition.partitions_defs)
    beside: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        part = definition.get_partition_key_from_str(key).keys_by_dimension
        beside[part[first]].add(part[second])
    alike: dict[frozenset[str], list[str]] = defaultdict(list)
    for key, others in beside.items():
        alike[frozenset(others)].append(key)
    yield from ((firsts, together) for together, firsts in alike.items())


def _windows(definition: dg.PartitionsDefinition, column: str, keys: Iterable[str]) -> Iterator[Window]:
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        for start, end in _spans(definition, keys):
            yield Window(column, start, end)
    elif values := tuple(sorted(keys)):
        yield Window(column, values=values)


def _spans(definition: dg.TimeWindowPartitionsDefinition, keys: Iterable[str]) -> list[tuple[datetime, datetime]]:
    """The time of these partitions, as few spans as will do."""
    spans: list[tuple[datetime, datetime]] = []
    for window in sorted(map(definition.time_window_for_partition_key, keys), key=lambda window: window.start):
        if spans and spans[-1][1] >= window.start:
            spans[-1] = (spans[-1][0], window.end)
        else:
            spans.append((window.start, window.end))
    return spans


def _spec(definition: dg.PartitionsDefinition, column: str, keys: list[str]) -> PartitionsSpec:
    if not isinstance(definition, dg.TimeWindowPartitionsDefinition):
        return PartitionsSpec(type="static", column=column, keys=tuple(dict.fromkeys(keys)))
    window = definition.time_window_for_partition_key(keys[0])
    kind = _granularity(window.end - window.start)
    # Only the kind counts for a table, and Dagster's own partitions may begin at any time of a day.
    start = window.start.date().replace(day=1)
    return PartitionsSpec(type=kind, column=column, start=start, timezone=definition.timezone)


def _granularity(length: timedelta) -> PartitionType:
    # Clocks that go forward make a day shorter by an hour, or two.
    if length < _SHORTEST_DAY:
        return "hourly"
    return "daily" if length < _SHORTEST_MONTH else "monthly"
