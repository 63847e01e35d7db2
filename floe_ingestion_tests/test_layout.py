"""How the package is laid out: who may import whom, what is public, and that importing it is quick."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

import floe_ingestion

pytestmark = pytest.mark.dagster

PACKAGE = Path(floe_ingestion.__file__).parent
MOST_LINES = 300

# From below to above; a module imports its own layer and those below it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("version", "errors", "formats", "garbage", "naming", "store_errors"),
    ("secrets",),
    ("spec", "spec_*", "staging", "classify", "mistakes", "mistakes.*"),
    ("plugins", "plugins.*"),
    ("iceberg", "iceberg.*"),
    ("sources", "sources.*"),
    ("resolution", "choices", "loading"),
    (
        *("sink", "row_types", "nested_types", "value_types", "facts", "load_warnings"),
        *("extraction", "pipeline"),
        *("lake", "upkeep", "storing"),
        *("verdict", "reconciling", "judging", "landing"),
    ),
    (
        *("resources", "io_manager", "asset_page", "asset_tables", "windows", "translator"),
        *("partitions", "retries"),
    ),
    ("assets", "checks", "schedules", "sensors", "pools", "maintenance_jobs"),
    ("definitions",),
    ("running", "component"),
    ("cli", "cli_base", "cli_tables", "cli_audit", "testing", "testing_case"),
)
DAGSTER_SIDE = LAYERS[8] + LAYERS[9] + LAYERS[10] + LAYERS[11]
HEAVY = (
    "dagster",
    "dagster_dlt",
    "dlt",
    "pyiceberg",
    "pyarrow",
    "sqlalchemy",
    "polars",
    "pandas",
    "duckdb",
)
PUBLIC = {
    *("DltIngestionResource", "FloeIngestionComponent", "IcebergIOManager", "IcebergLakeResource"),
    *("__version__", "build_definitions", "dlt_asset", "load_spec", "table_checks"),
}


@dataclass(frozen=True)
class Import:
    """One module that another one imports."""

    module: str
    name: str
    at_import: bool
    """At the top of its file, not in a function."""
    typing_only: bool


@cache
def modules() -> dict[str, Path]:
    """Each module of the package by its name below `floe_ingestion`; the package itself is empty."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


def imports_of(module: str) -> Iterator[Import]:
    def walk(node: ast.AST, at_import: bool, typing_only: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            for name in names(child):
                yield Import(module, name, at_import, typing_only)
            yield from walk(child, at_import and not inside, typing_only or typing)

    yield from walk(ast.parse(modules()[module].read_text()), True, False)


def names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner.removeprefix("floe_ingestion.") in modules() else str(node.module)


def layer_of(module: str) -> int:
    for number, patterns in enumerate(LAYERS):
        if any(fnmatch(module, pattern) for pattern in patterns):
            return number
    raise AssertionError(f"{module} is in no layer. Put it into LAYERS of {Path(__file__).name}.")


@cache
def every_import() -> tuple[Import, ...]:
    return tuple(found for module in sorted(modules()) for found in imports_of(module))


def library(found: Import) -> str:
    return found.name.partition(".")[0]


# Who may import whom


def test_every_module_belongs_to_a_layer() -> None:
    for module in modules():
        if module:
            layer_of(module)


def test_imports_lead_downwards_only() -> None:
    upwards = [
        f"{found.module} imports {found.name}"
        for found in every_import()
        if library(found) == "floe_ingestion"
        and found.module
        and not found.typing_only
        and layer_of(found.name.removeprefix("floe_ingestion.")) > layer_of(found.module)
    ]

    assert upwards == []


def test_the_rule_above_would_see_a_function_that_imports_upwards() -> None:
    (found,) = [each for each in imports_of("resources") if each.name == "floe_ingestion.loading"]

    assert not found.at_import
    assert layer_of("loading") < layer_of("resources")


def test_only_the_dagster_side_imports_dagster() -> None:
    others = [found for found in every_import() if library(found).startswith("dagster")]

    # The suite for authors of connectors materialises their assets.
    assert {found.module for found in others} <= {*DAGSTER_SIDE, "testing_case"}


def test_pytest_is_for_the_suites_of_authors_only() -> None:
    assert {found.module for found in every_import() if library(found) == "pytest"} == {"testing"}
    assert {found.module for found in every_import() if found.name.startswith("floe_ingestion.testing")} == {"testing"}


def test_pyiceberg_is_imported_by_iceberg_only() -> None:
    users = {found.module for found in every_import() if library(found) == "pyiceberg" and not found.typing_only}

    # `classify` knows the errors of every library; the types of known columns are named in Iceberg's words.
    assert {user for user in users if not user.startswith("iceberg.")} <= {"classify", "sources.known_columns"}


def test_iceberg_knows_nothing_of_sources_or_of_how_dlt_runs() -> None:
    for found in every_import():
        if found.module.startswith("iceberg."):
            assert not found.name.startswith(("floe_ingestion.sources", "floe_ingestion.pipeline")), found
            assert library(found) != "dlt" or found.name == "dlt.common.json", found


def test_only_a_few_modules_read_the_environment() -> None:
    readers = {
        module
        for module in modules()
        for node in ast.walk(ast.parse(modules()[module].read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv")
    }

    # `secrets` expands variables in a run; `running` and `extraction` speak to Dagster and dlt, which are told so.
    assert readers <= {"cli", "definitions", "running", "secrets", "extraction"}


def test_a_module_fits_in_the_head() -> None:
    lines = {module: len(path.read_text().splitlines()) for module, path in modules().items()}

    assert {module: count for module, count in lines.items() if count > MOST_LINES} == {}


# What is public


def test_the_public_names_are_these() -> None:
    assert set(floe_ingestion.__all__) == PUBLIC


@pytest.mark.parametrize("module", ["", "plugins"])
def test_every_public_name_is_there_and_no_other_is_exported(module: str) -> None:
    package = importlib.import_module(f"floe_ingestion.{module}".rstrip("."))

    for name in package.__all__:
        assert getattr(package, name) is not None, name
    assert sorted(package.__all__) == sorted(set(package.__all__))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'dlt_assets'"):
        floe_ingestion.dlt_assets  # noqa: B018


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


# What importing costs


@pytest.mark.parametrize(
    "module",
    [
        *("floe_ingestion", "floe_ingestion.plugins", "floe_ingestion.cli"),
        # What loading a floe.yaml imports for its plugins.
        "floe_ingestion.loading, floe_ingestion.iceberg.catalogs_rest, floe_ingestion.iceberg.storages",
    ],
)
def test_importing_it_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{name.partition('.')[0] for name in sys.modules}} & set({HEAVY})))"

    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_no_module_of_ours_imports_a_library_at_import_that_its_layer_can_do_without() -> None:
    """Below the pipeline, dagster is unknown and dlt is imported by the functions that need it."""
    for found in every_import():
        if found.at_import and not found.typing_only and library(found) in ("dlt", "dagster", "dagster_dlt"):
            rows = ("extraction", "sink", "row_types", "nested_types", "value_types")
            allowed = found.module in (*DAGSTER_SIDE, *rows) or found.module.startswith("sources.")
            assert allowed, found
