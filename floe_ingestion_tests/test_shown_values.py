"""Errors about a floe.yaml show what was met, and never what may be a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from floe_ingestion import load_spec
from floe_ingestion.errors import ConfigurationError
from floe_ingestion_tests.parcels import ENTRY_POINT, install

SECRET = "hunter2-sesame"


@pytest.fixture(autouse=True)
def _parcels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme-parcels", ENTRY_POINT)
    monkeypatch.syspath_prepend(tmp_path / "site")


def error_of(folder: Path, config: str) -> str:
    entry = f"{{name: a, type: parcels, config: {config}, destination: {{schema: s}}}}"
    (folder / "floe.yaml").write_text(f"ingestion: {{sources: [{entry}]}}")
    with pytest.raises(ConfigurationError) as caught:
        load_spec(folder / "floe.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        f"{{base_url: x, resources: [a], api_key: [{SECRET}]}}",
        f"{{base_url: x, resources: [a], api_key: {SECRET}, auth: {{type: bearer, token: abcd}}}}",
        f"{{base_url: x, resources: [a], auth: {{type: bearer, token: {{a: {SECRET}}}}}}}",
        f"{{base_url: x, resources: [a], auth: {{type: basic, username: u, password: [{SECRET}]}}}}",
        f"{{base_url: x, resources: [a], pasword: {SECRET}}}",
        f"{{base_url: x, resources: [a], auth: {SECRET}}}",
        f"{{base_url: 'https://me:{SECRET}@x/', resources: [a]}}",
        f"{{base_url: x, resources: [a], page_size: 'postgresql://me:{SECRET}@x/y'}}",
        f"{{base_url: x, resources: {SECRET}}}",
        SECRET,
        f"{{base_url: x, resources: [a], api_key: *{SECRET}}}",
        f"{{base_url: x, resources: [a], api_key: !{SECRET} x}}",
        f"{{base_url: x, resources: [a], api_key: !{SECRET}!y x}}",
        f"{{base_url: x, resources: [a], api_key: &{SECRET} x, b: &{SECRET} y}}",
        f"{{base_url: x, resources: [a], api_key: '{SECRET}",
        f"{{base_url: x, resources: [a], api_key: '{SECRET}' {SECRET}}}",
        f"{{base_url: x, resources: [a], api_key: {SECRET}, api_key: {SECRET}}}",
    ],
)
def test_no_error_shows_what_may_be_a_secret(tmp_path: Path, config: str) -> None:
    error = error_of(tmp_path, config)

    assert SECRET not in error
    assert "mistake" in error


def test_a_number_in_the_place_of_a_password_is_not_shown_either(tmp_path: Path) -> None:
    auth = "{type: basic, username: 1234, password: 87654321}"
    error = error_of(tmp_path, f"{{base_url: x, resources: [a], auth: {auth}}}")

    assert "config.auth.username: is 1234 (a whole number); write a text: put it in quotes, '1234'" in error
    assert "config.auth.password: is a whole number; write a text: put it in quotes" in error
    assert "87654321" not in error


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    error = error_of(tmp_path, f"{{base_url: x, resources: [a], page_size: {'9x' * 500}}}")

    assert "9x…'; write a whole number" in error
    assert len(error) < 400
