"""Which pool gets an item that several are able to judge."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.services.bench import ANA, POLICY, Bench, row, without_git, write_rows

BEN, CY = "ben@example.com", "cy@example.com"
SHARED = (
    POLICY[: POLICY.index("expertise:")].replace("reviewers: 2, sla: 24h, consensus: unanimous", "reviewers: 1")
    + """\
expertise:
  - {name: west, when: "scenario = 'payments'", reviewers: [ana@example.com]}
  - {name: east, when: "scenario IN ('payments', 'legal')", reviewers: [ben@example.com]}
  - {name: general, reviewers: [cy@example.com]}
gold: {share: 0}
"""
)


def pools_of(bench: Bench, count: int) -> Counter[str]:
    return Counter(bench.item(f"t-{number}").route.pool for number in range(count))


def test_an_item_that_two_pools_can_judge_goes_where_there_is_room(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "ws", SHARED))
    bench.pushed(*(row(f"t-{number}", scenario="payments") for number in range(20)), row("l", scenario="legal"), row("g"))
    assert sorted(pools_of(bench, 20).items()) == [("east", 10), ("west", 10)]
    assert (bench.item("l").route.pool, bench.item("g").route.pool) == ("east", "general")
    assert bench.item("t-0").route.reason.startswith(f"{bench.item('t-0').route.pool}, ")
    assert {task.project_key.pool for task in bench.tasks()} == {"east", "west", "general"}
    assert bench.bridge.store.insights().last_event("rerouted") is not None
    assert not bench.bridge.store.verify_audit({}).problems


def test_weekly_hours_and_what_was_learned_of_people_decide_between_pools(tmp_path: Path) -> None:
    roster = "roster:\n  - {email: ana@example.com, weekly: 30h}\n  - {email: ben@example.com, weekly: 10h}\n"
    bench = Bench(without_git(tmp_path / "ws", SHARED + roster))
    bench.pushed(*(row(f"t-{number}", scenario="payments") for number in range(40)))
    assert 28 <= pools_of(bench, 40)["west"] <= 33


def test_what_was_pushed_stays_where_it_is_and_the_rest_pool_is_nobody_s_second_choice(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "ws", SHARED))
    bench.pushed(*(row(f"t-{number}", scenario="payments") for number in range(6)))
    before = pools_of(bench, 6)
    bench.bridge.push()
    bench.opened().push()
    assert pools_of(bench, 6) == before
    assert "general" not in before


def test_one_condition_leaves_nothing_to_choose(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "ws", SHARED.replace("IN ('payments', 'legal')", "= 'legal'")))
    bench.pushed(*(row(f"t-{number}", scenario="payments") for number in range(6)))
    assert pools_of(bench, 6) == {"west": 6}


def test_the_better_pool_gets_what_it_is_better_at(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "ws", SHARED))
    rows = [row(f"t-{number}", scenario="payments") for number in range(40)]
    bench.pushed(*rows)
    known = [{"item_id": f"t-{number}", "label": "cancel"} for number in range(40)]
    bench.bridge.add_gold(write_rows(bench.root / "gold.jsonl", known), by="Ana")
    for number in range(40):
        person = ANA if bench.item(f"t-{number}").route.pool == "west" else BEN
        bench.answer(f"t-{number}", person, "cancel" if person == ANA else "billing")
    bench.brought_back()
    bench.pushed(*(row(f"u-{number}", scenario="payments") for number in range(20)))
    west = sum(bench.item(f"u-{number}").route.pool == "west" for number in range(20))
    assert west == 11
