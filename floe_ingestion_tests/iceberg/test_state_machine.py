"""Whatever happens, in whatever order: the next load makes the table equal to its source."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from floe_ingestion.errors import StaleCursor
from floe_ingestion.iceberg.compact import compact
from floe_ingestion.iceberg.expire import expire
from floe_ingestion.iceberg.packing import Packing
from floe_ingestion.pipeline import stage
from floe_ingestion.staging import LoadRequest
from floe_ingestion_tests.fake_sources import Shop
from floe_ingestion_tests.lake import Lake

NAME = "raw.orders"


class LoadsAndAccidents(RuleBasedStateMachine):
    """One source, one table; loads, crashes at each step, other writers, rollbacks and maintenance."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.lake, self.shop = Lake(self.folder), Shop(self.folder / "shop.db")
        self.sold = 0
        self.columns = 0
        self.moment = 0

    @initialize(disposition=st.sampled_from(["append", "merge"]))
    def choose(self, disposition: str) -> None:
        self.disposition = disposition
        self.entry = {
            "incremental": {"cursor_path": "updated_at"},
            "destination": {"write_disposition": disposition},
        }

    def teardown(self) -> None:
        try:
            if hasattr(self, "entry"):
                self.settle()
        finally:
            shutil.rmtree(self.folder)

    @precondition(lambda self: self.sold > 0 and self.disposition == "merge")
    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        order = data.draw(st.integers(1, self.sold))
        self.moment += 1
        self.shop.change(order, self._now(), customer=f"customer {order}, changed at {self.moment}")

    @rule(orders=st.integers(1, 4))
    def sell(self, orders: int) -> None:
        for _ in range(orders):
            self.sold += 1
            self.moment += 1
            self.shop.execute(
                "insert into orders (id, customer, amount, updated_at) values (?, ?, ?, ?)",
                (self.sold, f"customer {self.sold}", "1.50", self._now()),
            )

    @rule()
    def the_source_grows_a_column(self) -> None:
        self.columns += 1
        self.shop.execute(f"alter table orders add column extra_{self.columns} text")

    @rule()
    def load(self) -> None:
        self.lake.load(self._pipeline())

    @rule()
    def die_before_the_commit(self) -> None:
        with self.lake.staged(self._pipeline()):
            pass

    @rule()
    def die_after_the_commit_and_be_retried(self) -> None:
        run = uuid4().hex
        self.lake.load(self._pipeline(), run=run)
        self.lake.load(self._pipeline(), run=run)

    @rule()
    def another_run_lands_first(self) -> None:
        with closing(stage(self._pipeline(), LoadRequest(), self.lake.catalog, self.lake.staging_folder)) as tables:
            staged = next(tables)
            self.sell(1)
            self.lake.load(self._pipeline())
            try:
                self.lake.commit(staged)
            except StaleCursor:
                self.lake.load(self._pipeline())

    @precondition(lambda self: self._snapshots() > 1)
    @rule(back=st.integers(1, 3))
    def roll_back(self, back: int) -> None:
        table = self.lake.table(NAME)
        current = table.current_snapshot()
        for _ in range(back):
            parent = table.snapshot_by_id(current.parent_snapshot_id) if current.parent_snapshot_id else None
            current = parent or current
        table.manage_snapshots().rollback_to_snapshot(current.snapshot_id).commit()

    @precondition(lambda self: self._snapshots() > 1)
    @rule(kept=st.integers(1, 2))
    def expire_snapshots(self, kept: int) -> None:
        expire(self.lake.table(NAME), keep_last=kept)

    @precondition(lambda self: self._snapshots() > 0)
    @rule()
    def compact_files(self) -> None:
        folder = self.folder / "compaction"
        folder.mkdir(exist_ok=True)
        compact(self.lake.table(NAME), Packing(target_file_bytes=1_000_000, min_files=2), folder)

    @rule()
    def settle(self) -> None:
        """What a user sees after a run that nothing happened to."""
        self.lake.load(self._pipeline())
        orders = self.shop.orders()
        found = [{name: row[name] for name in orders[0]} for row in self.lake.rows(NAME)] if orders else []
        assert found == orders

    @invariant()
    def nothing_is_there_twice(self) -> None:
        if self._snapshots():
            found = self.lake.values(NAME)
            assert len(found) == len(set(found))

    def _now(self) -> str:
        return f"2026-01-01 {self.moment // 3600:02d}:{self.moment // 60 % 60:02d}:{self.moment % 60:02d}"

    def _pipeline(self):  # type: ignore[no-untyped-def]
        return self.shop.pipeline(NAME, **self.entry)

    def _snapshots(self) -> int:
        return len(self.lake.table(NAME).snapshots()) if self.lake.catalog.table_exists(NAME) else 0


TestLoadsAndAccidents = LoadsAndAccidents.TestCase
TestLoadsAndAccidents.settings = settings(
    max_examples=8, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
