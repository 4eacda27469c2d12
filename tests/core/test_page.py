from __future__ import annotations

from dataclasses import replace

from hitl_bridge.core.model import ADJUDICATION, Purpose, PushKey
from hitl_bridge.core.page import page
from hitl_bridge.core.task_types import task_type
from tests.core.examples import an_annotation, an_item

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


def test_an_ordinary_reviewer_sees_no_other_answer() -> None:
    assert page(KEY, an_item(), [an_annotation()], KIND, "Read it all.").fields["answers"] == []
