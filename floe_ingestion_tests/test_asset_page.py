"""What Dagster's page of an asset tells: versions that downstream assets go by, columns, and where they come from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import dlt
import pytest

from floe_ingestion import build_definitions, dlt_asset
from floe_ingestion_tests.dagster_fixtures import QUIET, Project, materialize, metadata
from floe_ingestion_tests.lake import duckdb_rows

pytestmark = pytest.mark.dagster

SHOP = """\
ingestion:
  sources:
    - name: shop
      type: sql_database
      config:
        connection_string: sqlite:///source.db
        tables:
          - name: orders
            incremental: {cursor_path: id}
            columns: {amount: {description: In euros}}
          - customers
      destination: {schema: bronze}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    project = Project(tmp_path, SHOP)
    project.sql(
        "create table orders (id integer primary key, amount integer, placedAt timestamp not null)",
        "insert into orders values (1, 5, '2024-01-01 00:00:00')",
        "create table customers (id integer primary key)",
    )
    return project


def loaded(source: Any, project: Project) -> dict[str, Any]:
    return metadata(materialize([source], project.resources), source.key.to_user_string())


# Its version


def test_the_data_version_is_the_snapshot_so_that_assets_downstream_know_what_they_have_not_seen(
    shop: Project,
) -> None:
    @dg.asset(deps=[dg.AssetKey(["bronze", "orders"])])
    def report() -> None: ...

    definitions = dg.Definitions.merge(shop.definitions(), dg.Definitions(assets=[report]))
    orders = [dg.AssetKey(["bronze", "orders"])]
    with dg.instance_for_test(temp_dir=str(shop.folder)) as instance:

        def load(keys: list[dg.AssetKey]) -> None:
            job = definitions.resolve_implicit_global_asset_job_def()
            job.execute_in_process(instance=instance, asset_selection=keys, run_config=QUIET)

        def stale() -> bool:
            """As the asset page shows it: a new version upstream."""
            from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
            from dagster._core.loader import LoadingContextForTest

            graph = definitions.resolve_asset_graph()
            resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
            return resolver.get_status(report.key) == StaleStatus.STALE

        def version() -> str:
            record = instance.get_latest_materialization_event(orders[0])
            assert record is not None
            assert record.asset_materialization is not None
            return (record.asset_materialization.tags or {})["dagster/data_version"]

        load(orders)
        load([report.key])
        found = [(stale(), version() == str(shop.table("bronze.orders").current_snapshot().snapshot_id))]
        load(orders)  # nothing new: no snapshot, and no new version
        found.append((stale(), version() == str(shop.table("bronze.orders").current_snapshot().snapshot_id)))
        shop.sql("insert into orders values (2, 6, '2024-01-02 00:00:00')")
        load(orders)
        found.append((stale(), version() == str(shop.table("bronze.orders").current_snapshot().snapshot_id)))

    assert found == [(False, True), (False, True), (True, True)]


# Its columns


def test_each_column_says_which_column_of_the_source_it_was(shop: Project) -> None:
    lineage = metadata(shop.run("bronze/orders"), "bronze/orders")["dagster/column_lineage"]
    source = dg.AssetKey(["source", "shop", "orders"])

    assert {
        name: [(dep.asset_key, dep.column_name) for dep in deps] for name, deps in lineage.deps_by_column.items()
    } == {"id": [(source, "id")], "amount": [(source, "amount")], "placed_at": [(source, "placedAt")]}


def test_rows_of_python_say_so_too_and_columns_that_a_merge_adds_come_from_nowhere(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        """\
ingestion:
  sources:
    - name: pets
      type: filesystem
      config: {bucket_url: ., resources: [{name: cats, file_glob: "*.jsonl"}]}
      destination: {schema: bronze, write_disposition: merge, merge_strategy: scd2, primary_key: catName}
""",
    )
    (tmp_path / "cats.jsonl").write_text('{"catName": "Tom", "age": 3}\n')

    lineage = metadata(project.run("bronze/cats"), "bronze/cats")["dagster/column_lineage"]

    assert {name: dep.column_name for name, (dep,) in lineage.deps_by_column.items()} == {
        "cat_name": "catName",
        "age": "age",
    }
    assert {"valid_from", "valid_to"} <= set(project.table("bronze.cats").schema().column_names)


def test_columns_show_what_the_source_and_floe_yaml_say_of_them(shop: Project) -> None:
    schema = metadata(shop.run("bronze/orders"), "bronze/orders")["dagster/column_schema"]

    assert {column.name: (column.description, column.constraints.nullable) for column in schema.columns} == {
        "id": (None, True),
        "amount": ("In euros", True),
        "placed_at": (None, False),
    }


