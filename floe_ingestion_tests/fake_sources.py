"""Sources for tests: a shop that keeps its orders in SQLite, and pipelines from Python functions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from floe_ingestion.loading import source_from
from floe_ingestion.pipeline import IngestionPipeline, pipeline_of
from floe_ingestion.sources.base import Extraction, incremental_of
from floe_ingestion.spec import TableSpec

if TYPE_CHECKING:
    from dlt.extract.resource import DltResource

Row = dict[str, Any]


class Shop:
    """A SQLite database with a table `orders`: id, customer, amount and updated_at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"
        self.execute(
            "create table orders (id integer primary key, customer text, amount numeric(10, 2), updated_at timestamp)"
        )

    def execute(self, sql: str, *rows: Sequence[Any]) -> None:
        """Run `sql`, once for each of `rows` if there are any."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany(sql, rows) if rows else connection.execute(sql)

    def sell(self, *orders: tuple[int, str | None, str | None, str | None]) -> None:
        """Add orders: id, customer, amount, and `updated_at` as SQLite keeps it."""
        self.execute("insert into orders values (?, ?, ?, ?)", *orders)

    def change(self, order: int, updated_at: str, **values: Any) -> None:
        """Change an order, and say so in its `updated_at`."""
        given = {**values, "updated_at": updated_at}
        assignments = ", ".join(f"{name} = ?" for name in given)
        self.execute(f"update orders set {assignments} where id = ?", (*given.values(), order))

    def orders(self) -> list[Row]:
        """What is in the table, in Python's types; read without any of what is tested."""
        with closing(sqlite3.connect(self.path)) as connection:
            found = connection.execute("select id, customer, amount, updated_at from orders order by id").fetchall()
        return [
            {
                "id": number,
                "customer": customer,
                "amount": None if amount is None else Decimal(str(amount)).quantize(Decimal("0.01")),
                "updated_at": None if moment is None else datetime.fromisoformat(moment),
            }
            for number, customer, amount, moment in found
        ]

    def pipeline(self, table: str = "raw.orders", **entry: Any) -> IngestionPipeline:
        """From `orders` into `table`; `entry` is what a source of floe.yaml may say beside that."""
        config = {"connection_string": self.url, "tables": ["orders"], **entry.pop("config", {})}
        return pipeline_of(source_from("sql_database", table, {"config": config, **entry}), self.path.parent)


class FunctionConnector:
    """A function that returns rows, Arrow tables or data frames, as a source."""

    json_rows: ClassVar[bool] = False

    def __init__(self, function: Callable[[], Iterable[Any]], key: Sequence[str] = ()) -> None:
        self.function, self.key = function, tuple(key)

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        import dlt
        from dlt.extract.resource import DltResource

        made: dict[str, DltResource] = {}
        for extraction in extractions:
            items = self.function()
            name = extraction.table.resource
            resource = items if isinstance(items, DltResource) else dlt.resource(items, name=name)
            if (incremental := incremental_of(extraction)) is not None:
                resource.apply_hints(incremental=incremental)
            made[name] = resource
        return made

    def key_of(self, resource: DltResource) -> tuple[str, ...]:
        return self.key


def table_spec(table: str = "raw.numbers", **settings: Any) -> TableSpec:
    """How a table lands; `settings` as in `TableSpec`."""
    *namespace, name = table.split(".")
    given = {"source": "numbers", "source_type": "python", "resource": name, "namespace": namespace, "name": name}
    return TableSpec.model_validate({**given, **settings})


def pipeline_from(
    function: Callable[[], Iterable[Any]], table: str = "raw.numbers", key: Sequence[str] = (), **settings: Any
) -> IngestionPipeline:
    """From a function, called in each run, into `table`."""
    spec = table_spec(table, **settings)
    return IngestionPipeline(spec.source, (spec,), lambda: FunctionConnector(function, key))


def pipeline_of_rows(rows: Iterable[Any], table: str = "raw.numbers", **settings: Any) -> IngestionPipeline:
    """From these rows (or Arrow tables, or data frames) into `table`."""
    kept = list(rows)
    return pipeline_from(lambda: iter(kept), table, **settings)
