"""A source that is configured in Python instead of floe.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from floe_ingestion import load_spec
from floe_ingestion.errors import ConfigurationError
from floe_ingestion.loading import connector_of, source_from
from floe_ingestion_tests.parcels import ENTRY_POINT, ParcelsConnector, install

HUB = {"base_url": "https://parcels.example.com", "resources": ["orders"]}


@pytest.fixture(autouse=True)
def _parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme-parcels", ENTRY_POINT)
    monkeypatch.syspath_prepend(tmp_path / "site")


def problems_of(destination: str, config: dict[str, object]) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        source_from("parcels", destination, config)
    return {problem.path: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("destination", "resources", "landed"),
    [
        ("bronze.raw", ["orders"], ["bronze.raw"]),
        ("bronze", ["orders", "items"], ["bronze.orders", "bronze.items"]),
    ],
)
def test_the_destination_is_a_table_or_a_schema(destination: str, resources: list[str], landed: list[str]) -> None:
    source = source_from("parcels", destination, {**HUB, "resources": resources})

    assert [str(table) for table in source.tables] == landed
    assert (source.name, source.type, source.place) == ("parcels", "parcels", "create_pipeline('parcels')")


def test_a_whole_entry_says_how_it_lands() -> None:
    source = source_from(
        "parcels",
        "bronze.raw",
        {"name": "hub", "config": HUB, "destination": {"write_disposition": "merge", "primary_key": "id"}},
    )

    (table,) = source.tables
    assert (source.name, table.write_disposition, table.primary_key) == ("hub", "merge", ("id",))


def test_what_was_passed_is_left_as_it_was() -> None:
    entry = {"config": dict(HUB), "destination": {"write_disposition": "merge"}}

    source_from("parcels", "bronze.raw", entry)

    assert entry == {"config": HUB, "destination": {"write_disposition": "merge"}}


def test_a_source_survives_the_way_through_an_entry_with_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "floe.yaml").write_text("""
ingestion:
  defaults: {write_disposition: merge, retry: {max_retries: 7}}
  sources:
    - name: hub
      type: parcels
      config: {base_url: x, resources: [{name: orders, incremental: {cursor_path: c}}, items]}
      destination: {schema: lake.bronze, columns: {price: double}}
      partitions: null
""")
    source = load_spec(tmp_path / "floe.yaml").sources[0]

    again = source_from("parcels", "lake.bronze", source.as_entry())

    assert (again.tables, again.retry) == (source.tables, source.retry)


def test_every_mistake_is_named_and_nothing_is_made() -> None:
    problems = problems_of("bronze", {"bas_url": "x", "resources": [1], "page_size": 0})

    assert problems == {
        "config.bas_url": "is no known key. Did you mean 'base_url'? "
        "Known keys: api_key, auth, base_url, page_size, resources",
        "config.page_size": "is 0 (a whole number); write a number of 1 or more",
        "config.resources[0]": "is 1 (a whole number); write a mapping (`key: value`)",
    }


def test_an_entry_that_contradicts_an_argument_is_a_mistake() -> None:
    problems = problems_of("bronze", {"type": "rest_api", "config": HUB, "destination": {"schema": "silver"}})

    assert problems["type"] == "is not 'parcels', which was passed as an argument. Leave it out here"
    assert problems["destination.schema"] == "is not 'bronze', which was passed as an argument. Leave it out here"


def test_a_run_has_the_connector_with_its_variables_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "sesame-open")
    source = source_from("parcels", "bronze.raw", {**HUB, "api_key": "${KEY}"})

    connector = connector_of(source, Path())

    assert isinstance(connector, ParcelsConnector)
    assert connector.api_key == "sesame-open"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"base_url": ["${KEY}"]}, "config.base_url: is a list; write a text"),
        ({"page_size": "${KEY}"}, "config.page_size: is '********'; write a whole number"),
        ({"auth": {"type": "bearer", "token": ["${KEY}"]}}, "config.auth.token: is a list; write a text"),
        ({"api_key": "${KEY}", "auth": {"type": "bearer", "token": "x"}}, "api_key '********' and auth are both"),
    ],
)
def test_an_expanded_value_that_does_not_fit_is_told_without_being_shown(
    config: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sesame-open")
    source = source_from("parcels", "bronze.raw", HUB).model_copy(update={"config": {**HUB, **config}})

    with pytest.raises(ConfigurationError) as caught:
        connector_of(source, Path())

    assert message in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
