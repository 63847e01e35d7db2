"""What a filesystem source may say about its files, as strict models: one for each format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from floe_ingestion.formats import Count, Flag
from floe_ingestion.sources.base import ResourceSpec
from floe_ingestion.sources.instants import instant_of
from floe_ingestion.spec import IncrementalSpec, Name, Names, StrictModel

BY_FILE = "modification_date"
"""A `cursor_path` that is a property of files and no column: each file is read once, and again when it changes."""

_ENDINGS = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


class CsvOptions(StrictModel):
    """How a CSV file is written. Empty text is null, and a quoted empty text (`""`) of a text column is empty."""

    delimiter: str = ","
    quote_char: str | None = '"'
    """Null where nothing is quoted."""
    escape_char: str | None = None
    encoding: str = "utf-8"
    header: Flag = True
    """Whether the first row holds the names of the columns; else give `column_names`."""
    column_names: Names = ()
    """Names that take the place of the header's."""
    null_values: tuple[str, ...] = ()
    """Texts that mean null, beside the empty one; quoted they stay text where a column is text."""
    skip_rows: Count = 0
    """Lines before the header."""
    timestamp_formats: Names = ()
    """Forms of times beside ISO, such as `%d.%m.%Y %H:%M`."""
    block_size: int = Field(default=16 * 1024 * 1024, ge=1)
    """Bytes that are read at a time; the first ones decide the types of columns that nobody knows yet."""

    @field_validator("delimiter", "quote_char", "escape_char")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or not value.isascii()):
            raise ValueError(f"{value!r} is not one ASCII character. Write e.g. ';', or \"\\t\" for a tabulator")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError as error:
            raise ValueError(f"{value!r} is no encoding. Write e.g. utf-8, latin-1 or cp1252") from error
        return value

    @model_validator(mode="after")
    def _names_are_known(self) -> CsvOptions:
        if not self.header and not self.column_names:
            raise ValueError("`header: false` leaves the columns without names. Write `column_names: [id, …]`")
        return self


class JsonlOptions(StrictModel):
    """How a file of one JSON object a line is read."""

    batch_size: int = Field(default=10_000, ge=1)
    """Rows that are held at a time."""


class ParquetOptions(StrictModel):
    """What is read of a Parquet file."""

    columns: Names = ()
    """Only these columns; empty for all."""
    batch_size: int = Field(default=65_536, ge=1)
    """Rows that are held at a time."""


class Files(ResourceSpec):
    """The rows of all files that match `file_glob`, in the order of their paths."""

    file_glob: Name = Field(examples=["orders/*.csv"])
    """Relative to `bucket_url`; `**` stands for any number of folders."""

    @field_validator("file_glob")
    @classmethod
    def _inside_the_bucket(cls, value: str) -> str:
        parts = value.split("/")
        if ".." in parts or value.startswith("/") or "://" in value:
            raise ValueError(f"{value!r} leaves the folder. Write a pattern relative to `bucket_url`, without `..`")
        if any("**" in part and part != "**" for part in parts):
            raise ValueError(f"{value!r} has ** inside of a name. Write it between slashes, e.g. '**/*.csv'")
        return value

    @model_validator(mode="after")
    def _possible_cursor(self) -> Files:
        if self.incremental is not None and (problem := cursor_problem(self.incremental)):
            raise ValueError(problem)
        return self


class CsvFiles(Files):
    """CSV, also compressed (`.csv.gz`)."""

    format: Literal["csv"]
    reader_options: CsvOptions = CsvOptions()


class JsonlFiles(Files):
    """One JSON object a line, also compressed (`.jsonl.gz`)."""

    format: Literal["jsonl"]
    reader_options: JsonlOptions = JsonlOptions()


class ParquetFiles(Files):
    """Parquet."""

    format: Literal["parquet"]
    reader_options: ParquetOptions = ParquetOptions()


def cursor_problem(cursor: IncrementalSpec) -> str | None:
    """What files cannot do of what `cursor` asks for; None where all is well."""
    met = [key for key in ("start_param", "end_param") if getattr(cursor, key) is not None]
    if cursor.cursor_path != BY_FILE:
        return f"`{met[0]}` is for rest_api; files take no parameters. Remove it from `incremental`" if met else None
    met += [key for key in ("lag", "row_order") if getattr(cursor, key) is not None]
    if met:
        return f"`{met[0]}` says nothing about files, which are known one by one. Remove it from `incremental`"
    for value in (cursor.initial_value, cursor.end_value):
        if value is not None and instant_of(value) is None:
            return f"{value!r} is no time of a file. Write e.g. initial_value: 2024-01-31"
    return None


def _with_format(value: Any) -> Any:
    """The resource with the format that the ending of its glob tells."""
    if not isinstance(value, Mapping):
        return value
    if not isinstance(value.get("file_glob"), str):
        return {"format": "csv", **value}  # the missing glob is the mistake
    told, given = _format_of(value["file_glob"]), value.get("format")
    if given is None and told is None:
        raise ValueError(
            f"the ending of {value['file_glob']!r} does not tell what the files are. "
            f"Write `format: csv`, jsonl or parquet"
        )
    if None not in (given, told) and given != told and given in _ENDINGS.values():
        raise ValueError(f"{value['file_glob']!r} and `format: {given}` contradict each other. Remove `format`")
    return {**value, "format": given or told}


def _format_of(glob: str) -> str | None:
    endings = PurePosixPath(glob.lower()).suffixes
    compressed = bool(endings) and endings[-1] in _COMPRESSED
    ending = endings[-2:-1] if compressed else endings[-1:]
    found = _ENDINGS.get(ending[0]) if ending else None
    return None if compressed and found == "parquet" else found


AnyFiles = CsvFiles | JsonlFiles | ParquetFiles
FileResource = Annotated[AnyFiles, Field(discriminator="format"), BeforeValidator(_with_format)]
