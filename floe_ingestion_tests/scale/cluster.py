"""Several machines on this one: Redis, PostgreSQL, Dagster's daemon and workers, each with a folder of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import dagster as dg
import psycopg
from pyiceberg.table import Table

from floe_ingestion.resources import IcebergLakeResource
from floe_ingestion_tests.integration.servers import free_ports, postgres

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "celery"
LONGEST_WAIT = 900.0
SECONDS_TO_STOP = 20
SECONDS_UNTIL_LOST = 45
"""Until a task whose worker died is given out again; longer than a step takes on a busy machine."""

Found = TypeVar("Found")


@dataclass
class Cluster:
    """The example of examples/celery, running."""

    folder: Path
    databases: Mapping[str, str]
    """SQLAlchemy URLs of `dagster`, `lake` and `site`."""
    broker: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What every machine is told."""
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "CELERY_BROKER": f"{self.broker}/0",
            "CELERY_BACKEND": f"{self.broker}/1",
            "DAGSTER_DATABASE": self.databases["dagster"].replace("+psycopg", ""),
            "LAKE_CATALOG": self.databases["lake"],
            "LAKE_WAREHOUSE": str(self.folder / "warehouse"),
            "SITE_DATABASE": self.databases["site"],
        }

    @property
    def project(self) -> Path:
        """The example's files, as each machine has them."""
        return self.folder / "project"

    def machine(self, name: str) -> dict[str, str]:
        """The environment of one machine: its own DAGSTER_HOME, its own staging folder."""
        home = self.folder / name
        home.mkdir(exist_ok=True)
        shutil.copy(self.project / "dagster.yaml", home)
        return {**self.environment, "DAGSTER_HOME": str(home), "FLOE_HOME": str(home / "floe")}

    def start(self, name: str, line: str) -> None:
        """Start a command on a machine of its own."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                shlex.split(line),
                cwd=self.project,
                env=self.machine(name),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own, so that what it starts goes with it and nobody else does
            )

    def run(self, line: str) -> None:
        """Run a command to its end, as a user would from a machine of their own."""
        environment = self.machine("client")
        done = subprocess.run(shlex.split(line), cwd=self.project, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    def kill(self, name: str) -> None:
        """End a machine's processes as a power cut does."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(SECONDS_TO_STOP)

    def stop(self) -> None:
        """End whatever runs."""
        while self.processes:
            _, process = self.processes.popitem()
            for each in (signal.SIGTERM, signal.SIGKILL):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, each)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(SECONDS_TO_STOP)

    def wait_until(self, look: Callable[[], Found | None], what: str) -> Found:
        """What `look` finds as soon as it finds anything."""
        until = time.monotonic() + LONGEST_WAIT
        while time.monotonic() < until:
            if found := look():
                return found
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.log(name)}"
            time.sleep(0.5)
        logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.processes)
        raise AssertionError(f"waited {LONGEST_WAIT:g} s in vain until {what}\n{logs}")

    def log(self, name: str) -> str:
        """The end of what a process printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def sql(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        """A connection to one of the databases."""
        return psycopg.connect(self.databases[database].replace("+psycopg", ""))

    @property
    def visits(self) -> Table | None:
        """The table that lands; None before it does."""
        config = {"uri": self.databases["lake"]}
        storage = {"path": str(self.folder / "warehouse")}
        catalog = IcebergLakeResource(catalog_config=config, storage_config=storage, home=str(self.folder)).connect()
        return catalog.load_table("bronze.visits") if catalog.table_exists("bronze.visits") else None


def runs(instance: dg.DagsterInstance) -> dict[str, dg.DagsterRun]:
    """The runs by the partition that each is about."""
    return {run.tags["dagster/partition"]: run for run in instance.get_runs()}


def workers_by_run(instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Which workers began the step of each run, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    for run in instance.get_runs():
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            data = entry.dagster_event.engine_event_data.metadata if entry.dagster_event else {}
            if worker := data.get("Celery worker"):
                found[run.run_id].append(str(worker.value).partition("@")[0])
    return found


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A running Redis, as a URL; gone afterwards."""
    (port,) = free_ports(1)
    command = [os.environ.get("REDIS", "redis-server"), "--bind", "127.0.0.1", "--port", str(port)]
    with (folder / "redis.log").open("wb") as log:
        options = ("--save", "", "--appendonly", "no", "--dir", str(folder))
        process = subprocess.Popen([*command, *options], stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + SECONDS_TO_STOP
        while not _listens(port):
            alive = process.poll() is None
            assert alive, (folder / "redis.log").read_text()
            assert time.monotonic() < until, "Redis does not answer"
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(SECONDS_TO_STOP)


@contextmanager
def cluster(folder: Path, postgres_folder: Path) -> Iterator[Cluster]:
    """The servers, without a worker or a daemon yet."""
    with ExitStack() as stack:
        url = stack.enter_context(postgres(postgres_folder))
        names = ("dagster", "lake", "site")
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            for name in names:
                connection.execute(f"create database {name}")
        databases = {name: url.replace("/postgres?", f"/{name}?", 1) for name in names}
        made = Cluster(folder, databases, stack.enter_context(redis(folder)))
        shutil.copytree(EXAMPLE, made.project)
        settings = made.project / "celery.yaml"
        hurried, count = re.subn(r"(?<=visibility_timeout: )\d+", str(SECONDS_UNTIL_LOST), settings.read_text())
        assert count == 1
        settings.write_text(hurried)
        stack.callback(made.stop)
        yield made


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
