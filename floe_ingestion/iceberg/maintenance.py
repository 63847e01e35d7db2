"""One table kept in shape, as floe.yaml asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyiceberg.table import Table

from floe_ingestion.formats import number_of
from floe_ingestion.iceberg.compact import Compacted, compact
from floe_ingestion.iceberg.expire import Expired, expire
from floe_ingestion.iceberg.orphans import Orphans, remove_orphans
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion.iceberg.writer import WriteSettings
from floe_ingestion.spec import MaintenanceSpec
from floe_ingestion.spec_runs import CompactSpec

Report = Compacted | Expired | Orphans


def maintain(
    table: Table, spec: MaintenanceSpec, folder: Path, properties: Mapping[str, str], dry_run: bool
) -> Iterator[Report]:
    """Do to `table` what `spec` asks for; `folder` is a private one, `properties` go into a compaction's snapshot.

    Compaction comes first: once it is old enough, what it took the place of expires.
    """
    if spec.compact is not None:
        yield compact(table, _packing(table, spec.compact), folder, properties=properties, dry_run=dry_run)
    if spec.expire is not None:
        yield expire(table, spec.expire.keep_last, spec.expire.keep_days, dry_run)
    if spec.orphans is not None:
        yield remove_orphans(table, spec.orphans.older_than_days, dry_run)


def as_dict(report: Report) -> dict[str, Any]:
    """For JSON, with the name of the operation."""
    return {"operation": _OPERATIONS[type(report)], **asdict(report)}


def sentence(report: Report) -> str:
    """For people."""
    would = "would " if report.dry_run else ""
    if isinstance(report, Compacted):
        return f"{report.table}: {would}compact {_compaction(report)}"
    if isinstance(report, Expired):
        files = number_of(report.data_files + report.metadata_files, "file")
        text = f"{would}expire {number_of(report.snapshots, 'snapshot')} of {report.snapshots + report.snapshots_kept}"
        return f"{report.table}: {text}, with {files} of {number_of(report.bytes, 'byte')}{_left(report.not_deleted)}"
    text = f"{would}delete {number_of(report.files, 'orphan')} of {number_of(report.bytes, 'byte')}"
    return f"{report.table}: {text}; {report.too_young:,} too young to tell{_left(report.not_deleted)}"


_OPERATIONS: Mapping[type[Report], str] = {Compacted: "compact", Expired: "expire", Orphans: "orphans"}


def _packing(table: Table, spec: CompactSpec) -> Packing:
    size = spec.target_file_bytes or WriteSettings.of(table.properties).target_file_bytes
    return Packing(size, spec.min_files)


def _compaction(report: Compacted) -> str:
    if not report.files_before and not report.delete_files_before:
        return "nothing: no files are worth it"
    parts: list[str] = []
    if report.files_before:
        size = f"{report.bytes_before:,} to {report.bytes_after:,} bytes"
        parts.append(f"{number_of(report.files_before, 'file')} into {report.files_after:,} ({size})")
    if report.delete_files_before:
        parts.append(f"{number_of(report.delete_files_before, 'delete file')} into {report.delete_files_after:,}")
    return ", ".join(parts)


def _left(number: int) -> str:
    return f"; {number_of(number, 'file')} could not be deleted" if number else ""
