"""Loads of random rows leave what DuckDB's `MERGE` leaves of them, and count what it counts.

Each seed is one table and several loads: its strategy, key, partitions, columns and rows are drawn, so that each of
its keys comes, changes and goes in its own way. Half of the seeds merge in parts of a few rows, as loads do that do
not fit in memory.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest

from floe_ingestion.iceberg import parts
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import load
from floe_ingestion_tests.lake import Lake, Row

SEEDS = range(22)
LOADS = 4
STRATEGIES = ("upsert", "insert-only", "scd2", "upsert", "delete-insert", "scd2", "upsert")
FEW = 30
"""Rows of a part, where there are parts."""
MARKER, CURSOR, ARRIVAL = "gone", "version", "arrival"
VALID_FROM, VALID_TO = "valid_from", "valid_to"
UTC = timezone.utc
START = datetime(2024, 1, 1)
LONG = "x" * 40
DAY = timedelta(days=1)
KEY_TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "int": (pa.int32(), [*range(-20, 20), 2**31 - 1, -(2**31)]),
    "long": (pa.int64(), [*range(20), *range(2**40, 2**40 + 20), -(2**63)]),
    "string": (pa.string(), ["", "zoë 🧊", LONG, *(LONG + str(n) for n in range(12)), *map(str, range(12))]),
    "date": (pa.date32(), [date(1, 1, 1), date(1969, 12, 31), *(date(2024, 2, day) for day in range(1, 30))]),
    "timestamp": (pa.timestamp("us"), [START + timedelta(microseconds=n * 10**14 + n) for n in range(-9, 20)]),
    "timestamptz": (pa.timestamp("us", "UTC"), [START.replace(tzinfo=UTC) + n * DAY for n in range(-9, 20)]),
    "decimal": (pa.decimal128(20, 3), [Decimal("99999999999999999.999"), *(Decimal(n) / 8 for n in range(-15, 15))]),
    "boolean": (pa.bool_(), [True, False]),
    "binary": (pa.binary(), [b"", b"\x00\xff", *(bytes([n, 0]) for n in range(24))]),
    "uuid": (pa.uuid(), [*(UUID(int=n) for n in range(9)), *(UUID(int=n << 124) for n in range(1, 16))]),
    "fixed": (pa.binary(2), [bytes([n, 255 - n]) for n in range(0, 256, 8)]),
    "time": (pa.time64("us"), [time(hour, 0, 0, hour) for hour in range(24)]),
}
VALUE_TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "region": (pa.string(), ["eu", "us", "eu", None]),
    "amount": (pa.decimal128(9, 2), [Decimal("1.00"), Decimal("-2.50"), None]),
    "ratio": (pa.float64(), [0.0, 0.5, float("nan"), float("-inf"), None]),
    "moment": (
        pa.timestamp("us", "UTC"),
        [START.replace(tzinfo=UTC) + timedelta(hours=n) for n in (0, 1, 30)] + [None],
    ),
    "tags": (pa.list_(pa.string()), [["a"], ["a", None], [], None]),
    "extra": (pa.string(), ["x", "y", None]),
}
PARTITIONS: list[list[str]] = [[], ["region"], ["day(moment)"], ["bucket(3, k0)"]]


@dataclass
class Case:
    """How one table is loaded, and what its rows are drawn from."""

    seed: int
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        draw = self.chance = random.Random(self.seed)
        self.strategy = STRATEGIES[self.seed % len(STRATEGIES)]
        kinds = draw.sample(sorted(KEY_TYPES), draw.choice([1, 1, 2, 3]))
        self.columns = {f"k{number}": KEY_TYPES[kind] for number, kind in enumerate(kinds)}
        self.key = list(self.columns)
        self.columns |= {name: VALUE_TYPES[name] for name in ("region", "amount", "ratio", "moment", "tags")}
        self.deletes = self.strategy in ("upsert", "delete-insert") and draw.random() < 0.6
        self.by_cursor = draw.random() < 0.5
        buckets = kinds[0] != "boolean"
        self.partition_by = draw.choice([each for each in PARTITIONS if buckets or each != ["bucket(3, k0)"]])
        self.mode = draw.choice(["auto", "merge-on-read", "copy-on-write"])
        self.spec = table_spec(
            f"raw.case_{self.seed}",
            write_disposition="merge",
            merge_strategy=self.strategy,
            merge_mode=self.mode,
            partition_by=self.partition_by,
            hard_delete=MARKER if self.deletes else None,
            incremental={"cursor_path": CURSOR} if self.by_cursor else None,
        )

    def batches(self, number: int) -> list[pa.Table]:
        """One load: a few batches, whose columns may differ."""
        sizes = [self.chance.choice([0, 1, 20, 80]) for _ in range(self.chance.choice([1, 2, 3]))]
        return [self._batch(number, rows or number == 0) for rows in sizes if rows or number == 0]

    def _batch(self, number: int, rows: int) -> pa.Table:
        columns = dict(self.columns)
        if number and self.chance.random() < 0.3:
            columns["extra"] = VALUE_TYPES["extra"]
        made = {name: pa.array(self.chance.choices(values, k=rows), type_) for name, (type_, values) in columns.items()}
        if self.by_cursor:
            made[CURSOR] = pa.array(self.chance.choices([0, 1, 2, None], k=rows), pa.int64())
        if self.deletes:
            made[MARKER] = pa.array(self.chance.choices([True, False, False, False, None], k=rows), pa.bool_())
        if self.strategy == "scd2":
            made[VALID_FROM] = pa.array([START.replace(tzinfo=UTC) + timedelta(days=number)] * rows, MOMENT)
            made[VALID_TO] = pa.nulls(rows, MOMENT)
        return pa.table(made)


MOMENT = pa.timestamp("us", "UTC")


class Oracle:
    """The same table in DuckDB."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.database = duckdb.connect()
        self.database.execute("set timezone = 'UTC'")
        self.columns: list[str] = []

    def load(self, batches: Sequence[pa.Table]) -> tuple[int, int, int]:
        """Rows added, updated and deleted."""
        arrived = pa.concat_tables(map(plain, batches), promote_options="default")
        self.database.register("arrived", arrived.append_column(ARRIVAL, pa.arange(0, arrived.num_rows)))
        self.database.execute("create or replace table incoming as select * from arrived")
        self._grow(arrived)
        if arrived.num_rows == 0:
            return 0, 0, 0
        if self.case.strategy != "delete-insert":
            order = f"{CURSOR} is not null desc, {CURSOR} desc, " if self.case.by_cursor else ""
            self.database.execute(
                f"delete from incoming where {ARRIVAL} not in (select {ARRIVAL} from incoming qualify row_number() "
                f"over (partition by {', '.join(self.case.key)} order by {order}{ARRIVAL} desc) = 1)"
            )
        return getattr(self, f"_{self.case.strategy.replace('-', '_')}")()  # type: ignore[no-any-return]

    def rows(self) -> list[Row]:
        return self.database.sql(f"select {', '.join(self.columns)} from kept").to_arrow_table().to_pylist()

    def _grow(self, arrived: pa.Table) -> None:
        if not self.columns:
            self.database.execute(f"create table kept as select * exclude ({ARRIVAL}) from incoming limit 0")
        for name in [name for name in arrived.column_names if self.columns and name not in self.columns]:
            self.database.execute(f"alter table kept add column {name} varchar")
        self.columns += [name for name in arrived.column_names if name not in self.columns]
        for name in [name for name in self.columns if name not in arrived.column_names]:
            self.database.execute(f"alter table incoming add column {name} varchar")

    @property
    def _same_key(self) -> str:
        return " and ".join(f"kept.{name} = incoming.{name}" for name in self.case.key)

    @property
    def _changed(self) -> str:
        names = [name for name in self.columns if name not in (*self.case.key, VALID_FROM, VALID_TO)]
        return "(" + " or ".join(f"kept.{name} is distinct from incoming.{name}" for name in names) + ")"

    @property
    def _gone(self) -> str:
        return f"coalesce(incoming.{MARKER}, false)" if self.case.deletes else "false"

    def _upsert(self) -> tuple[int, int, int]:
        return self._merge(
            f"when matched and {self._gone} then delete when matched and {self._changed} then update by name "
            f"when not matched and not {self._gone} then insert by name"
        )

    def _insert_only(self) -> tuple[int, int, int]:
        return self._merge("when not matched then insert by name")

    def _merge(self, actions: str) -> tuple[int, int, int]:
        done = self.database.execute(
            f"merge into kept using (select * exclude ({ARRIVAL}) from incoming) incoming on {self._same_key} "
            f"{actions} returning merge_action"
        ).fetchall()
        made = [action for (action,) in done]
        return made.count("INSERT"), made.count("UPDATE"), made.count("DELETE")

    def _delete_insert(self) -> tuple[int, int, int]:
        """Of each key: so many rows of before have one that takes their place, and the others come or go."""
        keys = ", ".join(self.case.key)
        counts = self.database.execute(
            f"select coalesce(old, 0), new from "
            f"(select {keys}, count(*) filter (not {self._gone}) as new from incoming group by all) "
            f"left join (select {keys}, count(*) as old from kept group by all) using ({keys})"
        ).fetchall()
        self.database.execute(f"delete from kept using incoming where {self._same_key}")
        self.database.execute(
            f"insert into kept by name select * exclude ({ARRIVAL}) from incoming where not {self._gone}"
        )
        return (
            sum(max(new - old, 0) for old, new in counts),
            sum(min(new, old) for old, new in counts),
            sum(max(old - new, 0) for old, new in counts),
        )

    def _scd2(self) -> tuple[int, int, int]:
        current = f"{self._same_key} and kept.{VALID_TO} is null"
        (changed,) = self._one(f"select count(*) from kept, incoming where {current} and {self._changed}")
        (new,) = self._one(f"select count(*) from incoming where not exists (from kept where {current})")
        missing = f"kept.{VALID_TO} is null and not exists (from incoming where {self._same_key})"
        (gone,) = self._one(f"select count(*) from kept where {missing}") if not self.case.by_cursor else (0,)
        (moment,) = self._one(f"select max({VALID_FROM}) from incoming")
        if gone:
            self.database.execute(f"update kept set {VALID_TO} = $1 where {missing}", [moment])
        self.database.execute(
            f"update kept set {VALID_TO} = $1 from incoming where {current} and {self._changed}", [moment]
        )
        self.database.execute(
            f"insert into kept by name select * exclude ({ARRIVAL}) from incoming "
            f"where not exists (from kept where {current})"
        )
        return new, changed, gone

    def _one(self, sql: str) -> tuple[Any, ...]:
        found = self.database.execute(sql).fetchone()
        assert found is not None
        return found


