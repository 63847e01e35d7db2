"""Every built-in connector keeps what `floe_ingestion.testing` asks of any connector; so does the plugin `dlt`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from floe_ingestion import DltIngestionResource
from floe_ingestion.resources import IcebergLakeResource
from floe_ingestion.sources.registry import _BUILT_IN
from floe_ingestion.testing import IngestionPluginTests, SourceCase, SourceTests, WindowCase
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.http_server import Answer, Asked, serving
from floe_ingestion_tests.sources.fake_github import TOKEN, github
from floe_ingestion_tests.sources.fake_sheets import ID, sheets
from floe_ingestion_tests.sources.fake_stripe import KEY, NEW_YEAR, stripe

pytestmark = pytest.mark.dagster

UTC = timezone.utc
NOBODY = "http://127.0.0.1:9"
"""A port at which nothing listens."""
WRONG = "wr0ng-credential"
SECOND_DAY = (datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC))


def daily(column: str) -> WindowCase:
    return WindowCase({"type": "daily", "column": column, "start": "2024-01-01"}, *SECOND_DAY, rows=1)


class TestSqlDatabase(SourceTests):
    @pytest.fixture
    def case(self, shop: Shop) -> SourceCase:
        days = [f"2024-01-0{number} 10:00:00" for number in (1, 2, 3)]
        shop.sell(*((number, "ann", "1.50", day) for number, day in enumerate(days)))
        shop.execute("create table other (id integer)")

        def add() -> int:
            shop.sell((9, "bob", "2.00", "2024-01-09 10:00:00"))
            return 1

        return SourceCase(
            type="sql_database",
            config={"connection_string": "${SHOP_URL}", "tables": ["orders", "other"]},
            environ={"SHOP_URL": shop.url},
            source={"incremental": {"cursor_path": "updated_at"}},
            resource="orders",
            rows=3,
            columns={"id": "long", "amount": "decimal(10, 2)", "updated_at": "timestamp"},
            add=add,
            refused={"tables": ["orders", "other"], "connection_string": "sqlite:////nowhere/shop.db"},
            unreachable={"connection_string": f"postgresql+psycopg://ann:{WRONG}@127.0.0.1:9/shop"},
            window=daily("updated_at"),
        )


class TestRestApi(SourceTests):
    @pytest.fixture
    def case(self) -> Iterator[SourceCase]:
        with serving() as api:
            rows = [{"id": number, "at": f"2024-01-0{number}T10:00:00Z"} for number in (1, 2, 3)]

            def orders(asked: Asked) -> Answer:
                known = asked.headers.get("authorization") == "Bearer t0psecret"
                return Answer(rows if known else {"message": "who are you?"}, 200 if known else 401)

            def add() -> int:
                rows.append({"id": 4, "at": "2024-01-04T10:00:00Z"})
                return 1

            api.route("/orders", orders)
            yield SourceCase(
                type="rest_api",
                config={
                    "base_url": api.url,
                    "auth": {"type": "bearer", "token": "${API_TOKEN}"},
                    "resources": ["orders", "other"],
                },
                environ={"API_TOKEN": "t0psecret"},
                source={"incremental": {"cursor_path": "at"}},
                resource="orders",
                rows=3,
                columns={"id": "long", "at": "timestamptz"},
                add=add,
                refused={"auth": {"type": "bearer", "token": WRONG}},
                unreachable={"base_url": NOBODY},
                window=daily("at"),
            )


class TestFilesystem(SourceTests):
    @pytest.fixture
    def case(self, tmp_path: Path) -> SourceCase:
        folder = tmp_path / "landing-7f3a"
        folder.mkdir()
        lines = [f"{number},2024-01-0{number}T10:00:00Z\n" for number in (1, 2, 3)]
        (folder / "one.csv").write_text("id,at\n" + "".join(lines))

        def add() -> int:
            (folder / "two.csv").write_text("id,at\n4,2024-01-04T10:00:00Z\n")
            return 1

        return SourceCase(
            type="filesystem",
            config={
                "bucket_url": "landing-7f3a",
                "kwargs": {"auto_mkdir": "${MKDIR}"},
                "resources": [{"name": "orders", "file_glob": "*.csv"}, {"name": "other", "file_glob": "*.jsonl"}],
            },
            environ={"MKDIR": "no-f01ders"},
            source={"incremental": {"cursor_path": "modification_date"}},
            resource="orders",
            rows=3,
            columns={"id": "long", "at": "timestamptz"},
            add=add,
            refused={"bucket_url": "nowhere"},
            window=daily("at"),
        )


class TestGithub(SourceTests):
    @pytest.fixture
    def case(self) -> Iterator[SourceCase]:
        with github() as hub:
            hub.repository("octo/a")
            for number in (1, 2, 3):
                hub.add("octo/a", "issues", id=number, updated_at=f"2024-01-0{number}T10:00:00Z")

            def add() -> int:
                hub.add("octo/a", "issues", id=4, updated_at="2024-01-04T10:00:00Z")
                return 1

            yield SourceCase(
                type="github",
                config={
                    "base_url": hub.url,
                    "token": "${GITHUB_TOKEN}",
                    "repositories": "octo/a",
                    "resources": ["commits", "issues"],
                },
                environ={"GITHUB_TOKEN": TOKEN},
                resource="issues",
                rows=3,
                columns={"id": "long", "repository": "string", "updated_at": "timestamptz", "closed_at": "timestamptz"},
                add=add,
                refused={"token": WRONG},
                unreachable={"base_url": NOBODY},
                window=daily("updated_at"),
            )


class TestStripe(SourceTests):
    @pytest.fixture
    def case(self) -> Iterator[SourceCase]:
        with stripe() as shop:
            shop.fill("charges", range(3), seconds=86_400)

            def add() -> int:
                shop.add("charges", "new", NEW_YEAR + 9 * 86_400)
                return 1

            yield SourceCase(
                type="stripe",
                config={"base_url": shop.url, "api_key": "${STRIPE_API_KEY}", "resources": ["charges", "events"]},
                environ={"STRIPE_API_KEY": KEY},
                source={"incremental": {"cursor_path": "created"}},
                resource="charges",
                rows=3,
                columns={"id": "string", "amount": "long", "created": "timestamptz", "metadata": "string"},
                add=add,
                refused={"api_key": WRONG},
                unreachable={"base_url": NOBODY},
                window=daily("created"),
            )


class TestGoogleSheets(SourceTests):
    @pytest.fixture
    def case(self) -> Iterator[SourceCase]:
        with sheets() as book:
            book.sheets["orders"] = [["id", "at"], *([day, datetime(2024, 1, day, 10)] for day in (1, 2, 3))]

            book.sheets["other"] = []

            def add() -> int:
                book.sheets["orders"].append([4, datetime(2024, 1, 4)])
                return 1

            yield SourceCase(
                type="google_sheets",
                config={
                    "base_url": book.url,
                    "spreadsheet": ID,
                    "credentials": "${GOOGLE_KEY}",
                    "resources": ["orders", "other"],
                },
                environ={"GOOGLE_KEY": book.key()},
                resource="orders",
                rows=3,
                columns={"id": "long", "at": "timestamp"},
                add=add,
                refused={"spreadsheet": "another"},
                unreachable={"base_url": NOBODY},
                window=daily("at"),
            )


class TestDlt(IngestionPluginTests):
    @pytest.fixture
    def plugin(self, home: Path) -> DltIngestionResource:
        return DltIngestionResource(lake=IcebergLakeResource(home=str(home)))


def test_every_built_in_connector_is_asked() -> None:
    classes = (TestSqlDatabase, TestRestApi, TestFilesystem, TestGithub, TestStripe, TestGoogleSheets)

    assert len(classes) == len(_BUILT_IN)
