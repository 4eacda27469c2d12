"""What `push --dry-run` says is what the push does: with items shared out, gold mixed in and lessons for newcomers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from hitl_bridge.core.model import Project
from hitl_bridge.ports import PushOutcome, TaskContent
from hitl_bridge.services.desk.gold import GoldStock
from tests.services.bench import COMPREHENSIVE, POLICY, QUICK, Bench, BreakableLabeling, row, without_git, write_rows
from tests.services.test_online import prediction
from tests.services.test_pools import SHARED

LEARNING = "gold: {share: 0.5, onboarding: 4}\n"
SETTINGS = {
    "newcomers learn": POLICY + LEARNING,
    "newcomers learn in projects of their own": POLICY + LEARNING + "assignment: reviewer\n",
    "gold is mixed in beside items that were shared out": SHARED.replace("gold: {share: 0}", "gold: {share: 0.5}"),
}


def a_bench(tmp_path: Path, policy: str) -> Bench:
    """Twenty items are queued, and forty known ones are in the bank."""
    bench = Bench(without_git(tmp_path / "workspace", policy), BreakableLabeling())
    bank = [row(f"g-{at}", (QUICK, COMPREHENSIVE)[at % 2], scenario="payments") | {"label": "cancel"} for at in range(40)]
    bench.bridge.add_gold(write_rows(bench.root / "gold.jsonl", bank), by="Ana")
    bench.ingest(*(row(f"t-{at}", (QUICK, COMPREHENSIVE)[at % 2], scenario="payments") for at in range(20)))
    return bench


@pytest.mark.parametrize("policy", SETTINGS.values(), ids=SETTINGS)
def test_a_dry_run_reckons_with_all_that_push_does_first_and_writes_nothing(tmp_path: Path, policy: str) -> None:
    bench = a_bench(tmp_path, policy)
    before = bench.database()
    foretold = bench.bridge.push(dry_run=True)
    assert (bench.database(), bench.labeling.requests_made) == (before, 0)
    done = bench.bridge.push()
    assert (foretold.created, dict(foretold.projects), foretold.unassigned) == (
        done.created,
        dict(done.projects),
        done.unassigned,
    )
    assert foretold.not_foreseen == ()
    again = bench.bridge.push(dry_run=True)
    assert (again.created, again.already_there) == (0, done.created)


class Unclear(BreakableLabeling):
    """Never says whether it has taken the tasks."""

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        return PushOutcome(unknown=tuple(task.push_key for task in tasks), reason="it did not answer")


def test_what_can_not_be_known_beforehand_is_said(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "workspace"), Unclear())
    bench.pushed(row("t-1"))
    bench.bridge.triage(prediction("online-1"))
    said = bench.bridge.push(dry_run=True, restore_label_config=True).not_foreseen
    assert [each.partition(":")[0] for each in said] == [
        "predictions that were answered online and are no items yet",
        "whether tasks of unclear outcome (1) are there already",
        "which projects are gone, or have another label config",
    ]


def test_newcomers_for_whom_the_bank_has_nothing_are_found_waiting(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "workspace", POLICY + "gold: {share: 0, onboarding: 4}\n"))
    assert bench.bridge.gold_stock() == GoldStock()
    bench.pushed(row("t-1"))
    assert bench.bridge.gold_stock() == GoldStock(0, 0, {"general": 2})
    bench.bridge.add_gold(write_rows(bench.root / "gold.jsonl", [row("g-1") | {"label": "cancel"}]), by="Ana")
    assert bench.bridge.gold_stock() == GoldStock(1, 1)
