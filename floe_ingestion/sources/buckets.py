"""The folder that a URL names, on this machine or in an object store, and what is in its compressed files."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from floe_ingestion.errors import SourceRejected

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from fsspec import AbstractFileSystem

_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "s3")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcs")),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), ("adlfs", "azure")),
}
"""What opens the files of a URL, and which extra of this package brings it."""
_OF_MACOS = "__MACOSX/"


def local_path(url: str) -> Path | None:
    """The folder on this machine that `url` names; None for another file system."""
    if url.startswith("file:"):
        return Path(url2pathname(urlsplit(url).path))
    return None if "://" in url else Path(url).expanduser()


def opened(url: str, options: Mapping[str, Any]) -> tuple[AbstractFileSystem, str]:
    """The file system and the folder in it; raises `SourceRejected` where there is none."""
    from fsspec.core import url_to_fs

    local = local_path(url)
    _require_package(url)
    # fsspec would give an instance of an earlier run, which remembers what was in a folder then.
    options = {**options, "skip_instance_cache": True}
    try:
        filesystem, root = url_to_fs(str(local) if local else url, **options)
    except (ImportError, ValueError) as error:
        raise SourceRejected(f"{url} cannot be opened: {error}.") from error
    if local is not None and not local.is_dir():
        raise SourceRejected(f"{local} is no folder. Correct `bucket_url`; it is relative to floe.yaml.")
    return filesystem, root


def unpacked(filesystem: AbstractFileSystem, path: str) -> IO[bytes]:
    """What is in the file at `path`, decompressed as its ending tells; where it breaks off, an error and no end.

    fsspec takes the end of a Zstandard stream that breaks off for its end, and of a ZIP the first file alone.
    """
    import pyarrow as pa

    ending = path.rpartition(".")[2].lower()
    if ending not in ("zst", "zip"):
        return filesystem.open(path, "rb", compression="infer")  # type: ignore[no-any-return]
    stream: Any = filesystem.open(path, "rb")
    try:
        if ending == "zip":
            return _only_file(stream)
        return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")  # type: ignore[no-any-return]
    except BaseException:
        stream.close()
        raise


def parquet_in(stream: IO[bytes]) -> pq.ParquetFile:
    """The Parquet file in `stream`; its table of contents stands at the end, which one that is written has not yet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        stream.seek(0)
        if stream.read(4) in (b"PAR1", b""):
            raise EOFError(str(error)) from error
        raise


def _require_package(url: str) -> None:
    scheme = url.partition("://")[0]
    package, extra = _PACKAGES.get(scheme, (None, None))
    if package is not None and find_spec(package) is None:
        raise SourceRejected(
            f"Files at {scheme}:// need the Python package {package!r}, which is not installed. Install it: "
            f"pip install 'floe-ingestion[{extra}]'."
        )


def _only_file(stream: IO[bytes]) -> IO[bytes]:
    begins = stream.read(2)
    stream.seek(0)
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        if begins == b"PK":  # the table of contents stands at the end
            raise EOFError(str(error)) from error
        raise
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    names = [name for name in names if not name.startswith(_OF_MACOS)]
    if len(names) != 1:
        raise zipfile.BadZipFile(f"it holds {len(names)} files, and one is expected: {', '.join(names[:3]) or 'none'}")
    try:
        return archive.open(names[0])
    except RuntimeError as error:  # it is encrypted, or packed in a way that Python does not know
        raise zipfile.BadZipFile(str(error)) from error
