"""A floe.yaml as a Dagster component: the same sections, under `attributes` of a defs.yaml."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import BaseModel, Field, PrivateAttr

from floe_ingestion.definitions import build_definitions, home_in
from floe_ingestion.loading import SECTIONS, spec_of
from floe_ingestion.mistakes.report import Report
from floe_ingestion.mistakes.yaml_file import YamlFile, is_list, is_mapping

_STARTERS = {
    "sql_database": """\
      - name: shop
        type: sql_database
        config:
          connection_string: ${SHOP_DATABASE}
          tables: [orders, customers]
        destination:
          schema: bronze
          write_disposition: replace
""",
    "rest_api": """\
      - name: shop_api
        type: rest_api
        config:
          base_url: https://api.example.com/v1
          resources:
            - name: orders
              endpoint: /orders
              incremental:
                cursor_path: updated_at
        destination:
          table: bronze.raw_orders
          write_disposition: merge
""",
    "filesystem": """\
      - name: clicks
        type: filesystem
        config:
          bucket_url: landing
          resources:
            - {name: clicks, file_glob: "clicks/*.jsonl", format: jsonl}
        destination:
          schema: bronze
""",
    "github": """\
      - name: github
        type: github
        config:
          token: ${GITHUB_TOKEN}
          repositories: [example/project]
          resources: [issues, pull_requests, commits]
        destination:
          schema: bronze
          table_prefix: github_
""",
    "stripe": """\
      - name: stripe
        type: stripe
        config:
          api_key: ${STRIPE_API_KEY}
          resources: [customers, charges, subscriptions]
        destination:
          schema: bronze
          table_prefix: stripe_
""",
    "google_sheets": """\
      - name: planning
        type: google_sheets
        config:
          spreadsheet: https://docs.google.com/spreadsheets/d/1aB-cD_eF/edit
          credentials: ${GOOGLE_SERVICE_ACCOUNT}
          resources: [budget]
        destination:
          schema: bronze
""",
}
_shared: dict[tuple[str, str], Mapping[str, Any]] = {}
"""The resources of components, by their plugins and their home."""


class StarterParams(BaseModel):
    """What `dg scaffold defs floe_ingestion.FloeIngestionComponent` may be told."""

    source: Literal["sql_database", "rest_api", "filesystem", "github", "stripe", "google_sheets"] = Field(
        default="sql_database", description="The type of source that the file begins with."
    )


class FloeIngestionScaffolder(dg.Scaffolder[StarterParams]):
    """Writes a defs.yaml to begin with."""

    @classmethod
    def get_scaffold_params(cls) -> type[StarterParams]:
        return StarterParams

    def scaffold(self, request: dg.ScaffoldRequest[StarterParams]) -> None:
        """Write the file, or what `dg scaffold` writes of any component in Python."""
        if request.scaffold_format == "python":
            dg.scaffold_component(request)
            return
        source = request.params.source if request.params else "sql_database"
        text = f"type: {request.type_name}\n\nattributes:\n  ingestion:\n    sources:\n{_STARTERS[source]}"
        (request.target_path / "defs.yaml").write_text(text, "utf-8")


@dg.scaffold_with(FloeIngestionScaffolder)
class FloeIngestionComponent(dg.Component, dg.Resolvable, dg.Model):
    """Databases, APIs and files into Apache Iceberg tables: what a floe.yaml says, as a component.

    `${VARIABLE}` is read by the run that needs it, as in a floe.yaml. `{{ … }}` is Dagster's, and is rendered
    when the code location loads.
    """

    plugins: Any = Field(default=None, description="The section `plugins` of a floe.yaml: catalog and storage.")
    ingestion: Any = Field(default=None, description="The section `ingestion` of a floe.yaml: defaults and sources.")

    _file: YamlFile | None = PrivateAttr(default=None)

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> FloeIngestionComponent:
        """The component of a defs.yaml, which is read as a floe.yaml is: every key with its line."""
        file = _file_of(context)
        data = file.data if file is not None else model.model_dump(exclude_unset=True)
        component = cls(**{name: _rendered(data[name], context.at_path(name)) for name in SECTIONS if name in data})
        component._file = file
        return component

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The assets, jobs and schedules of the sources. Raises `ConfigurationError` with every mistake."""
        name = self._file.name if self._file is not None else _name_of(context.path)
        data = {section: getattr(self, section) for section in SECTIONS if section in self.model_fields_set}
        spec = spec_of(data, Report(name, self._file))
        home = home_in(context.project_root)
        # Dagster takes one object a name, and all components with the same plugins can use the same.
        plugins = (json.dumps(spec.plugins.model_dump(), sort_keys=True, default=str), str(home))
        definitions = build_definitions(spec, home, _shared.get(plugins))
        _shared.setdefault(plugins, definitions.resources or {})
        return definitions


def _name_of(path: Path) -> str:
    """What a component made in Python is called in messages; its folder is where relative paths start."""
    return str(path / "component.py" if path.is_dir() else path)


def _file_of(context: dg.ResolutionContext) -> YamlFile | None:
    """The defs.yaml that is being loaded; None for a component made in Python."""
    if (positions := context.source_position_tree) is None:
        return None
    path, line = Path(positions.position.filename), positions.position.start.line
    return YamlFile(str(path), path.read_text("utf-8"), SECTIONS, line) if path.is_file() else None


def _rendered(value: Any, context: dg.ResolutionContext) -> Any:
    """`value` with Dagster's templates rendered; any other text stays as it is, which Dagster would not let it."""
    if isinstance(value, str):
        return context.resolve_value(value) if "{{" in value or "{%" in value else value
    if is_mapping(value):
        return {key: _rendered(item, context.at_path(key)) for key, item in value.items()}
    if is_list(value):
        return [_rendered(item, context.at_path(index)) for index, item in enumerate(value)]
    return value
