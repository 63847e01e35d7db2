"""What a filesystem source promises, asked of real files."""

from __future__ import annotations

import gzip
import json
import os
import sys
import zipfile
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from pydantic import ValidationError

from floe_ingestion.classify import classify
from floe_ingestion.errors import ConfigurationError, IngestionError, SourceRejected, SourceUnavailable
from floe_ingestion.loading import source_from
from floe_ingestion.sources.filesystem import FilesystemConnector
from floe_ingestion.staging import Window
from floe_ingestion_tests.sources.loads import Loaded, load

UTC = timezone.utc
BY_FILE = {"cursor_path": "modification_date"}


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "bucket"
    folder.mkdir()
    return folder


def files(bucket: Path | str, glob: str, **resource: Any) -> FilesystemConnector:
    given = {"name": "rows", "file_glob": glob, **resource}
    return FilesystemConnector.model_validate({"bucket_url": str(bucket), "resources": [given]})


def read(bucket: Path, name: str, text: str | bytes, *, run: dict[str, Any] | None = None, **options: Any) -> Loaded:
    """The rows of one file with this text."""
    (bucket / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return load(files(bucket, name, reader_options=options), "rows", **(run or {}))


def refused(connector: FilesystemConnector, **run: Any) -> IngestionError:
    """The error that a load ends with."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 (dlt wraps what is raised while it extracts)
        load(connector, "rows", **run)
    return classify(raised.value, "files")


def refusal_of(bucket: Path, name: str, text: str | bytes, **options: Any) -> str:
    (bucket / name).write_bytes(text.encode() if isinstance(text, str) else text)
    error = refused(files(bucket, name, reader_options=options))
    assert isinstance(error, SourceRejected)
    return str(error)


# CSV: values


def test_columns_of_a_csv_file_get_the_types_that_their_values_show(bucket: Path) -> None:
    text = (
        "i,f,b,d,t,z,c,s\n"
        "1,1.5,true,2024-01-31,2024-01-31 10:00:00,2024-01-31T10:00:00+02:00,10:30,x\n"
        "-2,2,FALSE,2024-02-01,2024-01-31T10:00:00.123456,2024-01-31T10:00:00Z,23:59:59.5,ü\n"
    )

    loaded = read(bucket, "a.csv", text)

    assert [str(field.type) for field in loaded.schema] == [
        "int64",
        "double",
        "bool",
        "date32[day]",
        "timestamp[us]",
        "timestamp[us, tz=UTC]",
        "time64[us]",
        "string",
    ]
    assert list(loaded.rows[1].values()) == [
        -2,
        2.0,
        False,
        date(2024, 2, 1),
        datetime(2024, 1, 31, 10, 0, 0, 123456),
        datetime(2024, 1, 31, 10, tzinfo=UTC),
        time(23, 59, 59, 500000),
        "ü",
    ]


@pytest.mark.parametrize(
    "texts",
    [
        ["007", "12"],
        ["0x1F", "1"],
        ["12345678901234567890", "1"],
        ["1234567890123456789012345", "1.5"],
        ["00.5", "1.5"],
        ["nan", "inf"],
        ["NA", "null"],
        ["1", "x"],
        ["2024-01-01", "n/a"],
        ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00"],
        ["1", "true"],
        ["2024-13-01", "2024-01-01"],
        ["25:00", "10:00"],
        [" x ", "y"],
    ],
)
def test_text_that_only_looks_like_something_else_stays_as_it_is(bucket: Path, texts: list[str]) -> None:
    loaded = read(bucket, "a.csv", "\n".join(["v", *texts]))

    assert loaded.values("v") == texts


def test_the_largest_integers_stay_exact(bucket: Path) -> None:
    assert read(bucket, "a.csv", "v\n9223372036854775807\n-9223372036854775808\n").values("v") == [2**63 - 1, -(2**63)]


def test_a_number_that_is_none_does_not_make_a_column_text(bucket: Path) -> None:
    loaded = read(bucket, "a.csv", "v\n" + "nan\n" * 200 + "1.5\n")

    assert str(loaded.schema.field("v").type) == "double"


def test_a_type_that_only_the_first_values_have_is_not_taken(bucket: Path) -> None:
    assert read(bucket, "a.csv", "v\n" + "1\n" * 200 + "x\n").values("v")[-2:] == ["1", "x"]


def test_empty_is_null_and_quoted_empty_text_is_empty(bucket: Path) -> None:
    loaded = read(bucket, "a.csv", 'n,s\n1,x\n,\n"",""\n')

    assert loaded.values("n") == [1, None, None]
    assert loaded.values("s") == ["x", None, ""]


def test_words_for_null_can_be_named(bucket: Path) -> None:
    loaded = read(bucket, "a.csv", 'n,s\n1,NA\nNA,"NA"\n,x\n', null_values=["NA"])

    assert loaded.values("n") == [1, None, None]
    assert loaded.values("s") == [None, "NA", "x"]
    loaded = read(bucket, "a.csv", 'n,s\n1,NA\n2,"NA"\n', null_values=["NA"])
    assert loaded.values("s") == [None, "NA"]


def test_numbers_may_have_space_around_them(bucket: Path) -> None:
    assert read(bucket, "a.csv", "a,b\n1, 2\n3, 4\n").values("b") == [2, 4]


def test_a_column_of_nothing_waits_for_its_type(bucket: Path) -> None:
    loaded = read(bucket, "a.csv", "a,b\n1,\n2,\n" + "3,x\n", block_size=8)

    assert loaded.values("b") == [None, None, "x"]
    assert str(loaded.schema.field("b").type) == "null"


def test_the_table_decides_the_type_of_its_columns(bucket: Path) -> None:
    known = pa.schema(
        [
            ("zip_code", pa.large_string()),
            ("ship__to", pa.large_string()),
            ("price", pa.decimal128(10, 2)),
            ("at", pa.timestamp("us", "UTC")),
        ]
    )
    text = "Zip Code,Ship__To,price,at\n12345,7,1.50,2024-01-31 10:00\n"

    loaded = read(bucket, "a.csv", text, run={"known": known})

    at = datetime(2024, 1, 31, 10, tzinfo=UTC)
    assert loaded.rows == [{"Zip Code": "12345", "Ship__To": "7", "price": Decimal("1.50"), "at": at}]


def test_a_declaration_decides_the_type_of_a_column(bucket: Path) -> None:
    columns = {"a": "string", "b": "decimal(20, 4)", "c": "uuid", "d": "timestamptz", "e": "binary", "f": "time"}
    some = "12345678-1234-5678-1234-567812345678"

    loaded = read(
        bucket, "a.csv", f"a,b,c,d,e,f\n1,1234567890123456.7891,{some},2024-01-31,x,10:00\n", run={"columns": columns}
    )

    assert list(loaded.rows[0].values()) == [
        "1",
        Decimal("1234567890123456.7891"),
        UUID(some),
        datetime(2024, 1, 31, tzinfo=UTC),
        b"x",
        time(10),
    ]


def test_times_finer_than_microseconds_are_cut(bucket: Path) -> None:
    assert read(bucket, "a.csv", "v\n2024-01-31T10:00:00.123456789\n").values("v") == [
        datetime(2024, 1, 31, 10, 0, 0, 123456)
    ]


def test_times_of_another_form_are_read_as_the_options_say(bucket: Path) -> None:
    text = "day,at\n31.01.2024,31.01.2024 10:30\n2024-02-01,2024-02-01T11:00\n"

    loaded = read(bucket, "a.csv", text, timestamp_formats=["%d.%m.%Y %H:%M", "%d.%m.%Y"])

    assert loaded.values("day") == [date(2024, 1, 31), date(2024, 2, 1)]
    assert loaded.values("at") == [datetime(2024, 1, 31, 10, 30), datetime(2024, 2, 1, 11)]


def test_a_day_that_no_month_has_is_no_time(bucket: Path) -> None:
    forms = ["%d.%m.%Y"]
    assert read(bucket, "a.csv", "at\n1.2.2024\n01.03.2024\n", timestamp_formats=forms).values("at") == [
        date(2024, 2, 1),
        date(2024, 3, 1),
    ]

    assert read(bucket, "b.csv", "at\n30.02.2024\n", timestamp_formats=forms).values("at") == ["30.02.2024"]


def test_a_number_beyond_all_numbers_is_not_infinite(bucket: Path) -> None:
    assert read(bucket, "a.csv", "n\n1e400\n1.5\n").values("n") == ["1e400", "1.5"]


def test_a_later_value_of_another_type_names_file_row_and_column(bucket: Path) -> None:
    text = "id,zip\n" + "1,10115\n" * 1000 + "1,K1A\n"

    assert refusal_of(bucket, "a.csv", text, block_size=1000) == (
        "a.csv, row 1002, column 'zip': 'K1A' is no long, and the values before it were. "
        "Declare what the column holds, e.g. `columns: {zip: string}`."
    )


def test_a_later_number_with_leading_zeros_is_not_taken_for_a_number(bucket: Path) -> None:
    assert "row 1002, column 'zip': '01067' is no long" in refusal_of(
        bucket, "a.csv", "id,zip\n" + "1,10115\n" * 1000 + "1,01067\n", block_size=1000
    )


def test_a_column_has_one_type_in_all_files_of_a_load(bucket: Path) -> None:
    (bucket / "a.csv").write_text("v\n1\n")
    (bucket / "b.csv").write_text("v\n1.5\n")

    assert "b.csv, row 2, column 'v': '1.5' is no long" in str(refused(files(bucket, "*.csv")))


def test_a_value_that_does_not_fit_the_table_says_so(bucket: Path) -> None:
    (bucket / "a.csv").write_text("price\n1.005\n")

    error = refused(files(bucket, "*.csv"), known=pa.schema([("price", pa.decimal128(10, 2))]))

    assert "a.csv, row 2, column 'price': '1.005' is no decimal(10, 2), which is the column's type" in str(error)


# CSV: dialects


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("id;name\n1;Ada\n", {"delimiter": ";"}),
        ("id\tname\n1\tAda\n", {"delimiter": "\t"}),
        ("id,name\n1,'Ada'\n", {"quote_char": "'"}),
        ("id,name\n1,A\\da\n", {"escape_char": "\\"}),
        ("# export\n# of today\nid,name\n1,Ada\n", {"skip_rows": 2}),
        ("1,Ada\n", {"header": False, "column_names": ["id", "name"]}),
        ("a,b\n1,Ada\n", {"column_names": ["id", "name"]}),
        ("\ufeffid,name\n1,Ada\n", {}),
        ("id,name\r\n1,Ada\r\n", {}),
        ("id,name\n\n1,Ada\n\n", {}),
        ("id,name\n1,Ada", {}),
    ],
)
def test_a_dialect_is_read_as_the_options_say(bucket: Path, text: str, options: dict[str, Any]) -> None:
    assert read(bucket, "a.csv", text, **options).rows == [{"id": 1, "name": "Ada"}]


def test_quotes_hold_delimiters_newlines_and_quotes(bucket: Path) -> None:
    loaded = read(bucket, "a.csv", 'id,"the\nname"\n1,"a, ""b""\nc"\n', block_size=24)

    assert loaded.rows == [{"id": 1, "the\nname": 'a, "b"\nc'}]


@pytest.mark.parametrize("text", ['id,v\n1,"a\n2,b\n3,c\n', 'id,v\n1,"a\n2,b', 'id,v\n1,a\n2,"b'])
def test_a_quote_that_is_not_closed_swallows_no_rows(bucket: Path, text: str) -> None:
    assert 'a.csv: a quote (") is not closed' in refusal_of(bucket, "a.csv", text)


@pytest.mark.parametrize("text", ["\n\nid,v\n1,a\n", "\r\nid,v\r\n1,a", '\ufeff\nid,v\n\n1,"a"\n\n'])
def test_blank_lines_are_no_rows_wherever_they_stand(bucket: Path, text: str) -> None:
    assert read(bucket, "a.csv", text).rows == [{"id": 1, "v": "a"}]


def test_without_quoting_quotes_are_letters(bucket: Path) -> None:
    assert read(bucket, "a.csv", 'id,name\n1,5"\n', quote_char=None).values("name") == ['5"']


def test_other_encodings_are_read_as_the_options_say(bucket: Path) -> None:
    loaded = read(bucket, "a.csv", "id,stadt\n1,Köln\n".encode("cp1252"), encoding="cp1252")

    assert loaded.values("stadt") == ["Köln"]


def test_an_encoding_that_is_not_declared_is_asked_for(bucket: Path) -> None:
    assert "Write the `encoding`" in refusal_of(bucket, "a.csv", "id,stadt\n1,Köln\n".encode("latin-1"))


@pytest.mark.parametrize("text", ["", "\n", "id,name\n", "id,name"])
def test_a_csv_file_without_rows_is_zero_rows(bucket: Path, text: str) -> None:
    assert read(bucket, "a.csv", text).rows == []


def test_a_row_with_too_few_columns_names_file_and_row(bucket: Path) -> None:
    said = refusal_of(bucket, "a.csv", "id,name\n1,Ada\n2\n3,Eve\n")

    assert "a.csv: CSV parse error: Row #3: Expected 2 columns, got 1" in said


def test_a_row_with_too_many_columns_in_a_later_block_is_not_passed_over(bucket: Path) -> None:
    assert "Row #1002: Expected 2 columns, got 3" in refusal_of(
        bucket, "a.csv", "id,name\n" + "1,Ada\n" * 1000 + "1,A,B\n", block_size=1000
    )


def test_a_row_that_is_longer_than_a_block_says_what_to_write(bucket: Path) -> None:
    assert "Write a larger `block_size`" in refusal_of(bucket, "a.csv", "id\n" + "x" * 500, block_size=100)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("id,id", "names 'id' twice"),
        (",id", "column 1 of the header has no name"),
        ("id,na\0me", "NUL"),
        (
            "id;name",
            "its header is one name, 'id;name', which looks like 2. Write `delimiter: \";\"` in reader_options",
        ),
        ("id\tname", '`delimiter: "\\t"`'),
    ],
)
def test_a_header_that_cannot_name_columns_is_refused(bucket: Path, header: str, said: str) -> None:
    assert said in refusal_of(bucket, "a.csv", f"{header}\n1,2\n")


def test_a_large_file_is_read_in_pieces(bucket: Path) -> None:
    loaded = read(bucket, "a.csv", "id,name\n" + "".join(f"{i},name {i}\n" for i in range(20_000)), block_size=65_536)

    assert len(loaded.items) > 3
    assert loaded.values("id") == list(range(20_000))


# Compressed files


def test_gzip_is_read_by_its_ending(bucket: Path) -> None:
    (bucket / "a.csv.gz").write_bytes(gzip.compress(b"id\n1\n"))
    (bucket / "b.jsonl.gz").write_bytes(gzip.compress(b'{"id": 2}\n'))

    assert load(files(bucket, "*.csv.gz"), "rows").values("id") == [1]
    assert load(files(bucket, "*.jsonl.gz"), "rows").values("id") == [2]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_a_compressed_file_that_breaks_off_may_be_tried_again(bucket: Path, name: str) -> None:
    whole = gzip.compress(os.urandom(50_000).hex().encode())
    (bucket / name).write_bytes(whole[: len(whole) // 2])

    assert isinstance(refused(files(bucket, name)), SourceUnavailable)


@pytest.mark.parametrize("kept", [0.5, 0.9999])
def test_zstandard_that_breaks_off_is_not_taken_for_whole(bucket: Path, kept: float) -> None:
    rows = "".join(f"{number}\n" for number in range(200_000))
    packed: bytes = pa.compress(f"id\n{rows}".encode(), codec="zstd", asbytes=True)
    (bucket / "a.csv.zst").write_bytes(packed)
    assert len(load(files(bucket, "*.zst", format="csv"), "rows").values("id")) == 200_000

    (bucket / "a.csv.zst").write_bytes(packed[: int(len(packed) * kept)])

    assert isinstance(refused(files(bucket, "*.zst", format="csv")), SourceUnavailable)


def test_a_zip_is_the_one_file_in_it(bucket: Path) -> None:
    def pack(*names: str) -> None:
        with zipfile.ZipFile(bucket / "a.zip", "w") as archive:
            for number, name in enumerate(names):
                archive.writestr(name, f"id\n{number}\n")

    pack("folder/", "folder/a.csv", "__MACOSX/folder/._a.csv")
    assert load(files(bucket, "*.zip", format="csv"), "rows").values("id") == [1]

    pack("a.csv", "b.csv")
    assert "a.zip: it cannot be decompressed (it holds 2 files" in str(refused(files(bucket, "*.zip", format="csv")))


@pytest.mark.parametrize("kept", [0, 8, 900, -1])
def test_a_parquet_file_that_is_just_written_may_be_tried_again(bucket: Path, kept: int) -> None:
    pq.write_table(pa.table({"id": list(range(5_000))}), bucket / "a.parquet")
    (bucket / "a.parquet").write_bytes((bucket / "a.parquet").read_bytes()[:kept])

    error = refused(files(bucket, "a.parquet"))

    assert isinstance(error, SourceUnavailable)
    assert "a.parquet: it breaks off or is gone; it may just be written" in str(error)


def test_a_damaged_parquet_file_is_named_and_not_tried_again(bucket: Path) -> None:
    pq.write_table(pa.table({"id": list(range(5_000))}), bucket / "a.parquet", compression="gzip")
    whole = bytearray((bucket / "a.parquet").read_bytes())
    whole[100] ^= 0xFF
    (bucket / "a.parquet").write_bytes(whole)

    error = refused(files(bucket, "a.parquet"))

    assert isinstance(error, SourceRejected)
    assert "a.parquet: it is damaged" in str(error)


def test_a_file_that_is_not_compressed_in_spite_of_its_ending_is_refused(bucket: Path) -> None:
    assert "a.csv.gz: it cannot be decompressed" in refusal_of(bucket, "a.csv.gz", "id\n1\n")


# JSON lines


def test_json_lines_are_rows(bucket: Path) -> None:
    text = '{"id": 1, "tags": ["a"], "who": {"name": "Ada"}}\n\n{"id": 2.5, "ü": null}'

    assert read(bucket, "a.jsonl", text).rows == [
        {"id": 1, "tags": ["a"], "who": {"name": "Ada"}},
        {"id": 2.5, "ü": None},
    ]


def test_json_lines_come_in_lists_of_bounded_size(bucket: Path) -> None:
    from floe_ingestion.sources.file_cursors import SourceFile
    from floe_ingestion.sources.file_options import JsonlOptions
    from floe_ingestion.sources.file_readers import read_jsonl

    path = bucket / "a.jsonl"
    path.write_text("".join(f'{{"id": {i}}}\n' for i in range(25)))

    lists = list(read_jsonl(SourceFile("a.jsonl", lambda: path.open("rb")), JsonlOptions(batch_size=10)))

    assert [len(rows) for rows in lists] == [10, 10, 5]


def test_a_byte_order_mark_is_no_part_of_the_first_row(bucket: Path) -> None:
    assert read(bucket, "a.jsonl", b'\xef\xbb\xbf{"id": 1}\n').values("id") == [1]


@pytest.mark.parametrize("number", [9007199254740993, -(2**63), 123456789012345678901])
def test_integers_of_any_length_stay_exact(bucket: Path, number: int) -> None:
    assert read(bucket, "a.jsonl", json.dumps({"id": number})).values("id") == [number]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": 2', "line 2: this is no JSON"),
        ('{"id": NaN}', "line 2: this is no JSON"),
        ('{"id": NaN, "n": 12345678901234567890}', "line 2: this is no JSON (NaN is no number in JSON)"),
        ("[1]", "line 2: a list stands where an object should"),
        ("7", "line 2: a plain value stands"),
    ],
)
def test_a_line_that_is_no_object_names_file_and_line(bucket: Path, line: str, said: str) -> None:
    assert f"a.jsonl, {said}" in refusal_of(bucket, "a.jsonl", f'{{"id": 1}}\n{line}\n')


@pytest.mark.parametrize("batch_size", [10_000, 70])
def test_a_line_far_behind_is_named_by_its_number_all_the_same(bucket: Path, batch_size: int) -> None:
    lines = [f'{{"id": {number}, "text": "{"x" * 900}"}}' for number in range(2500)]
    lines[1234] = ""
    lines[2344] = "{"

    said = refusal_of(bucket, "a.jsonl", "\n".join(lines), batch_size=batch_size)
    lines[2344] = ""

    assert "a.jsonl, line 2345: " in said
    rows = read(bucket, "a.jsonl", "\r\n".join(lines), batch_size=batch_size)
    assert sorted(rows.values("id")) == [number for number in range(2500) if number not in (1234, 2344)]


def test_a_text_that_goes_on_in_the_next_line_is_no_row(bucket: Path) -> None:
    said = refusal_of(bucket, "a.jsonl", '{"id": 1}\n{"id": 2, "text": "x\ny"}\n')

    assert "a.jsonl, line 2: this is no JSON" in said


@pytest.mark.parametrize("line", ['{"id": 2, "na', '{"id": 12345678901234567890, "na', '{"na": "ü"}'.encode()[:-3]])
def test_a_line_that_breaks_off_where_the_file_ends_may_be_tried_again(bucket: Path, line: str | bytes) -> None:
    (bucket / "a.jsonl").write_bytes(b'{"id": 1}\n' + (line.encode() if isinstance(line, str) else line))

    error = refused(files(bucket, "a.jsonl"))

    assert isinstance(error, SourceUnavailable)
    assert "a.jsonl ends within line 2; it may just be written" in str(error)


def test_an_empty_file_of_json_lines_is_zero_rows(bucket: Path) -> None:
    assert read(bucket, "a.jsonl", "").rows == []


# Parquet


def parquet(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


def test_parquet_keeps_its_types_and_nested_values(bucket: Path) -> None:
    nested = pa.array([{"a": [1, 2]}], pa.struct([("a", pa.list_(pa.int32()))]))
    parquet(bucket / "a.parquet", id=pa.array([1], pa.int16()), price=pa.array([Decimal("1.50")]), nested=nested)

    loaded = load(files(bucket, "*.parquet"), "rows")

    assert loaded.rows == [{"id": 1, "price": Decimal("1.50"), "nested": {"a": [1, 2]}}]
    assert str(loaded.schema.field("id").type) == "int16"


def test_parquet_is_read_in_batches_and_by_column(bucket: Path) -> None:
    parquet(bucket / "a.parquet", id=list(range(25)), more=["x"] * 25)

    loaded = load(files(bucket, "*.parquet", reader_options={"columns": "id", "batch_size": 10}), "rows")

    assert [item.num_rows for item in loaded.items] == [10, 10, 5]
    assert loaded.schema.names == ["id"]


def test_nanoseconds_in_parquet_are_cut_to_microseconds(bucket: Path) -> None:
    parquet(bucket / "a.parquet", at=pa.array([1_700_000_000_000_000_999], pa.timestamp("ns", "UTC")))

    loaded = load(files(bucket, "*.parquet"), "rows")

    assert loaded.values("at") == [datetime.fromtimestamp(1_700_000_000, UTC)]


def test_a_column_that_parquet_has_not_is_named(bucket: Path) -> None:
    parquet(bucket / "a.parquet", id=[1], name=["x"])

    error = refused(files(bucket, "*.parquet", reader_options={"columns": ["id", "nmae"]}))

    assert str(error) == "a.parquet has no column nmae. It has: id, name."


def test_a_parquet_file_that_is_none_is_named(bucket: Path) -> None:
    assert "a.parquet: " in refusal_of(bucket, "a.parquet", "id\n1\n")


# Which files


def test_files_are_read_in_the_order_of_their_paths(bucket: Path) -> None:
    for name in ("b.csv", "a.csv", "sub/c.csv", "sub/deep/d.csv", "e.txt"):
        (bucket / name).parent.mkdir(parents=True, exist_ok=True)
        (bucket / name).write_text(f"v\n{Path(name).stem}\n")

    assert load(files(bucket, "*.csv"), "rows").values("v") == ["a", "b"]
    assert load(files(bucket, "**/*.csv"), "rows").values("v") == ["a", "b", "c", "d"]
    assert load(files(bucket, "sub/*.csv"), "rows").values("v") == ["c"]


def test_brackets_in_the_name_of_a_folder_are_letters(tmp_path: Path) -> None:
    folder = tmp_path / "data [1]*"
    folder.mkdir()

    assert read(folder, "a.csv", "v\n1\n").values("v") == [1]


def test_a_glob_that_matches_nothing_is_an_error_and_not_zero_rows(bucket: Path) -> None:
    error = refused(files(bucket, "*.csv"))

    assert isinstance(error, SourceRejected)
    assert str(error) == f"No file in {bucket} matches file_glob '*.csv'. Correct it, or put a file there."


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'gone'} is no folder" in str(refused(files(tmp_path / "gone", "*.csv")))


def test_a_relative_folder_starts_at_floe_yaml(tmp_path: Path, bucket: Path) -> None:
    (bucket / "a.csv").write_text("v\n1\n")

    for url in ("bucket", "./bucket", "bucket/../bucket"):
        assert load(files(url, "*.csv").relative_to(tmp_path), "rows").values("v") == [1]


def test_an_absolute_folder_a_file_url_and_the_home_folder_stay_what_they_are(
    tmp_path: Path, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bucket / "a.csv").write_text("v\n1\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    for url in (str(bucket), bucket.as_uri(), "~/bucket"):
        assert load(files(url, "*.csv").relative_to(Path("/elsewhere")), "rows").values("v") == [1]


def test_a_file_url_may_stand_for_a_folder_with_a_space_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "in box"
    folder.mkdir()
    (folder / "a.csv").write_text("v\n1\n")

    assert load(files(folder.as_uri(), "*.csv"), "rows").values("v") == [1]


def test_other_file_systems_are_opened_by_their_url(bucket: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/floe-test/in/a.csv", b"v\n1\n")
    connector = files("memory://floe-test/in", "*.csv")
    try:
        loaded = load(connector.relative_to(bucket), "rows")
        check = connector.check_connection()
    finally:
        memory.rm("/floe-test", recursive=True)

    assert loaded.values("v") == [1]
    assert check == "memory://floe-test/in answers, with 1 file of 'rows' (a.csv)"


class RememberingFileSystem(LocalFileSystem):
    """Lists a folder once, as the file systems of object stores do for speed."""

    protocol = "remembering"
    local_file = False

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        if path not in self.dircache:
            self.dircache[path] = super().ls(path, detail=True)
        listed = self.dircache[path]
        return listed if detail else [info["name"] for info in listed]


def test_a_file_that_came_since_the_last_run_is_seen_by_the_same_process(bucket: Path) -> None:
    fsspec.register_implementation("remembering", RememberingFileSystem, clobber=True)
    connector = files(f"remembering://{bucket}", "*.csv", incremental=BY_FILE)
    (bucket / "a.csv").write_text("v\n1\n")
    first = load(connector, "rows")
    (bucket / "b.csv").write_text("v\n2\n")

    assert load(connector, "rows", after=first).values("v") == [2]


def test_a_file_system_that_nobody_knows_is_named(bucket: Path) -> None:
    error = refused(files("s4://bucket", "*.csv"))

    assert isinstance(error, SourceRejected)
    assert "s4://bucket cannot be opened: Protocol not known: s4" in str(error)


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [("gs://bucket", "gcsfs", "gcs"), ("abfss://c@a.dfs.core.windows.net/x", "adlfs", "azure")],
)
def test_a_file_system_that_is_not_installed_is_named_with_its_extra(
    url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not, whether it is or not

    assert f"pip install 'floe-ingestion[{extra}]'" in str(refused(files(url, "*.csv")))


def test_an_unknown_option_lists_those_of_its_format() -> None:
    resource = {"name": "a", "file_glob": "*.csv", "reader_options": {"delimeter": ";"}}

    with pytest.raises(ConfigurationError) as caught:
        source_from("filesystem", "raw", {"bucket_url": "x", "resources": [resource]})

    assert "Did you mean 'delimiter'? Known keys: block_size, column_names, delimiter, " in str(caught.value)


# Each file once


def test_a_file_is_read_once_and_a_new_one_by_the_next_run(bucket: Path) -> None:
    connector = files(bucket, "*.csv", incremental=BY_FILE)
    (bucket / "a.csv").write_text("v\n1\n")
    first = load(connector, "rows")
    (bucket / "b.csv").write_text("v\n2\n")

    second = load(connector, "rows", after=first)

    assert (first.values("v"), second.values("v")) == ([1], [2])
    assert load(connector, "rows", after=second).rows == []


def test_a_new_file_with_an_old_time_is_read(bucket: Path) -> None:
    connector = files(bucket, "*.csv", incremental=BY_FILE)
    (bucket / "b.csv").write_text("v\n1\n")
    first = load(connector, "rows")
    (bucket / "a.csv").write_text("v\n2\n")
    os.utime(bucket / "a.csv", (1_000_000_000, 1_000_000_000))

    assert load(connector, "rows", after=first).values("v") == [2]


@pytest.mark.parametrize(("text", "later"), [("v\n9\n", 60), ("v\n19\n", 0)])
def test_a_file_whose_time_or_size_changed_is_read_again(bucket: Path, text: str, later: int) -> None:
    connector = files(bucket, "*.csv", incremental=BY_FILE)
    file = bucket / "a.csv"
    file.write_text("v\n1\n")
    written = file.stat().st_mtime
    first = load(connector, "rows")
    file.write_text(text)
    os.utime(file, (written + later, written + later))

    assert load(connector, "rows", after=first).rows != []


def test_files_that_were_read_may_be_cleared_away(bucket: Path) -> None:
    connector = files(bucket, "*.csv", incremental=BY_FILE)
    (bucket / "a.csv").write_text("v\n1\n")
    first = load(connector, "rows")
    (bucket / "a.csv").unlink()

    second = load(connector, "rows", after=first)

    assert second.rows == []
    assert second.state == first.state


def test_a_file_that_comes_back_unchanged_is_not_read_twice(bucket: Path) -> None:
    connector = files(bucket, "*.csv", incremental=BY_FILE)
    (bucket / "a.csv").write_text("v\n1\n")
    first = load(connector, "rows")
    (bucket / "a.csv").rename(bucket / "away")
    second = load(connector, "rows", after=first)
    (bucket / "away").rename(bucket / "a.csv")

    assert load(connector, "rows", after=second).rows == []


def test_what_was_read_is_kept_by_path_time_and_size(bucket: Path) -> None:
    (bucket / "in").mkdir()
    (bucket / "in" / "a.csv").write_text("v\n1\n")
    os.utime(bucket / "in" / "a.csv", (1_700_000_000, 1_700_000_000))

    state = load(files(bucket, "**/*.csv", incremental=BY_FILE), "rows").state

    assert state["resources"]["rows"]["files"] == {"in/a.csv": ["2023-11-14T22:13:20Z", 4]}


def test_files_can_be_bounded_by_their_time(bucket: Path) -> None:
    for day in (1, 2, 3):
        file = bucket / f"{day}.csv"
        file.write_text(f"v\n{day}\n")
        moment = datetime(2024, 1, day, tzinfo=UTC).timestamp()
        os.utime(file, (moment, moment))
    bounds = {"initial_value": date(2024, 1, 2), "end_value": "2024-01-03T00:00:00Z"}

    assert load(files(bucket, "*.csv", incremental={**BY_FILE, **bounds}), "rows").values("v") == [2]


def test_a_run_that_fails_leaves_the_files_for_the_next(bucket: Path) -> None:
    connector = files(bucket, "*.jsonl", incremental=BY_FILE)
    (bucket / "a.jsonl").write_text('{"v": 1}\n')
    first = load(connector, "rows")
    (bucket / "b.jsonl").write_text('{"v": 2}\n')
    (bucket / "c.jsonl").write_text("broken")
    refused(connector, after=first)
    (bucket / "c.jsonl").write_text('{"v": 3}\n')

    assert load(connector, "rows", after=first).values("v") == [2, 3]


# Cursors on a column, and windows


def orders(bucket: Path, format: str, *days: int) -> None:
    """One file of orders, one a day."""
    at = [datetime(2024, 1, day, tzinfo=UTC) for day in days]
    if format == "parquet":
        parquet(bucket / "a.parquet", day=list(days), at=pa.array(at, pa.timestamp("us", "UTC")))
    elif format == "csv":
        (bucket / "a.csv").write_text("day,at\n" + "".join(f"{day.day},{day.isoformat()}\n" for day in at))
    else:
        rows = [json.dumps({"day": day.day, "at": day.isoformat()}) for day in at]
        (bucket / "a.jsonl").write_text("\n".join(rows))


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_cursor_on_a_column_takes_only_newer_rows(bucket: Path, format: str) -> None:
    connector = files(bucket, f"*.{format}", incremental={"cursor_path": "at"})
    orders(bucket, format, 1, 2)
    first = load(connector, "rows")
    orders(bucket, format, 1, 2, 3)

    second = load(connector, "rows", after=first)

    assert (first.values("day"), second.values("day")) == ([1, 2], [3])
    assert "at" in second.state["resources"]["rows"]["incremental"]


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("start", [date(2024, 1, 2), "2024-01-02", "2024-01-02T00:00:00Z", datetime(2024, 1, 2)])
def test_an_initial_value_may_be_written_in_any_form(bucket: Path, format: str, start: Any) -> None:
    orders(bucket, format, 1, 2, 3)

    loaded = load(files(bucket, f"*.{format}", incremental={"cursor_path": "at", "initial_value": start}), "rows")

    assert loaded.values("day") == [2, 3]


@pytest.mark.parametrize("type_", ["date", "timestamp", "timestamptz", "string"])
def test_an_initial_value_fits_the_declared_type(bucket: Path, type_: str) -> None:
    (bucket / "a.csv").write_text("day,at\n1,2024-01-01\n2,2024-01-02\n")
    incremental = {"cursor_path": "at", "initial_value": date(2024, 1, 2)}

    loaded = load(files(bucket, "*.csv", incremental=incremental, columns={"at": type_}), "rows")

    assert loaded.values("day") == [2]


def test_a_cursor_that_is_no_column_is_told_with_those_that_there_are(bucket: Path) -> None:
    (bucket / "a.csv").write_text("id,Updated\n1,2\n")

    error = refused(files(bucket, "a.csv", incremental={"cursor_path": "updated"}))

    assert isinstance(error, SourceRejected)
    assert "rows: there is no column 'updated' to load by. Did you mean 'Updated'?" in str(error)
    assert "with one of: id, Updated." in str(error)


def test_a_lag_of_a_date_counts_days(bucket: Path) -> None:
    incremental = {"cursor_path": "at", "initial_value": date(2024, 1, 1), "lag": 1}
    connector = files(bucket, "*.csv", incremental=incremental, columns={"at": "date"})
    (bucket / "a.csv").write_text("day,at\n3,2024-01-03\n")
    first = load(connector, "rows")
    (bucket / "a.csv").write_text("day,at\n1,2024-01-01\n2,2024-01-02\n3,2024-01-03\n")

    assert load(connector, "rows", after=first).values("day") == [2, 3]


def test_a_window_reads_every_file_and_leaves_no_state(bucket: Path) -> None:
    orders(bucket, "csv", 1, 2)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    partitions = {"type": "daily", "column": "at", "start": "2024-01-01"}

    connector = files(bucket, "*.csv", incremental={"cursor_path": "at", "initial_value": "2024-01-02"})

    loaded = load(connector, "rows", partitions=partitions, window=Window("at", start, start + timedelta(days=1)))

    assert loaded.values("day") == [1, 2]  # the writer keeps the window, by the types of the table
    assert not loaded.state.get("resources")


# Mistakes in floe.yaml


def mistake(bucket_url: str = "data", **resource: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        FilesystemConnector.model_validate(
            {"bucket_url": bucket_url, "resources": [{"name": "rows", "file_glob": "*.csv", **resource}]}
        )
    return str(raised.value)


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ({"file_glob": "../other/*.csv"}, "leaves the folder"),
        ({"file_glob": "/etc/*.csv"}, "leaves the folder"),
        ({"file_glob": "s3://other/*.csv"}, "leaves the folder"),
        ({"file_glob": "a**.csv"}, "Write it between slashes"),
        ({"file_glob": "*.dat"}, "Write `format: csv`, jsonl or parquet"),
        ({"file_glob": "*.parquet.gz"}, "does not tell what the files are"),
        ({"format": "parquet"}, "contradict each other"),
        ({"format": "xml"}, "xml"),
        ({"reader_options": {"columns": ["id"]}}, "columns"),
        ({"reader_options": {"delimiter": "||"}}, "is not one ASCII character"),
        ({"reader_options": {"encoding": "utf-9"}}, "is no encoding"),
        ({"reader_options": {"header": False}}, "Write `column_names: [id, …]`"),
        ({"incremental": {**BY_FILE, "lag": 5}}, "`lag` says nothing about files"),
        ({"incremental": {**BY_FILE, "initial_value": "soon"}}, "'soon' is no time of a file"),
        ({"incremental": {"cursor_path": "at", "start_param": "since"}}, "`start_param` is for rest_api"),
    ],
)
def test_a_mistake_in_a_resource_is_told_with_what_to_write(resource: dict[str, Any], said: str) -> None:
    assert said in mistake(**resource)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    said = mistake(bucket_url="sftp://me:${PW}@host/data")

    assert "Write it into `credentials`" in said


@pytest.mark.parametrize("url", ["abfss://container@account.dfs.core.windows.net/data", "s3://${BUCKET:-raw}/data"])
def test_a_url_without_a_password_is_taken(url: str) -> None:
    assert files(url, "*.csv").bucket_url == url


def test_a_cursor_that_files_cannot_have_is_refused_by_the_run_too(bucket: Path) -> None:
    (bucket / "a.csv").write_text("v\n1\n")

    with pytest.raises(ConfigurationError, match=r"raw\.rows: `row_order` says nothing about files"):
        load(files(bucket, "*.csv"), "rows", incremental={**BY_FILE, "row_order": "asc"})


def test_credentials_are_not_in_the_text_of_a_connector() -> None:
    config = {
        "bucket_url": "s3://b",
        "credentials": {"secret": "hush"},
        "resources": [{"name": "a", "file_glob": "*.csv"}],
    }

    assert "hush" not in repr(FilesystemConnector.model_validate(config))


def test_a_check_counts_the_files(bucket: Path) -> None:
    (bucket / "a.csv").write_text("v\n1\n")

    assert files(bucket, "*.csv").check_connection() == f"{bucket} answers, with 1 file of 'rows' (a.csv)"
    with pytest.raises(SourceRejected, match="is no folder"):
        files(bucket / "gone", "*.csv").check_connection()