def plain(rows: pa.Table) -> pa.Table:
    """Types that DuckDB has too: a uuid is its bytes."""
    uuids = [index for index, field_ in enumerate(rows.schema) if field_.type == pa.uuid()]
    for index in uuids:
        values = pa.chunked_array([chunk.storage for chunk in rows.column(index).chunks], pa.binary(16))
        rows = rows.set_column(index, rows.schema.names[index], values.cast(pa.binary()))
    return rows


def comparable(rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    """Rows as text, sorted: NaN like NaN, a uuid as its bytes."""
    return sorted(repr([_plain(row.get(name)) for name in columns]) for row in rows)


def _plain(value: Any) -> Any:
    """A uuid is its bytes here; DuckDB's Iceberg reader gives it as text."""
    if isinstance(value, str) and len(value) == 36:
        value = UUID(value)
    return value.bytes if isinstance(value, UUID) else value


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake(tmp_path_factory.mktemp("beside_duckdb"))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_loads_leave_what_duckdb_merges(seed: int, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:
        monkeypatch.setattr(parts, "ROWS_AT_ONCE", FEW)
    case = Case(seed)
    oracle = Oracle(case)
    name = str(case.spec)
    for number in range(LOADS):
        batches = case.batches(number)
        if not batches:
            continue
        expected = oracle.load(batches)

        landed = load(lake, case.spec, *batches, key=case.key)

        assert (landed.rows_added, landed.rows_updated, landed.rows_deleted) == expected
        found = lake.table(name).scan().to_arrow().to_pylist()
        assert comparable(found, oracle.columns) == comparable(oracle.rows(), oracle.columns)
        assert landed.rows_total == len(found)
    assert comparable(lake.duckdb_rows(name), oracle.columns) == comparable(oracle.rows(), oracle.columns)
