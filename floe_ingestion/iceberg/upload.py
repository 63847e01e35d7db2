"""Files to an object store: several at once, tried again, and looked at before they count."""

from __future__ import annotations

import logging
import random
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

from pyiceberg.io import FileIO

from floe_ingestion.classify import classify
from floe_ingestion.errors import CatalogUnavailable, TransientError

logger = logging.getLogger(__name__)

_FILES_AT_ONCE = 4
"""Each file goes up in parts, which Arrow's client and s3fs send side by side as well."""
_CHUNK = 8 * 1024 * 1024
_ATTEMPTS = 4
_LONGEST_WAIT = 8.0


def upload_all(files: Sequence[tuple[Path, str]], io: FileIO, discard: Callable[[list[str]], object]) -> None:
    """Copy each file to its location; where one fails, none stays: `discard` gets what was begun.

    An object appears when its last part is there, so a process that is killed leaves none half written.
    """
    if not files:
        return
    with ThreadPoolExecutor(max_workers=min(_FILES_AT_ONCE, len(files))) as workers:
        running = {workers.submit(_upload, path, io, location): location for path, location in files}
        try:
            for done in as_completed(running):
                done.result()
        except BaseException:
            begun = [location for future, location in running.items() if not future.cancel()]
            _wait(running)
            discard(begun)
            raise


def _upload(path: Path, io: FileIO, location: str) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _send(path, io, location)
        except Exception as error:
            if attempt == _ATTEMPTS or not isinstance(classify(error, location), TransientError):
                raise
            logger.info("%s: uploading again after attempt %s: %s", location, attempt, error)
            time.sleep(min(0.5 * 2**attempt, _LONGEST_WAIT) * random.uniform(0.5, 1.0))


def _send(path: Path, io: FileIO, location: str) -> None:
    target = io.new_output(location).create(overwrite=True)
    try:
        with path.open("rb") as source:
            shutil.copyfileobj(source, target, _CHUNK)
    except BaseException:
        # fsspec can drop what was sent; Arrow cannot, and what closing may let appear is discarded by the caller.
        with suppress(Exception):
            getattr(target, "discard", target.close)()
        raise
    target.close()
    sent, arrived = path.stat().st_size, len(io.new_input(location))
    if arrived != sent:
        raise CatalogUnavailable(f"{location}: {sent} bytes were sent and {arrived} have arrived.")


def _wait(running: dict[Future[None], str]) -> None:
    for future in running:
        if not future.cancelled():
            future.exception()
