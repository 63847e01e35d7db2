"""Variables in configuration: expanded when a run needs them, and never shown again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floe_ingestion import secrets
from floe_ingestion.errors import ConfigurationError, MissingVariable
from floe_ingestion.secrets import expand, hide, redact, variables

PLACE = "floe.yaml: ingestion.sources[0].config"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    before = set(secrets._secrets)
    yield
    secrets._secrets.intersection_update(before)


@pytest.mark.parametrize(
    ("written", "expanded"),
    [
        ("${HOST}", "db.example.com"),
        ("https://${HOST}:${PORT}/x", "https://db.example.com:5432/x"),
        ("${ABSENT:-fallback}", "fallback"),
        ("${ABSENT:-}", ""),
        ("${HOST:-fallback}", "db.example.com"),
        ("${EMPTY:-fallback}", ""),
        ("$${HOST}", "${HOST}"),
        ("costs $$5", "costs $5"),
        ("$HOST $ {HOST} ${1}", "$HOST $ {HOST} ${1}"),
        (5, 5),
        (None, None),
    ],
)
def test_texts_are_expanded_and_other_values_stay(written: Any, expanded: Any) -> None:
    environ = {"HOST": "db.example.com", "PORT": "5432", "EMPTY": ""}

    assert expand(written, PLACE, environ) == expanded


def test_values_are_expanded_at_any_depth_and_keep_their_shape() -> None:
    value = {"a": ["${X}", ("${X}",)], "${X}": {"b": "${X}", "c": True}}

    assert expand(value, PLACE, {"X": "1"}) == {"a": ["1", ("1",)], "${X}": {"b": "1", "c": True}}


@settings(deadline=None)
@given(
    st.recursive(
        st.text() | st.integers() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_holds_no_variable_is_not_changed(value: Any) -> None:
    if "$" not in str(value):
        assert expand(value, PLACE, {}) == value


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"connection_string": "${POSTGRES_URL}"}, f"{PLACE}.connection_string"),
        ({"auth": {"parts": ["a", "x ${POSTGRES_URL}"]}}, f"{PLACE}.auth.parts[1]"),
    ],
)
def test_a_missing_variable_is_named_with_its_place_and_what_to_do(value: Any, place: str) -> None:
    with pytest.raises(MissingVariable) as caught:
        expand(value, PLACE, {})

    assert isinstance(caught.value, ConfigurationError)
    assert (caught.value.variable, caught.value.place) == ("POSTGRES_URL", place)
    assert str(caught.value) == (
        f"{place}: the environment variable POSTGRES_URL is not set. "
        f"Set it where the run is executed, or give a default: ${{POSTGRES_URL:-value}}."
    )


def test_the_environment_is_the_process_own_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOE_TEST_VALUE", "from the process")

    assert expand("${FLOE_TEST_VALUE}", PLACE) == "from the process"


def test_variables_are_listed_without_being_read() -> None:
    value = {"a": "${X} ${Y:-default} $${Z}", "b": ["${X}"]}

    assert list(variables(value, PLACE)) == [("X", f"{PLACE}.a"), ("X", f"{PLACE}.b[0]")]


def test_an_expanded_value_is_hidden_wherever_it_occurs_again() -> None:
    expand("${TOKEN}", PLACE, {"TOKEN": "sesame-open"})

    assert redact("401 for Bearer sesame-open (sesame-open)") == "401 for Bearer ******** (********)"


def test_a_default_is_no_secret() -> None:
    expand("${HOST:-localhost}", PLACE, {})

    assert redact("cannot reach localhost") == "cannot reach localhost"


@pytest.mark.parametrize("password", ["p%40ss%2Fword", "plain-password"])
def test_the_password_of_an_expanded_url_is_hidden_alone_and_decoded(password: str) -> None:
    expand("${URL}", PLACE, {"URL": f"postgresql://me:{password}@db/x"})

    decoded = {"p%40ss%2Fword": "p@ss/word"}.get(password, password)
    assert redact(f"login failed with {password} or {decoded}") == "login failed with ******** or ********"


def test_what_a_driver_takes_for_the_host_of_a_password_with_an_at_sign_is_hidden() -> None:
    hide("postgresql://ann:s3c@ret/1@db.example.com/shop")

    assert redact("failed to resolve host 'ret/1@db.example.com'") == "failed to resolve host '********db.example.com'"
    assert redact("s3c@ret/1") == "********"


def test_a_url_that_holds_an_expanded_password_is_hidden_in_every_form() -> None:
    expand("postgresql://me:${PASSWORD}@db/x", PLACE, {"PASSWORD": "p%40ss%2Fword"})

    assert redact("p@ss/word") == "********"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:hunter2@db/x", "postgresql://me:********@db/x"),
        ("s3://key:se:cr/et@bucket", "s3://key:********@bucket"),
        ("https://db.example.com:5432/x", "https://db.example.com:5432/x"),
        ("mail ann@example.com", "mail ann@example.com"),
    ],
)
def test_the_password_of_any_url_is_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_a_short_value_hides_nothing_else() -> None:
    hide("db")

    assert redact("the db is db") == "the db is db"


def test_of_two_secrets_the_longer_one_goes_first() -> None:
    hide("sesame")
    hide("sesame-open")

    assert redact("sesame-open") == "********"


def test_a_url_that_is_none_is_hidden_as_a_whole() -> None:
    hide("http://[broken")

    assert redact("at http://[broken") == "at ********"


ODD = "p\"a\\s's wörd/+%\n€"


@pytest.mark.parametrize(
    "written",
    [
        json.dumps,
        lambda text: json.dumps(text, ensure_ascii=False),
        lambda text: json.dumps({"body": json.dumps({"token": text})}),
        repr,
        lambda text: repr({"token": text}),
        lambda text: repr(str({"token": text})),
        lambda text: repr(text.encode()),
        lambda text: quote(text),
        lambda text: quote(text, safe=""),
        lambda text: quote(text, safe="").lower(),
        quote_plus,
        lambda text: f"postgresql://me:{quote_plus(text)}@db/x",
    ],
)
@pytest.mark.parametrize("secret", [ODD, "plain-password", "it's", 'say "please"', "päss wörd"])
def test_a_secret_is_hidden_however_it_is_written(secret: str, written: Any) -> None:
    hide(secret)

    shown = redact(f"before {written(secret)} after")

    assert "********" in shown
    assert not any(part in shown.lower() for part in (secret.lower(), "rd", "wö", "w\\u", "w%c3", "please", "it"))


@settings(deadline=None, max_examples=30)
@given(st.text(min_size=4, max_size=40))
def test_any_secret_is_hidden_in_json_in_repr_and_in_urls(secret: str) -> None:
    hide(secret)

    for written in (json.dumps(secret), repr(secret), quote(secret, safe=""), quote_plus(secret)):
        assert redact(f"<{written}>").strip("<>").strip("'\"") == "********"
