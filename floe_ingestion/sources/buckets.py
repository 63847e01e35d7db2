"""Which package opens the files of a URL, and which extra of this one brings it."""

from __future__ import annotations

from importlib.util import find_spec

from floe_ingestion.errors import SourceRejected

_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "s3")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcs")),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), ("adlfs", "azure")),
}


def require_package(url: str) -> None:
    """Raise `SourceRejected` where what opens `url` is not installed."""
    scheme = url.partition("://")[0]
    package, extra = _PACKAGES.get(scheme, (None, None))
    if package is not None and find_spec(package) is None:
        raise SourceRejected(
            f"Files at {scheme}:// need the Python package {package!r}, which is not installed. Install it: "
            f"pip install 'floe-ingestion[{extra}]'."
        )