def test_descriptions_of_the_source_are_those_of_the_table_unless_floe_yaml_has_its_own(project: Project) -> None:
    @dlt_asset(table="bronze.cats")
    def cats() -> Any:
        hints = {"name": {"description": "As it is called"}, "age": {"description": "In years", "nullable": False}}
        return dlt.resource([{"name": "Tom", "age": 3}], name="cats", columns=hints)

    shown = loaded(cats, project)["dagster/column_schema"]

    assert {field.name: field.doc for field in project.table("bronze.cats").schema().fields} == {
        "name": "As it is called",
        "age": "In years",
    }
    assert {column.name: column.constraints.nullable for column in shown.columns} == {"name": True, "age": False}


def test_foreign_keys_lead_to_the_assets_that_the_same_source_loads(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        """\
ingestion:
  sources:
    - name: shop
      type: sql_database
      config:
        connection_string: sqlite:///source.db
        tables: [{name: items, included_columns: [id, orderShop, orderId, product]}, {name: orders, table: sales}]
      destination: {schema: bronze}
""",
    )
    project.sql(
        "create table orders (shop integer, orderId integer, primary key (shop, orderId))",
        "create table products (id integer primary key)",
        """create table items (id integer primary key, orderShop integer, orderId integer, product integer,
            seller integer references products (id), foreign key (product) references products,
            foreign key (orderShop, orderId) references orders (shop, orderId))""",
        "insert into items values (1, 1, 1, 1, 1)",
    )

    shown = metadata(project.run("bronze/items"), "bronze/items")

    assert [record.data for record in shown["floe/foreign_keys"].records] == [
        {
            "columns": "order_shop, order_id",
            "references": "bronze.sales(shop, order_id)",
            "asset": "bronze/sales",
        },
        {"columns": "product", "references": "products(id)", "asset": "not loaded by this source"},
    ]
    assert {column.name: column.constraints.other for column in shown["dagster/column_schema"].columns} == {
        "id": [],
        "order_shop": ["references bronze.sales(shop, order_id)"],
        "order_id": ["references bronze.sales(shop, order_id)"],
        "product": ["references products(id)"],
    }


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# Its numbers, and how to get at its rows


def test_a_load_shows_how_fast_it_was(shop: Project) -> None:
    (event, *_) = shop.run("bronze/orders").get_asset_materialization_events()
    values = event.step_materialization_data.materialization.metadata
    rate = values["rows per second"]

    assert isinstance(rate, dg.FloatMetadataValue)
    assert rate.value == pytest.approx(1 / values["seconds"].value, rel=0.1)


def test_how_to_read_the_load_gives_its_rows_also_after_the_next(shop: Project) -> None:
    first = metadata(shop.run("bronze/orders"), "bronze/orders")["how to read"]
    shop.sql("insert into orders values (2, 6, '2024-01-02 00:00:00')")
    shop.run("bronze/orders")

    (location,) = re.findall(r"iceberg_scan\('(.*)'\)", first)
    (snapshot,) = re.findall(r"snapshot_id=(\d+)", first)
    assert [row["id"] for row in duckdb_rows(location)] == [1]
    assert shop.table("bronze.orders").scan(snapshot_id=int(snapshot)).to_arrow()["id"].to_pylist() == [1]


# Where it is configured


def references(assets: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for asset in assets:
        for spec in asset.specs if isinstance(asset, dg.AssetsDefinition) else [asset]:
            if (value := spec.metadata.get("dagster/code_references")) is not None:
                (found[spec.key.to_user_string()],) = value.code_references
    return found


def test_each_asset_points_to_its_lines_in_floe_yaml(shop: Project) -> None:
    found = references(shop.definitions().assets or ())

    assert {key: (Path(each.file_path), each.line_number, each.label) for key, each in found.items()} == {
        "bronze/orders": (shop.path, 8, "orders of shop"),
        "bronze/customers": (shop.path, 11, "customers of shop"),
    }


def test_the_lines_become_links_into_a_git_repository(shop: Project) -> None:
    mapping = dg.AnchorBasedFilePathMapping(local_file_anchor=shop.path, file_anchor_path_in_repository="etl/floe.yaml")
    linked = dg.link_code_references_to_git(
        list(shop.definitions().assets or ()), "https://github.com/acme/etl", "main", mapping
    )

    assert {key: each.url for key, each in references(linked).items()} == {
        "bronze/orders": "https://github.com/acme/etl/tree/main/etl/floe.yaml#L8",
        "bronze/customers": "https://github.com/acme/etl/tree/main/etl/floe.yaml#L11",
    }


def test_an_asset_in_python_points_to_its_function() -> None:
    @dlt_asset(table="bronze.cats")
    def cats() -> Iterator[dict[str, Any]]:
        yield {"name": "Tom"}

    (found,) = references([cats]).values()

    assert Path(found.file_path) == Path(__file__)
    assert '@dlt_asset(table="bronze.cats")' in Path(__file__).read_text().splitlines()[found.line_number - 1]


def test_definitions_may_be_built_from_a_relative_path(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.folder)

    assert Path(references(build_definitions("floe.yaml").assets or ())["bronze/orders"].file_path) == shop.path
