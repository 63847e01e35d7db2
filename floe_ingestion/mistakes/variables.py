"""Texts of a configuration that look like a variable and are none: the run would take them as they are."""

from __future__ import annotations

import re
from typing import Any

from floe_ingestion.mistakes.report import Report
from floe_ingestion.mistakes.yaml_file import YamlPath, is_list, is_mapping

_DOLLARS = re.compile(r"\$\$|\$\{[A-Za-z_]\w*(?::-[^}]*)?\}|(?P<open>\$\{)|\A\$(?P<name>[A-Z_][A-Z0-9_]*)\Z", re.ASCII)


def check_variables(data: Any, at: YamlPath, report: Report) -> None:
    """Note each text in `data` that begins a variable and does not end it, or leaves out its braces."""
    if is_mapping(data):
        for key, value in data.items():
            check_variables(value, (*at, key), report)
    elif is_list(data):
        for index, value in enumerate(data):
            check_variables(value, (*at, index), report)
    elif isinstance(data, str) and (mistake := _mistake(data)) is not None:
        report.add(at, mistake)


def _mistake(text: str) -> str | None:
    for match in _DOLLARS.finditer(text):
        if match["open"]:
            return "holds a `${` that begins no variable. Write `${NAME}` or `${NAME:-default}`; `$$` is a dollar sign"
        if name := match["name"]:
            return f"is no variable without braces. Write `${{{name}}}`; `$${name}` is that text itself"
    return None
