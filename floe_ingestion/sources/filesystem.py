"""Files of a local folder or an object store: CSV, JSON lines and Parquet."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from floe_ingestion.classify import source_errors
from floe_ingestion.errors import ConfigurationError, SourceRejected
from floe_ingestion.formats import number_of
from floe_ingestion.sources.base import Extraction, ResourceSpec, SourceConnector
from floe_ingestion.sources.buckets import local_path, opened, unpacked
from floe_ingestion.sources.file_cursors import FileCursor, SourceFile
from floe_ingestion.sources.file_options import (
    BY_FILE,
    AnyFiles,
    CsvFiles,
    FileResource,
    JsonlFiles,
    cursor_problem,
)
from floe_ingestion.sources.instants import cursor_arguments

if TYPE_CHECKING:
    import pyarrow as pa
    from dlt.extract.resource import DltResource

_SHOWN = 3


class FilesystemConnector(SourceConnector):
    """`type: filesystem`.

    `incremental: {cursor_path: modification_date}` reads each file once, and again when its time or size has
    changed; any other `cursor_path` is a column. Which files were read lands with their rows.
    """

    kind: ClassVar[str] = "filesystem"
    json_rows: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("file",)
    lists: ClassVar[bool] = True

    bucket_url: str = Field(min_length=1, examples=["s3://bucket/folder"])
    """A folder: a path (relative to floe.yaml), or a URL that fsspec knows."""
    resources: tuple[FileResource, ...] = Field(min_length=1)
    credentials: Mapping[str, Any] = Field(default={}, repr=False)
    """What fsspec's file system takes to log in, such as `key` and `secret` for s3."""
    kwargs: Mapping[str, Any] = Field(default={}, repr=False)
    """What else fsspec's file system takes, such as `endpoint_url`."""

    @field_validator("bucket_url")
    @classmethod
    def _without_password(cls, value: str) -> str:
        login, at, _ = value.partition("://")[2].partition("/")[0].rpartition("@")
        if at and ":" in login:
            raise ValueError("holds a password. Write it into `credentials`, as ${VARIABLE}")
        return value

    def resource_specs(self) -> tuple[ResourceSpec, ...]:
        return self.resources

    def relative_to(self, folder: Path) -> FilesystemConnector:
        local = local_path(self.bucket_url)
        if local is None:
            return self
        return self.model_copy(update={"bucket_url": str(Path(folder).expanduser().resolve() / local)})

    def build(self, extractions: Sequence[Extraction]) -> Mapping[str, DltResource]:
        return {extraction.table.resource: self._resource(extraction) for extraction in extractions}

    def check_connection(self) -> str:
        with source_errors(self.bucket_url):
            matches = {files.name: [file.path for file in self._found(files)] for files in self.resources}
        counts = (f"{number_of(len(paths), 'file')} of {name!r}{_shown(paths)}" for name, paths in matches.items())
        return f"{self.bucket_url} answers, with {', '.join(counts)}"

    def listing(self) -> Mapping[str, Any]:
        """Time and size of each file that matches."""
        return {f"{files.name} {file.path}": file.version for files in self.resources for file in self._found(files)}

    def _resource(self, extraction: Extraction) -> DltResource:
        import dlt

        from floe_ingestion.sources.known_columns import column_cursor, known_columns
        from floe_ingestion.sources.paging import PageCursor

        files = next(files for files in self.resources if files.name == extraction.table.resource)
        cursor = extraction.cursor
        if cursor is not None and (problem := cursor_problem(cursor)):
            raise ConfigurationError(f"{extraction.table}: {problem}.")
        known = known_columns(extraction)
        by_file = FileCursor(cursor) if cursor is not None and cursor.cursor_path == BY_FILE else None

        def rows() -> Iterator[Any]:
            yield from self._read(files, _reader(files, known), by_file)

        resource: DltResource = dlt.resource(rows, name=files.name)
        if cursor is not None and by_file is None:
            are_rows = isinstance(files, JsonlFiles)
            resource.add_step(PageCursor(**cursor_arguments(cursor)) if are_rows else column_cursor(cursor, known))
        return resource

    def _read(
        self, files: AnyFiles, read: Callable[[SourceFile], Iterator[Any]], by_file: FileCursor | None
    ) -> Iterator[Any]:
        found = self._found(files)
        if not found and (by_file is None or not by_file.landed):
            raise SourceRejected(
                f"No file in {self.bucket_url} matches file_glob {files.file_glob!r}. Correct it, or put a file there."
            )
        for file in found:
            if by_file is None or by_file.wants(file):
                yield from read(file)
                if by_file is not None:
                    by_file.add(file)

    def _found(self, files: AnyFiles) -> list[SourceFile]:
        """The files that match, in the order of their paths."""
        filesystem, root = opened(self.bucket_url, {**self.kwargs, **self.credentials})
        opens = filesystem.open if files.format == "parquet" else partial(unpacked, filesystem)
        # A name with *, ? or [ in it is a name as long as it stands in bucket_url.
        literal = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in root)
        matches: dict[str, Any] = filesystem.glob(posixpath.join(literal, files.file_glob), detail=True)
        return [
            SourceFile(path=posixpath.relpath(path, root), open=partial(opens, path), info=info)
            for path, info in sorted(matches.items())
            if info.get("type") != "directory"
        ]


def _shown(paths: list[str]) -> str:
    """The first of `paths` in brackets."""
    some = [*paths[:_SHOWN], *(["…"] if len(paths) > _SHOWN else [])]
    return f" ({', '.join(some)})" if some else ""


def _reader(files: AnyFiles, known: pa.Schema) -> Callable[[SourceFile], Iterator[Any]]:
    from floe_ingestion.sources import file_readers

    if isinstance(files, CsvFiles):
        from floe_ingestion.sources.csv_types import ColumnTypes

        options = files.reader_options
        types = ColumnTypes(known, options.null_values, options.timestamp_formats)
        return lambda file: file_readers.read_csv(file, options, types)
    if isinstance(files, JsonlFiles):
        jsonl = files.reader_options
        return lambda file: file_readers.read_jsonl(file, jsonl)
    parquet = files.reader_options
    return lambda file: file_readers.read_parquet(file, parquet)
