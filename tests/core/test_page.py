from __future__ import annotations

from dataclasses import replace
from typing import Any

from hitl_bridge.core.model import ADJUDICATION, Decision, ItemId, Op, Outcome, Purpose, PushKey
from hitl_bridge.core.page import page
from hitl_bridge.core.prior import NOT_HERE, NOTHING_LIKE_IT, Beside, PriorDecision, excerpt
from hitl_bridge.core.task_types import task_type
from tests.core.examples import NOW, an_annotation, an_item

KIND = task_type("text-classification")
KEY = PushKey("k-1")


def test_a_review_page_carries_the_predicted_answer_the_confidence_and_the_reason() -> None:
    content = page(KEY, an_item(attributes={"amount": 12000, "language": "en"}), (), KIND, "Read it all.")
    assert content.prefill == {"label": ("refund",)}
    assert content.fields["model_says"] == "Filled in below is the model's answer: refund, 51 % sure"
    assert content.fields["why"] == "The model is unsure (scenario payments · amount 12000 · language en)"
    assert content.candidates == ("refund", "billing", "cancel")


def test_without_scenario_and_attributes_the_reason_stands_alone() -> None:
    item = an_item()
    item = replace(item, prediction=replace(item.prediction, scenario=None))
    assert page(KEY, item, (), KIND, "").fields["why"] == "The model is unsure"


def test_a_blind_page_tells_nothing_of_the_prediction() -> None:
    content = page(KEY, an_item(purpose=Purpose.AUDIT), (), KIND, "Read it all.")
    assert content.prefill == {}
    assert content.candidates == ()
    shown = {name: value for name, value in content.fields.items() if name != "text"}
    assert "refund" not in str(shown)
    assert "51" not in str(shown)


def test_an_audit_and_a_uniform_item_have_the_same_page() -> None:
    audit, uniform = (
        page(KEY, an_item(purpose=purpose), (), KIND, "Read it all.") for purpose in (Purpose.AUDIT, Purpose.UNIFORM)
    )
    assert audit == uniform


def test_an_adjudicator_sees_all_answers_without_names() -> None:
    item = an_item()
    item = replace(item, round=2, route=replace(item.route, tier=ADJUDICATION, reason="Reviewers disagree."))
    earlier = [an_annotation("ana@example.com", "refund", rationale="a debit"), an_annotation("ben@example.com", None)]
    content = page(KEY, item, earlier, KIND, "Read it all.")
    assert content.fields["answers"] == [
        {"Reviewer": "Reviewer A", "Answer": "refund", "Rationale": "a debit"},
        {"Reviewer": "Reviewer B", "Answer": "None of these", "Rationale": "–"},
    ]
    assert content.fields["why"] == "Reviewers disagree (scenario payments)"
    assert content.fields["model_says"] == "The model's answer: refund, 51 % sure"
    assert content.prefill == {}


def test_an_adjudicator_is_offered_first_what_the_reviewers_said_and_a_reviewer_only_what_the_model_says() -> None:
    item = an_item()
    adjudicated = replace(item, round=2, route=replace(item.route, tier=ADJUDICATION))
    earlier = [an_annotation("ana@example.com", "technical"), an_annotation("ben@example.com", "billing")]
    assert page(KEY, adjudicated, earlier, KIND, "").candidates == ("technical", "billing", "refund", "cancel")
    assert page(KEY, item, earlier, KIND, "").candidates == ("refund", "billing", "cancel")
    many = [an_annotation(f"{name}@example.com", f"label {name}") for name in "abcdefghij"]
    assert len(page(KEY, adjudicated, many, KIND, "").candidates) == 8


def test_an_ordinary_reviewer_sees_no_other_answer() -> None:
    assert page(KEY, an_item(), [an_annotation()], KIND, "Read it all.").fields["answers"] == []


def test_a_page_shows_three_decided_items_and_no_name() -> None:
    prior = PriorDecision(ItemId("t-9"), 1, {"text": "I was  billed twice " * 40}, a_decision("billing", why="A bill."), 0.714)
    rows: Any = page(KEY, an_item(), (), KIND, "", Beside([prior])).fields["prior"]
    (row,) = rows
    assert str(row["Similar item"]).startswith("I was billed twice I was billed")
    assert len(str(row["Similar item"])) <= 200
    assert (row["Decided"], row["Why"], row["Alike"]) == ("billing (a word names it)", "A bill.", "71 %")
    assert "ana" not in str(row)


def test_without_prior_decisions_a_page_says_so_and_a_blind_one_shows_none() -> None:
    assert page(KEY, an_item(), (), KIND, "").fields["prior"] == []
    assert page(KEY, an_item(), (), KIND, "", Beside()).fields["prior"] == [{"Similar item": NOTHING_LIKE_IT}]
    blind = page(KEY, an_item(purpose=Purpose.AUDIT), (), KIND, "", Beside())
    assert blind.fields["prior"] == [{"Similar item": NOT_HERE}]


def test_an_adjudicator_sees_the_challenged_decision_above_the_answers() -> None:
    item = an_item()
    item = replace(item, round=2, route=replace(item.route, tier=ADJUDICATION, reason="A reviewer challenges it."))
    rejected = replace(a_decision(None), outcome=Outcome.REJECTED, reason_codes=("out of scope",))
    content = page(KEY, item, [an_annotation()], KIND, "", Beside(challenged=rejected))
    rows: Any = content.fields["answers"]
    first, _ = rows
    assert first == {"Reviewer": "The challenged decision", "Answer": "None of these: out of scope", "Rationale": "–"}


def test_of_a_picture_the_page_shows_its_id() -> None:
    prior = PriorDecision(ItemId("p-9"), 1, {"image": "data:image/png;base64,AAAA"}, a_decision("cat"))
    assert excerpt(prior, task_type("image-classification")) == "p-9"


def a_decision(label: str | None, *, why: str = "") -> Decision:
    return Decision(
        item_id=ItemId("t-9"),
        revision=1,
        seq=0,
        op=Op.ADD,
        outcome=Outcome.CORRECTED,
        output=None if label is None else {"label": label},
        rationale=why,
        reviewers=("ana@example.com",),
        annotations=("1/2@2026",),
        agreement=1.0,
        round=1,
        decided_at=NOW,
        reason_codes=("a word names it",) if why else (),
    )
