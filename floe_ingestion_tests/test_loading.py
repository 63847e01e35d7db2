"""A floe.yaml that is right: what it becomes, and that loading it touches nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from floe_ingestion import load_spec
from floe_ingestion.spec import RetrySpec, Spec
from floe_ingestion_tests.parcels import ENTRY_POINT, install

SEED = Path(__file__).parent / "data" / "seed_floe.yaml"


@pytest.fixture(autouse=True)
def _parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme-parcels", ENTRY_POINT)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load_text(text: str) -> Spec:
        file = tmp_path / "floe.yaml"
        file.write_text(textwrap.dedent(text))
        return load_spec(file)

    return load_text


def test_the_example_of_the_design_loads_byte_for_byte_with_its_variable_unset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("POSTGRES_URL", raising=False)

    spec = load_spec(SEED)

    orders, customers, products = (table for source in spec.sources for table in source.tables)
    assert [str(table) for table in (orders, customers, products)] == [
        "bronze.raw_orders",
        "bronze.customers",
        "bronze.products",
    ]
    assert (orders.write_disposition, orders.incremental and orders.incremental.cursor_path) == (
        "merge",
        "updated_at",
    )
    assert customers.write_disposition == products.write_disposition == "replace"
    assert spec.source("postgres_customers").config["connection_string"] == "${POSTGRES_URL}"


def test_loading_opens_nothing_but_the_file_connects_to_nothing_and_imports_nothing_heavy(
    tmp_path: Path,
) -> None:
    (tmp_path / "floe.yaml").write_bytes(SEED.read_bytes())
    code = """
        import os, sys

        def watch(event, arguments):
            if event == "open" and isinstance(arguments[2], int):
                if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                    met.append((event, arguments[0]))
            elif event.startswith(("socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename")):
                met.append((event, *arguments))

        class Watched(dict):
            def get(self, name, default=None):
                if not name.strip("_").startswith(("PYTHON", "PYDANTIC")):
                    met.append(("environment", name))
                return super().get(name, default)

            def __getitem__(self, name):
                met.append(("environment", name))
                return super().__getitem__(name)

        import floe_ingestion
        met = []
        sys.addaudithook(watch)
        os.environ = Watched(os.environ)
        floe_ingestion.load_spec("floe.yaml")
        heavy = ("dlt", "dagster", "pyiceberg", "pyarrow", "sqlalchemy")
        print(met + [name for name in heavy if name in sys.modules])
    """
    run = subprocess.run(
        [sys.executable, "-B", "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.stdout, run.stderr) == ("[]\n", "")
    assert [path.name for path in tmp_path.iterdir() if path.name != "site"] == ["floe.yaml"]


def test_a_source_knows_its_place_in_the_file_as_the_file_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "floe.yaml").write_bytes(SEED.read_bytes())
    monkeypatch.chdir(tmp_path)

    spec = load_spec("specs/floe.yaml")

    assert spec.path == "specs/floe.yaml"
    assert spec.source("postgres_customers").place == "specs/floe.yaml: ingestion.sources[1]"


def test_defaults_complete_a_source_that_says_nothing_else(load: Any) -> None:
    spec = load(
        """
        ingestion:
          defaults:
            retry: {max_retries: 7}
            group: sales
            schedule: {cron: '@daily'}
          sources:
            - {name: a, type: parcels, config: {base_url: x, resources: [a]}, destination: {schema: s}}
            - name: b
              type: parcels
              group: parts
              retry: {max_retries: 1}
              config: {base_url: x, resources: [b]}
              destination: {schema: s}
        """
    )
    a, b = spec.sources

    assert (a.retry, a.group, a.schedule and a.schedule.cron) == (RetrySpec(max_retries=7), "sales", "@daily")
    assert (b.retry, b.group) == (RetrySpec(max_retries=1), "parts")


def test_a_disabled_source_stays_in_the_spec(load: Any) -> None:
    spec = load(
        """
        ingestion:
          sources:
            - name: a
              type: parcels
              enabled: false
              config: {base_url: x, resources: [a]}
              destination: {schema: s}
        """
    )

    assert [(source.name, source.enabled, len(source.tables)) for source in spec.sources] == [("a", False, 1)]


def test_sections_of_others_are_not_looked_at(load: Any) -> None:
    spec = load(
        """
        compute: !custom {duckdb: 1, duckdb: 2}
        ingestion:
          sources:
            - {name: a, type: parcels, config: {base_url: x, resources: [a]}, destination: {schema: s}}
        """
    )

    assert [source.name for source in spec.sources] == ["a"]


def test_plugins_default_to_dlt_a_sqlite_catalog_and_a_local_warehouse(load: Any) -> None:
    entry = "{name: a, type: parcels, config: {base_url: x, resources: [a]}, destination: {schema: s}}"
    ingestion = f"ingestion: {{sources: [{entry}]}}"
    plain = load(ingestion).plugins
    chosen = load("plugins: {catalog: {type: sql, config: {uri: '${URI}'}}, storage: {type: s3}}\n" + ingestion).plugins

    assert (plain.ingestion.type, plain.catalog.type, plain.storage.type) == ("dlt", "sql", "local")
    assert (chosen.catalog.type, chosen.catalog.config, chosen.storage.type) == (
        "sql",
        {"uri": "${URI}"},
        "s3",
    )


def test_anchors_and_merge_keys_are_read_as_yaml_means_them(load: Any) -> None:
    spec = load(
        """
        common: &common
          type: parcels
          destination: {schema: s}
        ingestion:
          sources:
            - {<<: *common, name: a, config: {base_url: x, resources: [a]}}
            - {<<: *common, name: b, config: {base_url: x, resources: [b]}, destination: {schema: t}}
        """
    )

    assert [str(table) for source in spec.sources for table in source.tables] == ["s.a", "t.b"]
