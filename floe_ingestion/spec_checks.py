"""What floe.yaml may say about the rows of a table: checks, which Dagster shows beside its materialisations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator

from floe_ingestion.formats import ColumnName, Count, Flag, Number, Time, one_or_many
from floe_ingestion.spec_runs import StrictModel

if TYPE_CHECKING:
    from floe_ingestion.spec import TableSpec

_NAME = re.compile(r"[A-Za-z0-9_]+")
_AGE = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SHORTEST_POLICY = timedelta(minutes=1)
"""Dagster looks at freshness policies no more often."""


def valid_check_name(value: str) -> str:
    """The name of a check, as Dagster takes it."""
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is no name of a check. Write letters, digits and underscores")
    return value


def valid_age(value: str) -> str:
    """A number and a unit."""
    if not _AGE.fullmatch(value.strip()):
        raise ValueError(f"{value!r} is no age. Write a number and s, m, h, d or w, such as 36h or 2d")
    return value


def age(text: str) -> timedelta:
    """`36h` as Python knows it."""
    match = _AGE.fullmatch(text.strip())
    assert match is not None
    return timedelta(**{_UNITS[match["unit"]]: float(match["number"])})


CheckName = Annotated[str, AfterValidator(valid_check_name)]
Age = Annotated[str, AfterValidator(valid_age)]
ColumnNames = Annotated[tuple[ColumnName, ...], BeforeValidator(one_or_many)]
Value = str | Flag | Annotated[int, Strict()] | Number | Time
Bound = Annotated[int, Strict()] | Number | Time


Publish = Literal["direct", "audit"]


class _Check(StrictModel):
    """What every check says of itself."""

    type: str
    name: CheckName | None = None
    """Made of its type and columns where absent; two checks of a table must differ in it."""
    severity: Literal["warn", "error"] = "error"
    blocking: Flag = False
    """Whether a failure holds back the assets downstream."""
    gate: Flag = False
    """Whether a failure keeps the load from being published (`publish: audit`)."""

    @property
    def key(self) -> str:
        """The name that Dagster shows."""
        return self.name or "_".join([self.type, *map(_word, self._columns())])

    @model_validator(mode="after")
    def _blocks_by_errors(self) -> _Check:
        if self.blocking and self.severity == "warn":
            raise ValueError("is `blocking` and only warns. Write `severity: error`, or leave `blocking` out")
        if self.gate and self.severity == "warn":
            raise ValueError("is a `gate` and only warns. Write `severity: error`, or leave `gate` out")
        return self

    def _columns(self) -> tuple[str, ...]:
        return ()


class RowCountCheck(_Check):
    """How many rows there are, how that changed, and whether it agrees with what was extracted."""

    type: Literal["row_count"]
    min: Count | None = None
    max: Count | None = None
    max_change: Number | None = Field(default=None, ge=0, examples=["0.5"])
    """Against the rows before this load, as a fraction of them."""
    reconcile: Flag = True
    """Rows read = staged + left out; staged = added + updated + unchanged; before + added - deleted = after."""

    @model_validator(mode="after")
    def _ordered(self) -> RowCountCheck:
        if self.min is not None and self.max is not None and self.max < self.min:
            raise ValueError(f"has the max {self.max} below the min {self.min}. Write a `max` of {self.min} or more")
        return self


class FreshnessCheck(_Check):
    """How old the newest value of a column may be; without a column, the last materialisation."""

    type: Literal["freshness"]
    max_age: Age = Field(examples=["36h"])
    column: ColumnName | None = None

    @model_validator(mode="after")
    def _judged_by_dagster(self) -> FreshnessCheck:
        if self.column is not None:
            return self
        if self.severity == "warn" or self.blocking or self.gate or self.name is not None:
            raise ValueError(
                "names no column, so that it becomes Dagster's freshness policy, which has no `severity`, `blocking`, "
                "`gate` or `name`. Write a `column`, or leave these out"
            )
        if age(self.max_age) < _SHORTEST_POLICY:
            raise ValueError(f"has the max_age {self.max_age}, and Dagster looks once a minute. Write 1m or more")
        return self

    def _columns(self) -> tuple[str, ...]:
        return (self.column,) if self.column is not None else ()


class NotNullCheck(_Check):
    """Columns that hold a value in every row."""

    type: Literal["not_null"]
    columns: ColumnNames = Field(min_length=1, examples=["[id]"])

    def _columns(self) -> tuple[str, ...]:
        return self.columns


class UniqueCheck(_Check):
    """Columns that together tell every row from every other; the key of the table where absent."""

    type: Literal["unique"]
    columns: ColumnNames = ()

    def _columns(self) -> tuple[str, ...]:
        return self.columns


class AcceptedValuesCheck(_Check):
    """The only values that a column may hold, beside null."""

    type: Literal["accepted_values"]
    column: ColumnName = Field(examples=["status"])
    values: Annotated[tuple[Value, ...], BeforeValidator(one_or_many)] = Field(min_length=1, examples=["[open, paid]"])

    def _columns(self) -> tuple[str, ...]:
        return (self.column,)


class RangeCheck(_Check):
    """Between what the values of a column lie, both included."""

    type: Literal["range"]
    column: ColumnName = Field(examples=["amount"])
    min: Bound | None = None
    max: Bound | None = None

    @model_validator(mode="after")
    def _bounded(self) -> RangeCheck:
        if self.min is None and self.max is None:
            raise ValueError("has neither `min` nor `max`. Write at least one")
        return self

    def _columns(self) -> tuple[str, ...]:
        return (self.column,)


class SchemaDriftCheck(_Check):
    """Columns that came or changed with this load, or that differ from the declared ones."""

    type: Literal["schema_drift"]
    against: Literal["previous", "declared"] = "previous"
    """`previous`: the columns before this load; `declared`: those under `columns`, no more and no fewer."""


CheckSpec = Annotated[
    RowCountCheck | FreshnessCheck | NotNullCheck | UniqueCheck | AcceptedValuesCheck | RangeCheck | SchemaDriftCheck,
    Field(discriminator="type"),
]


def _distinct(checks: tuple[_Check, ...]) -> tuple[_Check, ...]:
    names = [check.key for check in checks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two checks are called {twice[0]!r}. Give one of them another `name`")
    return checks


Checks = Annotated[tuple[CheckSpec, ...], AfterValidator(_distinct)]


def mistake_of_gates(table: TableSpec) -> str | None:
    """What is wrong between how a table is published and its gates."""
    gates = [check.key for check in table.checks if check.gate]
    if table.publish == "audit" and not gates:
        return f"{table} is published by audit, and none of its checks is a gate. Mark one with `gate: true`"
    if table.publish == "direct" and gates:
        return f"{gates[0]!r} is a gate, and {table} is published at once. Write `publish: audit` in the destination"
    return None


def mistake_of_check(check: CheckSpec, table: TableSpec) -> str | None:
    """What is missing where a check means something that the table does not say."""
    without_key = not table.primary_key and table.write_disposition != "merge"
    if isinstance(check, UniqueCheck) and not check.columns and without_key:
        return "`unique` names no columns, and the table has no key. Write `columns: [id]`, or a `primary_key`"
    if isinstance(check, SchemaDriftCheck) and check.against == "declared" and not table.columns:
        return "`schema_drift` is against the declared columns, and none are declared. Write `columns: {id: long, …}`"
    return None


def freshness_without_column(checks: Iterable[_Check]) -> FreshnessCheck | None:
    """The check that Dagster judges by itself, from materialisations alone."""
    return next((each for each in checks if isinstance(each, FreshnessCheck) and each.column is None), None)


def judged_by_rows(checks: Iterable[CheckSpec]) -> tuple[CheckSpec, ...]:
    """The others: those that look at the table."""
    return tuple(each for each in checks if not isinstance(each, FreshnessCheck) or each.column is not None)


def _word(column: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", column).strip("_")
