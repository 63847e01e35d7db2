"""What lies below a location, on this machine or in an object store: pyiceberg itself never lists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlparse

from pyiceberg.io import FileIO

from floe_ingestion.errors import PermanentError

_MODIFIED = ("LastModified", "last_modified", "updated", "mtime", "created")
"""Where the file systems of fsspec say when a file was written."""


@dataclass(frozen=True)
class Listed:
    """One file."""

    location: str
    """As pyiceberg takes it."""
    bytes: int
    modified: float | None
    """Seconds since 1970; None where the storage does not tell."""


def listed(io: FileIO, location: str) -> Iterator[Listed]:
    """Every file below `location`; raises `PermanentError` for storage that cannot be listed."""
    location = location.rstrip("/")
    if _is_local(location):
        return _local(location)
    if hasattr(io, "fs_by_scheme"):
        return _arrow(io, location)
    if hasattr(io, "get_fs"):
        return _fsspec(io, location)
    raise PermanentError(f"{location}: files cannot be listed through {type(io).__name__}.")


def _is_local(location: str) -> bool:
    return "://" not in location or location.startswith("file:")


def _local(location: str) -> Iterator[Listed]:
    root = urlparse(location).path if location.startswith("file:") else location
    head = location.removesuffix(root)
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            try:
                found = os.stat(path)
            except FileNotFoundError:  # gone since the folder was read
                continue
            yield Listed(f"{head}{path}", found.st_size, found.st_mtime)


def _arrow(io: Any, location: str) -> Iterator[Listed]:
    from pyarrow.fs import FileSelector, FileType

    scheme, authority, root = io.parse_location(location, io.properties)
    head = location.removesuffix(root)
    for found in io.fs_by_scheme(scheme, authority).get_file_info(FileSelector(root, recursive=True)):
        if found.type == FileType.File:
            modified = found.mtime.timestamp() if found.mtime is not None else None
            yield Listed(f"{head}{found.path}", found.size, modified)


def _fsspec(io: Any, location: str) -> Iterator[Listed]:
    parts = urlparse(location)
    file_system = io.get_fs(parts.scheme, *([parts.hostname] if "@" in parts.netloc else []))
    file_system.invalidate_cache()
    root = file_system._strip_protocol(location)
    for path, details in file_system.find(root, detail=True).items():
        yield Listed(f"{location}{path.removeprefix(root)}", details["size"], _modified(details))


def _modified(details: dict[str, Any]) -> float | None:
    value = next((details[name] for name in _MODIFIED if details.get(name)), None)
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value.timestamp() if isinstance(value, datetime) else value
