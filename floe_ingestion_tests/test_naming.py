"""Names become what dlt makes of them."""

from __future__ import annotations

import pytest
from dlt.common.normalizers.naming.snake_case import NamingConvention
from hypothesis import example, given, settings
from hypothesis import strategies as st

from floe_ingestion.naming import normalize_identifier

IDENTIFIERS = st.text("abzABZ019_-+*@| .é٣", min_size=1) | st.text(min_size=1)


@settings(max_examples=1000, deadline=None)
@given(IDENTIFIERS)
@example("OrderItemsAPIv2")
@example("__private__")
@example("2024 sales")
@example("ALLCAPS")
def test_a_name_becomes_what_dlt_makes_of_it(name: str) -> None:
    try:
        expected = NamingConvention().normalize_identifier(name)
    except ValueError:
        with pytest.raises(ValueError, match="an empty text is no name"):
            normalize_identifier(name)
    else:
        assert normalize_identifier(name) == expected


@settings(deadline=None)
@given(IDENTIFIERS.filter(lambda name: name.strip() != ""))
def test_a_normalised_name_stays_as_it_is(name: str) -> None:
    once = normalize_identifier(name)

    assert normalize_identifier(once) == once
