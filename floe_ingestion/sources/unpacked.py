"""Files that are packed: the bytes of the one file in a compressed one, and Parquet; where one breaks off, an error."""

from __future__ import annotations

import zipfile
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_OF_MACOS = "__MACOSX/"


def unpacked(filesystem: AbstractFileSystem, path: str) -> IO[bytes]:
    """What is in the file at `path`, decompressed as its ending tells.

    fsspec takes the end of a Zstandard stream that breaks off for its end, and of a ZIP the first file alone.
    """
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
    try:
        return pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        stream.seek(0)
        if stream.read(4) in (b"PAR1", b""):
            raise EOFError(str(error)) from error
        raise


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
