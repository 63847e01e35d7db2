"""From floe.yaml to Iceberg: what APIs and files send is what the tables hold, once."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from floe_ingestion.errors import ConfigurationError, SourceRejected
from floe_ingestion.loading import load_spec
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of
from floe_ingestion.staging import Window
from floe_ingestion_tests.http_server import HttpServer, serving
from floe_ingestion_tests.lake import Lake

UTC = timezone.utc


@pytest.fixture
def api() -> Iterator[HttpServer]:
    with serving() as server:
        yield server


Written = Callable[[str], IngestionPipeline]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """The pipeline of the one source of a floe.yaml in `tmp_path`."""

    def pipeline(source: str) -> IngestionPipeline:
        file = tmp_path / "floe.yaml"
        file.write_text("ingestion:\n  sources:\n" + textwrap.indent(textwrap.dedent(source).strip(), "    ") + "\n")
        return pipeline_of(load_spec(file).sources[0], tmp_path)

    return pipeline


def test_the_first_source_of_the_readme_merges_what_changed(lake: Lake, written: Written, api: HttpServer) -> None:
    orders = written(f"""
        - name: orders_api
          type: rest_api
          config:
            base_url: {api.url}/v1
            resources:
              - name: orders
                endpoint: /orders
                incremental:
                  cursor_path: updated_at
          destination:
            table: bronze.raw_orders
            write_disposition: merge
        """)
    api.route("/v1/orders", [{"id": 1, "state": "new", "updated_at": "2024-01-01T00:00:00Z"}])
    lake.load(orders)
    api.route(
        "/v1/orders",
        [
            {"id": 1, "state": "paid", "updated_at": "2024-01-02T00:00:00.5Z"},
            {"id": 2, "state": "new", "updated_at": "2024-01-02T00:00:00Z"},
        ],
    )
    lake.load(orders)

    assert lake.rows("bronze.raw_orders") == [
        {"id": 1, "state": "paid", "updated_at": datetime(2024, 1, 2, 0, 0, 0, 500000, UTC)},
        {"id": 2, "state": "new", "updated_at": datetime(2024, 1, 2, tzinfo=UTC)},
    ]
    assert lake.cursor("bronze.raw_orders") == {"updated_at": "2024-01-02T00:00:00.5Z"}


def test_a_partition_holds_the_rows_of_its_window_whatever_the_api_sends(
    lake: Lake, written: Written, api: HttpServer
) -> None:
    orders = written(f"""
        - name: orders_api
          type: rest_api
          config: {{base_url: {api.url}/v1, resources: [orders]}}
          destination: {{schema: bronze}}
          partitions: {{type: daily, column: at, start: 2024-01-01, timezone: Europe/Berlin, start_param: from}}
        """)
    moments = [
        "2023-12-31T22:59:59Z",
        "2023-12-31T23:00:00Z",
        "2024-01-01T23:59:59+01:00",
        "2024-01-01T22:59:59.999Z",
        "2024-01-01T23:00:00+00:00",
        "2024-01-02T00:00:00.000+01:00",
    ]
    api.route("/v1/orders", [{"id": number, "at": moment} for number, moment in enumerate(moments)])
    zone = ZoneInfo("Europe/Berlin")

    lake.load(orders, window=Window("at", datetime(2024, 1, 1, tzinfo=zone), datetime(2024, 1, 2, tzinfo=zone)))

    assert lake.values("bronze.orders") == [1, 2, 3]
    assert api.asked[0].params == {"from": "2023-12-31T23:00:00Z"}


def test_children_follow_their_parent_from_their_own_table_on(lake: Lake, written: Written, api: HttpServer) -> None:
    shop = written(f"""
        - name: shop
          type: rest_api
          config:
            base_url: {api.url}
            resources:
              - {{name: orders, incremental: {{cursor_path: updated_at}}}}
              - {{name: items, endpoint: "orders/{{resources.orders.id}}/items", include_from_parent: id}}
          destination: {{schema: bronze}}
        """)
    for number in (1, 2):
        api.route(f"/orders/{number}/items", [{"item": number * 10}])
    api.route("/orders", [{"id": 1, "updated_at": "2024-01-01T00:00:00Z"}])
    lake.load(shop, resource="orders")
    lake.load(shop, resource="items")
    api.route("/orders", [{"id": 2, "updated_at": "2024-01-02T00:00:00Z"}])
    lake.load(shop, resource="orders")  # and the children of this one are not landed by now
    lake.load(shop, resource="items")
    lake.load(shop, resource="items")

    assert lake.rows("bronze.items") == [{"item": 10, "_orders_id": 1}, {"item": 20, "_orders_id": 2}]


def test_files_land_once_from_a_folder_beside_floe_yaml(
    lake: Lake, written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = written("""
        - name: drops
          type: filesystem
          config:
            bucket_url: drops
            resources:
              - {name: orders, file_glob: "*.csv", incremental: {cursor_path: modification_date}}
          destination: {schema: bronze}
        """)
    (tmp_path / "drops").mkdir()
    monkeypatch.chdir("/")
    (tmp_path / "drops" / "a.csv").write_text("Id,zipCode\n1,01067\n")
    lake.load(files)
    (tmp_path / "drops" / "b.csv").write_text("Id,zipCode\n2,10115\n")
    lake.load(files)
    lake.load(files)

    assert lake.rows("bronze.orders") == [{"id": 1, "zip_code": "01067"}, {"id": 2, "zip_code": "10115"}]


def test_a_load_that_was_not_committed_leaves_its_files_to_the_next(
    lake: Lake, written: Written, tmp_path: Path
) -> None:
    files = written("""
        - name: drops
          type: filesystem
          config:
            bucket_url: .
            resources:
              - {name: orders, file_glob: "*.jsonl", incremental: {cursor_path: modification_date}}
          destination: {schema: bronze}
        """)
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n')
    with lake.staged(files):
        pass
    lake.load(files)

    assert lake.values("bronze.orders") == [1]


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_declared_types_are_those_of_the_table(lake: Lake, written: Written, tmp_path: Path, format: str) -> None:
    files = written(f"""
        - name: drops
          type: filesystem
          config:
            bucket_url: .
            resources:
              - name: orders
                file_glob: "*.{format}"
                columns: {{price: "decimal(10, 2)", at: timestamptz, zip: string}}
          destination: {{schema: bronze}}
        """)
    rows = {
        "csv": "price,at,zip\n19.99,2024-01-31 10:00,123\n",
        "jsonl": '{"price": 19.99, "at": "2024-01-31T10:00:00Z", "zip": "123"}\n',
    }
    (tmp_path / f"a.{format}").write_text(rows[format])
    lake.load(files)
    lake.load(files)

    schema = lake.table("bronze.orders").schema()
    assert {field.name: str(field.field_type) for field in schema.fields} == {
        "price": "decimal(10, 2)",
        "at": "timestamptz",
        "zip": "string",
    }
    assert {row["zip"] for row in lake.rows("bronze.orders")} == {"123"}


def test_uuids_of_a_file_land_twice_over(lake: Lake, written: Written, tmp_path: Path) -> None:
    files = written("""
        - name: drops
          type: filesystem
          config:
            bucket_url: .
            resources: [{name: orders, file_glob: "*.csv", columns: {id: uuid}}]
          destination: {schema: bronze}
        """)
    some = "12345678-1234-5678-1234-567812345678"
    (tmp_path / "a.csv").write_text(f"id\n{some}\n")
    lake.load(files)
    lake.load(files)

    assert lake.values("bronze.orders") == [UUID(some)] * 2


def test_an_error_of_a_source_is_ours_and_names_the_file(lake: Lake, written: Written, tmp_path: Path) -> None:
    files = written("""
        - name: drops
          type: filesystem
          config: {bucket_url: ., resources: [{name: orders, file_glob: "*.csv"}]}
          destination: {schema: bronze}
        """)
    (tmp_path / "a.csv").write_text("id,name\n1\n")

    with pytest.raises(SourceRejected, match=r"a\.csv: CSV parse error: Row #2: Expected 2 columns, got 1"):
        lake.load(files)


def problems_of(written: Written, type_: str, config: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigurationError) as raised:
        written(f"""
            - name: some
              type: {type_}
              config: {{{config}}}
              destination: {{schema: bronze}}
            """)
    return [(problem.path, problem.message) for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("config", "path", "said"),
    [
        ("resources: [{name: a, endpoint: {pth: x}}]", "resources[0].endpoint.pth", "Did you mean 'path'?"),
        ("resources: [a], auth: {type: bearr, token: x}", "auth", "Did you mean 'bearer'?"),
        ("resources: [a], paginator: pagenumber", "paginator", "'page_number'"),
        ("resources: [a], paginator: {type: offset}", "paginator.limit", "write `limit: 100`"),
    ],
)
def test_a_mistake_about_an_api_is_found_at_its_place(written: Written, config: str, path: str, said: str) -> None:
    found = problems_of(written, "rest_api", f"base_url: 'https://a.b', {config}")

    assert any(place.endswith(f"config.{path}") and said in message for place, message in found), found


@pytest.mark.parametrize(
    ("resource", "path", "said"),
    [
        ("file_glob: x.csv, reader_options: {delim: ;}", ".reader_options.delim", "Did you mean 'delimiter'?"),
        ("file_glob: x.dat", "", "Write `format: csv`"),
        ("fileglob: x.csv", ".fileglob", "Did you mean 'file_glob'?"),
    ],
)
def test_a_mistake_about_files_is_found_at_its_place(written: Written, resource: str, path: str, said: str) -> None:
    found = problems_of(written, "filesystem", f"bucket_url: ., resources: [{{name: a, {resource}}}]")

    assert any(place.endswith(f"config.resources[0]{path}") and said in message for place, message in found), found
