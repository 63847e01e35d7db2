"""Readers of the file formats: batches in bounded memory, and errors that name the file and the row."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.csv as pacsv

from floe_ingestion.errors import SourceRejected, SourceUnavailable
from floe_ingestion.sources.buckets import parquet_in
from floe_ingestion.sources.csv_header import mistake_of_header
from floe_ingestion.sources.csv_types import ColumnTypes, Unfitting, word_of
from floe_ingestion.sources.exact import EXACT, may_hold_long_number
from floe_ingestion.sources.file_cursors import SourceFile
from floe_ingestion.sources.file_options import CsvOptions, JsonlOptions, ParquetOptions

_CHUNK = 1024 * 1024
_BLANK = "\n\n\r\n\r\n\n\n\r\n"
_BREAKS_OFF = re.compile("Truncated compressed stream")
_CORRUPT = re.compile(
    "[Cc]orrupt|decompress|Codec failed|deserialize thrift|flatbuffers|Unexpected end of stream|Invalid data stream"
)
"""What Arrow and bz2 say of bytes that they do not understand, in an OSError that is none of the disk's."""


def read_csv(file: SourceFile, options: CsvOptions, types: ColumnTypes) -> Iterator[pa.RecordBatch]:
    """Batches of about `block_size` bytes of text; none for a file without rows."""
    with _errors_of(file), file.open() as stream:
        header, blank = _header(stream, options)
    if header is None:
        return
    if options.header and (mistake := mistake_of_header(header, options)):
        raise SourceRejected(f"{file.path}: {mistake}")
    names = _checked(list(options.column_names) or header, file)
    row = options.skip_rows + options.header
    with _errors_of(file), file.open() as stream:
        for batch in _csv_reader(_Closed(stream, options), names, options, options.skip_rows + blank):
            if _is_open(batch):
                raise SourceRejected(
                    f"{file.path}: a quote ({options.quote_char}) is not closed before the file ends. Correct the "
                    f"file, or write `quote_char: null` in reader_options if quotes are letters."
                )
            try:
                columns = [types.typed(name, batch.column(index)) for index, name in enumerate(names)]
            except Unfitting as error:
                raise SourceRejected(_sentence(file, row + error.index + 1, error)) from error
            row += batch.num_rows
            yield pa.RecordBatch.from_arrays(columns, names=names)


def read_jsonl(file: SourceFile, options: JsonlOptions) -> Iterator[list[dict[str, Any]]]:
    """Lists of rows; empty lines are passed over."""
    first = 1
    with _errors_of(file), file.open() as stream:
        for block, lines, ended in _blocks(stream, options.batch_size):
            yield _objects(block, lines, file, first, ended)
            first += lines


def read_parquet(file: SourceFile, options: ParquetOptions) -> Iterator[pa.RecordBatch]:
    """Batches of `batch_size` rows; times finer than a microsecond are cut to it, for Iceberg holds no finer."""
    with _errors_of(file), file.open() as stream, parquet_in(stream) as parquet:
        known = parquet.schema_arrow.names
        if missing := [name for name in options.columns if name not in known]:
            raise SourceRejected(f"{file.path} has no column {', '.join(missing)}. It has: {', '.join(known)}.")
        columns = list(options.columns) or None
        for batch in parquet.iter_batches(batch_size=options.batch_size, columns=columns):
            yield _in_microseconds(batch)


class _Closed(io.RawIOBase):
    """A CSV file with blank lines behind its end: Arrow passes over them, but where a quote is still open."""

    def __init__(self, stream: IO[bytes], options: CsvOptions) -> None:
        self._stream = stream
        one_byte = "\n".encode(options.encoding) == b"\n"
        self._end = _BLANK.encode() if one_byte else b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        # Whole blocks: the first one decides about types.
        parts, missing = [], size
        while missing > 0 and (part := self._stream.read(missing)):
            parts.append(part)
            missing -= len(part)
        parts.append(self._end[:missing])
        self._end = self._end[missing:]
        return b"".join(parts)


def _is_open(batch: pa.RecordBatch) -> bool:
    """Whether the last value goes on to the end of its file, as after a quote that nobody closed."""
    return bool(batch.num_rows) and (batch.column(batch.num_columns - 1)[-1].as_py() or "").endswith(_BLANK)


