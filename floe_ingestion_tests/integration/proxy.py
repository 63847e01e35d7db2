"""A proxy in front of a real server: keeps every request, and goes wrong where a test tells it to."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from floe_ingestion_tests.http_server import Answer, Asked

_BETWEEN_TWO = frozenset({"connection", "keep-alive", "transfer-encoding", "expect"})


@dataclass(frozen=True)
class Lost:
    """The request arrives, and its answer does not: the connection breaks off."""


@dataclass(frozen=True)
class Refused:
    """The connection breaks off before the request arrives."""


@dataclass(frozen=True)
class Slow:
    """The request waits before it is passed on."""

    seconds: float


@dataclass(frozen=True)
class Changed:
    """The server's JSON is changed on its way back."""

    change: Callable[[Any], Any]


@dataclass(frozen=True)
class Happening:
    """Something happens before the request is passed on."""

    what: Callable[[], object]


Fault = Answer | Changed | Happening | Lost | Refused | Slow


@dataclass
class _Plan:
    method: str
    path: re.Pattern[str]
    fault: Fault
    times: int


class Proxy:
    """Passes requests on to `upstream`; `prefix` is where it pretends to live, e.g. `/api/catalog`."""

    def __init__(self, upstream: str, port: int, prefix: str = "") -> None:
        self.upstream, self.prefix = urlsplit(upstream), prefix
        self.url = f"http://127.0.0.1:{port}{prefix}"
        self.asked: list[Asked] = []
        self._plans: list[_Plan] = []
        self._lock = threading.Lock()

    def fail(self, method: str, path: str, fault: Fault, times: int = 1) -> None:
        """Do `fault` to the next `times` requests whose path matches the regular expression."""
        self._plans.append(_Plan(method, re.compile(path), fault, times))

    def work(self) -> None:
        """Do everything right again."""
        self._plans.clear()

    def of(self, method: str, path: str) -> list[Asked]:
        """The requests of this method whose path matches the regular expression."""
        return [asked for asked in self.asked if asked.method == method and re.search(path, asked.path)]

    def fault_of(self, asked: Asked) -> Fault | None:
        with self._lock:
            self.asked.append(asked)
            for plan in self._plans:
                if plan.times and plan.method == asked.method and plan.path.search(asked.path):
                    plan.times -= 1
                    return plan.fault
        return None


@contextmanager
def proxying(upstream: str, prefix: str = "") -> Iterator[Proxy]:
    """A proxy on a free port, gone afterwards."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    listener.app = proxy = Proxy(upstream, listener.server_port, prefix)  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        proxy: Proxy = self.server.app  # type: ignore[attr-defined]
        body = self._body()
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = proxy.fault_of(
            Asked(self.command, url.path, dict(parse_qsl(url.query, keep_blank_values=True)), headers, body)
        )
        if isinstance(fault, Refused):
            self.close_connection = True
            return
        if isinstance(fault, Answer):
            raw = fault.body if isinstance(fault.body, bytes) else b""
            self._send(fault.status, {"Content-Length": str(len(raw)), **fault.headers}, raw)
            return
        if isinstance(fault, Slow):
            time.sleep(fault.seconds)
        if isinstance(fault, Happening):
            fault.what()
        try:
            status, answered, raw = self._pass_on(proxy, body)
        except ConnectionError:  # there is nobody any more
            self.close_connection = True
            return
        if isinstance(fault, Lost):
            self.close_connection = True
            return
        if isinstance(fault, Changed) and status == 200:
            raw = json.dumps(fault.change(json.loads(raw))).encode()
            answered["Content-Length"] = str(len(raw))
        self._send(status, answered, raw)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: tests look at `asked`."""

    @property
    def _chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "")

    def _body(self) -> bytes:
        if not self._chunked:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            """A trailer."""
        return body

    def _pass_on(self, proxy: Proxy, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(str(proxy.upstream.hostname), proxy.upstream.port, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path.removeprefix(proxy.prefix), skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():  # with the client's own Host, which its signature covers
                if name.lower() not in _BETWEEN_TWO:
                    connection.putheader(name, value)
            if self._chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(body if body or self._chunked else None, encode_chunked=self._chunked)
            response = connection.getresponse()
            raw = response.read()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in _BETWEEN_TWO}
            if self.command != "HEAD":
                kept = {name: value for name, value in kept.items() if name.lower() != "content-length"}
                kept["Content-Length"] = str(len(raw))
            return response.status, kept, raw
        finally:
            connection.close()

    def _send(self, status: int, headers: dict[str, str], raw: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)
