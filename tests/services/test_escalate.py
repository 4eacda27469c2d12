"""Items that nobody finishes in time: each step of the ladder is taken once, across restarts; and who is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.core.ladder import Audience, Rung
from hitl_bridge.core.model import ADJUDICATION
from hitl_bridge.services.desk.escalation import EscalateResult
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, DEE, POLICY, Bench, row, without_git

HOUR = 3600
SLOW = POLICY.replace("sla: 24h, consensus", "sla: 24h, escalate_after: 20h, consensus")
CY = "cy@example.com"
LADDER = """
    max_risk: 0.4
    sla: 4h
    ladder: [{before: 1h, tell: pool}, {tell: pool}, {after: 2h, give_to: second}, {after: 4h, tell: lead}]
"""
STRICT = "sla: 4h, ladder: [{give_to: second, after: 2h}, {give_to: adjudicator, after: 3h}]"
SECOND = "  - {name: second, when: 'false', reviewers: [cy@example.com, edi@example.com]}\n"
HANDED_ON = (
    POLICY.replace(" {max_risk: 0.4, reviewers: 1, sla: 4h}\n", LADDER)
    .replace("sla: 24h, consensus: unanimous", STRICT)
    .replace("  - {name: general", SECOND + "  - {name: general")
)
OFFICE = 'working_hours: {zone: Europe/Berlin, week: {mon-fri: "09:00-17:00"}}\n'


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path / "workspace", SLOW))
    yield bench
    bench.bridge.close()


@pytest.fixture
def handed_on(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path / "handed_on", HANDED_ON))
    yield bench
    bench.bridge.close()


def steps(bench: Bench, *items: str) -> Counter[tuple[str, str, int]]:
    """Every `escalated` event: item, step, round."""
    found: Counter[tuple[str, str, int]] = Counter()
    for item in items or ("q-1", "q-2", "c-1", "c-2", "a-1"):
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


def test_a_ladder_leads_from_a_notice_to_a_second_pool_and_to_the_lead_by_one_deadline(handed_on: Bench) -> None:
    bench = handed_on
    bench.pushed(row("q-1"))
    due, seen = bench.item("q-1").route.due_at, []
    for hours in (2, 1, 1, 1, 1, 2, 8):
        bench.clock.turn(hours * HOUR)
        cycle(bench)
        seen.append((bench.item("q-1").route.pool, sorted(step for _, step, _ in steps(bench, "q-1"))))
    assert seen[:2] == [("general", []), ("general", ["at_risk"])]
    assert seen[2] == seen[3] == ("general", ["at_risk", "overdue"])
    assert seen[4] == ("second", ["at_risk", "overdue", "pool:second"])
    assert seen[5] == seen[6] == ("second", ["at_risk", "lead", "overdue", "pool:second"])
    item = bench.item("q-1")
    assert (item.route.due_at, item.route.tier, item.round) == (due, "quick", 2)
    assert "handed over by general" in item.route.reason
    bench.answer("q-1", CY, "billing")
    bench.brought_back()
    assert bench.decision("q-1").reviewers == (CY,)


def test_what_the_first_pool_says_late_counts_as_well_as_before_the_item_was_handed_on(handed_on: Bench) -> None:
    bench = handed_on
    bench.pushed(row("c-1", COMPREHENSIVE))
    bench.answer("c-1", ANA, "billing")
    bench.brought_back()
    bench.clock.turn(6 * HOUR)
    cycle(bench)
    assert bench.item("c-1").route.pool == "second"
    bench.answer("c-1", CY, "billing")
    bench.brought_back()
    assert sorted(bench.decision("c-1").reviewers) == [ANA, CY]


def test_where_nobody_looked_for_days_only_the_last_of_the_places_is_taken(handed_on: Bench) -> None:
    bench = handed_on
    bench.pushed(row("c-1", COMPREHENSIVE))
    bench.clock.turn(72 * HOUR)
    assert bench.bridge.escalate() == EscalateResult(to_adjudicator=1)
    cycle(bench)
    assert (bench.item("c-1").route.pool, bench.item("c-1").route.tier) == ("general", ADJUDICATION)
    assert steps(bench, "c-1") == {("c-1", "pool:second", 1): 1, ("c-1", "adjudicator", 1): 1}


def test_a_blind_item_is_never_given_to_an_adjudicator_and_a_second_pool_sees_it_as_blindly(handed_on: Bench) -> None:
    bench = handed_on
    bench.pushed(row("a-1", AUTO))
    bench.clock.turn(72 * HOUR)
    cycle(bench)
    item = bench.item("a-1")
    assert (item.route.pool, item.route.tier, item.route.blind) == ("second", "quick", True)


def test_a_weekend_is_no_time_in_which_anybody_could_have_answered(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "office", SLOW + OFFICE))
    bench.clock.at = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)  # Friday, 15:00 in Berlin
    bench.pushed(row("q-1"), row("c-1", COMPREHENSIVE))
    assert bench.item("q-1").route.due_at == datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    assert bench.item("q-1").route.reason.endswith("due 2026-11-23 11:00 CET")
    bench.clock.turn(60 * HOUR)
    assert bench.bridge.escalate() == EscalateResult()
    status = bench.bridge.status()
    assert (status.overdue, status.at_risk) == (0, 0)
    bench.clock.at = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
    status = bench.bridge.status()
    assert (status.overdue, status.at_risk) == (0, 1)
    bench.clock.at = datetime(2026, 11, 23, 10, 1, tzinfo=UTC)
    assert bench.bridge.escalate() == EscalateResult(overdue=1)
    found = bench.bridge.deadlines()
    assert [(each.item_id, each.standing, each.steps, each.next_step) for each in found.items] == [
        ("q-1", "overdue", ("overdue",), None)
    ]
    assert [(each.tier, each.due, each.at_risk, each.overdue) for each in found.lines] == [
        ("comprehensive", 1, 0, 0),
        ("quick", 0, 0, 1),
    ]
    # 24 hours of work are three days, 20 of them two and a half: the adjudicator's own day is one of work, too.
    bench.clock.at = datetime(2026, 11, 25, 10, 1, tzinfo=UTC)
    assert bench.bridge.escalate() == EscalateResult(to_adjudicator=1)
    assert bench.item("c-1").route.due_at == datetime(2026, 11, 30, 10, 1, tzinfo=UTC)
    bench.bridge.close()


def test_who_waited_for_room_in_the_budget_has_as_much_working_time_left_as_before(tmp_path: Path) -> None:
    policy = SLOW.replace("tiers:", "triage: {max_reviews: 1/day, random_arm: 0}\ntiers:") + OFFICE
    bench = Bench(without_git(tmp_path / "budget", policy))
    bench.clock.at = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
    bench.pushed(row("q-1"), row("q-2", 0.71))
    assert bench.bridge.status().waiting == 1
    bench.clock.at = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    bench.bridge.push()
    waited = max((bench.item(name) for name in ("q-1", "q-2")), key=lambda item: item.route.due_at)
    assert waited.route.due_at == datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
    bench.bridge.close()


def test_a_step_that_the_settings_move_is_not_taken_again(handed_on: Bench) -> None:
    bench = handed_on
    bench.pushed(row("q-1"))
    bench.clock.turn(4.5 * HOUR)
    cycle(bench)
    settings = bench.bridge.settings
    later = [replace(rung, after=rung.after * 2) for rung in settings.tiers[0].ladder or ()]
    bench.bridge.settings = replace(settings, tiers=(replace(settings.tiers[0], ladder=tuple(later)), settings.tiers[1]))
    bench.bridge.forget_policy()
    bench.clock.turn(1.4 * HOUR)
    assert bench.bridge.escalate() == EscalateResult()
    bench.clock.turn(2.5 * HOUR)
    assert bench.bridge.escalate() == EscalateResult(to_pool=1)


def test_a_step_that_the_settings_add_is_taken_also_where_as_many_others_were(handed_on: Bench) -> None:
    bench = handed_on
    bench.pushed(row("q-1"))
    bench.clock.turn(4.5 * HOUR)
    cycle(bench)
    settings = bench.bridge.settings
    quick = replace(settings.tiers[0], ladder=(Rung(tell=Audience.LEAD), Rung(tell=Audience.POOL)))
    bench.bridge.settings = replace(settings, tiers=(quick, settings.tiers[1]))
    bench.bridge.forget_policy()
    assert bench.bridge.escalate() == EscalateResult(to_lead=1)
    assert bench.bridge.escalate() == EscalateResult()
