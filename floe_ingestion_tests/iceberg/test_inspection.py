"""What manifests say of the rows of a table is what a full scan says, whatever has been done to it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.iceberg.distinct import repeated, strangers
from floe_ingestion.iceberg.history import moment_of_load, moment_of_now, pinned
from floe_ingestion.iceberg.inspection import Inspection, View
from floe_ingestion.staging import Landed, Window
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.foreign_deletes import delete_across_files
from floe_ingestion_tests.iceberg.loads import load, numbers
from floe_ingestion_tests.lake import Lake, Row

NOON = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)
MERGED: dict[str, Any] = {"write_disposition": "merge", "primary_key": ("id",)}
COLUMNS = pa.schema(
    [
        ("id", pa.int64()),
        ("at", pa.timestamp("us", "UTC")),
        ("size", pa.int64()),
        ("share", pa.float64()),
        ("word", pa.string()),
    ]
)


def window(first: int, last: int) -> Window:
    """Days of March, the last one included."""
    return Window("at", datetime(2024, 3, first, tzinfo=timezone.utc), datetime(2024, 3, last + 1, tzinfo=timezone.utc))


def some_rows(random: Random, ids: range) -> list[Row]:
    return [
        {
            "id": number,
            "at": NOON + timedelta(hours=random.randrange(240)),
            "size": random.choice([None, *range(-50, 50)]),
            "share": random.choice([None, float("nan"), -0.0, 1.5, -2.25]),
            "word": random.choice([None, "a", "b" * 30]),
        }
        for number in ids
    ]


def inspection(lake: Lake, of: Window | None = None) -> Inspection:
    return Inspection(View(lake.table("raw.numbers"), of))


def field(look: Inspection, name: str) -> Any:
    found = look.view.field(name)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("partition_by", [("day(at)",), ()], ids=["partitioned", "unpartitioned"])
def test_statistics_and_rows_say_the_same(lake: Lake, seed: int, partition_by: tuple[str, ...]) -> None:
    random = Random(seed)
    spec = table_spec(**MERGED, partition_by=partition_by)
    for _ in range(4):
        start = random.randrange(100)
        rows = some_rows(random, range(start, start + random.randrange(1, 120)))
        load(lake, spec, pa.Table.from_pylist(rows, COLUMNS), key=("id",))
    for of in (None, window(2, 4), window(5, 5)):
        bounds = (NOON, NOON + timedelta(days=400)) if of is None else (of.start, of.end)
        kept = [row for row in lake.rows("raw.numbers") if bounds[0] <= row["at"] < bounds[1]]
        look = inspection(lake, of)
        assert look.rows() == len(kept) > 0
        for name in COLUMNS.names:
            assert look.nulls(field(look, name)) == sum(row[name] is None for row in kept), name
        for name in ("id", "at", "size"):
            values = [row[name] for row in kept if row[name] is not None]
            assert look.least(field(look, name)) == min(values, default=None), name
            assert look.greatest(field(look, name)) == max(values, default=None), name


def test_a_window_of_a_table_that_is_not_partitioned_is_answered_by_bounds_where_these_tell(lake: Lake) -> None:
    for first in (0, 5):
        load(lake, table_spec(), [{"id": day, "at": NOON + timedelta(days=day)} for day in range(first, first + 3)])

    whole, cut = inspection(lake, window(1, 3)), inspection(lake, window(1, 2))

    assert (whole.rows(), whole.answered_from) == (3, "metadata")
    assert (cut.rows(), cut.answered_from) == (2, "rows")


def test_a_delete_file_that_speaks_of_several_data_files_is_read(lake: Lake) -> None:
    for start in (0, 10):
        load(lake, table_spec(), numbers(range(start, start + 10)))
    delete_across_files(lake.table("raw.numbers"), 3)

    look = inspection(lake)

    assert (look.rows(), look.answered_from) == (18, "metadata and delete files")
    # It stays when one of them leaves: what it says of that one counts no more.
    landed = load(lake, table_spec(), numbers([]), window=Window("id", values=tuple(map(str, range(10)))))
    assert (inspection(lake).rows(), landed.rows_deleted, landed.rows_total) == (9, 9, 9)
    again = load(lake, table_spec(**MERGED), numbers([10], word=None), key=("id",))
    assert (again.rows_total, inspection(lake).rows(), len(lake.rows("raw.numbers"))) == (9, 9, 9)


def test_no_file_is_read_that_cannot_hold_the_greatest_value(lake: Lake) -> None:
    for start in (0, 100, 200):
        load(lake, table_spec(**MERGED), numbers(range(start, start + 100), word="a"), key=("id",))
    load(lake, table_spec(**MERGED), numbers([1, 299], word="b"), key=("id",))
    look = inspection(lake)

    assert (look.greatest(field(look, "id")), look.files_read) == (299, 0), "the new row says it, and none lies beyond"
    assert (look.least(field(look, "id")), look.files_read) == (0, 1), "of the first file row 0 might be gone"


def test_nulls_in_texts_are_counted_without_reading_them(lake: Lake) -> None:
    load(lake, table_spec(), [{"word": "b" * 30}, {"word": None}])
    look = inspection(lake)

    assert (look.nulls(field(look, "word")), look.answered_from) == (1, "metadata")


# Keys and values


@pytest.mark.parametrize("in_memory", [10_000_000, 50, 7], ids=["at once", "few shards", "many shards"])
def test_repeated_keys_are_the_same_however_many_fit_into_memory(lake: Lake, tmp_path: Path, in_memory: int) -> None:
    random = Random(1)
    kinds: dict[str, Any] = {
        "id": lambda: random.randrange(40),
        "word": lambda: random.choice([None, "x", "y"]),
        "share": lambda: random.choice([1.5, -2.25, 1e300]),
        "flag": lambda: random.choice([True, False]),
    }
    rows = [{name: kind() for name, kind in kinds.items()} for _ in range(400)]
    load(lake, table_spec(), rows[:150])
    load(lake, table_spec(), rows[150:])
    look = inspection(lake)

    found = repeated(look, [field(look, name) for name in kinds], tmp_path, in_memory)

    keys = Counter(tuple(row.values()) for row in rows if None not in row.values())
    twice = {key: count for key, count in keys.items() if count > 1}
    assert (found.rows, found.keys) == (sum(keys.values()), len(twice))
    assert found.surplus == sum(twice.values()) - len(twice)
    assert len(found.examples) == 5
    assert set(found.examples) <= set(twice)
    assert list(tmp_path.glob("shard-*")) == []


def test_a_key_that_is_in_every_row_is_counted_like_any_other(lake: Lake, tmp_path: Path) -> None:
    load(lake, table_spec(), pa.table({"id": [1] * 5000}))
    look = inspection(lake)

    found = repeated(look, [field(look, "id")], tmp_path, in_memory=100)

    assert (found.rows, found.keys, found.surplus, found.examples) == (5000, 1, 4999, ((1,),))


def test_keys_that_do_not_fit_into_memory_are_spilled_and_others_are_not(lake: Lake, tmp_path: Path) -> None:
    load(lake, table_spec(), numbers(range(100)))
    look, nowhere = inspection(lake), tmp_path / "missing"

    assert repeated(look, [field(look, "id")], nowhere, in_memory=100).rows == 100
    with pytest.raises(FileNotFoundError):
        repeated(look, [field(look, "id")], nowhere, in_memory=99)


def test_accepted_values_are_compared_in_the_type_of_the_column(lake: Lake) -> None:
    load(lake, table_spec(), pa.table({"price": pa.array(["1.50", "2.00"]).cast(pa.decimal128(10, 2))}))
    look = inspection(lake)
    price = field(look, "price")

    assert strangers(look, price, ["1.50", 2]).rows == 0
    with pytest.raises(ConfigurationError, match="the accepted value 'cheap' of column 'price' is no decimal"):
        strangers(look, price, ["cheap"])


# Which rows: those of a snapshot


def rows_of(table: Any) -> int:
    return Inspection(View(table)).rows()


def three_loads(lake: Lake) -> list[Landed]:
    return [load(lake, table_spec(), [row]) for row in ({"id": 1}, {"id": 2, "word": "a"}, {"id": 3, "word": None})]


def test_a_load_is_judged_on_its_own_snapshot_and_not_on_a_later_one(lake: Lake) -> None:
    first, second, _ = three_loads(lake)

    moment = moment_of_load(lake.table("raw.numbers"), second.snapshot_id, second.load_id)

    assert (rows_of(moment.table), rows_of(moment.before)) == (2, 1)
    assert moment.before is not None
    assert moment.before.schema().column_names == ["id"]
    assert moment.before.metadata.current_snapshot_id == first.snapshot_id


def test_a_load_that_wrote_nothing_is_the_same_before_and_behind(lake: Lake) -> None:
    (*_, last) = three_loads(lake)

    moment = moment_of_load(lake.table("raw.numbers"), last.snapshot_id, "of a load that had nothing to write")

    assert rows_of(moment.table) == rows_of(moment.before) == 3


def test_a_table_as_it_is_is_compared_with_before_its_newest_load(lake: Lake) -> None:
    three_loads(lake)

    moment = moment_of_now(lake.table("raw.numbers"))

    assert (rows_of(moment.table), rows_of(moment.before)) == (3, 2)
    assert moment_of_now(None).table is None


def test_a_snapshot_that_has_expired_cannot_be_looked_at(lake: Lake) -> None:
    three_loads(lake)

    assert pinned(lake.table("raw.numbers"), 42) is None