def _csv_reader(stream: Any, names: list[str], options: CsvOptions, skip_rows: int) -> Any:
    return pacsv.open_csv(
        stream,
        read_options=pacsv.ReadOptions(
            # With threads Arrow cannot tell the number of a bad row; it reads a stream in one thread all the same.
            use_threads=False,
            block_size=options.block_size,
            skip_rows=skip_rows,
            skip_rows_after_names=int(options.header),
            column_names=names,
            encoding=options.encoding,
        ),
        parse_options=pacsv.ParseOptions(
            delimiter=options.delimiter,
            quote_char=options.quote_char or False,
            escape_char=options.escape_char or False,
            newlines_in_values=True,
        ),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=["", *options.null_values],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _header(stream: IO[bytes], options: CsvOptions) -> tuple[list[str] | None, int]:
    """The first row, which holds the names where there are any, and the blank lines before it; None for no row."""
    encoding = "utf-8-sig" if options.encoding.lower() in ("utf-8", "utf8") else options.encoding
    text = io.TextIOWrapper(io.BytesIO(stream.read(_CHUNK)), encoding, errors="replace", newline="")
    rows = csv.reader(
        islice(text, options.skip_rows, None),
        delimiter=options.delimiter,
        quotechar=options.quote_char,
        escapechar=options.escape_char,
        quoting=csv.QUOTE_MINIMAL if options.quote_char else csv.QUOTE_NONE,
    )
    return next(((row, blank) for blank, row in enumerate(rows) if row), (None, 0))


def _checked(names: list[str], file: SourceFile) -> list[str]:
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise SourceRejected(f"{file.path}: column {number} of the header has no name. Write `column_names`.")
        if name in names[: number - 1]:
            raise SourceRejected(f"{file.path}: the header names {name!r} twice. Write `column_names` that differ.")
    return names


def _sentence(file: SourceFile, row: int, error: Unfitting) -> str:
    place = f"{file.path}, row {row}, column {error.column!r}: {error.value!r}"
    word = word_of(error.type)
    if error.inferred:
        return (
            f"{place} is no {word}, and the values before it were. Declare what the column holds, e.g. "
            f"`columns: {{{error.column}: string}}`."
        )
    return f"{place} is no {word}, which is the column's type. Correct the file, or the type in `columns`."


def _blocks(stream: IO[bytes], rows: int) -> Iterator[tuple[bytes, int, bool]]:
    """Lines without the end of the last one, so many at most; how many; and whether the last one has an end."""
    begun: list[bytes] = []
    first = True
    while chunk := stream.read(_CHUNK):
        if first:
            chunk, first = chunk.removeprefix(codecs.BOM_UTF8), False
        whole, newline, rest = chunk.rpartition(b"\n")
        if newline:
            yield from ((*piece, True) for piece in _cut(b"".join([*begun, whole]), rows))
            begun = [rest]
        else:
            begun.append(rest)
    if last := b"".join(begun):
        yield last, 1, False


def _cut(block: bytes, rows: int) -> Iterator[tuple[bytes, int]]:
    if (count := block.count(b"\n") + 1) <= rows:
        yield block, count
        return
    lines = block.split(b"\n")
    for start in range(0, count, rows):
        piece = lines[start : start + rows]
        yield b"\n".join(piece), len(piece)


def _objects(block: bytes, count: int, file: SourceFile, first: int, ended: bool) -> list[dict[str, Any]]:
    """The rows of a block of `count` lines, the first of which has the number `first` in its file."""
    if (found := _at_once(block, count)) is not None:
        return found
    lines = block.split(b"\n")
    filled = [line for line in lines if line and not line.isspace()]
    if len(filled) < count and (found := _at_once(b"\n".join(filled), len(filled))) is not None:
        return found
    return [_object(line, file, number, ended) for number, line in enumerate(lines, start=first) if line.strip()]


def _at_once(block: bytes, lines: int) -> list[dict[str, Any]] | None:
    """The rows; None where that does not go, which the line by itself explains better."""
    text = b"[" + block.replace(b"\n", b",0,") + b"]"
    if may_hold_long_number(text):
        return None
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    rows: list[dict[str, Any]] = found[::2]
    # The zeros are where they were put: no line goes on in the next one, and none holds two rows.
    whole = len(found) == 2 * lines - 1
    return rows if whole and set(map(type, rows)) == {dict} and not any(found[1::2]) else None


def _object(line: bytes, file: SourceFile, number: int, ended: bool) -> dict[str, Any]:
    try:
        row = _parsed(line)
    except ValueError as error:
        if not ended:
            raise SourceUnavailable(
                f"{file.path} ends within line {number}; it may just be written ({error})."
            ) from error
        raise SourceRejected(f"{file.path}, line {number}: this is no JSON ({error}).") from error
    if not isinstance(row, dict):
        kind = "a list" if isinstance(row, list) else "a plain value"
        raise SourceRejected(f'{file.path}, line {number}: {kind} stands where an object should: {{"id": 1, …}}.')
    return row


def _parsed(line: bytes) -> Any:
    # orjson makes floating point numbers of integers that need more than 64 bits.
    return json.loads(line, parse_constant=_no_number, **EXACT) if may_hold_long_number(line) else orjson.loads(line)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON")


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    for index, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            cut = batch.column(index).cast(pa.timestamp("us", field.type.tz), safe=False)
            batch = batch.set_column(index, field.with_type(cut.type), cut)
    return batch


@contextmanager
def _errors_of(file: SourceFile) -> Iterator[None]:
    """Errors of what reads a file, as ours and with its name."""
    try:
        yield
    except pa.ArrowInvalid as error:
        raise SourceRejected(f"{file.path}: {_advice(str(error))}") from error
    except UnicodeDecodeError as error:
        raise SourceRejected(f"{file.path}: its text is not {error.encoding}. Write its `encoding`.") from error
    except csv.Error as error:
        raise SourceRejected(f"{file.path}: its header is not understood ({error}).") from error
    except (EOFError, FileNotFoundError) as error:
        raise SourceUnavailable(f"{file.path}: it breaks off or is gone; it may just be written ({error}).") from error
    except (gzip.BadGzipFile, zipfile.BadZipFile, lzma.LZMAError, zlib.error) as error:
        raise SourceRejected(f"{file.path}: it cannot be decompressed ({error}).") from error
    except OSError as error:
        if _BREAKS_OFF.search(str(error)):
            raise SourceUnavailable(f"{file.path}: it breaks off; it may just be written ({error}).") from error
        if error.errno is None and _CORRUPT.search(str(error)):
            raise SourceRejected(f"{file.path}: it is damaged ({error}).") from error
        raise


def _advice(said: str) -> str:
    if "straddling" in said:
        return (
            "a row is longer than a block. Write a larger `block_size` in reader_options, or look whether a quote in "
            "it is not closed."
        )
    if "invalid UTF8" in said:
        return f"{said}. Write the `encoding` in reader_options, e.g. latin-1."
    return said
