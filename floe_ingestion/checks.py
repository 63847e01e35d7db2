"""Checks of floe.yaml as Dagster's asset checks.

They are judged in the step of the load, on the snapshot that it committed. Run by themselves, they judge the
table as it is: the same specs serve both, because the step can be asked for its checks alone.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of an op as they are.

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from floe_ingestion.errors import GateFailed, PermanentError
from floe_ingestion.formats import TableName
from floe_ingestion.io_manager import IcebergIOManager
from floe_ingestion.mistakes.report import Report
from floe_ingestion.partitions import partition_of, window_between
from floe_ingestion.pipeline import private_folder
from floe_ingestion.retries import dagster_failures
from floe_ingestion.spec import StrictModel, TableSpec
from floe_ingestion.spec_checks import Checks, CheckSpec, freshness_without_column, judged_by_rows
from floe_ingestion.staging import StagedTable
from floe_ingestion.translator import IO_MANAGER_KEY, table_key

if TYPE_CHECKING:
    from floe_ingestion.verdict import Subject, Verdict

Selected = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


def check_specs(tables: Iterable[TableSpec]) -> list[dg.AssetCheckSpec]:
    """What Dagster is told of the checks of these tables."""
    return [_spec(check, table_key(table)) for table in tables for check in judged_by_rows(table.checks)]


def checks_of_load(
    context: dg.AssetExecutionContext, staged: StagedTable, io_manager: Any
) -> Iterator[dg.AssetCheckResult]:
    """Judge what this load has just landed; the IO manager has committed it by now."""
    chosen = _chosen(context, table_key(staged.table), staged.table.checks)
    if not chosen:
        return
    from floe_ingestion.landing import subject_of_load

    landed, table = staged.receipt.landed, staged.receipt.table
    manager = _manager(io_manager, str(staged.table))
    if landed is None:
        raise PermanentError(f"{staged.table}: nobody says what was committed, so that its checks have nothing to see.")
    subject = subject_of_load(staged, landed, table)
    yield from _results(context, table_key(staged.table), chosen, subject, manager, staged.receipt.verdicts)


def audited(context: dg.AssetExecutionContext, staged: StagedTable, io_manager: Any) -> Iterator[dg.AssetCheckResult]:
    """Land what is to be audited before it is materialised: where a gate fails, its results are all there is."""
    manager = _manager(io_manager, str(staged.table))
    try:
        manager.land(staged)
    except GateFailed:
        key = table_key(staged.table)
        for check in _chosen(context, key, staged.table.checks):
            if check.key in staged.receipt.verdicts:
                yield _result(key, check, staged.receipt.verdicts[check.key])
        raise


def checks_alone(
    context: dg.AssetExecutionContext,
    tables: Iterable[TableSpec],
    io_manager: Any,
) -> Iterator[dg.AssetCheckResult]:
    """Judge tables as they are; of a partitioned one the partition of the run, or else of the newest load."""
    partition = partition_of(context)
    for table in tables:
        if chosen := _chosen(context, table_key(table), table.checks):
            manager = _manager(io_manager, str(table))
            subject = _subject(manager, table.identifier, context.instance, table, partition)
            yield from _results(context, table_key(table), chosen, subject, manager, {})


class _Checked(StrictModel):
    """What `table_checks` is given."""

    table: TableName
    checks: Checks


def table_checks(
    *,
    asset: dg.AssetKey | str | Sequence[str] | dg.AssetsDefinition | dg.AssetSpec,
    table: str,
    checks: Sequence[CheckSpec | Mapping[str, Any]],
    name: str | None = None,
) -> dg.AssetChecksDefinition:
    """Checks of any asset that is an Iceberg table of the lake, whoever writes it.

    `table` is `<schema>.<table>`, and `checks` says what floe.yaml says under that key. They judge the table as
    it is, and need the resource `iceberg_io_manager`. Raises `ConfigurationError` with every mistake.
    """
    report = Report(f"table_checks({table!r})")
    checked = report.validated(_Checked, {"table": table, "checks": checks}, ()).model
    if checked is not None and any(check.gate for check in checked.checks):
        report.add(("checks",), "holds a `gate`, and nothing is loaded here that it could keep back. Leave it out")
    if checked is not None and freshness_without_column(checked.checks) is not None:
        report.add(("checks",), "`freshness` names no column. Write one, or give the asset a `dg.FreshnessPolicy`")
    report.close()
    assert checked is not None
    found, key = checked.checks, _key_of(asset)

    @dg.multi_asset_check(
        name=name or f"checks_of_{table.replace('.', '_').replace('-', '_')}",
        specs=[_spec(check, key) for check in found],
        can_subset=True,
        required_resource_keys={IO_MANAGER_KEY},
    )
    def judge_table(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with dagster_failures(table):
            manager = _manager(getattr(context.resources, IO_MANAGER_KEY), table)
            subject = _subject(manager, tuple(table.split(".")), context.instance)
            yield from _results(context, key, _chosen(context, key, found), subject, manager, {})

    return judge_table


def _key_of(asset: dg.AssetKey | str | Sequence[str] | dg.AssetsDefinition | dg.AssetSpec) -> dg.AssetKey:
    return asset.key if isinstance(asset, dg.AssetSpec) else dg.AssetKey.from_coercible_or_definition(asset)


def _spec(check: CheckSpec, key: dg.AssetKey) -> dg.AssetCheckSpec:
    said = ", ".join(f"{name}: {_plain(value)}" for name, value in _settings(check).items())
    return dg.AssetCheckSpec(
        check.key,
        asset=key,
        description=f"{check.type}; {said}" if said else check.type,
        blocking=check.blocking,
    )


def _settings(check: CheckSpec) -> dict[str, Any]:
    written = check.model_dump(exclude_unset=True)
    return {name: value for name, value in written.items() if name not in ("type", "name", "blocking")}


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _chosen(context: Selected, key: dg.AssetKey, checks: Sequence[CheckSpec]) -> list[CheckSpec]:
    """Those that the run is to judge."""
    wanted = {check.name for check in context.selected_asset_check_keys if check.asset_key == key}
    return [check for check in judged_by_rows(checks) if check.key in wanted]


def _manager(io_manager: Any, table: str) -> IcebergIOManager:
    if isinstance(io_manager, IcebergIOManager):
        return io_manager
    raise PermanentError(
        f"{table}: its checks look at what IcebergIOManager commits, and the resource {IO_MANAGER_KEY!r} is a "
        f"{type(io_manager).__name__}. Use IcebergIOManager there, or leave `checks` out."
    )


def _subject(
    manager: IcebergIOManager,
    identifier: tuple[str, ...],
    instance: dg.DagsterInstance,
    spec: TableSpec | None = None,
    partition: str = "",
) -> "Subject":
    from floe_ingestion.iceberg.history import moment_of_now, newest_partition
    from floe_ingestion.iceberg.tables import load_table
    from floe_ingestion.verdict import Subject

    table = load_table(manager.lake.connect(), identifier)
    partitions = spec.partitions if spec is not None else None
    if partitions is not None:
        # Dagster gives a run of checks alone no partition, and limits are meant for one.
        partition = partition or newest_partition(table)
    return Subject(
        ".".join(identifier),
        moment_of_now(table, partition),
        spec,
        key=spec.primary_key if spec is not None else (),
        window=window_between(partitions, partition, instance) if partitions is not None and partition else None,
        partition=partition,
    )


def _results(
    context: Selected,
    key: dg.AssetKey,
    checks: Sequence[CheckSpec],
    subject: "Subject",
    manager: IcebergIOManager,
    known: Mapping[str, "Verdict"],
) -> Iterator[dg.AssetCheckResult]:
    """The result of each check; a verdict that is `known` already is about the same snapshot."""
    from floe_ingestion.judging import judge

    for check in checks:
        with private_folder(manager.lake.staging_folder) as folder:
            verdict = known.get(check.key) or judge(check, subject, folder)
        if not verdict.passed:
            context.log.warning(f"{subject.name}: the check {check.key} failed: {verdict.sentence}")
        yield _result(key, check, verdict)


def _result(key: dg.AssetKey, check: CheckSpec, verdict: "Verdict") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=check.key,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN if check.severity == "warn" else dg.AssetCheckSeverity.ERROR,
        description=verdict.sentence,
        metadata={name: _metadata(value) for name, value in verdict.facts.items()},
    )


def _metadata(value: Any) -> Any:
    """Numbers stay numbers, so that Dagster plots them."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return dg.MetadataValue.timestamp(value)
    return value if isinstance(value, (int, float)) else str(value)
