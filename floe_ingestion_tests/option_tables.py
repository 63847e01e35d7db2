"""The tables of options in docs/sources, as they follow from the models; run as a module it writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

from floe_ingestion.sources.options import options_of
from floe_ingestion.sources.registry import connector_class

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "sources"
_TABLES = re.compile(r"(?<=<!-- options -->\n).*(?=<!-- end of options -->)", re.DOTALL)


def pages() -> dict[str, Path]:
    """The page of each connector."""
    return {page.stem: page for page in sorted(FOLDER.glob("*.md"))}


def brought_up_to_date(name: str, page: str) -> str:
    """The page of the connector `name` with its tables as they should be."""
    written, count = _TABLES.subn(lambda _: f"\n{options_of(connector_class(name))}\n", page)
    assert count == 1, f"{name}.md has no place for its options"
    return written


if __name__ == "__main__":
    for name, page in pages().items():
        page.write_text(brought_up_to_date(name, page.read_text("utf-8")), "utf-8")
