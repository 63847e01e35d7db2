"""An HTTP server on this machine, whose routes a test writes as functions and whose requests it can look at."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What a route answers; a dict or list is sent as JSON."""

    body: Any = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Route = Callable[[Asked], Any]


class HttpServer:
    """Answers by its `routes`; keeps every request in `asked`."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.routes: dict[str, Route] = {}
        self.asked: list[Asked] = []
        self.fallback: Route = lambda asked: Answer({"error": "nothing here"}, 404)
        """Answers where there is no route."""
        self.refusals: list[Answer] = []
        """Given instead of the next answers of the fallback."""
        self.pauses: list[float] = []
        """Seconds between a refusal and the request after it."""
        self._refused = 0.0

    def route(self, path: str, answer: Any) -> None:
        """Answer `path` with what `answer` is, or returns for the request: an `Answer`, or what is sent as JSON."""
        self.routes[path] = answer if callable(answer) else lambda asked: answer

    def paths(self) -> list[str]:
        """Paths of all requests, in order."""
        return [asked.path for asked in self.asked]

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        found = self.routes.get(asked.path, self._refuse_or_fall_back)(asked)
        return found if isinstance(found, Answer) else Answer(found)

    def _refuse_or_fall_back(self, asked: Asked) -> Any:
        if self._refused:
            self.pauses.append(time.monotonic() - self._refused)
            self._refused = 0.0
        if self.refusals:
            self._refused = time.monotonic()
            return self.refusals.pop(0)
        return self.fallback(asked)


@contextmanager
def serving() -> Iterator[HttpServer]:
    """A server on a free port, gone afterwards."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    listener.app = server = HttpServer(listener.server_port)  # type: ignore[attr-defined]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: tests look at `asked`."""

    def _answer(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        params = dict(parse_qsl(url.query, keep_blank_values=True))
        answer = self.server.app.answer(Asked(self.command, url.path, params, headers, body))  # type: ignore[attr-defined]
        raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        sent = {"Content-Type": "application/json", "Content-Length": str(len(raw)), **answer.headers}
        self.send_response(answer.status)
        for name, value in sent.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.status != 204:
            self.wfile.write(raw)
