"""Whatever becomes of a floe.yaml, it loads or is a ConfigurationError in our words."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from floe_ingestion import load_spec
from floe_ingestion.errors import ConfigurationError
from floe_ingestion_tests.parcels import ENTRY_POINT, install

WHOLE = yaml.safe_load("""
plugins:
  ingestion: {type: dlt}
  catalog: {type: polaris, config: {uri: 'https://x', warehouse: w, credential: '${CREDENTIAL}'}}
ingestion:
  defaults:
    write_disposition: append
    schema_contract: evolve
    retry: {max_retries: 1, delay_seconds: 2.5, backoff: linear, jitter: true}
    schedule: {cron: 0 6 * * *, timezone: UTC, enabled: false}
    group: sales
  sources:
    - name: hub
      type: parcels
      description: All parcels
      owners: [ann@example.com, 'team:data']
      tags: {tier: a}
      enabled: true
      pool: hub
      config:
        base_url: https://x
        api_key: ${KEY}
        page_size: 10
        resources:
          - orders
          - name: items
            table: parts
            endpoint: {path: /items, params: {a: b}}
            primary_key: [id]
            columns: {price: 'decimal(10, 2)', note: {type: string, description: x}}
            schema_contract: {columns: freeze, data_type: discard_row}
            incremental: {cursor_path: c, initial_value: 2024-01-01, lag: 5, row_order: asc}
      destination:
        schema: bronze
        table_prefix: hub_
        write_disposition: merge
        merge_strategy: upsert
        partition_by: ["day(c)"]
        properties: {a: b}
    - name: days
      type: parcels
      config: {base_url: x, resources: [days], auth: {type: basic, username: u, password: '${P}'}}
      destination: {table: silver.days}
      partitions: {type: daily, column: day, start: 2024-01-01, end: 2024-02-01, timezone: Europe/Berlin}
    - name: orders_api
      type: rest_api
      config:
        base_url: https://x
        auth: {type: bearer, token: '${T}'}
        paginator: {type: offset, limit: 10}
        resources: [{name: orders, endpoint: {path: /orders, params: {a: 1}}}]
      destination: {schema: api}
      incremental: {cursor_path: updated_at}
    - name: database
      type: sql_database
      config: {connection_string: '${URL}', schema: public, tables: [customers, {name: b, where: a > 1}]}
      destination: {schema: db, write_disposition: replace}
""")

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.datetimes()
    | st.sampled_from(["${VARIABLE}", "a.b", "replace", "merge", "@daily", "* * * * *", "parcels", "rest_api"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=5,
)


def places(document: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value in the document."""
    children: list[tuple[Any, Any]] = []
    if isinstance(document, (dict, list)):
        children = list(document.items() if isinstance(document, dict) else enumerate(document))
    return [path] * bool(path) + [place for key, child in children for place in places(child, (*path, key))]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The document as YAML after up to three values were dropped, replaced, doubled or renamed."""
    document = copy.deepcopy(WHOLE)
    for _ in range(draw(st.integers(1, 3))):
        *parents, key = draw(st.sampled_from(places(document)))
        key = cast("Any", key)
        parent: Any = document
        for parent_key in parents:
            parent = parent[parent_key]
        change = draw(st.sampled_from(["drop", "replace", "double", "rename"]))
        if change == "replace":
            parent[key] = draw(VALUES)
        elif change == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif change == "rename" and isinstance(parent, dict):
            parent[draw(st.text(min_size=1, max_size=10)) + str(key)] = parent.pop(key)
        elif change == "drop" and len(parent) > 1:
            del parent[key]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=draw(st.booleans()))


@pytest.fixture(autouse=True)
def _parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme-parcels", ENTRY_POINT)
    monkeypatch.syspath_prepend(tmp_path / "site")


def error_of(folder: Path, text: str) -> ConfigurationError | None:
    (folder / "floe.yaml").write_text(text, encoding="utf-8", newline="")
    try:
        load_spec(folder / "floe.yaml")
    except ConfigurationError as error:
        return error
    return None


def check(folder: Path, text: str) -> None:
    """`text` loads, or is an error that a user can act upon."""
    error = error_of(folder, text)
    if error is not None:
        lines = {problem.line for problem in error.problems if problem.line}
        assert error.problems
        assert "Input should" not in str(error)
        assert lines <= set(range(1, len(text.splitlines()) + 2))
        assert len(set(error.problems)) == len(error.problems)


def test_the_whole_document_loads(tmp_path: Path) -> None:
    (tmp_path / "floe.yaml").write_text(yaml.safe_dump(WHOLE))

    assert len(load_spec(tmp_path / "floe.yaml").sources) == 4


MANY = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(text=mutated())
def test_a_document_with_changed_values_loads_or_is_told_what_is_wrong(tmp_path: Path, text: str) -> None:
    check(tmp_path, text)


@MANY
@given(data=st.data())
def test_a_document_with_changed_characters_loads_or_is_told_what_is_wrong(tmp_path: Path, data: st.DataObject) -> None:
    text = yaml.safe_dump(WHOLE, sort_keys=False)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 5, len(text))))
    inserted = data.draw(st.text("{}[]:,-&*!|>'\"%@`#? \n\tab1$", max_size=4) | st.text(max_size=3))

    check(tmp_path, text[:start] + inserted.replace("\ud800", "") + text[end:])
