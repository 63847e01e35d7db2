"""Disks that are full, or that take nothing: small file systems of their own, in memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


class Disk:
    """A file system of a few megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Leave room for so many bytes."""
        self.free()
        room = os.statvfs(self.folder)
        self._ballast.write_bytes(bytes(max(room.f_bavail * room.f_frsize - leave, 0)))

    def free(self) -> None:
        """Room again."""
        self._ballast.unlink(missing_ok=True)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing can be written meanwhile, not even by root."""
        _run("mount", "-o", "remount,ro", str(self.folder))
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", str(self.folder))


@contextmanager
def disk(folder: Path, megabytes: int = 4) -> Iterator[Disk]:
    """A disk mounted at `folder`; skips the test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a disk can only be mounted by root: {getattr(error, 'stderr', None) or error}")
    try:
        yield Disk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user whom permissions bind: root is not asked for them."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
