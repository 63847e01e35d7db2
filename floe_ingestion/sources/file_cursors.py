"""Files of a source, and where a load of them begins: which versions of which files were read before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import IO, Any

from floe_ingestion.errors import SourceRejected
from floe_ingestion.formats import instant
from floe_ingestion.sources.instants import as_moment, as_text, instant_of
from floe_ingestion.spec import IncrementalSpec

_STATE = "files"
_MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "modified", "modifiedTime", "created")
"""What file systems call the time at which a file was written last."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source."""

    path: str
    """Relative to the source's folder."""
    open: Callable[[], IO[bytes]]
    """Gives its bytes, decompressed, from the start each time."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """What its file system says about it."""

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
        return [as_text(instant(moment, "UTC")), self.info.get("size")]


class FileCursor:
    """Each file once: in dlt's state of the resource stands which version of which file was read.

    Not the newest time, as dlt's own cursor of files: a file that is copied with its old time would be missed.
    """

    def __init__(self, spec: IncrementalSpec) -> None:
        self._from, self._before = instant_of(spec.initial_value), instant_of(spec.end_value)

    @property
    def landed(self) -> dict[str, list[Any]]:
        """Versions of the files that were read, by path."""
        import dlt

        files: dict[str, list[Any]] = dlt.current.resource_state().setdefault(_STATE, {})
        return files

    def wants(self, file: SourceFile) -> bool:
        """Whether it is new or has changed, and was written within the bounds."""
        version = file.version
        written = instant_of(version[0]) or 0
        if self._from is not None and written < self._from:
            return False
        if self._before is not None and written >= self._before:
            return False
        return self.landed.get(file.path) != version

    def add(self, file: SourceFile) -> None:
        """Remember the version that was listed: what is written while it is read is another one."""
        self.landed[file.path] = file.version
