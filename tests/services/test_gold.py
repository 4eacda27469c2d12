"""Known items that the bridge asks by itself: mixed in unseen, and for newcomers to learn by."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.core.model import NONE_OF_THESE, Item, ItemState, ReviewTask
from hitl_bridge.errors import UsageError
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, POLICY, QUICK, Bench, row, without_git, write_rows

HALF = POLICY + "gold: {share: 0.5}\n"
LEARNING = POLICY + "gold: {share: 0, onboarding: 4, passing: 0.75}\n"


def known(number: int, sure: float = QUICK, **changes: Any) -> dict[str, Any]:
    return row(f"g-{number}", sure) | {"label": "cancel", "why": "They say that they want to leave."} | changes


def a_bench(tmp_path: Path, policy: str, bank: Sequence[dict[str, Any]]) -> Bench:
    bench = Bench(without_git(tmp_path / "workspace", policy))
    bench.bridge.add_gold(write_rows(bench.root / "gold.jsonl", bank), by="Ana")
    return bench


def gold_of(bench: Bench) -> list[Item]:
    return [item for item in bench.bridge.store.items_in(*ItemState) if item.batch_id.startswith("gold-")]


def shown(bench: Bench, item_id: str) -> dict[str, Any]:
    """What the page of its present round is made of."""
    data: Any = bench.labeling.page(bench.task_id(item_id))["data"]
    return dict(data)


def test_known_items_are_mixed_in_beside_the_drawn_share_and_look_like_their_neighbours(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, HALF, [known(number, COMPREHENSIVE if number % 2 else QUICK) for number in range(60)])
    bench.pushed(*(row(f"t-{number}", COMPREHENSIVE if number % 4 else QUICK) for number in range(40)))
    mixed = gold_of(bench)
    assert 10 <= len(mixed) <= 30
    assert {item.state for item in mixed} == {ItemState.PUSHED}
    assert {item.route.tier for item in mixed} == {"quick", "comprehensive"}
    for item in mixed:
        neighbour = next(each for each in map(bench.item, ("t-0", "t-1")) if each.route.tier == item.route.tier)
        assert (item.route.due_at, item.route.reviewers, item.route.pool) == (
            neighbour.route.due_at,
            neighbour.route.reviewers,
            neighbour.route.pool,
        )
        pages = [shown(bench, each.item_id) for each in (item, neighbour)]
        assert pages[0].keys() == pages[1].keys()
        assert pages[0]["why"] == pages[1]["why"]


def test_pushing_again_and_from_another_process_mixes_in_nothing_more(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, HALF, [known(number) for number in range(60)])
    bench.pushed(*(row(f"t-{number}") for number in range(20)))
    before = {item.item_id for item in gold_of(bench)}
    bench.bridge.push()
    bench.opened().push()
    assert {item.item_id for item in gold_of(bench)} == before
    assert bench.bridge.gold().left == 60 - len(before)


def test_what_triage_would_show_to_nobody_is_mixed_in_as_audits_look(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, HALF, [known(number, AUTO) for number in range(9)])
    bench.pushed(*(row(f"t-{number}") for number in range(12)), row("audited", AUTO))
    mixed = gold_of(bench)
    assert mixed
    assert all(item.route.blind and item.route.tier == "quick" for item in mixed)
    assert {item.triage.reason for item in mixed} == {bench.item("audited").triage.reason}


def test_a_mixed_in_item_measures_and_decides_nothing(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, HALF, [known(number) for number in range(30)])
    bench.pushed(*(row(f"t-{number}") for number in range(20)))
    mixed = gold_of(bench)
    for number, item in enumerate(mixed):
        bench.answer(item.item_id, ANA, "refund" if number else "cancel")
    bench.brought_back()
    assert {bench.state(item.item_id) for item in mixed} == {"withdrawn"}
    assert bench.decided() == {}
    (line,) = bench.bridge.reviewers_report().reviewers
    assert (line.gold, line.right) == (len(mixed), 1)
    told = list(bench.bridge.store.people().checked_answers(100))
    assert len(told) == len(mixed)
    assert {str(each.decided) for each in told} == {"{'label': 'cancel'}"}
    bench.revise(bench.answer(mixed[0].item_id, BEN, "billing"), BEN, "refund")
    bench.brought_back()
    assert bench.decided() == {}
    assert not bench.bridge.store.verify_audit({}).problems


def test_with_an_empty_bank_or_a_share_of_nothing_the_queue_stays_as_it_is(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, POLICY + "gold: {share: 0}\n", [known(1)])
    bench.pushed(*(row(f"t-{number}") for number in range(20)))
    assert gold_of(bench) == []
    ids_alone = a_bench(tmp_path / "other", HALF, [{"item_id": "t-1", "label": "cancel"}])
    ids_alone.pushed(*(row(f"t-{number}") for number in range(20)))
    assert gold_of(ids_alone) == []
    assert ids_alone.bridge.gold().left == 0


def test_a_row_that_could_not_be_shown_refuses_the_whole_file(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, HALF, [known(1)])
    with pytest.raises(UsageError, match="Row 2 can't be shown to anybody"):
        bench.bridge.add_gold(write_rows(bench.root / "more.jsonl", [known(2), known(3) | {"confidence": 7}]), by="Ana")
    assert bench.bridge.gold().known == 1


def test_a_bank_can_come_as_csv_with_nested_fields_as_json(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, HALF, [known(1)])
    file = bench.root / "gold.csv"
    line = 'g-2,cancel,"{""text"": ""Please end it""}","{""label"": ""refund""}",0.7,m1'
    file.write_text(f"item_id,label,input,prediction,confidence,model_version\n{line}\n", encoding="utf-8")
    assert bench.bridge.add_gold(file, by="Ana").left == 2


# ------------------------------------------------------------------------------------------------------------- learning


def lessons(bench: Bench, person: str) -> list[ReviewTask]:
    tasks = [task for task in bench.tasks() if task.project_key.reviewer == person]
    waiting = {item.item_id: item.round for item in bench.bridge.store.items_in(ItemState.PUSHED, ItemState.ANSWERED)}
    return [task for task in tasks if waiting.get(task.item_id) == task.round]


def answer_lessons(bench: Bench, person: str, label: str) -> int:
    open_ones = lessons(bench, person)
    for task in open_ones:
        assert task.task_id is not None
        bench.labeling.answer(task.task_id, person, {"label": (label,)})
    bench.brought_back()
    return len(open_ones)


def test_a_newcomer_learns_on_known_items_in_a_project_of_their_own_and_counts_from_then_on(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, LEARNING, [known(number) for number in range(12)])
    bench.pushed(row("t-1"), row("t-2"))
    assert len(lessons(bench, ANA)) == len(lessons(bench, BEN)) == 4
    bench.answer("t-1", ANA, "refund")
    bench.brought_back()
    assert "t-1" not in bench.decided()
    bench.clock.turn(60)
    assert answer_lessons(bench, ANA, "cancel") == 4
    bench.clock.turn(60)
    bench.bridge.push()
    assert lessons(bench, ANA) == []
    assert "t-1" not in bench.decided()
    assert [each.reviewer for each in bench.bridge.reviewers_report().learning] == [BEN]
    assert bench.bridge.store.insights().last_event("reviewer.passed") is not None


def test_who_errs_is_told_what_is_right_and_is_given_more(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, LEARNING, [known(number) for number in range(12)])
    bench.bridge.push()
    assert answer_lessons(bench, ANA, "billing") == 4
    bench.bridge.push()
    again = lessons(bench, ANA)
    assert {task.round for task in again} == {2}
    told = shown(bench, again[0].item_id)["why"]
    assert told.startswith("You answered “billing”; right is “cancel”. They say that they want to leave.")
    assert answer_lessons(bench, ANA, "cancel") == 4
    (line,) = [each for each in bench.bridge.reviewers_report().learning if each.reviewer == ANA]
    assert (line.answered, line.right, line.needed) == (4, 0, 4)
    for right in (1, 2, 3):
        bench.bridge.push()
        assert answer_lessons(bench, ANA, "cancel") == 1, right
    assert ANA not in [each.reviewer for each in bench.bridge.reviewers_report().learning]
    assert bench.bridge.reviewers_report().reviewers == ()


def test_who_was_there_before_onboarding_was_asked_for_does_not_learn(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "workspace", POLICY))
    bench.bridge.resolve()
    (bench.root / "hitl.yaml").write_text(
        LEARNING.replace("ben@example.com]", "ben@example.com, cy@example.com]"), encoding="utf-8"
    )
    bench.bridge = bench.opened()
    bench.bridge.add_gold(write_rows(bench.root / "gold.jsonl", [known(number) for number in range(6)]), by="Ana")
    bench.pushed(row("t-1"), row("t-2"))
    assert [each.reviewer for each in bench.bridge.reviewers_report().learning] == ["cy@example.com"]
    bench.answer("t-1", ANA, "refund")
    bench.answer("t-2", "cy@example.com", "refund")
    bench.brought_back()
    assert list(bench.decided()) == ["t-1"]


def test_where_nobody_counts_yet_no_answer_decides(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, LEARNING.replace(", adjudicators: [dee@example.com]", ""), [known(number) for number in range(6)])
    bench.pushed(row("t-1"))
    bench.answer("t-1", ANA, NONE_OF_THESE)
    bench.brought_back()
    assert bench.decided() == {}


def test_where_reviewers_have_projects_of_their_own_newcomers_get_lessons_and_nothing_else(tmp_path: Path) -> None:
    policy = LEARNING.replace("reviewers: 2, sla: 24h, consensus: unanimous", "reviewers: 1") + "assignment: reviewer\n"
    bench = a_bench(tmp_path, policy, [known(number) for number in range(12)])
    bench.ingest(row("t-1"))
    result = bench.bridge.push()
    assert sorted(task.project_key.reviewer for task in bench.tasks()) == [ANA] * 4 + [BEN] * 4 + ["dee@example.com"]
    assert result.unassigned == ()
    bench.clock.turn(60)
    assert answer_lessons(bench, ANA, "cancel") == 4
    bench.clock.turn(60)
    bench.pushed(*(row(f"u-{number}") for number in range(20)))
    assert {task.project_key.reviewer for task in bench.tasks() if task.item_id.startswith("u-")} == {ANA, "dee@example.com"}


def rewritten(bench: Bench, policy: str) -> None:
    (bench.root / "hitl.yaml").write_text(policy, encoding="utf-8")
    bench.bridge = bench.opened()


def test_who_leaves_while_learning_has_decided_nothing(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, LEARNING, [known(number) for number in range(12)])
    bench.pushed(row("t-1"))
    bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    rewritten(bench, LEARNING.replace("ana@example.com, ", ""))
    bench.clock.turn(60)
    bench.bridge.push()
    bench.answer("t-1", BEN, "refund")
    bench.brought_back()
    assert bench.decided() == {}


def test_in_a_pool_without_adjudicators_who_learns_settles_no_dispute(tmp_path: Path) -> None:
    cy, alone = "cy@example.com", ", adjudicators: [dee@example.com]"
    bench = Bench(without_git(tmp_path / "workspace", POLICY.replace(alone, "")))
    bench.bridge.resolve()
    rewritten(bench, LEARNING.replace(alone, "").replace("ben@example.com]", "ben@example.com, cy@example.com]"))
    bench.bridge.add_gold(write_rows(bench.root / "gold.jsonl", [known(number) for number in range(6)]), by="Ana")
    bench.pushed(row("t-1", COMPREHENSIVE))
    bench.answer("t-1", ANA, "refund")
    bench.answer("t-1", BEN, "billing")
    bench.brought_back()
    bench.bridge.push()
    assert bench.item("t-1").route.tier == "adjudication"
    bench.answer("t-1", cy, "cancel", why="I say so")
    bench.brought_back()
    assert bench.decided() == {}


def test_a_learner_who_is_made_an_adjudicator_counts_from_then_on_and_has_nothing_left_to_learn(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, LEARNING, [known(number) for number in range(12)])
    bench.pushed(row("t-1"), row("t-2"))
    bench.answer("t-1", ANA, "billing")
    bench.brought_back()
    rewritten(bench, LEARNING.replace("adjudicators: [dee", "adjudicators: [ana@example.com, dee"))
    bench.clock.turn(60)
    bench.brought_back()
    bench.bridge.push()
    assert lessons(bench, ANA) == []
    assert len(lessons(bench, BEN)) == 4
    assert [each.reviewer for each in bench.bridge.reviewers_report().learning] == [BEN]
    last = bench.bridge.store.insights().last_event("reviewer.passed")
    assert last is not None
    bench.clock.turn(60)
    bench.labeling.turn_clock(bench.clock.at - datetime(2026, 1, 1, tzinfo=UTC))
    bench.answer("t-2", ANA, "billing")
    bench.brought_back()
    assert list(bench.decided()) == ["t-2"], "what she said before that does not count"
    assert not bench.bridge.store.verify_audit({}).problems


def test_who_adjudicated_in_a_pool_and_reviews_there_from_now_on_does_not_learn_first(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, LEARNING, [known(number) for number in range(6)])
    bench.bridge.push()
    rewritten(bench, LEARNING.replace(", adjudicators: [dee@example.com]", "").replace("ben@example.com]", "dee@example.com]"))
    bench.pushed(row("t-1"))
    assert [each.reviewer for each in bench.bridge.reviewers_report().learning] == [ANA]
    bench.answer("t-1", "dee@example.com", "billing")
    bench.brought_back()
    assert list(bench.decided()) == ["t-1"]


def test_what_somebody_was_to_learn_by_ends_when_they_leave_and_begins_again_when_they_come_back(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, LEARNING, [known(number) for number in range(12)])
    bench.bridge.push()
    assert len(lessons(bench, ANA)) == 4
    rewritten(bench, LEARNING.replace("ana@example.com, ", ""))
    for _ in range(2):
        bench.bridge.push()
        bench.brought_back()
    assert lessons(bench, ANA) == []
    assert [each.reviewer for each in bench.bridge.reviewers_report().learning] == [BEN]
    rewritten(bench, LEARNING)
    bench.bridge.push()
    assert lessons(bench, ANA)


def test_what_somebody_has_learned_by_is_not_mixed_in_unseen_later(tmp_path: Path) -> None:
    bench = a_bench(tmp_path, HALF.replace("0.5}", "0.5, onboarding: 4}"), [known(number) for number in range(10)])
    bench.bridge.push()
    with closing(sqlite3.connect(bench.root / ".hitl" / "bridge.db")) as connection:
        taught = {name for (name,) in connection.execute("SELECT gold_id FROM gold_asked WHERE person IS NOT NULL")}
    assert len(taught) == 4  # Ana and Ben learn by the same
    bench.pushed(*(row(f"t-{number}") for number in range(40)))
    mixed = {str(item.item_id) for item in gold_of(bench)}
    assert mixed == {f"g-{number}" for number in range(10)} - taught
    assert bench.bridge.gold().left == 0
