"""A floe.yaml that is wrong in many ways: one error with every mistake, each with its line."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from floe_ingestion import load_spec
from floe_ingestion.errors import ConfigurationError, PermanentError, Problem
from floe_ingestion_tests.parcels import ENTRY_POINT, install

Mistakes = Callable[[str], tuple[Problem, ...]]

HUB = """
ingestion:
  sources:
    - name: hub
      type: parcels
      config:
        base_url: https://parcels.example.com
        resources: [orders, items]
      destination:
        schema: bronze
"""

WIDE = """\
plugins:
  catalog: {type: sql, confg: {}}
ingestion:
  default: {group: a}
  sources:
    - name: orders
      typ: parcels
      config:
        base_url: x
        page_size: big
        resources:
          - {name: orders, endpont: /orders}
          - Orders
      destination:
        schema: bronze
        write_disposition: mrge
    - name: orders
      type: parcel
      destination:
        table: bronze.orders
        schema: bronze
    - name: Orders
      type: parcels
      config: {base_url: x, resources: [a, b]}
      incremental: {cursor_path: updated_at}
      destination:
        schema: silver
        write_disposition: replace
    - name: deliveries
      type: parcels
      enabled: false
      config: {base_url: x, resources: [a]}
      owners: [joe]
      owners: [ann]
      tags: {cost centre: x}
      destination: {schema: Silver}
      schedule: {cron: 0 6 * *, timezone: Europe/Berln}
      partitions: {type: daily, column: day, start: 2024-02-01, end: 2024-01-01}
    - name: returns
      type: parcels
      config: {base_url: x, resources: [b]}
      destination: {schema: silver}
"""


@pytest.fixture(autouse=True)
def _parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme-parcels", ENTRY_POINT)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def mistakes(tmp_path: Path) -> Mistakes:
    def mistakes_in(text: str) -> tuple[Problem, ...]:
        (tmp_path / "floe.yaml").write_text(text)
        with pytest.raises(ConfigurationError) as caught:
            load_spec(tmp_path / "floe.yaml")
        return caught.value.problems

    return mistakes_in


def test_all_mistakes_of_a_file_are_one_error_each_with_its_line(mistakes: Mistakes) -> None:
    found = {(problem.line, problem.path): problem.message for problem in mistakes(WIDE)}

    assert list(found) == [
        (2, "plugins.catalog.confg"),
        (4, "ingestion.default"),
        (7, "ingestion.sources[0].typ"),
        (10, "ingestion.sources[0].config.page_size"),
        (12, "ingestion.sources[0].config.resources[0].endpont"),
        (13, "ingestion.sources[0].config.resources[1]"),
        (16, "ingestion.sources[0].destination.write_disposition"),
        (17, "ingestion.sources[1].name"),
        (18, "ingestion.sources[1].type"),
        (19, "ingestion.sources[1].destination"),
        (22, "ingestion.sources[2].name"),
        (25, "ingestion.sources[2].incremental"),
        (33, "ingestion.sources[3].owners[0]"),
        (34, "ingestion.sources[3].owners"),
        (35, "ingestion.sources[3].tags['cost centre']"),
        (37, "ingestion.sources[3].schedule.cron"),
        (37, "ingestion.sources[3].schedule.timezone"),
        (38, "ingestion.sources[3].partitions"),
        (41, "ingestion.sources[4].config.resources[0]"),
    ]


def test_the_error_reads_as_a_list_of_places_and_is_never_retried(tmp_path: Path) -> None:
    file = tmp_path / "floe.yaml"
    file.write_text(HUB + "        write_disposition: mrge\n        tabel: x.y\n")

    with pytest.raises(ConfigurationError) as caught:
        load_spec(file)

    assert isinstance(caught.value, PermanentError)
    first, second, third = str(caught.value).splitlines()
    assert first == f"{file} has 2 mistakes; nothing was loaded."
    assert second == (
        f"  {file}:11  ingestion.sources[0].destination.write_disposition: "
        f"is 'mrge'; write 'append', 'replace' or 'merge'. Did you mean 'merge'?"
    )
    assert third.startswith(
        f"  {file}:12  ingestion.sources[0].destination.tabel: "
        f"is no known key. Did you mean 'table'? Known keys: columns, "
    )


def test_a_source_that_is_wrong_twice_over_is_told_both_whatever_the_order(mistakes: Mistakes) -> None:
    """A misspelled key hides neither what depends on it nor what stands beside it."""
    text = textwrap.dedent("""
        ingestion:
          sources:
            - name: hub
              typ: parcels
              confg: {base_url: x, resources: [a], page_size: big}
              incremental: {cursor_path: c}
              destnation: {schema: s, write_disposition: replace}
              owners: [joe]
    """)
    found = [(problem.line, problem.path.removeprefix("ingestion.sources[0].")) for problem in mistakes(text)]

    assert found == [
        (5, "typ"),
        (6, "confg"),
        (6, "confg.page_size"),
        (7, "incremental"),
        (8, "destnation"),
        (9, "owners[0]"),
    ]


@pytest.mark.parametrize("written", ["tables: [orders, items]", "tables: silver.orders", "shema: silver"])
def test_a_guess_at_a_misspelled_key_brings_no_further_mistakes(mistakes: Mistakes, written: str) -> None:
    (problem,) = mistakes(f"{HUB}        {written}\n")

    key = written.partition(":")[0]
    assert problem.path == f"ingestion.sources[0].destination.{key}"
    assert f"Did you mean {'schema' if key == 'shema' else 'table'!r}?" in problem.message


def test_a_guess_takes_no_other_keys_place(mistakes: Mistakes) -> None:
    other = HUB.replace("name: hub", "name: other").partition("sources:")[2].strip("\n")
    found = [problem.path for problem in mistakes(f"{HUB}        shema: silver\n{other}\n")]

    assert found == [
        "ingestion.sources[0].destination.shema",
        "ingestion.sources[1].config.resources[0]",
        "ingestion.sources[1].config.resources[1]",
    ]


def test_a_destination_with_two_places_is_told_so_beside_its_other_mistakes(mistakes: Mistakes) -> None:
    text = HUB + "        table: bronze.orders\n        write_disposition: mrge\n"

    assert [problem.path for problem in mistakes(text)] == [
        "ingestion.sources[0].destination",
        "ingestion.sources[0].destination.write_disposition",
    ]


def test_a_mistake_that_does_not_concern_tables_hides_none_that_does(mistakes: Mistakes) -> None:
    twice = HUB + "      owners: joe\n" + HUB.replace("name: hub", "name: hub2").partition("sources:")[2].strip("\n")
    found = [problem.path for problem in mistakes(twice)]

    assert found == [
        "ingestion.sources[0].owners",
        "ingestion.sources[1].config.resources[0]",
        "ingestion.sources[1].config.resources[1]",
    ]


def test_what_yaml_could_not_read_is_not_called_empty_as_well(mistakes: Mistakes) -> None:
    text = HUB + "      partitions: {type: daily, column: c, start: 2024-02-31}\n      incremental: !env X\n"

    assert [problem.path for problem in mistakes(text)] == [
        "ingestion.sources[0].partitions.start",
        "ingestion.sources[0].incremental",
    ]
