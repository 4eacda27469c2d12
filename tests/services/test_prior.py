"""What reviewers see beside an item, and what they can say beside the answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.core.dataset.record import DataUse, Unversioned, record
from hitl_bridge.core.model import JSON, ItemId
from hitl_bridge.core.task_types.controls import CHECKLIST, ESCALATE, LABEL, NEW_LABEL, NONE_BECAUSE, RATIONALE, REQUEST, SCENARIO
from hitl_bridge.errors import UnknownName
from hitl_bridge.ports import UncommittedDecision
from tests.services.bench import ANA, AUTO, BEN, COMPREHENSIVE, DEE, POLICY, QUICK, Bench, row, without_git

TWICE = "My card was charged twice for the same order"
AGAIN = "Why was my card charged two times for one order?"
OTHER = "How do I close my account for good"


def prior(bench: Bench, item_id: str) -> Any:
    return bench.labeling.page(bench.task_id(item_id))["data"]["prior"]  # type: ignore[index,call-overload]


def asked(item_id: str, text: str, sure: float = COMPREHENSIVE, **changes: Any) -> dict[str, Any]:
    return row(item_id, sure, input={"text": text}, **changes)


def decide(bench: Bench, item_id: str, text: str, label: str = "billing", why: str = "It names a charge.") -> None:
    bench.pushed(asked(item_id, text, QUICK))
    bench.answer(item_id, ANA, label, why)
    bench.brought_back()


def test_a_page_shows_what_was_decided_on_similar_items_and_why(bench: Bench) -> None:
    decide(bench, "old", TWICE)
    decide(bench, "far", OTHER, "cancel")
    bench.pushed(asked("new", AGAIN))
    (shown,) = prior(bench, "new")
    assert (shown["Similar item"], shown["Decided"], shown["Why"]) == (TWICE, "billing", "It names a charge.")
    assert shown["Alike"].endswith(" %")
    assert "old" not in str(shown)


def test_where_nothing_similar_was_decided_the_page_says_so(bench: Bench) -> None:
    bench.pushed(asked("new", AGAIN), asked("quick", TWICE, QUICK))
    assert prior(bench, "new") == [{"Similar item": "Nothing like this item has been decided yet."}]
    assert prior(bench, "quick") == []


def test_a_blind_page_shows_no_prior_decision(tmp_path: Path) -> None:
    policy = POLICY.replace("reviewers: 1, sla: 4h", "reviewers: 1, sla: 4h, rationale: optional").replace("quick:", "careful:")
    bench = Bench(without_git(tmp_path / "workspace", policy))  # a tier without a page of its own has the comprehensive one
    decide(bench, "old", TWICE)
    bench.pushed(asked("audit", AGAIN, AUTO))
    assert prior(bench, "audit") == [{"Similar item": "Not shown here: please answer from scratch."}]


def test_a_decision_that_was_taken_back_or_that_measures_people_is_shown_no_more(bench: Bench) -> None:
    decide(bench, "old", TWICE)
    bench.pushed(asked("gone", TWICE, QUICK))
    annotation = bench.answer("gone", ANA, "cancel", "because")
    bench.brought_back()
    bench.labeling.delete_annotation(annotation)
    bench.brought_back()
    bench.pushed(asked("new", AGAIN))
    assert [each["Decided"] for each in prior(bench, "new")] == ["billing"]
    bench.bridge.store.agreement().record_gold({ItemId("old"): {"label": "refund"}}, "Ana", bench.clock.now())
    bench.pushed(asked("newer", AGAIN))
    assert "Decided" not in prior(bench, "newer")[0]


def test_what_was_said_of_the_item_itself_is_not_shown_when_it_is_asked_again(bench: Bench) -> None:
    decide(bench, "old", TWICE)
    bench.pushed(asked("old", TWICE + "!", COMPREHENSIVE, model_version="m2"))
    assert "Decided" not in prior(bench, "old")[0]


def test_similar_items_are_told_with_their_decisions(bench: Bench) -> None:
    decide(bench, "old", TWICE)
    decide(bench, "far", OTHER, "cancel")
    bench.pushed(asked("new", AGAIN, QUICK))
    found = bench.bridge.similar("new")
    (old,) = found.similar
    assert (old.item_id, old.decided, old.rationale, old.outcome) == ("old", "billing", "It names a charge.", "corrected")
    assert (found.among, found.new) == (2, 2)
    assert bench.bridge.similar("new").new == 0
    with pytest.raises(UnknownName, match="nobody"):
        bench.bridge.similar("nobody")


def test_after_a_restore_of_the_store_the_index_is_made_anew(bench: Bench) -> None:
    decide(bench, "old", TWICE)
    ports = bench.bridge._prior_ports
    bench.pushed(asked("new", AGAIN))
    assert ports.index.size == 1
    folder = bench.root / ".hitl" / "similar"
    text = (folder / "parts.json").read_text(encoding="utf-8")
    head = ports.index.head()
    assert head is not None
    (folder / "parts.json").write_text(text.replace(head.hash, "f" * 64), encoding="utf-8")
    found = bench.opened().similar("new")
    assert (found.among, found.new) == (1, 1)


def test_an_adjudicator_sees_the_decision_that_is_challenged(bench: Bench) -> None:
    bench.pushed(asked("t-1", TWICE, COMPREHENSIVE))
    mine = bench.answer("t-1", ANA, "refund", "The money is asked for.")
    bench.answer("t-1", BEN, "billing", "A charge is named.")
    bench.brought_back()
    bench.bridge.push()
    bench.answer("t-1", DEE, "billing", "It is about the bill.")
    bench.brought_back()
    bench.labeling.revise(mine, ANA, {REQUEST: (ESCALATE,), RATIONALE: ("The bill was right.",)})
    bench.brought_back()
    bench.bridge.push()
    data = bench.labeling.page(bench.task_id("t-1"))["data"]
    assert isinstance(data, dict)
    first, *others = data["answers"]
    assert first == {"Reviewer": "The challenged decision", "Answer": "billing", "Rationale": "It is about the bill."}
    assert [each["Answer"] for each in others] == ["asks for an adjudicator", "billing"]
    assert "challenges the decision" in str(data["why"])


def test_labels_that_reviewers_miss_are_listed(bench: Bench) -> None:
    bench.pushed(row("t-1"), row("t-2"))
    for item_id, name in (("t-1", "gift card"), ("t-2", "Gift card")):
        wish = {LABEL: ("None of these",), NONE_BECAUSE: ("a label is missing",), NEW_LABEL: (name,)}
        bench.labeling.answer(bench.task_id(item_id), ANA, wish)
    bench.brought_back()
    (missing,) = bench.bridge.missing_labels()
    assert (missing.name, missing.times, missing.reviewers, missing.items) == ("Gift card", 2, 1, ("t-2", "t-1"))


CASES = POLICY.replace("audit:", "scenarios: [fraud, delivery]\naudit:", 1)


def recorded(settled: UncommittedDecision) -> Mapping[str, JSON]:
    unversioned = Unversioned(settled.decision, settled.item, None, None)
    return record(unversioned, settled.decision.op, str, DataUse())


def test_reviewers_can_say_what_an_item_is_a_case_of(tmp_path: Path) -> None:
    bench = Bench(without_git(tmp_path / "workspace", CASES))
    assert 'name="scenario"' in bench.bridge.label_config("comprehensive")
    texts = {"agreed": TWICE, "divided": OTHER, "silent": "and another one"}
    bench.pushed(*(asked(item_id, text, scenario="web") for item_id, text in texts.items()))
    for item_id, cases in (("agreed", ("fraud", "")), ("divided", ("fraud", "delivery")), ("silent", ("", ""))):
        for reviewer, case in zip((ANA, BEN), cases, strict=True):
            said = {LABEL: ("refund",)} | ({SCENARIO: (case,)} if case else {})
            bench.labeling.answer(bench.task_id(item_id), reviewer, said)
    bench.brought_back()
    found = {str(each.item.item_id): each.decision.scenario for each in bench.bridge.store.uncommitted()}
    assert found == {"agreed": "fraud", "divided": None, "silent": None}
    rows = {str(each.item.item_id): recorded(each) for each in bench.bridge.store.uncommitted()}
    assert {item_id: each["scenario"] for item_id, each in rows.items()} == {"agreed": "fraud", "divided": "web", "silent": "web"}
    assert not bench.bridge.store.verify_audit({}).problems


def test_without_scenarios_in_the_settings_nobody_is_asked(bench: Bench) -> None:
    assert 'name="scenario"' not in bench.bridge.label_config("comprehensive")


def test_a_tier_says_what_to_go_by(tmp_path: Path) -> None:
    policy = POLICY.replace("comprehensive: {", "comprehensive: {criteria: A charge counts once it is on the bill., ")
    policy = policy.replace("audit:", "adjudication: {criteria: Look at the contract first.}\naudit:", 1)
    bench = Bench(without_git(tmp_path / "workspace", policy))
    bench.pushed(asked("t-1", TWICE), row("t-2", QUICK))
    bench.answer("t-1", ANA, "refund")
    bench.answer("t-1", BEN, "billing")
    said, usual = (bench.labeling.page(bench.task_id(item_id))["data"]["criteria"] for item_id in ("t-1", "t-2"))  # type: ignore[index,call-overload]
    assert str(said).startswith("A charge counts once it is on the bill.\nChoose the label that fits best")
    assert str(usual).startswith("Choose the label that fits best")
    bench.brought_back()
    bench.bridge.push()
    data = bench.labeling.page(bench.task_id("t-1"))["data"]
    assert isinstance(data, dict)
    assert str(data["criteria"]).startswith("Look at the contract first.\n")
    assert CHECKLIST not in data
