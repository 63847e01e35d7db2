"""Whether the rows of a table are as floe.yaml says: one verdict a check, about one snapshot.

What a check looks at is fixed before it begins: a later commit changes nothing about a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from floe_ingestion.errors import ConfigurationError
from floe_ingestion.formats import number_of, shortened
from floe_ingestion.iceberg.distinct import repeated, strangers
from floe_ingestion.iceberg.inspection import Inspection, comparable
from floe_ingestion.iceberg.report import changed_columns, new_columns
from floe_ingestion.naming import normalize_column
from floe_ingestion.reconciling import unreconciled
from floe_ingestion.secrets import redact
from floe_ingestion.spec_checks import (
    AcceptedValuesCheck,
    CheckSpec,
    FreshnessCheck,
    NotNullCheck,
    RangeCheck,
    RowCountCheck,
    SchemaDriftCheck,
    UniqueCheck,
    age,
)
from floe_ingestion.verdict import Subject, Unanswerable, Verdict, field_of

if TYPE_CHECKING:
    from pyiceberg.types import NestedField


_LONGEST_EXAMPLE = 40


def judge(check: CheckSpec, subject: Subject, folder: Path) -> Verdict:
    """The verdict of one check; `folder` takes what does not fit into memory."""
    # The newest day of a table says whether it is fresh, not the one that a backfill loads again.
    of_all = isinstance(check, (FreshnessCheck, SchemaDriftCheck))
    look = Inspection(subject.all_rows if of_all else subject.rows)
    try:
        verdict = _verdict(check, subject, look, folder)
    except Unanswerable as error:
        verdict = Verdict(False, str(error))
    except ConfigurationError as error:
        verdict = Verdict(False, f"{subject.name}: {error}")
    facts: dict[str, Any] = dict(verdict.facts)
    facts["answered from"] = look.answered_from
    facts["files read"] = look.files_read
    facts["snapshot id"] = str(subject.moment.snapshot_id or "none")
    if subject.partition and not of_all:
        facts["partition"] = subject.partition
    return Verdict(verdict.passed, redact(verdict.sentence), facts)


def _verdict(check: CheckSpec, subject: Subject, look: Inspection, folder: Path) -> Verdict:
    if isinstance(check, RowCountCheck):
        return _row_count(check, subject, look)
    if isinstance(check, FreshnessCheck):
        return _freshness(check, subject, look)
    if isinstance(check, NotNullCheck):
        return _not_null(check, look)
    if isinstance(check, UniqueCheck):
        return _unique(check, subject, look, folder)
    if isinstance(check, AcceptedValuesCheck):
        return _accepted_values(check, look)
    if isinstance(check, RangeCheck):
        return _range(check, look)
    return _schema_drift(check, subject)


def _row_count(check: RowCountCheck, subject: Subject, look: Inspection) -> Verdict:
    rows = look.rows()
    facts: dict[str, Any] = {"rows": rows}
    before = look.beside(subject.rows_before).rows() if subject.rows_before is not None else None
    if before is not None:
        facts["rows before"] = before
    faults: list[str] = []
    if check.min is not None and rows < check.min:
        faults.append(f"{number_of(rows, 'row')}, expected at least {check.min:,}")
    if check.max is not None and rows > check.max:
        faults.append(f"{number_of(rows, 'row')}, expected at most {check.max:,}")
    if check.max_change is not None and before:
        change = (rows - before) / before
        facts["change"] = round(change, 6)
        if abs(change) > check.max_change:
            faults.append(
                f"{number_of(before, 'row')} became {rows:,} ({change:+.1%}), expected at most ±{check.max_change:.1%}"
            )
    if check.reconcile and subject.staged is not None and subject.landed is not None:
        counted, broken = unreconciled(subject.staged, subject.landed, before, rows, subject.moment.expired)
        facts |= counted
        faults += broken
    return Verdict(not faults, "; ".join(faults) or _told(check, rows, facts), facts)


def _told(check: RowCountCheck, rows: int, facts: Mapping[str, Any]) -> str:
    limits = [f"at least {check.min:,}"] if check.min is not None else []
    limits += [f"at most {check.max:,}"] if check.max is not None else []
    limits += [f"a change of at most ±{check.max_change:.1%}"] if check.max_change is not None else []
    told = number_of(rows, "row") + (f", expected {' and '.join(limits)}" if limits else "")
    return f"{told}; rows read, staged and landed agree" if "rows staged" in facts else told


def _freshness(check: FreshnessCheck, subject: Subject, look: Inspection) -> Verdict:
    assert check.column is not None
    column = field_of(check.column, look, "time")
    newest = comparable(look.greatest(column)) if column is not None else None
    if not isinstance(newest, datetime):
        return Verdict(False, f"there is no {check.column!r} at all, expected one of the last {check.max_age}")
    old = subject.now - newest
    told = f"the newest {check.column!r} is {newest.isoformat(sep=' ')}, {_hours(old.total_seconds())} old"
    facts = {"newest": newest, "age in hours": round(old.total_seconds() / 3600, 3)}
    return Verdict(old <= age(check.max_age), f"{told}, expected at most {check.max_age}", facts)


def _not_null(check: NotNullCheck, look: Inspection) -> Verdict:
    nulls = {column: look.nulls(found) for column in check.columns if (found := field_of(column, look)) is not None}
    met = [f"{number_of(count, 'row')} without {column!r}" for column, count in nulls.items() if count]
    expected = "expected none" if met else f"every row has {', '.join(map(repr, check.columns))}"
    facts = {f"nulls in {column}": count for column, count in nulls.items()}
    return Verdict(not met, ", ".join([*met, expected]), facts)


def _unique(check: UniqueCheck, subject: Subject, look: Inspection, folder: Path) -> Verdict:
    columns = check.columns or _key(subject, look)
    if not columns and look.view.columns:
        raise Unanswerable("`unique` names no columns, and the table has no key. Write `columns: [id]`")
    fields = [found for column in columns if (found := field_of(column, look)) is not None]
    if not fields:
        return Verdict(True, "there are no rows")
    counted = repeated(look, fields, folder)
    names = ", ".join(columns)
    facts: dict[str, Any] = {"rows": counted.rows, "rows too many": counted.surplus, "keys repeated": counted.keys}
    if not counted.keys:
        return Verdict(True, f"({names}) is different in each of {number_of(counted.rows, 'row')}", facts)
    facts["examples"] = _shown([key[0] if len(key) == 1 else key for key in counted.examples])
    values, more = number_of(counted.keys, "value"), number_of(counted.surplus, "row")
    told = f"{values} of ({names}) more than once ({more} too many)"
    return Verdict(False, f"{told}, such as {facts['examples']}; expected each once", facts)


def _accepted_values(check: AcceptedValuesCheck, look: Inspection) -> Verdict:
    column = field_of(check.column, look)
    if column is None:
        return Verdict(True, "there are no rows")
    found = strangers(look, column, check.values)
    expected = f"expected {', '.join(map(str, check.values))}"
    facts: dict[str, Any] = {"rows with other values": found.rows}
    if not found.rows:
        return Verdict(True, f"no other value in {check.column!r}; {expected}", facts)
    facts["examples"] = _shown(found.examples)
    told = f"{number_of(found.rows, 'row')} with other values in {check.column!r}, such as {facts['examples']}"
    return Verdict(False, f"{told}; {expected}", facts)


def _range(check: RangeCheck, look: Inspection) -> Verdict:
    column = field_of(check.column, look, "ordered")
    if column is None:
        return Verdict(True, "there are no rows")
    ends = (("least", "at least", check.min, look.least), ("greatest", "at most", check.max, look.greatest))
    facts: dict[str, Any] = {}
    told: list[str] = []
    passed = True
    for end, words, limit, ask in ends:
        if limit is None:
            continue
        if (value := ask(column)) is None:
            return Verdict(True, f"there is no value in {check.column!r}")
        facts[end] = value
        told.append(f"the {end} {check.column!r} is {value}, expected {words} {limit}")
        passed = passed and not _beyond(value, limit, column, greatest=end == "greatest")
    return Verdict(passed, "; ".join(told), facts)


def _beyond(value: Any, limit: Any, column: NestedField, *, greatest: bool) -> bool:
    met, allowed = comparable(value), comparable(limit)
    try:
        return bool(met > allowed if greatest else met < allowed)
    except TypeError as error:
        raise Unanswerable(
            f"{column.name!r} is {column.field_type}, and {limit!r} does not compare with it. "
            f"Write `min` and `max` as values of the column's type"
        ) from error


def _schema_drift(check: SchemaDriftCheck, subject: Subject) -> Verdict:
    table, before = subject.moment.table, subject.moment.before
    if table is None:
        return Verdict(True, "there is no table yet")
    if check.against == "declared":
        return _drifted(*_against_declared(subject), "as declared")
    if before is None:
        told = "the snapshot before has expired" if subject.moment.expired else "this is the first load"
        return Verdict(True, f"nothing to compare with: {told}")
    added, changed = new_columns(before.schema(), table.schema()), changed_columns(before.schema(), table.schema())
    kept = set(table.schema().column_names)
    removed = [name for name in before.schema().column_names if name not in kept]
    return _drifted(added, changed, removed, "as before")


def _against_declared(subject: Subject) -> tuple[list[str], list[str], list[str]]:
    assert subject.spec is not None
    assert subject.moment.table is not None
    declared = {normalize_column(name): column.type for name, column in subject.spec.columns.items()}
    added_by_us = subject.spec.validity_columns if subject.spec.keeps_versions else ()
    met = {column.name: str(column.field_type) for column in subject.moment.table.schema().fields}
    added = [name for name in met if name not in declared and name not in added_by_us]
    changed = [
        f"{name}: {type_} → {met[name]}"
        for name, type_ in declared.items()
        if type_ is not None and name in met and _squeezed(type_) != _squeezed(met[name])
    ]
    return added, changed, [name for name in declared if name not in met]


def _drifted(added: list[str], changed: list[str], removed: list[str], expected: str) -> Verdict:
    facts: dict[str, Any] = {"columns added": len(added), "columns changed": len(changed), "columns gone": len(removed)}
    words = (("new columns", added), ("changed", changed), ("gone", removed))
    met = [f"{word}: {', '.join(names)}" for word, names in words if names]
    told = f"{'; '.join(met)}; expected the columns {expected}" if met else f"the columns are {expected}"
    return Verdict(not met, told, facts)


def _key(subject: Subject, look: Inspection) -> tuple[str, ...]:
    """The columns that tell rows apart: the key of the load, else what the table says of itself."""
    key = subject.key
    if not key and look.view.table is not None:
        schema = look.view.table.schema()
        key = tuple(schema.find_field(number).name for number in schema.identifier_field_ids)
    if key and subject.spec is not None and subject.spec.keeps_versions:
        return (*key, subject.spec.validity_columns[0])
    return key


def _shown(values: Sequence[Any]) -> str:
    # Before they are cut: a part of a secret is not recognised.
    return ", ".join(shortened(redact(str(value)), _LONGEST_EXAMPLE) for value in values)


def _squeezed(type_: str) -> str:
    return type_.replace(" ", "").lower()


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if abs(seconds) >= 3600 else f"{seconds / 60:,.1f} min"
