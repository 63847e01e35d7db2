"""Where a load of files begins: which files were read before, or the newest value of a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from typing import Any

import dlt
import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow

from floe_ingestion.errors import SourceRejected
from floe_ingestion.iceberg.columns import parse_type
from floe_ingestion.naming import normalize_identifier
from floe_ingestion.sources.base import Extraction
from floe_ingestion.sources.file_options import AnyFiles, JsonlFiles
from floe_ingestion.sources.file_readers import SourceFile
from floe_ingestion.sources.instants import as_moment, as_text, cursor_arguments, instant_of
from floe_ingestion.sources.paging import PageCursor
from floe_ingestion.spec import IncrementalSpec

_STATE = "files"
# What the file systems call the time at which a file was written last.
_MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "modified", "modifiedTime", "created")


@dataclass(frozen=True)
class FoundFile(SourceFile):
    """A file, and what its file system says about it."""

    info: Mapping[str, Any]

    @property
    def version(self) -> list[Any]:
        """When it was written last, in UTC, and its size: another version of a file has another one."""
        met = next((self.info[key] for key in _MODIFIED if self.info.get(key) is not None), None)
        moment = datetime.fromtimestamp(met, timezone.utc) if isinstance(met, (int, float)) else as_moment(met)
        if not isinstance(moment, datetime):
            raise SourceRejected(
                f"{self.path}: its file system does not say when it was written, so that files that were read cannot "
                f"be told from new ones. Remove `incremental`, or name a column as `cursor_path`."
            )
        in_utc = moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
        return [as_text(in_utc), self.info.get("size")]


class FileCursor:
    """Each file once: in dlt's state of the resource stands which version of which file was read.

    Not the newest time, as dlt's own cursor of files: a file that is copied with its old time would be missed.
    """

    def __init__(self, spec: IncrementalSpec) -> None:
        self._from, self._before = instant_of(spec.initial_value), instant_of(spec.end_value)

    @property
    def landed(self) -> dict[str, list[Any]]:
        """Versions of the files that were read, by path."""
        files: dict[str, list[Any]] = dlt.current.resource_state().setdefault(_STATE, {})
        return files

    def wants(self, file: FoundFile) -> bool:
        """Whether it is new or has changed, and was written within the bounds."""
        version = file.version
        written = instant_of(version[0]) or 0
        if self._from is not None and written < self._from:
            return False
        if self._before is not None and written >= self._before:
            return False
        return self.landed.get(file.path) != version

    def add(self, file: FoundFile) -> None:
        """Remember the version that was listed: what is written while it is read is another one."""
        self.landed[file.path] = file.version


def known_columns(extraction: Extraction) -> pa.Schema:
    """The types that columns have already, in the table or by declaration, by the table's names."""
    types = {field.name: field.type for field in extraction.known or ()}
    for name, column in extraction.table.columns.items():
        if column.type is not None:
            types[normalize_identifier(name)] = schema_to_pyarrow(parse_type(column.type, str(extraction.table), name))
    return pa.schema(list(types.items()))


def column_cursor(spec: IncrementalSpec, files: AnyFiles, known: pa.Schema) -> Any:
    """dlt's incremental on a column of the files."""
    arguments = cursor_arguments(spec)
    if not isinstance(files, JsonlFiles):
        name = normalize_identifier(spec.cursor_path)
        type_ = known.field(name).type if name in known.names else None
        for key in arguments.keys() & {"initial_value", "end_value"}:
            arguments[key] = fitting(getattr(spec, key), type_)
        arguments["last_value_func"] = max
    return PageCursor(**arguments)


def fitting(value: Any, type_: pa.DataType | None) -> Any:
    """A bound of floe.yaml as a value that Arrow compares with columns of `type_`."""
    moment = as_moment(value)
    if not isinstance(moment, date) or (type_ is not None and not pa.types.is_temporal(type_)):
        return as_text(value)
    if type_ is not None and pa.types.is_date(type_):
        return moment.date() if isinstance(moment, datetime) else moment
    at = moment if isinstance(moment, datetime) else datetime.combine(moment, time())
    in_utc = at.astimezone(timezone.utc) if at.tzinfo else at.replace(tzinfo=timezone.utc)
    # Of a column that nobody knows yet, a time with a zone fits dates and both kinds of times.
    return in_utc.replace(tzinfo=None) if type_ is not None and type_.tz is None else in_utc
