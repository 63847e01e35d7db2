"""Google Sheets on this machine: spreadsheets that tests write, answered as its API and its token endpoint do.

The answers hold what the `fields` of a request ask for. Compared by hand with Google's discovery document of
sheets v4 (in PyPI `google-api-python-client` 2.202.0): that every key of an answer, at any depth, is a property of
the schema Spreadsheet, every word of `fields` likewise, and every parameter one of `spreadsheets.get`. What is empty
or 0 is left out, as it is there. The assertion that a client shows is checked with its public key, as RFC 7523 says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from floe_ingestion_tests.http_server import Answer, Asked, HttpServer, serving

ID = "1aB-cD_eF"
_AUDIENCE = "https://oauth2.googleapis.com/token"
EMAIL = "loader@project.iam.gserviceaccount.com"
_START = datetime(1899, 12, 30)
_A1 = re.compile(r"'((?:[^']|'')+)'!([A-Z]+)(\d+):([A-Z]+)(\d+)")


@dataclass(frozen=True)
class Shown:
    """A number as a cell shows it: by the type and the pattern of its format."""

    number: float
    type: str
    pattern: str = ""


@dataclass(frozen=True)
class Broken:
    """A formula without a value."""

    type: str = "DIVIDE_BY_ZERO"


@dataclass
class FakeSheets:
    """One spreadsheet, for whoever has a token."""

    server: HttpServer
    sheets: dict[str, list[list[Any]]] = field(default_factory=dict)
    named: dict[str, dict[str, int]] = field(default_factory=dict)
    """Named ranges, as the API writes them."""
    zone: str = "Europe/Berlin"
    rows: int = 1000
    """How many rows a grid has, whether they are used or not."""

    def __post_init__(self) -> None:
        self.url = f"{self.server.url}/v4"
        self.tokens = 0
        self.server.route("/token", self._token)
        self.server.fallback = self._answer

    @property
    def asked(self) -> list[Asked]:
        """The requests to the API."""
        return [asked for asked in self.server.asked if asked.path.startswith("/v4/")]

    def key(self) -> str:
        """The JSON of the service account's key."""
        key = {"type": "service_account", "private_key": _keys()[0], "private_key_id": "k3yid", "client_email": EMAIL}
        return json.dumps({**key, "token_uri": f"{self.server.url}/token", "project_id": "project"})

    def _token(self, asked: Asked) -> Answer:
        from google.auth import jwt

        (assertion,) = parse_qs(asked.body.decode())["assertion"]
        try:
            claims = jwt.decode(assertion, certs=_keys()[1], audience=_AUDIENCE)
        except ValueError:
            return Answer({"error": "invalid_grant", "error_description": "Invalid JWT Signature."}, 400)
        assert claims["iss"] == EMAIL
        assert claims["scope"] == "https://www.googleapis.com/auth/spreadsheets.readonly"
        self.tokens += 1
        return Answer({"access_token": f"ya29.{self.tokens}", "expires_in": 3599, "token_type": "Bearer"})

    def _answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer ya29.{self.tokens}":
            return refusal(401, "Request had invalid authentication credentials.", "UNAUTHENTICATED")
        if asked.path != f"/v4/spreadsheets/{ID}":
            return refusal(404, "Requested entity was not found.", "NOT_FOUND")
        if "sheets.data" in asked.params["fields"]:
            return self._cells(asked.params["ranges"])
        named = [{"name": name, "range": range_} for name, range_ in self.named.items()]
        sheets = [{"properties": self._properties(number, title)} for number, title in enumerate(self.sheets)]
        properties = {"title": "Shop", "timeZone": self.zone}
        return Answer({"properties": properties, "sheets": sheets, **({"namedRanges": named} if named else {})})

    def _properties(self, number: int, title: str) -> dict[str, Any]:
        grid = {"rowCount": self.rows, "columnCount": 26}
        return {**({"sheetId": number} if number else {}), "title": title, "gridProperties": grid}

    def _cells(self, range_: str) -> Answer:
        match = _A1.fullmatch(range_)
        if match is None or match[1].replace("''", "'") not in self.sheets:
            return refusal(400, f"Unable to parse range: {range_}", "INVALID_ARGUMENT")
        rows = self.sheets[match[1].replace("''", "'")][int(match[3]) - 1 : int(match[5])]
        first, last = _index(match[2]), _index(match[4])
        found = [{"values": [_cell(value) for value in _trimmed(row[first : last + 1])]} for row in rows]
        starts = {"startRow": int(match[3]) - 1, "startColumn": first}
        data = {key: value for key, value in starts.items() if value}
        written = [row if row["values"] else {} for row in _trimmed(found, {"values": []})]
        return Answer({"sheets": [{"data": [{**data, **({"rowData": written} if written else {})}]}]})


def refusal(status: int, message: str, word: str) -> Answer:
    """An error as Google writes it."""
    return Answer({"error": {"code": status, "message": message, "status": word}}, status)


def _cell(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, Broken):
        return {"effectiveValue": {"errorValue": {"type": value.type, "message": "Function has no value."}}}
    if isinstance(value, str):
        return {"effectiveValue": {"stringValue": value}}
    if isinstance(value, bool):
        return {"effectiveValue": {"boolValue": value}}
    shown = _shown(value)
    if shown is None:
        return {"effectiveValue": {"numberValue": value}}
    format_ = {"type": shown.type, "pattern": shown.pattern}
    return {"effectiveValue": {"numberValue": shown.number}, "effectiveFormat": {"numberFormat": format_}}


def _shown(value: Any) -> Shown | None:
    if isinstance(value, Shown):
        return value
    if isinstance(value, datetime):
        return Shown((value - _START) / timedelta(days=1), "DATE_TIME", "yyyy-mm-dd hh:mm:ss")
    if isinstance(value, date):
        return Shown(float((value - _START.date()).days), "DATE", "yyyy-mm-dd")
    if isinstance(value, time):
        return Shown((datetime.combine(_START, value) - _START) / timedelta(days=1), "TIME", "hh:mm:ss")
    return None


def _trimmed(items: list[Any], empty: Any = None) -> list[Any]:
    end = len(items)
    while end and items[end - 1] == empty:
        end -= 1
    return items[:end]


def _index(column: str) -> int:
    number = 0
    for letter in column:
        number = number * 26 + ord(letter) - 64
    return number - 1


@cache
def _keys() -> tuple[str, str]:
    """Private and public key of the service account."""
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    public = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@contextmanager
def sheets() -> Iterator[FakeSheets]:
    """A spreadsheet of a test's own."""
    with serving() as server:
        yield FakeSheets(server)
