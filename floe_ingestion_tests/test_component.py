"""A floe.yaml as a component of a Dagster project: loaded, run, scaffolded, and told where it is wrong."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster.components.component_scaffolding import scaffold_object
from dagster.components.core.package_entry import discover_entry_point_package_objects

import floe_ingestion
from floe_ingestion import DltIngestionResource, FloeIngestionComponent
from floe_ingestion.errors import ConfigurationError
from floe_ingestion_tests.dagster_fixtures import category, failure
from floe_ingestion_tests.dagster_fixtures import materialize_again as materialize
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.lake import Lake

pytestmark = pytest.mark.dagster

PAGE = Path(__file__).parent.parent / "docs" / "component.md"
TYPE = "floe_ingestion.FloeIngestionComponent"
SHOP = f"""
type: {TYPE}

attributes:
  ingestion:
    sources:
      - name: shop
        type: sql_database
        config:
          connection_string: ${{SHOP_DATABASE}}
          tables: [orders]
        destination: {{schema: bronze}}
"""


class DgProject:
    """A project as `dg` makes one: its definitions lie in `defs`, a folder each."""

    def __init__(self, root: Path) -> None:
        self.root, self.module = root, f"project_{root.name.replace('-', '_')}"
        self.defs = root / "src" / self.module / "defs"
        self.defs.mkdir(parents=True)
        (self.defs / "__init__.py").touch()
        (self.defs.parent / "__init__.py").touch()
        (root / "pyproject.toml").write_text(
            f'[tool.dg]\ndirectory_type = "project"\n\n[tool.dg.project]\nroot_module = "{self.module}"\n'
        )
        self.lake = Lake(root / ".floe")

    def write(self, text: str, folder: str = "shop") -> Path:
        """Write the defs.yaml of a component; its path."""
        path = self.defs / folder / "defs.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip(), "utf-8")
        return path

    def load(self) -> dg.Definitions:
        """What `dagster dev` and `dg dev` load."""
        return dg.load_from_defs_folder(path_within_project=self.root)

    def run(self, *keys: str, fails: bool = False) -> dg.ExecuteInProcessResult:
        """Materialise the assets of the project."""
        definitions = self.load()
        return materialize(list(definitions.assets or ()), definitions.resources or {}, *keys, fails=fails)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DgProject]:
    monkeypatch.delenv("FLOE_HOME", raising=False)
    monkeypatch.delenv("SHOP_DATABASE", raising=False)
    made = DgProject(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == made.module]:
        del sys.modules[name]


def mistake_of(project: DgProject) -> ConfigurationError:
    """What is wrong with the project; Dagster wraps it in where its component stands."""
    with pytest.raises(Exception, match="defs") as raised:
        project.load()
    error: BaseException | None = raised.value
    while error is not None and not isinstance(error, ConfigurationError):
        error = error.__cause__
    assert error is not None, raised.value
    return error


def keys_of(definitions: dg.Definitions) -> set[str]:
    return {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}


# What it makes


def test_a_component_lands_the_rows_of_its_sources(
    project: DgProject, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sell((1, "ann", "10.50", "2026-01-01 10:00:00"), (2, "bob", "7.00", "2026-01-02 11:00:00"))
    project.write(SHOP)
    monkeypatch.setenv("SHOP_DATABASE", shop.url)

    project.run("bronze/orders")

    assert project.lake.values("bronze.orders") == [1, 2]


def test_a_component_makes_what_a_floe_yaml_makes(project: DgProject, tmp_path: Path) -> None:
    attributes = textwrap.dedent(SHOP[SHOP.index("  ingestion") :])
    (tmp_path / "floe.yaml").write_text(attributes)
    project.write(SHOP)

    made, plain = project.load(), floe_ingestion.build_definitions(tmp_path / "floe.yaml")

    assert keys_of(made) == keys_of(plain) == {"bronze/orders", "source/shop/orders"}
    assert {job.name for job in made.jobs or ()} == {job.name for job in plain.jobs or ()}
    assert set(plain.resources or ()) <= set(made.resources or ())


def test_paths_start_at_the_file_and_the_lake_at_the_project(project: DgProject) -> None:
    path = project.write(
        f"""
        type: {TYPE}
        attributes:
          ingestion:
            sources:
              - name: clicks
                type: filesystem
                config:
                  bucket_url: landing
                  resources: [{{name: clicks, file_glob: "*.jsonl", format: jsonl}}]
                destination: {{schema: bronze}}
        """
    )
    (path.parent / "landing").mkdir()
    (path.parent / "landing" / "one.jsonl").write_text('{"id": 1}\n')

    project.run("bronze/clicks")

    assert project.lake.values("bronze.clicks") == [1]


def test_variables_are_of_the_run_and_templates_of_dagster(project: DgProject, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(SHOP.replace("schema: bronze", 'schema: "{{ env.LAYER }}_x"'))
    monkeypatch.setenv("LAYER", "silver")

    assert keys_of(project.load()) == {"silver_x/orders", "source/shop/orders"}
    result = project.run("silver_x/orders", fails=True)
    assert category(result) == "MissingVariable"
    assert "shop/defs.yaml: ingestion.sources[0].config.connection_string" in failure(result)


def test_a_text_that_looks_like_a_number_stays_a_text(project: DgProject) -> None:
    project.write(SHOP.replace("destination:", 'description: "7"\n        destination:'))

    (asset,) = [spec for spec in project.load().resolve_all_asset_specs() if spec.key.path[0] == "bronze"]

    assert asset.description == "7"


def test_components_of_one_project_share_their_lake(
    project: DgProject, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sell((1, "ann", "10.50", "2026-01-01 10:00:00"))
    monkeypatch.setenv("SHOP_DATABASE", shop.url)
    project.write(SHOP)
    project.write(SHOP.replace("name: shop", "name: other").replace("schema: bronze", "schema: silver"), "other")

    project.run("bronze/orders", "silver/orders")

    assert (project.lake.values("bronze.orders"), project.lake.values("silver.orders")) == ([1], [1])


def test_a_component_can_be_made_in_python(project: DgProject) -> None:
    (project.defs / "shop.py").write_text(
        textwrap.dedent(
            """
            import dagster as dg
            from floe_ingestion import FloeIngestionComponent

            @dg.component_instance
            def shop(context: dg.ComponentLoadContext) -> FloeIngestionComponent:
                config = {"connection_string": "${SHOP_DATABASE}", "tables": ["orders"]}
                source = {"name": "shop", "type": "sql_database", "config": config, "destination": {"schema": "bronze"}}
                return FloeIngestionComponent(ingestion={"sources": [source]})
            """
        )
    )

    assert keys_of(project.load()) == {"bronze/orders", "source/shop/orders"}


# Where it is wrong


def test_every_mistake_is_told_with_its_line_in_the_file(project: DgProject) -> None:
    path = project.write(SHOP.replace("tables:", "tabels:").replace("schema: bronze", "shcema: bronze"))

    error = mistake_of(project)

    assert [(problem.line, problem.path) for problem in error.problems] == [
        (10, "ingestion.sources[0].config.tabels"),
        (11, "ingestion.sources[0].destination.shcema"),
    ]
    assert f"{path}:10" in str(error)
    assert "Did you mean 'tables'?" in str(error)


def test_a_mistake_in_a_second_document_is_told_with_its_line(project: DgProject) -> None:
    second = SHOP.lstrip().replace("name: shop", "name: other").replace("[orders]", "[orders, orders]")
    project.write(f"{SHOP.lstrip()}---\n{second}")

    (problem,) = mistake_of(project).problems

    lines = (project.defs / "shop" / "defs.yaml").read_text().splitlines()
    assert problem.line is not None
    assert "[orders, orders]" in lines[problem.line - 1]


def test_attributes_without_ingestion_are_told(project: DgProject) -> None:
    project.write(f"type: {TYPE}\nattributes:\n  plugins: {{}}\n")

    assert "ingestion: is missing; write `ingestion:` with `sources:` in it" in str(mistake_of(project))


# How `dg` finds and begins it


def test_what_is_scaffolded_loads_side_by_side(project: DgProject) -> None:
    sources = DltIngestionResource().list_available_sources()
    for source in sources:
        scaffold_object(project.defs / source, TYPE, json.dumps({"source": source}), "yaml", project.root)

    groups = project.load().resolve_asset_graph().all_group_names

    assert len(groups - {"default"}) == len(sources)


def test_the_page_on_components_is_right(project: DgProject) -> None:
    page = PAGE.read_text("utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ((typename, folder, source),) = re.findall(r"^dg scaffold defs (\S+) (\S+) --source (\S+)$", page, re.MULTILINE)

    project.write(text, "written")
    assert keys_of(project.load()) >= {"bronze/orders", "bronze/customers"}

    scaffold_object(project.defs / folder, typename, json.dumps({"source": source}), "yaml", project.root)
    assert text.endswith((project.defs / folder / "defs.yaml").read_text("utf-8").partition("sources:\n")[2])


def test_dg_finds_the_component() -> None:
    found = {f"{key.namespace}.{key.name}": value for key, value in discover_entry_point_package_objects().items()}

    assert found[TYPE] is FloeIngestionComponent
    assert FloeIngestionComponent.get_description()
