"""YAML text as data with lines; what is wrong with the YAML itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from floe_ingestion.errors import ConfigurationError, Problem
from floe_ingestion.mistakes.yaml_file import YamlFile, YamlPath, shown

TEXT = """\
other: !secret {a: 1, a: 2}
base: &base
  kind: plain
ours:
  <<: *base
  names:
    - first
    - name: second
      no: 007
  "odd key": {a: [1, 2]}
"""


def read(text: str) -> YamlFile:
    return YamlFile("floe.yaml", text, ("ours",))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("ours",), 4),
        (("ours", "kind"), 3),
        (("ours", "names"), 6),
        (("ours", "names", 0), 7),
        (("ours", "names", 1), 8),
        (("ours", "names", 1, "no"), 9),
        (("ours", "odd key", "a", 1), 10),
        (("ours", "names", 1, "absent", "deeper"), 8),
        (("ours", "names", 7), 6),
        (("absent",), None),
    ],
)
def test_everything_has_its_line_and_what_is_absent_that_of_its_surroundings(path: YamlPath, line: int | None) -> None:
    assert read(TEXT).line(path) == line


def test_keys_are_what_was_written_and_values_what_yaml_means() -> None:
    file = read(TEXT)

    assert file.data == {
        "ours": {"kind": "plain", "names": ["first", {"name": "second", "no": 7}], "odd key": {"a": [1, 2]}}
    }
    assert file.written(("ours", "names", 1, "no")) == "007"
    assert (file.written(("ours", "names")), file.written(("ours", "absent"))) == (None, None)


def test_sections_of_others_may_hold_anything() -> None:
    file = read(TEXT)

    assert file.problems == []
    assert file.top_level_keys == ("other", "base", "ours")


def test_what_others_write_twice_is_their_business() -> None:
    assert read("other: 1\nother: 2\n? [1]\n: 3\nours: {a: 1}").problems == []


def test_a_path_is_shown_as_a_person_would_write_it() -> None:
    assert shown(("ingestion", "sources", 0, "odd key", "x-y")) == "ingestion.sources[0]['odd key'].x-y"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "ours:\n  a: 1\n  b: 2\n  a: 3\n",
            Problem("ours.a", "is written twice, first in line 2. Keep one of them", 4),
        ),
        (
            "ours: {a: 1}\nours: {b: 1}",
            Problem("ours", "is written twice, first in line 1. Keep one of them", 2),
        ),
        (
            "ours:\n  no: 1\n  'no': 2",
            Problem("ours.no", "is written twice, first in line 2. Keep one of them", 3),
        ),
        (
            "ours: {a: 2024-02-31}",
            Problem("ours.a", "looks like a timestamp and is none. Correct it, or put it in quotes", 1),
        ),
        (
            "ours:\n  a: !!bool x",
            Problem("ours.a", "looks like a bool and is none. Correct it, or put it in quotes", 2),
        ),
        ("ours:\n  a: !env X", Problem("ours.a", "has a YAML tag (!…). Write the value without it", 2)),
        ("ours:\n  a: !!set {x}", Problem("ours.a", "has a YAML tag (!…). Write the value without it", 2)),
        ("ours: {? [a] : 1}", Problem("ours", "has a key that is no text. Write `key: value`", 1)),
        ("ours: &a [*a]", Problem("ours[0]", "holds itself, by an anchor (&) and an alias (*)", 1)),
        ("ours: &a {<<: *a}", Problem("ours", "merges (<<) itself, or something that is no mapping", 1)),
        ("ours: {<<: text}", Problem("ours", "merges (<<) itself, or something that is no mapping", 1)),
    ],
)
def test_what_yaml_could_not_make_sense_of_is_a_problem_and_hides_nothing_else(text: str, problem: Problem) -> None:
    assert read(text).problems == [problem]


def test_an_anchor_that_is_merged_often_is_blamed_once() -> None:
    file = read("base: &base {a: 1, a: 2}\nours: [{<<: *base}, {<<: *base}]")

    assert [problem.line for problem in file.problems] == [1]


def test_of_several_anchors_the_first_one_wins_and_ones_own_key_over_both() -> None:
    file = read("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2, d: 2}\nours: {<<: [*x, *y], d: 3}")

    assert file.data["ours"] == {"a": 1, "b": 1, "c": 2, "d": 3}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("ours:\n\ta: 1", 2, "is no YAML at column 1: a tab indents the line. Use spaces"),
        ("ours:\n  a: b: c", 2, "is no YAML at column 7: the line has a second `:`, or another indentation"),
        ("ours:\n  a: 'x\n", 2, "is no YAML at column 6: a quote or bracket is opened here and never closed"),
        ("ours:\n  a: 1\n c: 2", 3, "is no YAML at column 2: the line is indented otherwise than those it goes with"),
        (
            "ours:\n  b: 1\n  a:1\n",
            4,
            "the line is indented otherwise than those it goes with, or its `:` has no space behind",
        ),
        (
            "ours: {a: 1\nb: 2",
            2,
            "is no YAML at column 2: a comma is missing here, or a bracket that was opened before",
        ),
        ("ours: {a: 1}}", 1, "is no YAML at column 13: a bracket is closed here and was never opened"),
        ("ours: 'x'y", 1, "is no YAML at column 10: more text stands behind a value in quotes"),
        ("ours: [\n  a", 1, "is no YAML at column 7: a quote or bracket is opened here and never closed"),
        ("ours: {a: [\n", 2, "the file ends here, and a bracket that was opened before is not closed"),
        ("ours: {a: ${VARIABLE}}", 1, "a variable has to stand in quotes"),
        ("ours: *a", 1, "a value that begins with * has to stand in quotes"),
        ("ours: `a`", 1, "a value that begins with this character has to stand in quotes"),
        ("ours: 1\n---\nours: 2", 2, "a second document begins (---). Keep one"),
        ("ours: &a 1\nb: &a 2", 2, "an anchor (&) is given twice"),
        ("ours: \a", 1, "holds the character '\\x07', which YAML forbids. Remove it"),
        ("- ours", 1, "is no mapping. Write sections, such as `ingestion:`"),
    ],
)
def test_a_text_that_is_no_yaml_is_told_where_it_ends_to_be(text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text)

    (problem,) = caught.value.problems
    assert problem.line == line
    assert message in problem.message


def test_a_file_that_is_not_utf8_is_told_the_line(tmp_path: Path) -> None:
    file = tmp_path / "floe.yaml"
    file.write_bytes("ours:\n  a: Größe\n".encode("latin-1"))

    with pytest.raises(ConfigurationError, match=r"floe\.yaml:2  \(top level\): is not UTF-8 text\. Save it as UTF-8"):
        YamlFile.read(file, "floe.yaml", ("ours",))


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "floe.yaml"
    file.write_bytes("ours:\r\n  a: Größe\r\n".encode("utf-8-sig"))

    read_back = YamlFile.read(file, "floe.yaml", ("ours",))

    assert read_back.data == {"ours": {"a": "Größe"}}
    assert read_back.line(("ours", "a")) == 2


def test_a_file_nested_beyond_reason_is_an_error_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "floe.yaml"
    file.write_text("ours: " + "[" * 5000 + "]" * 5000)

    with pytest.raises(ConfigurationError, match="is nested too deeply"):
        YamlFile.read(file, "floe.yaml", ("ours",))
