"""What only shows when the parts of a floe.yaml are compared: names, tables, cursors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from floe_ingestion import load_spec
from floe_ingestion.errors import ConfigurationError, Problem
from floe_ingestion_tests.parcels import COUNTRIES, ENTRY_POINT, install

Mistakes = Callable[..., tuple[Problem, ...]]


@pytest.fixture(autouse=True)
def _parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme-parcels", ENTRY_POINT, COUNTRIES)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def mistakes(tmp_path: Path) -> Mistakes:
    """The problems of a file with these sources, one a line from line 3 on."""

    def mistakes_in(*sources: str, defaults: str = "{}") -> tuple[Problem, ...]:
        lines = [f"ingestion: # {tmp_path}", f"  defaults: {defaults}", "  sources:"]
        (tmp_path / "floe.yaml").write_text("\n".join([*lines, *(f"    - {source}" for source in sources)]))
        with pytest.raises(ConfigurationError) as caught:
            load_spec(tmp_path / "floe.yaml")
        return caught.value.problems

    return mistakes_in


def source(name: str = "hub", resources: str = "[orders]", destination: str = "{schema: s}", rest: str = "") -> str:
    config = f"{{base_url: x, resources: {resources}}}"
    return f"{{name: {name}, type: parcels, config: {config}, destination: {destination} {rest}}}"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("orders", "orders", "'orders' is given twice (the first: line 4). Rename one of the sources"),
        ("orders_api", "OrdersAPI", "'OrdersAPI' and 'orders_api' are one name to dlt (the first: line 4)."),
        ("a_b", "a__b", "'a__b' and 'a_b' are one name to dlt (the first: line 4)."),
    ],
)
def test_two_sources_cannot_have_one_name(mistakes: Mistakes, first: str, second: str, message: str) -> None:
    (problem,) = mistakes(source(first, "[a]"), source(second, "[b]"))

    assert (problem.path, problem.line) == ("ingestion.sources[1].name", 5)
    assert problem.message.startswith(message)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ("[a, a]", "names a second resource 'a' (the first: line 4). Rename one"),
        ("[order_items, OrderItems]", "'OrderItems' and 'order_items' both become 'order_items' in a table."),
        ("[{name: a, table: b}, {name: A, table: c}]", "'A' and 'a' both become 'a' in a table."),
    ],
)
def test_two_resources_of_a_source_cannot_have_one_name(mistakes: Mistakes, resources: str, message: str) -> None:
    (problem,) = mistakes(source(resources=resources))

    assert problem.path == "ingestion.sources[0].config.resources[1]"
    assert problem.message.startswith(message)


def test_resources_that_stand_in_no_list_are_compared_as_well(mistakes: Mistakes) -> None:
    (problem,) = mistakes("{name: hub, type: countries, config: {codes: de fr de}, destination: {schema: s}}")

    assert problem.path == "ingestion.sources[0].config"
    assert problem.message.startswith("names a second resource 'de'")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (source("a", "[orders]"), source("b", "[Orders]")),
        (source("a", "[orders]"), source("b", "[x]", "{table: s.orders}")),
        (source("a", "[orders]"), source("b", "[{name: x, table: orders}]")),
        (source("a", "[orders]"), source("b", "[orders]", "{schema: S}")),
        (source("a", "[orders]"), source("b", "[orders]", rest=", enabled: false")),
        (source("a", "[orders]", "{schema: s, table_prefix: x}"), source("b", "[xorders]")),
    ],
)
def test_two_sources_cannot_land_in_one_table(mistakes: Mistakes, first: str, second: str) -> None:
    (problem,) = mistakes(first, second)

    assert (problem.path, problem.line) == ("ingestion.sources[1].config.resources[0]", 5)
    assert "and so does resource 'orders' of source 'a' (line 4). Give one of them another `table`" in problem.message


def test_two_resources_of_a_source_cannot_land_in_one_table(mistakes: Mistakes) -> None:
    (problem,) = mistakes(source(resources="[orders, {name: items, table: orders}]"))

    assert problem.path == "ingestion.sources[0].config.resources[1]"
    assert problem.message.startswith("lands in s.orders, and so does resource 'orders' of source 'hub' (line 4).")


def test_one_table_cannot_take_several_resources_without_tables_of_their_own(mistakes: Mistakes) -> None:
    found = mistakes(source(resources="[a, {name: b, table: x}, c]", destination="{table: lake.bronze.raw}"))

    assert found[-1].path == "ingestion.sources[0].destination.table"
    assert found[-1].message == (
        "is one table, for 2 resources: a, c. Write `schema: lake.bronze` instead, or give all but one "
        "resource a `table`"
    )


REPLACE = "{schema: s, write_disposition: replace}"
CURSOR = ", incremental: {cursor_path: c}"


@pytest.mark.parametrize(
    ("written", "defaults", "path"),
    [
        (source(destination=REPLACE, rest=CURSOR), "{}", "incremental"),
        (source(rest=CURSOR), "{write_disposition: replace}", "incremental"),
        (
            source(resources="[a, {name: b, incremental: {cursor_path: c}}]", destination=REPLACE),
            "{}",
            "config.resources[1].incremental",
        ),
        (source(resources="[a, {name: b, write_disposition: replace}]", rest=CURSOR), "{}", "incremental"),
        (
            source(destination=REPLACE, rest=CURSOR).replace("type: parcels", "type: parcel"),
            "{}",
            "incremental",
        ),
    ],
    ids=["source", "defaults", "resource", "replaced resource", "unknown connector"],
)
def test_a_cursor_with_replace_would_drop_every_older_row(
    mistakes: Mistakes, written: str, defaults: str, path: str
) -> None:
    found = {problem.path: problem.message for problem in mistakes(written, defaults=defaults)}

    assert found[f"ingestion.sources[0].{path}"] == (
        "stands beside `write_disposition: replace`, which would drop every older row. "
        "Write `append` or `merge`, or remove `incremental`"
    )
    assert sum("older row" in message for message in found.values()) == 1


def test_a_resource_that_appends_may_have_a_cursor_in_a_source_that_replaces(tmp_path: Path) -> None:
    resources = "[{name: a, write_disposition: append, incremental: {cursor_path: c}}, b]"
    (tmp_path / "floe.yaml").write_text(f"ingestion: {{sources: [{source(resources=resources, destination=REPLACE)}]}}")

    tables = load_spec(tmp_path / "floe.yaml").sources[0].tables

    assert [table.write_disposition for table in tables] == ["append", "replace"]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (source(rest=CURSOR), "incremental"),
        (source(resources="[{name: a, incremental: {cursor_path: c}}]"), "config.resources[0].incremental"),
    ],
    ids=["source", "resource"],
)
def test_a_cursor_cannot_stand_beside_partitions(mistakes: Mistakes, written: str, path: str) -> None:
    (problem,) = mistakes(written[:-1] + ", partitions: {type: daily, column: c, start: 2024-01-01}}")

    assert problem.path == f"ingestion.sources[0].{path}"
    assert problem.message == ("stands beside `partitions`, and the window of a partition takes its place. Remove one")
