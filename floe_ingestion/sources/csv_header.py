"""What the header of a CSV file shows to be wrong with how the file is read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from floe_ingestion.sources.file_options import CsvOptions

_DELIMITERS = (";", "\t", "|", ",")
_NAME = re.compile(r"\w[\w .#-]*")
"""What stands between delimiters; behind a comma within a name there is a space."""


def mistake_of_header(header: Sequence[str], options: CsvOptions) -> str | None:
    """A sentence; None where nothing is wrong with the names, or they are none that are used."""
    if any("\0" in name for name in header):
        return (
            "its header holds a NUL byte, behind which no row would be found. Write the `encoding` in reader_options "
            "if it is another one, such as utf-16, or correct the file."
        )
    if options.column_names or len(header) > 1:
        return None
    for delimiter in _DELIMITERS:
        parts = header[0].split(delimiter)
        if len(parts) > 1 and all(map(_NAME.fullmatch, parts)):
            return (
                f"its header is one name, {header[0]!r}, which looks like {len(parts)}. Write `delimiter: "
                f"{json.dumps(delimiter)}` in reader_options, or `column_names` if it is one column."
            )
    return None
