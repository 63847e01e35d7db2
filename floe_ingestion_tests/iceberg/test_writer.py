"""Parquet as it is written: how large, in which files, on which thread, and what happens when it fails."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from floe_ingestion.errors import KeyViolation, PermanentError, UnsupportedType
from floe_ingestion.iceberg.schema import SchemaPlan
from floe_ingestion.iceberg.writer import ParquetSink, WriteSettings
from floe_ingestion.staging import StagedFile
from floe_ingestion_tests.fake_sources import table_spec
from floe_ingestion_tests.iceberg.loads import as_arrow, load, numbers, staged
from floe_ingestion_tests.lake import Lake

THREAD = "floe-parquet"


def sink_in(folder: Path, settings: WriteSettings | None = None, **spec: Any) -> ParquetSink:
    """A sink of a new table."""
    return ParquetSink(folder, SchemaPlan(table_spec(**spec), None), settings)


def noise(rows: int, start: int = 0) -> pa.Table:
    """Rows that hardly compress: about 40 bytes each."""
    random = Random(start)
    return pa.table({"id": pa.arange(start, start + rows), "noise": [random.randbytes(32) for _ in range(rows)]})


def writing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


# What is in the files


def test_a_file_is_closed_when_it_is_as_large_on_disk_as_was_asked_for(tmp_path: Path) -> None:
    settings = WriteSettings(target_file_bytes=100_000, row_group_rows=1_000)
    sink = sink_in(tmp_path, settings)
    for start in range(0, 20_000, 1_000):
        sink.write(noise(1_000, start))

    sizes = [file.bytes for file in sink.close()]

    one_row_group = 50_000
    assert len(sizes) > 3
    assert all(100_000 <= size < 100_000 + one_row_group for size in sizes[:-1])


def encodings(file: StagedFile) -> dict[str, set[str]]:
    columns = (file.metadata.row_group(0).column(number) for number in range(file.metadata.num_columns))
    return {column.path_in_schema: set(column.encodings) for column in columns}


def test_only_columns_whose_values_repeat_have_a_dictionary(tmp_path: Path) -> None:
    rows = noise(30_000)
    sink = sink_in(tmp_path)
    sink.write(rows.append_column("kind", pa.array([f"kind {number % 50}" for number in range(30_000)])))

    (file,) = sink.close()

    assert {name: "RLE_DICTIONARY" in used for name, used in encodings(file).items()} == {
        "id": False,
        "noise": False,
        "kind": True,
    }


def test_a_wide_table_has_row_groups_of_many_rows_too(tmp_path: Path) -> None:
    """Of 16 MB they would have 8,000 rows, and their file as much footer as data."""
    sink = sink_in(tmp_path)
    for _ in range(10):
        sink.write(pa.table({f"c{number}": pa.arange(0, 4_000) for number in range(250)}))

    (file,) = sink.close()

    assert [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)] == [
        20_000,
        20_000,
    ]


def test_the_size_that_the_table_asks_for_is_kept_to(lake: Lake) -> None:
    properties = {"write.target-file-size-bytes": "20000", "write.parquet.row-group-limit": "500"}

    load(lake, table_spec(properties=properties), *(noise(500, start) for start in range(0, 5_000, 500)))

    assert len(lake.files_of("raw.numbers")) > 3
    assert lake.values("raw.numbers") == list(range(5_000))


@pytest.mark.parametrize(
    ("codec", "written"), [("zstd", "ZSTD"), ("snappy", "SNAPPY"), ("uncompressed", "UNCOMPRESSED")]
)
def test_the_compression_that_the_table_asks_for_is_used(codec: str, written: str, lake: Lake) -> None:
    load_ = staged(lake, table_spec(properties={"write.parquet.compression-codec": codec}), noise(10))

    assert load_.files[0].metadata.row_group(0).column(0).compression == written


def test_a_file_says_truly_what_is_in_it(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    sink.write(noise(1_000))

    (file,) = sink.close()

    read = pq.ParquetFile(file.path)
    assert (file.rows, file.bytes) == (read.metadata.num_rows, file.path.stat().st_size)
    assert file.metadata.num_rows == 1_000


def test_statistics_of_a_file_are_in_its_manifest(lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "note": None}, {"id": 7, "note": "x"}])

    (task,) = lake.table("raw.numbers").scan().plan_files()
    assert (task.file.record_count, task.file.null_value_counts) == (2, {1: 0, 2: 1})
    assert list(lake.table("raw.numbers").scan("id > 7").plan_files()) == []


def test_field_ids_are_in_the_file_also_deep_inside(lake: Lake) -> None:
    load(lake, table_spec(), [{"id": 1, "address": {"street": "x"}, "tags": ["a"], "visits": [{"page": "/"}]}])

    schema = lake.table("raw.numbers").schema()
    (path,) = lake.data_files()
    found = {column.name: column for column in pq.read_schema(path)}
    assert ids(found["address"].type.field("street")) == schema.find_field("address.street").field_id
    assert ids(found["tags"].type.value_field) == schema.find_field("tags.element").field_id
    assert ids(found["visits"].type.value_field.type.field("page")) == schema.find_field("visits.element.page").field_id


def test_each_file_holds_one_partition(lake: Lake) -> None:
    spec = table_spec(partition_by=["day(at)", "name"])
    rows = [
        {"id": n, "at": datetime(2024, 1, 1 + n % 3, n % 24, tzinfo=timezone.utc), "name": "ab"[n % 2]}
        for n in range(60)
    ]

    load_ = staged(lake, spec, rows[:20], rows[20:40], rows[40:])

    assert len(load_.files) == 6
    assert sorted(file.partition for file in load_.files) == [(19723 + day, name) for day in range(3) for name in "ab"]
    for file in load_.files:
        read = pq.read_table(file.path).to_pylist()
        assert {((row["at"].date() - datetime(1970, 1, 1).date()).days, row["name"]) for row in read} == {
            file.partition
        }


def test_small_batches_share_a_row_group(tmp_path: Path) -> None:
    sink = sink_in(tmp_path, WriteSettings(row_group_rows=100))
    for number in range(250):
        sink.write(as_arrow(numbers([number])))

    (file,) = sink.close()

    groups = [file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)]
    assert groups == [100, 100, 50]


def test_a_column_that_comes_later_begins_a_new_file(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    for rows in ([{"id": 1}], [{"id": 2}], [{"id": 3, "note": "x"}], [{"id": 4}]):
        sink.write(as_arrow(rows))

    files = sink.close()

    assert [pq.read_table(file.path).to_pylist() for file in files] == [
        [{"id": 1}, {"id": 2}],
        [{"id": 3, "note": "x"}, {"id": 4, "note": None}],
    ]


def test_no_rows_make_no_file_but_columns(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    sink.write(noise(1).slice(0, 0))

    assert sink.close() == ()
    assert sink.plan.schema is not None
    assert sink.plan.schema.column_names == ["id", "noise"]


def test_nothing_at_all_makes_nothing(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)

    assert sink.close() == ()
    assert (sink.plan.schema, list(tmp_path.iterdir())) == (None, [])


# Memory


def test_what_waits_to_be_written_is_bounded_however_many_partitions_there_are(tmp_path: Path) -> None:
    """600 partitions that never fill a row group: 150 MB go through, and 64 MB wait."""
    sink = sink_in(tmp_path, partition_by=["truncate(1, id)"])
    before = pa.total_allocated_bytes()
    peak = 0
    for number in range(600):
        sink.write(pa.table({"id": pa.array([number] * 64), "payload": pa.array(["x" * 4_096] * 64)}))
        peak = max(peak, pa.total_allocated_bytes() - before)

    files = sink.close()

    assert (len(files), sum(file.rows for file in files)) == (600, 600 * 64)
    assert peak < 80 * 1024 * 1024


def test_a_source_that_is_quicker_than_the_writer_has_to_wait(tmp_path: Path) -> None:
    """The plan's first batch waits until it may; meanwhile no more than a handful can be queued."""
    go = threading.Event()
    sink = ParquetSink(tmp_path, SchemaPlan(table_spec(), None), progress=lambda rows: go.wait(10) and None)
    written: list[int] = []

    def source() -> None:
        for number in range(20):
            sink.write(as_arrow(numbers([number])))
            written.append(number)

    thread = threading.Thread(target=source)
    thread.start()
    deadline = time.monotonic() + 5
    while len(written) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    stuck_at = len(written)
    go.set()
    thread.join()

    assert sum(file.rows for file in sink.close()) == 20
    assert stuck_at < 5


