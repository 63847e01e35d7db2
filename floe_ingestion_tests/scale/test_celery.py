"""The example of examples/celery on two workers, one of which is killed in the middle of a backfill.

Needs Redis (REDIS, `redis-server` by default), and is run by `make test-celery`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from floe_ingestion.iceberg.history import snapshots
from floe_ingestion_tests.scale.cluster import ROOT, Cluster, cluster, runs, workers_by_run
from floe_ingestion_tests.test_docs import commands

pytestmark = pytest.mark.timeout(1800)

WORKER, DAEMON, BACKFILL = commands(ROOT / "docs" / "scale.md")
WORKERS = ("w1", "w2")
DAYS = 30
ROWS = 3000
"""So many visits, spread evenly over the days."""
WAITS_FOR_A_LOCK = "select count(*) from pg_stat_activity where datname = 'site' and wait_event_type = 'Lock'"


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Cluster]:
    # Not in pytest's folder: PostgreSQL does not run as root, and nobody else may enter that one.
    with tempfile.TemporaryDirectory(prefix="floe-pg-") as folder, cluster(tmp_path, Path(folder)) as made:
        with made.sql("site") as connection:
            connection.execute("create table visits (id bigint primary key, at timestamp not null, page text)")
            connection.execute(
                "insert into visits select i, timestamp '2025-01-01' + i * interval '1 day' * %s / %s, 'page ' || i "
                "from generate_series(0, %s) i",
                (DAYS, ROWS, ROWS - 1),
            )
        yield made


def test_a_backfill_on_two_workers_lands_every_row_once_though_one_of_them_is_killed(machines, monkeypatch):
    for name, value in machines.machine("observer").items():
        monkeypatch.setenv(name, value)
    for worker in WORKERS:
        machines.start(worker, WORKER.replace("w1", worker))
    machines.start("daemon", DAEMON)

    machines.run(BACKFILL)
    with dg.DagsterInstance.get() as instance:
        machines.wait_until(lambda: finished(instance)["SUCCESS"] >= DAYS // 3, "a third of the days have landed")
        with machines.sql("site") as connection:  # all who would read the table wait for the end of this transaction
            connection.execute("lock table visits in access exclusive mode")
            machines.wait_until(lambda: waiting(machines) == len(WORKERS), "both workers are in the middle of a step")
            (held,) = held_by("w1", instance)
            machines.kill("w1")
        machines.wait_until(lambda: finished(instance).total() == DAYS, "every run has ended")

        assert finished(instance) == {"SUCCESS": DAYS}
        workers = workers_by_run(instance)
        assert workers[held] == ["w1", "w2"], "its step went over to the other worker"
        assert {worker for each in workers.values() for worker in each} == set(WORKERS)
        assert_every_row_landed_once(machines, instance)


def assert_every_row_landed_once(machines: Cluster, instance: dg.DagsterInstance) -> None:
    table = machines.visits
    assert table is not None
    rows = table.scan(selected_fields=("id", "at", "page")).to_arrow().to_pylist()
    landed = sorted((row["id"], row["at"], row["page"]) for row in rows)
    with machines.sql("site") as connection:
        assert landed == connection.execute("select id, at, page from visits order by id").fetchall()
    by_partition = {snapshot.partition: snapshot.run_id for snapshot in snapshots(table)}
    assert by_partition == {day: run.run_id for day, run in runs(instance).items()}
    assert len(snapshots(table)) == DAYS, "one commit a day"


def finished(instance: dg.DagsterInstance) -> Counter[str]:
    """How many runs ended how."""
    return Counter(run.status.value for run in instance.get_runs() if run.is_finished)


def waiting(machines: Cluster) -> int:
    """How many loads are in the middle of their step."""
    with machines.sql("dagster") as connection:
        (count,) = connection.execute(WAITS_FOR_A_LOCK).fetchone()
        return int(count)


def held_by(worker: str, instance: dg.DagsterInstance) -> list[str]:
    """The runs whose step a worker has begun and not ended."""
    going = {run.run_id for run in instance.get_runs() if not run.is_finished}
    started = {run: workers for run, workers in workers_by_run(instance).items() if run in going}
    return [run for run, workers in started.items() if workers[-1] == worker and not ended(run, instance)]


def ended(run: str, instance: dg.DagsterInstance) -> bool:
    return bool(instance.all_logs(run, of_type=dg.DagsterEventType.STEP_SUCCESS))
