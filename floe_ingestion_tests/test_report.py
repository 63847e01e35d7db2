"""Mistakes in models of any shape: one of each union's members, and no guess without an end."""

from __future__ import annotations

from typing import Any

import pytest

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.mistakes.report import Report
from floe_ingestion.spec import StrictModel


class Circle(StrictModel):
    radius: int
    colour: str = "red"


class Box(StrictModel):
    width: int
    height: int
    depth: int


class Drawing(StrictModel):
    shape: Circle | Box | str
    others: tuple[Circle | Box, ...] = ()
    named: dict[str, Circle] = {}  # noqa: RUF012


class Inner(StrictModel):
    one: int
    two: int
    three: int


class Alpha(StrictModel):
    alpha: Inner


class Alphb(StrictModel):
    alphb: Inner


class Flipping(StrictModel):
    one_of: Alpha | Alphb


def problems_of(model: type[StrictModel], data: Any) -> dict[str, str]:
    report = Report("test")
    checked = report.validated(model, data, ())
    assert checked.model is None or "no known key" in str(report._problems)
    with pytest.raises(ConfigurationError) as caught:
        report.close()
    return {problem.path: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("data", "problems"),
    [
        ({"shape": 5}, {"shape": "is 5 (a whole number); write a mapping (`key: value`) or a text"}),
        ({"shape": {"radius": "big"}}, {"shape.radius": "is 'big'; write a whole number"}),
        (
            {"shape": {"radius": 1, "color": "blue"}},
            {"shape.color": "is no known key. Did you mean 'colour'? Known keys: colour, radius"},
        ),
        (
            {"shape": {"width": 1, "height": 2, "dept": 3}},
            {"shape.dept": "is no known key. Did you mean 'depth'? Known keys: depth, height, width"},
        ),
        (
            {"shape": "x", "others": [{"width": 1, "height": 2}]},
            {"others[0].depth": "is missing; write `depth: …`"},
        ),
        (
            {"shape": "x", "named": {"a": {"radius": []}}},
            {"named.a.radius": "is an empty list; write a whole number"},
        ),
        (
            {"shape": "x", "named": {"a": {"radius": 1, "x": 1}}},
            {"named.a.x": "is no known key. Known keys: colour, radius"},
        ),
    ],
)
def test_of_a_union_only_the_member_that_fits_best_is_spoken_of(data: Any, problems: dict[str, str]) -> None:
    assert problems_of(Drawing, data) == problems


def test_guesses_that_send_each_other_round_come_to_an_end() -> None:
    problems = problems_of(Flipping, {"one_of": {"alphx": {}}})

    assert list(problems) == ["one_of.alphx"]