# Threads and errors


def test_several_threads_may_write(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    threads = [
        threading.Thread(target=lambda start=start: [sink.write(noise(100, start + n * 100)) for n in range(10)])
        for start in range(0, 4_000, 1_000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ids_ = [value for file in sink.close() for value in pq.read_table(file.path)["id"].to_pylist()]
    assert sorted(ids_) == list(range(4_000))


def test_an_error_while_writing_is_raised_where_rows_come_from(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)

    def endless() -> None:
        while True:
            sink.write(pa.table({"took": pa.array([1], pa.duration("s"))}))

    with pytest.raises(UnsupportedType, match="'took'"):
        endless()
    sink.abort()


def test_an_error_in_the_last_rows_is_raised_at_the_end(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    sink.write(as_arrow(numbers([1])))
    sink.write(pa.table({"id": pa.array([1], pa.duration("s"))}))

    with pytest.raises(UnsupportedType, match="'id'"):
        sink.close()


def test_rows_behind_an_error_are_not_written(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path, SchemaPlan(table_spec(), None, key=["id"]))

    def write_all() -> None:
        for value in (None, *range(100)):
            sink.write(pa.table({"id": pa.array([value], pa.int64())}))

    with pytest.raises(KeyViolation):
        write_all()
    sink.abort()

    assert sink.plan.schema is None or list(tmp_path.glob("*.parquet")) == []


def test_a_full_disk_or_a_missing_folder_is_raised_too(tmp_path: Path) -> None:
    sink = sink_in(tmp_path / "missing")
    sink.write(noise(1))

    with pytest.raises(FileNotFoundError):
        sink.close()


@pytest.mark.parametrize("rows", [0, 1, 100_000])
def test_a_load_that_is_given_up_leaves_no_thread(rows: int, tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    if rows:
        sink.write(noise(rows))

    sink.abort()

    assert writing_threads() == []


def test_a_load_that_ended_leaves_no_thread(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    sink.write(noise(10))
    sink.close()

    assert writing_threads() == []


def test_rows_after_the_load_was_given_up_are_refused(tmp_path: Path) -> None:
    sink = sink_in(tmp_path)
    sink.abort()

    with pytest.raises(RuntimeError, match="given up"):
        sink.write(noise(1))


def test_a_value_that_does_not_fit_is_an_error_and_names_its_column(lake: Lake) -> None:
    load(lake, table_spec(), pa.table({"id": pa.array([1], pa.int32())}))
    spec = table_spec(columns={"id": "int"})

    with pytest.raises(PermanentError, match=r"raw\.numbers: a value of column 'id' \(int64\) does not fit"):
        load(lake, spec, pa.table({"id": [2**40]}))

    assert lake.values("raw.numbers") == [1]


def ids(field: pa.Field) -> int:
    return int(field.metadata[b"PARQUET:field_id"])
