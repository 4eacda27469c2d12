"""Items that nobody finishes in time: each step of the ladder is taken once, across restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.core.model import ADJUDICATION
from hitl_bridge.services.desk.escalate import EscalateResult
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, DEE, POLICY, Bench, row, without_git

HOUR = 3600
SLOW = POLICY.replace("sla: 24h, consensus", "sla: 24h, escalate_after: 20h, consensus")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path / "workspace", SLOW))
    yield bench
    bench.bridge.close()


def steps(bench: Bench) -> Counter[tuple[str, str, int]]:
    """Every `escalated` event: item, step, round."""
    found: Counter[tuple[str, str, int]] = Counter()
    for item in ("q-1", "q-2", "c-1", "c-2", "a-1"):
        events: Any = bench.bridge.trace(item)["events"]
        details = [event["detail"] for event in events if event["action"] == "escalated"]
        found.update((item, detail["step"], detail["round"]) for detail in details)
    return found


def restart(bench: Bench) -> None:
    bench.bridge.close()
    bench.bridge = bench.opened()


def cycle(bench: Bench) -> None:
    bench.bridge.push()
    bench.brought_back()
    bench.bridge.escalate()
    bench.bridge.push()


def test_in_a_week_of_a_slow_pool_each_step_is_taken_once_across_three_restarts(bench: Bench) -> None:
    bench.pushed(row("q-1"), row("q-2"), row("c-1", COMPREHENSIVE), row("c-2", COMPREHENSIVE), row("a-1", AUTO))
    bench.answer("c-2", ANA, "billing")
    for hour in range(0, 7 * 24, 6):
        if hour in (24, 72, 120):
            restart(bench)
        if hour == 12:
            bench.answer("q-2", BEN)
        cycle(bench)
        bench.clock.turn(6 * HOUR)
    assert bench.state("q-2") == "decided"
    assert bench.item("c-1").route.tier == bench.item("c-2").route.tier == ADJUDICATION
    assert bench.item("a-1").route.tier == "quick"
    assert steps(bench) == {
        ("q-1", "overdue", 1): 1,
        ("q-2", "overdue", 1): 1,
        ("c-1", "overdue", 1): 1,
        ("c-2", "overdue", 1): 1,
        ("c-1", "adjudicator", 1): 1,
        ("c-2", "adjudicator", 1): 1,
        ("c-1", "lead", 2): 1,
        ("c-2", "lead", 2): 1,
        ("a-1", "overdue", 1): 1,
    }
    bench.answer("c-2", DEE, "billing", why="as Ana says")
    bench.brought_back()
    assert bench.decision("c-2").reviewers == (DEE,)


def test_an_answer_that_has_come_is_settled_before_anything_is_escalated(bench: Bench) -> None:
    bench.pushed(row("c-1", COMPREHENSIVE))
    bench.clock.turn(21 * HOUR)
    for reviewer in (ANA, BEN):
        bench.answer("c-1", reviewer, "billing")
    bench.bridge.pull()
    assert bench.bridge.escalate() == EscalateResult()
    bench.bridge.resolve()
    assert bench.state("c-1") == "decided"
    bench.clock.turn(48 * HOUR)
    assert bench.bridge.escalate() == EscalateResult()


def test_what_nobody_has_been_asked_yet_is_not_late(bench: Bench) -> None:
    bench.ingest(row("q-1"))
    bench.clock.turn(48 * HOUR)
    assert bench.bridge.escalate() == EscalateResult()
