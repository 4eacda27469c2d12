"""What is pushed and what waits, where people can't see everything that is doubtful."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core.model import Item, ItemId, ItemState, Purpose, TaskState
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.triage.plan import TierBound, TriagePlan
from hitl_bridge.core.triage.selection import ReviewBudget, came_by_risk, doubt
from hitl_bridge.ports import RecordedSelection, Spent, WaitingItem
from hitl_bridge.services.sync.selection import Picked, pick
from tests.core.examples import an_item
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, POLICY, Bench, row, without_git

DAY = 24 * 3600
BUDGET = POLICY.replace(
    "tiers:",
    'triage:\n  max_reviews: 4/day\n  rules: [{when: "coalesce(amount, 0) > 100", tier: quick, reason: "much money"}]\ntiers:',
    1,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path, BUDGET))
    with bench.bridge:
        yield bench


def doubtful(name: str, count: int, sure: float = 0.6) -> list[dict[str, object]]:
    return [row(f"{name}-{number}", sure + number / 1000) for number in range(count)]


def states(bench: Bench) -> dict[str, int]:
    counts = bench.bridge.status().items
    return {name: counts.get(name, 0) for name in ("queued", "pushed")}


def test_no_more_go_than_the_budget_allows_and_the_others_wait_and_are_counted(bench: Bench) -> None:
    bench.ingest(*doubtful("t", 10))
    result = bench.bridge.push()
    assert (result.created, result.waiting) == (4, 6)
    assert states(bench) == {"queued": 6, "pushed": 4}
    assert bench.bridge.status().waiting == 6
    again = bench.bridge.push()
    assert (again.created, again.waiting) == (0, 6)


def test_what_is_most_doubtful_is_looked_at_first(bench: Bench) -> None:
    bench.ingest(*doubtful("sure", 20, 0.85), *doubtful("torn", 20, 0.61))
    bench.bridge.push()
    there = [task.item_id for task in bench.tasks(TaskState.LIVE)]
    assert sum(item_id.startswith("torn") for item_id in there) >= 3  # one of four may be drawn by chance


def test_the_next_day_brings_the_next_ones_and_their_deadline_did_not_run(bench: Bench) -> None:
    bench.ingest(*doubtful("t", 6))
    bench.bridge.push()
    first = {task.item_id for task in bench.tasks()}
    due = {item.item_id: item.route.due_at for item in bench.bridge.store.items_in(ItemState.QUEUED)}
    bench.clock.turn(DAY - 60)
    assert bench.bridge.push().created == 0
    assert bench.bridge.status().overdue == len(first)  # what waits is not late
    bench.clock.turn(61)
    assert bench.bridge.push().created == 2
    assert bench.bridge.status().waiting == 0
    for item_id, before in due.items():
        assert bench.item(item_id).route.due_at == before + timedelta(seconds=DAY + 1)
        assert f"due {bench.item(item_id).route.due_at:%Y-%m-%d %H:%M}" in bench.item(item_id).route.reason


def test_audits_and_what_a_rule_sent_never_wait_and_are_not_counted(bench: Bench) -> None:
    bench.ingest(*doubtful("t", 4))
    bench.bridge.push()
    bench.ingest(*(row(f"a-{n}", AUTO) for n in range(3)), *(row(f"r-{n}", attributes={"amount": 500.0}) for n in range(3)))
    result = bench.bridge.push()
    assert (result.created, result.waiting) == (6, 0)
    bench.clock.turn(DAY + 1)
    bench.ingest(*doubtful("u", 4))
    assert bench.bridge.push().created == 4


def test_a_later_round_and_an_adjudication_never_wait(bench: Bench) -> None:
    bench.ingest(*doubtful("t", 3), row("c", COMPREHENSIVE))
    bench.bridge.push()
    bench.ingest(*doubtful("u", 10))
    assert bench.bridge.push().waiting == 10
    bench.answer("c", ANA, "refund", "because")
    bench.answer("c", BEN, "billing", "because")
    bench.brought_back()
    result = bench.bridge.push()
    assert (result.created, result.waiting) == (1, 10)
    assert bench.item("c").round == 2


def test_a_dry_run_tells_what_would_go_and_writes_nothing(bench: Bench) -> None:
    bench.ingest(*doubtful("t", 10))
    before = bench.database()
    foreseen = bench.bridge.push(dry_run=True)
    assert (foreseen.created, foreseen.waiting) == (4, 6)
    assert bench.database() == before


def test_after_a_crash_between_picking_and_promising_the_same_ones_go(bench: Bench) -> None:
    bench.ingest(*doubtful("t", 10))
    store, key = bench.bridge.store, bench.bridge.settings.workspace_key
    picked = pick(store, bench.bridge.policy, key, store.queued(), bench.clock.now())
    store.record_selection(picked.recorded, bench.clock.now())
    bench.bridge.close()
    bench.clock.turn(60)
    with bench.opened() as restarted:
        assert restarted.push().created == 4
        assert {task.item_id for task in restarted.store.tasks_in(TaskState.LIVE)} == {item.item_id for item in picked.items}


def test_after_a_crash_between_promising_and_sending_the_budget_still_holds(bench: Bench) -> None:
    bench.ingest(*doubtful("t", 10))
    bench.labeling.lose_next_reply()
    assert bench.bridge.push().pending == 4
    assert bench.bridge.push().already_there == 4
    assert len(bench.labeling.tasks()) == 4


def test_without_a_budget_those_that_waited_all_go(bench: Bench) -> None:
    bench.ingest(*doubtful("t", 10))
    bench.bridge.push()
    (bench.root / "hitl.yaml").write_text(POLICY, encoding="utf-8")
    with bench.opened() as unlimited:
        result = unlimited.push()
        assert (result.created, result.waiting) == (6, 0)
        assert unlimited.status().waiting == 0


def test_a_changed_input_takes_the_place_of_the_one_that_waited(bench: Bench) -> None:
    bench.ingest(*doubtful("t", 10))
    bench.bridge.push()
    waits = next(item for item in bench.bridge.store.items_in(ItemState.QUEUED)).item_id
    bench.ingest(row(waits, input={"text": "other words"}))
    assert bench.bridge.status().waiting == 5
    assert bench.bridge.push().waiting == 6


def test_how_each_was_picked_is_kept_with_the_probability_of_the_draw(bench: Bench) -> None:
    (bench.root / "hitl.yaml").write_text(BUDGET.replace("4/day", "20/day\n  random_arm: 0.25"), encoding="utf-8")
    with bench.opened() as bridge:
        bench.ingest(*doubtful("t", 50))
        bridge.push()
        with closing(sqlite3.connect(bench.root / ".hitl" / "bridge.db")) as connection:
            kept = connection.execute("SELECT arm, count(*), min(probability) FROM waits GROUP BY arm ORDER BY arm").fetchall()
        assert kept == [(None, 30, None), ("chance", 5, 0.1), ("doubt", 15, 0.1)]
        event = bridge.store.insights().last_event("selected")
        assert event is not None
        told = {name: event.detail[name] for name in ("picked", "probability", "began_to_wait", "among", "room")}
        assert told == {"picked": 20, "probability": 0.1, "began_to_wait": 30, "among": 50, "room": 20}
        assert bridge.store.verify_audit({}).problems == ()


def test_room_comes_in_parts_so_that_not_every_push_reads_the_whole_queue(bench: Bench) -> None:
    (bench.root / "hitl.yaml").write_text(BUDGET.replace("4/day", "40/day"), encoding="utf-8")
    with bench.opened() as bridge:
        bench.ingest(*doubtful("a", 1))
        bridge.push()
        bench.clock.turn(60)
        bench.ingest(*doubtful("b", 39))
        bridge.push()
        bench.ingest(*doubtful("c", 10))
        assert bridge.push().waiting == 10
        bench.clock.turn(DAY - 30)
        assert bridge.push().created == 0  # there is room for one, and a part is two
        bench.clock.turn(31)
        assert bridge.push().created == 10


# ------------------------------------------------------------------------------------------------ any traffic

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Memory:
    """A store of queued items, as far as selection looks at it."""

    items: dict[tuple[ItemId, int], Item] = field(default_factory=dict)
    since: dict[tuple[ItemId, int], datetime] = field(default_factory=dict)
    sent: dict[tuple[ItemId, int], datetime] = field(default_factory=dict)

    def queued(self) -> list[Item]:
        return [item for key, item in self.items.items() if key not in self.since and key not in self.sent]

    def waiting(self) -> list[WaitingItem]:
        return [_waiting(self.items[key], since) for key, since in self.since.items()]

    def items_of(self, identities: Sequence[tuple[ItemId, int]]) -> list[Item]:
        return [self.items[key] for key in identities]

    def waiting_count(self) -> int:
        return len(self.since)

    def spent(self, since: datetime) -> Spent:
        return Spent(sum(at >= since for key, at in self.sent.items() if came_by_risk(self.items[key])), frozenset())

    def record_selection(self, selection: RecordedSelection, at: datetime) -> None:
        for chosen in selection.picks:
            self.since.pop((chosen.item.item_id, chosen.item.revision), None)
        self.since.update({(item.item_id, item.revision): at for item in selection.left})

    def push(self, policy: ReviewPolicy, now: datetime) -> Picked:
        picked = pick(self, policy, b"key", self.queued(), now)
        self.record_selection(picked.recorded, now)
        self.sent.update({(item.item_id, item.revision): now for item in picked.items})
        return picked


def _waiting(item: Item, since: datetime) -> WaitingItem:
    of_item = doubt(item.prediction.scores, item.prediction.confidence)
    return WaitingItem(item.item_id, item.revision, item.prediction.model_version, of_item, since)


def policy(budget: ReviewBudget | None) -> ReviewPolicy:
    plan = TriagePlan("p", (TierBound("auto", 0.1), TierBound("quick", 1.0)))
    kind = task_type("image-classification")
    return ReviewPolicy(kind, ("refund", "billing"), plan, {}, {}, HOUR, HOUR, budget)


_KIND = st.sampled_from(["risk", "risk", "risk", "rule", "audit", "uniform", "again"])
_ARRIVALS = st.lists(st.tuples(st.lists(st.tuples(_KIND, st.floats(0, 1)), max_size=8), st.integers(1, 20)), max_size=12)


def arrived(kind: str, sure: float, number: int) -> Item:
    purposes = {"audit": Purpose.AUDIT, "uniform": Purpose.UNIFORM}
    item = replace(an_item(f"t-{number}", purpose=purposes.get(kind, Purpose.REVIEW)), round=2 if kind == "again" else 1)
    scores = {"refund": 0.5 + sure / 2, "billing": 0.5 - sure / 2}
    rule = "amount > 1" if kind == "rule" else None
    return replace(item, prediction=replace(item.prediction, scores=scores), triage=replace(item.triage, rule=rule))


@settings(max_examples=40, deadline=None)
@given(_ARRIVALS, st.integers(1, 25), st.floats(0, 1))
def test_in_no_stretch_of_time_more_go_than_the_budget_and_nothing_that_must_go_waits(
    traffic: Sequence[tuple[Sequence[tuple[str, float]], int]], most: int, share: float
) -> None:
    window = timedelta(hours=24)
    rules, store, twin, now, number = policy(ReviewBudget(most, window, share)), Memory(), Memory(), NOON, 0
    for arrivals, hours in traffic:
        for kind, sure in arrivals:
            item = arrived(kind, sure, number := number + 1)
            for each in (store, twin):
                each.items[item.item_id, item.revision] = item
        picked = store.push(rules, now)
        assert picked.waiting == len(store.since) == len(store.items) - len(store.sent)
        assert all(came_by_risk(store.items[key]) for key in store.since)
        assert store.spent(now - window).sent <= most
        assert twin.push(rules, now) == picked
        now += timedelta(hours=hours)


@settings(max_examples=30, deadline=None)
@given(_ARRIVALS)
def test_whoever_waits_is_asked_about_in_the_end(traffic: Sequence[tuple[Sequence[tuple[str, float]], int]]) -> None:
    rules, store = policy(ReviewBudget(2, timedelta(hours=1))), Memory()
    for number, (kind, sure) in enumerate(each for arrivals, _ in traffic for each in arrivals):
        item = arrived(kind, sure, number)
        store.items[item.item_id, item.revision] = item
    for hour in range(len(store.items) + 1):
        store.push(rules, NOON + hour * 2 * HOUR)
    assert len(store.sent) == len(store.items)


def test_texts_can_be_spread_over_what_the_model_says_of_them(bench: Bench) -> None:
    (bench.root / "hitl.yaml").write_text(
        BUDGET.replace("4/day", "2/day\n  random_arm: 0\n  spread_over: scores"), encoding="utf-8"
    )
    with bench.opened() as bridge:
        bench.bridge = bridge
        scores = {"b": {"refund": 0.62, "billing": 0.37, "cancel": 0.01}, "c": {"refund": 0.64, "billing": 0.01, "cancel": 0.35}}
        bench.pushed(*(row(f"{name}-{n}", of["refund"], scores=of) for name, of in scores.items() for n in range(4)))

        assert {item.item_id[0] for item in bridge.store.items_in(ItemState.PUSHED)} == {"b", "c"}
