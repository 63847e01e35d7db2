"""Every kind of table that this library writes, each beside the rows that its source had."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from floe_ingestion.iceberg.compact import compact
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion.staging import Window
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load, private_folder
from floe_ingestion_tests.lake import Lake, Row

UTC = timezone.utc
SALES = pa.schema(
    {
        "id": pa.int64(),
        "customer": pa.string(),
        "amount": pa.decimal128(10, 2),
        "sold": pa.date32(),
        "at": pa.timestamp("us", "UTC"),
        "tags": pa.list_(pa.string()),
    }
)
KEYS = (UUID("12345678-1234-5678-1234-567812345678"), UUID(int=0))
KEY = {"write_disposition": "merge", "primary_key": ("id",)}
ON_READ = {**KEY, "merge_mode": "merge-on-read"}


@dataclass(frozen=True)
class Written:
    """A table, and what a reader must find in it."""

    name: str
    rows: list[Row]


def sale(number: int, **changes: Any) -> Row:
    """One row; every fifth customer and every seventh amount is unknown."""
    moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=7 * number, microseconds=number)
    return {
        "id": number,
        "customer": None if number % 5 == 0 else f"customer {number % 4} of the länger name",
        "amount": None if number % 7 == 0 else Decimal(number * 101 - 1000) / 100,
        "sold": moment.date(),
        "at": moment,
        "tags": None if number % 3 == 0 else [f"t{n}" for n in range(number % 3)],
        **changes,
    }


def sales(numbers: Iterable[int], **changes: Any) -> list[Row]:
    return [sale(number, **changes) for number in numbers]


def arrow(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SALES)


def types(lake: Lake) -> list[Row]:
    """Each primitive type but two: a value, another one, and none."""
    noon = datetime(2024, 2, 29, 12, 0, 0, 123456)
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "id": (pa.int64(), [1, 2, 3]),
        "truth": (pa.bool_(), [True, False, None]),
        "small": (pa.int32(), [-(2**31), 2**31 - 1, None]),
        "large": (pa.int64(), [-(2**63), 2**63 - 1, None]),
        "half": (pa.float32(), [1.5, -0.25, None]),
        "whole": (pa.float64(), [0.1, -1e308, None]),
        "price": (pa.decimal128(9, 2), [Decimal("-9999999.99"), Decimal("0.01"), None]),
        "sum": (pa.decimal128(18, 4), [Decimal("-99999999999999.9999"), Decimal("1.0000"), None]),
        "huge": (pa.decimal128(38, 10), [Decimal("-1E+27"), Decimal("1E-10"), None]),
        "name": (pa.string(), ["", "zoë 🧊 and more than sixteen letters", None]),
        "raw": (pa.binary(), [b"", b"\x00\xff", None]),
        "code": (pa.binary(4), [b"abcd", b"\x00\x01\x02\x03", None]),
        "day": (pa.date32(), [date(1969, 12, 31), date(2024, 2, 29), None]),
        "wall": (pa.timestamp("us"), [noon, datetime(1969, 12, 31, 23, 59, 59, 999999), None]),
        "instant": (pa.timestamp("us", "UTC"), [noon.replace(tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), None]),
    }
    return _typed(lake, "raw.types", columns)


def extremes(lake: Lake) -> list[Row]:
    """The first and the last moments that Python knows, and numbers that are none."""
    moments = [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)]
    return _typed(
        lake,
        "raw.extremes",
        {
            "id": (pa.int64(), [1, 2]),
            "day": (pa.date32(), [moment.date() for moment in moments]),
            "wall": (pa.timestamp("us"), moments),
            "instant": (pa.timestamp("us", "UTC"), [moment.replace(tzinfo=UTC) for moment in moments]),
            "ratio": (pa.float64(), [float("inf"), float("-inf")]),
        },
    )


def times(lake: Lake) -> list[Row]:
    """Times of day."""
    values = [time(0), time(23, 59, 59, 999999), None]
    return _typed(lake, "raw.times", {"id": (pa.int64(), [1, 2, 3]), "at": (pa.time64("us"), values)})


def uuids(lake: Lake) -> list[Row]:
    """UUIDs."""
    return _typed(lake, "raw.uuids", {"id": (pa.int64(), [1, 2, 3]), "key": (pa.uuid(), [*KEYS, None])})


def nested(lake: Lake) -> list[Row]:
    """Lists, maps and structs inside each other; empty ones, and none."""
    place = pa.struct({"city": pa.string(), "at": pa.struct({"lat": pa.float64(), "lon": pa.float64()})})
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "id": (pa.int64(), [1, 2, 3]),
        "place": (place, [{"city": "Oslo", "at": {"lat": 59.9, "lon": 10.7}}, {"city": None, "at": None}, None]),
        "numbers": (pa.list_(pa.int32()), [[1, None, 3], [], None]),
        "grid": (pa.list_(pa.list_(pa.int64())), [[[1], [], [2, 3]], [], None]),
        "prices": (pa.map_(pa.string(), pa.decimal128(9, 2)), [[("a", Decimal("1.50")), ("b", None)], [], None]),
        "places": (pa.list_(place), [[{"city": "Rome", "at": {"lat": 41.9, "lon": 12.5}}, None], [], None]),
    }
    return _typed(lake, "raw.nested", columns)


def evolved(lake: Lake) -> list[Row]:
    """Types that widened and columns that came later, also inside of a struct; older files know nothing of it."""
    spec = table_spec("raw.evolved")
    inner = pa.struct({"a": pa.int32()})
    first = {"id": pa.int32(), "ratio": pa.float32(), "price": pa.decimal128(5, 2), "inner": inner}
    old: list[Row] = [
        {"id": 1, "ratio": 0.5, "price": Decimal("1.25"), "inner": {"a": 1}},
        {"id": 2, "ratio": None, "price": None, "inner": None},
    ]
    load(lake, spec, pa.Table.from_pylist(old, schema=pa.schema(first)))
    later = {
        "id": pa.int64(),
        "ratio": pa.float64(),
        "price": pa.decimal128(12, 2),
        "inner": pa.struct({"a": pa.int64(), "b": pa.string()}),
        "note": pa.string(),
    }
    new: list[Row] = [
        {"id": 2**40, "ratio": 0.1, "price": Decimal("-1234567890.12"), "inner": {"a": 2**50, "b": "x"}, "note": "new"},
    ]
    load(lake, spec, pa.Table.from_pylist(new, schema=pa.schema(later)))
    inners = [{"a": 1, "b": None}, None]
    return [*({**row, "inner": inner, "note": None} for row, inner in zip(old, inners, strict=True)), *new]


def renamed(lake: Lake) -> list[Row]:
    """A column that somebody renamed, and one that was dropped and came again as another: ids tell them apart."""
    spec = table_spec("raw.renamed")
    load(lake, spec, [{"id": 1, "name": "ann", "gone": "old"}])
    with lake.table("raw.renamed").update_schema() as update:
        update.rename_column("name", "customer")
        update.delete_column("gone")
    load(lake, spec, [{"id": 2, "customer": "bob", "name": "new", "gone": 7}])
    return [
        {"id": 1, "customer": "ann", "name": None, "gone": None},
        {"id": 2, "customer": "bob", "name": "new", "gone": 7},
    ]


def by_values(lake: Lake) -> list[Row]:
    """Partitions by the values of each type: engines may take those from the metadata, not from the files."""
    moment = datetime(2024, 2, 29, 12, 0, 0, 123456)
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "id": (pa.int64(), [1, 2, 3]),
        "truth": (pa.bool_(), [True, False, None]),
        "small": (pa.int32(), [-1, 7, None]),
        "large": (pa.int64(), [-(2**40), 2**40, None]),
        "ratio": (pa.float64(), [0.1, -0.0, None]),
        "price": (pa.decimal128(9, 2), [Decimal("-1.50"), Decimal("0.01"), None]),
        "huge": (pa.decimal128(30, 10), [Decimal("-1E+15"), Decimal("1E-10"), None]),
        "name": (pa.string(), ["", "a/b=c d%20 zoë", None]),
        "day": (pa.date32(), [date(1969, 12, 31), date(2024, 2, 29), None]),
        "wall": (pa.timestamp("us"), [moment, datetime(1969, 12, 31, 23, 59, 59, 999999), None]),
        "instant": (pa.timestamp("us", "UTC"), [moment.replace(tzinfo=UTC), datetime(1960, 1, 1, tzinfo=UTC), None]),
    }
    return _typed(lake, "raw.by_values", columns, partition_by=tuple(columns)[1:])


def by_bytes(lake: Lake) -> list[Row]:
    """Partitions by bytes."""
    columns = {"id": (pa.int64(), [1, 2, 3]), "raw": (pa.binary(), [b"", b"\x00\xff", None])}
    return _typed(lake, "raw.by_bytes", columns, partition_by=("raw",))


def by_fixed(lake: Lake) -> list[Row]:
    """Partitions by bytes that are always as many."""
    columns = {"id": (pa.int64(), [1, 2, 3]), "code": (pa.binary(4), [b"abcd", b"\x00\x01\x02\x03", None])}
    return _typed(lake, "raw.by_fixed", columns, partition_by=("code",))


def by_uuid(lake: Lake) -> list[Row]:
    """Partitions by UUIDs."""
    columns = {"id": (pa.int64(), [1, 2, 3]), "key": (pa.uuid(), [*KEYS, None])}
    return _typed(lake, "raw.by_uuid", columns, partition_by=("key",))


def by_uuid_bucket(lake: Lake) -> list[Row]:
    """Buckets of UUIDs."""
    columns = {"id": (pa.int64(), [1, 2, 3]), "key": (pa.uuid(), [*KEYS, None])}
    return _typed(lake, "raw.by_uuid_bucket", columns, partition_by=("bucket(4, key)",))


def by_day(lake: Lake) -> list[Row]:
    """Daily partitions, of which one was replaced."""
    spec = table_spec("raw.by_day", partitions={"type": "daily", "column": "at", "start": "2024-01-01"})
    rows = sales(range(20))
    load(lake, spec, arrow(rows))
    second = Window("at", datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC))
    again = [{**row, "customer": "again"} for row in rows if row["sold"] == date(2024, 1, 2)]
    load(lake, spec, arrow(again), window=second)
    return [*(row for row in rows if row["sold"] != date(2024, 1, 2)), *again]


def by_bucket(lake: Lake) -> list[Row]:
    """Buckets of each type that has them, and pieces of texts and numbers."""
    terms = ("bucket(4, id)", "bucket(3, customer)", "bucket(2, amount)", "bucket(2, sold)", "bucket(2, at)")
    rows = sales(range(12))
    load(lake, table_spec("raw.by_bucket", partition_by=terms), arrow(rows))
    return rows


def by_piece(lake: Lake) -> list[Row]:
    """The beginnings of texts and numbers, years, months and hours."""
    terms = ("truncate(10, customer)", "truncate(5, id)", "year(sold)", "month(at)", "hour(at)")
    rows = [*sales(range(6)), *sales(range(-3, 0))]
    load(lake, table_spec("raw.by_piece", partition_by=terms), arrow(rows))
    return rows


def respecced(lake: Lake) -> list[Row]:
    """Files of an older way to partition beside those of a newer one, some of their rows marked."""
    spec = table_spec("raw.respecced", **ON_READ, partition_by=("bucket(2, id)",))
    load(lake, spec, arrow(sales(range(10))), key=("id",))
    with lake.table("raw.respecced").update_spec() as update:
        update.remove_field("id_bucket")
        update.add_field("customer", "identity", "customer")
    changed = sales([1, 2, 20], amount=Decimal("7.77"))
    load(lake, spec, arrow(changed), key=("id",))
    return _merged(sales(range(10)), changed)


def merged(lake: Lake) -> list[Row]:
    """Rows marked where they lie, again and again."""
    spec = table_spec("raw.merged", **ON_READ)
    rows = sales(range(30))
    load(lake, spec, arrow(rows), key=("id",))
    for number in range(3):
        changed = sales([number, 10 + number, 40 + number], customer=f"change {number}", tags=["new", None])
        load(lake, spec, arrow(changed), key=("id",))
        rows = _merged(rows, changed)
    return rows


def rewritten(lake: Lake) -> list[Row]:
    """Files written anew without the rows that left."""
    spec = table_spec("raw.rewritten", **KEY, merge_mode="copy-on-write", partition_by=("bucket(2, id)",))
    rows, changed = sales(range(10)), sales([2, 3], amount=None)
    load(lake, spec, arrow(rows), key=("id",))
    load(lake, spec, arrow(changed), key=("id",))
    return _merged(rows, changed)


def deleted(lake: Lake) -> list[Row]:
    """Rows whose source says that they are gone."""
    spec = table_spec("raw.deleted", **ON_READ, hard_delete="gone")
    load(lake, spec, [{"id": number, "gone": False} for number in range(10)], key=("id",))
    load(lake, spec, [{"id": number, "gone": True} for number in (3, 4)], key=("id",))
    return [{"id": number, "gone": False} for number in range(10) if number not in (3, 4)]


def compacted(lake: Lake) -> list[Row]:
    """Small files made one, and deletes folded in."""
    spec = table_spec("raw.compacted", **ON_READ)
    rows: list[Row] = []
    for number in range(4):
        came = sales(range(number * 5, number * 5 + 6), customer=f"load {number}")
        load(lake, spec, arrow(came), key=("id",))
        rows = _merged(rows, came)
    compact(lake.table("raw.compacted"), Packing(target_file_bytes=10_000_000, min_files=2), private_folder(lake))
    return rows


def empty(lake: Lake) -> list[Row]:
    """Columns, and never a row."""
    load(lake, table_spec("raw.empty"), arrow([]))
    return []


def emptied(lake: Lake) -> list[Row]:
    """Rows that a replace has taken away."""
    spec = table_spec("raw.emptied", write_disposition="replace")
    load(lake, spec, arrow(sales(range(3))))
    load(lake, spec, arrow([]))
    return []


def replaced(lake: Lake) -> list[Row]:
    """Rows that a replace has put in the place of others."""
    spec = table_spec("raw.replaced", write_disposition="replace")
    load(lake, spec, arrow(sales(range(3))))
    load(lake, spec, arrow(sales(range(5, 9))))
    return sales(range(5, 9))


MAKERS: tuple[Callable[[Lake], list[Row]], ...] = (
    types,
    extremes,
    times,
    uuids,
    nested,
    evolved,
    renamed,
    by_values,
    by_bytes,
    by_fixed,
    by_uuid,
    by_uuid_bucket,
    by_day,
    by_bucket,
    by_piece,
    respecced,
    merged,
    rewritten,
    deleted,
    compacted,
    empty,
    emptied,
    replaced,
)
NAMES = tuple(maker.__name__ for maker in MAKERS)


def write_all(lake: Lake) -> dict[str, Written]:
    """Every table, by the name of what is special about it."""
    return {maker.__name__: Written(f"raw.{maker.__name__}", maker(lake)) for maker in MAKERS}


def _typed(lake: Lake, name: str, columns: dict[str, tuple[pa.DataType, list[Any]]], **settings: Any) -> list[Row]:
    given = pa.table({column: pa.array(values, type_) for column, (type_, values) in columns.items()})
    load(lake, table_spec(name, **settings), given)
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*(values for _, values in columns.values()), strict=True)
    ]


def _merged(rows: list[Row], changed: list[Row]) -> list[Row]:
    return list({row["id"]: row for row in [*rows, *changed]}.values())
