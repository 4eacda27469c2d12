"""Whose answers decide after the settings have changed who reviews."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hitl_bridge.core.model import ADJUDICATION
from hitl_bridge.core.people import Deciders, Role
from hitl_bridge.ports import Account, NewAccount
from hitl_bridge.services.desk.people import Outside, PeoplePorts, sync_reviewers
from tests.core.examples import an_item
from tests.services.bench import ANA, BEN, COMPREHENSIVE, DEE, POLICY, STRANGER, Bench, row, without_git

LEGAL = POLICY.replace(
    "expertise:\n", 'expertise:\n  - {name: legal, when: "amount > 5", reviewers: [ana@example.com, ben@example.com]}\n'
)
WITHOUT_ANA = POLICY.replace("ana@example.com, ", "")


def a_bench(root: Path, policy: str = POLICY) -> Bench:
    """One whose clock is also the labeling service's."""
    bench = Bench(without_git(root, policy))
    bench.labeling.turn_clock(bench.clock.at - datetime(2026, 1, 1, tzinfo=UTC))
    return bench


def a_minute_later(bench: Bench) -> None:
    bench.clock.turn(60)
    bench.labeling.turn_clock(timedelta(minutes=1))


def test_of_a_pool_that_the_settings_have_no_more_only_what_was_said_before_decides(tmp_path: Path) -> None:
    bench = a_bench(tmp_path / "workspace", LEGAL)
    bench.pushed(*(row(name, attributes={"amount": 9.0}) for name in ("t-1", "t-2", "t-3")))
    bench.brought_back()
    assert bench.item("t-1").route.pool == "legal"
    a_minute_later(bench)
    bench.answer("t-2", ANA, "billing")
    a_minute_later(bench)
    (bench.root / "hitl.yaml").write_text(POLICY, encoding="utf-8")
    bench.bridge = bench.opened()
    bench.bridge.keep_roster()
    a_minute_later(bench)
    bench.answer("t-1", STRANGER, "billing")
    bench.answer("t-3", ANA, "billing")
    bench.brought_back()
    assert bench.decided() == {"t-2": "add"}


def test_who_has_left_by_another_process_decides_nothing_here_either(tmp_path: Path) -> None:
    bench = a_bench(tmp_path / "workspace")
    bench.pushed(row("t-1"), row("t-2"))
    bench.brought_back()
    a_minute_later(bench)
    bench.answer("t-1", ANA, "billing")
    a_minute_later(bench)
    (bench.root / "hitl.yaml").write_text(WITHOUT_ANA, encoding="utf-8")
    with bench.opened() as newer:
        newer.keep_roster()
    a_minute_later(bench)
    bench.answer("t-2", ANA, "billing")
    bench.brought_back()
    assert bench.decided() == {"t-1": "add"}
    (bench.root / "hitl.yaml").write_text(POLICY, encoding="utf-8")
    with bench.opened() as newer:
        newer.keep_roster()
    a_minute_later(bench)
    bench.bridge.push()
    bench.answer("t-2", ANA, "billing")
    bench.brought_back()
    assert set(bench.decided()) == {"t-1", "t-2"}


def test_a_reviewer_who_only_adjudicates_from_now_on_still_decides_as_one(tmp_path: Path) -> None:
    bench = a_bench(tmp_path / "workspace", POLICY.replace("ben@example.com]", "ben@example.com, dee@example.com]"))
    bench.bridge.resolve()
    (bench.root / "hitl.yaml").write_text(POLICY, encoding="utf-8")
    bench.bridge = bench.opened()
    bench.pushed(row("t-1"), row("t-2", COMPREHENSIVE))
    a_minute_later(bench)
    bench.answer("t-1", DEE, "billing")
    bench.answer("t-2", ANA, "billing")
    bench.answer("t-2", BEN, "refund")
    bench.brought_back()
    bench.bridge.push()
    bench.answer("t-2", DEE, "billing", why="They ask for a bill")
    bench.brought_back()
    assert set(bench.decided()) == {"t-1", "t-2"}


def test_who_had_two_roles_might_decide_for_as_long_as_the_longer_of_them(tmp_path: Path) -> None:
    bench = a_bench(tmp_path / "workspace")
    early, late = bench.clock.at - timedelta(hours=9), bench.clock.at
    roles = {("general", Role.ADJUDICATOR): {STRANGER: early}, ("general", Role.REVIEWER): {STRANGER: late}}
    item = an_item()
    item = replace(item, route=replace(item.route, pool="general"))
    reviewing = replace(bench.bridge.policy, former=roles).settling(item).eligible
    settling = replace(bench.bridge.policy, former=roles).settling(replace(item, route=replace(item.route, tier=ADJUDICATION)))
    assert isinstance(reviewing, Deciders)
    assert isinstance(settling.eligible, Deciders)
    between = (late - timedelta(hours=1)).isoformat()
    assert reviewing.might(STRANGER, between)
    assert not settling.eligible.might(STRANGER, between)


class NoAccounts:
    def listed(self) -> list[Account]:
        return []

    def invitation(self) -> str:
        return ""

    def make(self, email: str) -> NewAccount:
        raise AssertionError(email)


def outside(bench: Bench, *, dry_run: bool = False) -> tuple[Outside, ...]:
    ports = PeoplePorts(bench.bridge.store.people(), NoAccounts(), bench.clock, keep_password=print)
    return sync_reviewers(ports, bench.bridge.policy, dry_run=dry_run).outside


def test_what_a_leaver_said_in_time_is_no_answer_where_they_may_not_decide(tmp_path: Path) -> None:
    bench = a_bench(tmp_path / "workspace")
    bench.pushed(row("t-1"), row("t-2"), row("t-3"))
    bench.brought_back()
    a_minute_later(bench)
    bench.answer("t-1", ANA)
    bench.answer("t-2", STRANGER)
    bench.brought_back()
    a_minute_later(bench)
    (bench.root / "hitl.yaml").write_text(WITHOUT_ANA, encoding="utf-8")
    bench.bridge = bench.opened()
    assert outside(bench, dry_run=True) == (Outside(STRANGER, "general", 1),)
    bench.brought_back()
    a_minute_later(bench)
    bench.answer("t-3", ANA)
    bench.brought_back()
    assert outside(bench) == (Outside(ANA, "general", 1), Outside(STRANGER, "general", 1))
