"""Several labels an item: what an answer is, how sure it is, and how people agree upon it."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.model import JSON, NONE_OF_THESE, Agreement, Annotation
from hitl_bridge.core.review.by_parts import judge_parts
from hitl_bridge.core.review.consensus import ConsensusRule, Weighing
from hitl_bridge.core.review.reliability import Reliability
from hitl_bridge.core.sync import read_answer
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.task_types.controls import CANT_ANSWER, LABEL, NONE_BECAUSE, REASONS, REJECT
from hitl_bridge.core.task_types.outputs import headline, is_one_label
from hitl_bridge.core.triage import reasons
from hitl_bridge.core.triage.calibration import Calibration, risks, scored
from hitl_bridge.core.triage.selection import doubt
from tests.core.examples import LABELS, an_annotation

KIND = task_type("multi-label-text")
SCORES = st.dictionaries(st.sampled_from(LABELS), st.floats(0, 1), min_size=1)


def said(reviewer: str, *labels: str, rejects: bool = False) -> Annotation:
    controls: dict[str, tuple[JSON, ...]] = {REJECT: (CANT_ANSWER,)} if rejects else {LABEL: labels}
    annotation = an_annotation(reviewer)
    return replace(annotation, answer=read_answer(controls, KIND, LABELS))


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ({"labels": ["refund", "billing"]}, None),
        ({"labels": []}, None),
        ({"labels": "refund"}, "a list of texts"),
        ({"label": "refund"}, "a list of texts"),
        ({"labels": [7]}, "a list of texts"),
        ({"labels": ["refund", "refund"]}, "twice"),
        ({"labels": ["refund", "tax"]}, "unknown label 'tax'"),
    ],
)
def test_an_output_is_a_list_of_labels_each_once_and_may_be_empty(output: dict[str, JSON], told: str | None) -> None:
    problem = KIND.output_problem(output, LABELS)
    assert problem is None if told is None else told in str(problem)


def test_the_order_of_labels_says_nothing_and_none_is_not_the_same_as_rejected() -> None:
    assert KIND.same({"labels": ["refund", "billing"]}, {"labels": ["billing", "refund"]})
    assert not KIND.same({"labels": []}, None)
    assert KIND.same(None, None)
    texts = [KIND.text({"labels": ["refund", "billing"]}), KIND.text({"labels": []}), KIND.text(None)]
    assert texts == ["billing · refund", "no label", NONE_OF_THESE]


def test_a_page_with_nothing_ticked_says_that_no_label_fits() -> None:
    assert read_answer({}, KIND, LABELS).output == {"labels": []}
    assert read_answer({LABEL: ("refund", "billing")}, KIND, LABELS).output == {"labels": ["billing", "refund"]}


def test_rejecting_takes_what_was_filled_in_along_and_tells_why() -> None:
    controls: dict[str, tuple[JSON, ...]] = {
        LABEL: ("refund",),
        REJECT: (CANT_ANSWER,),
        NONE_BECAUSE: ("out of scope",),
        REASONS: ("the tone",),
    }
    answer = read_answer(controls, KIND, LABELS)
    assert answer.rejects
    assert answer.reason_codes == ("out of scope",)


def test_a_label_that_the_workspace_does_not_have_is_no_answer() -> None:
    with pytest.raises(ValueError, match="not one of this workspace's labels"):
        read_answer({LABEL: ("refund", "tax")}, KIND, LABELS)


def test_what_the_page_is_filled_with_is_read_back_as_it_was() -> None:
    for labels in ((), ("refund",), ("billing", "cancel")):
        output = KIND.whole(labels)
        assert KIND.same(read_answer(KIND.prefill(output), KIND, LABELS).output, output)


# ------------------------------------------------------------------------------------------------------------- doubt


@given(SCORES)
def test_an_answer_made_of_scores_is_the_likeliest_of_all_answers(scores: dict[str, float]) -> None:
    output, confidence = KIND.answer(scores)
    assert confidence == pytest.approx(prod(max(score, 1 - score) for score in scores.values()))
    assert KIND.confidence(output, scores) == pytest.approx(confidence)
    others = [KIND.whole({*KIND.parts(output)} ^ {label}) for label in scores]
    assert all(float(KIND.confidence(other, scores) or 0) <= confidence + 1e-12 for other in others)


def test_a_predicted_label_without_a_score_leaves_the_confidence_open() -> None:
    assert KIND.confidence({"labels": ["refund"]}, {"billing": 0.2}) is None
    assert KIND.confidence({"labels": []}, {}) is None
    assert KIND.confidence({"labels": []}, {"billing": 0.2}) == pytest.approx(0.8)


def test_the_sentence_names_the_label_that_is_in_doubt() -> None:
    scores = {"refund": 0.99, "billing": 0.55, "cancel": 0.01}
    torn = KIND.torn_between(scores)
    assert torn == {"billing": 0.55, "not billing": pytest.approx(0.45)}
    assert "torn between billing (55 %) and not billing (45 %)" in reasons.by_risk(torn, "billing · refund", 0.5)


def test_two_sure_labels_are_no_doubt() -> None:
    assert doubt({"refund": 0.99, "billing": 0.99}, 0.98, exclusive=False) == 0.98


def test_a_rule_sees_all_labels_as_one_text() -> None:
    assert headline({"labels": ["refund", "billing"]}) == "billing, refund"
    assert headline({"labels": []}) == ""
    assert headline({"label": "refund"}) == "refund"
    assert headline({"box": 3}) is None
    assert not is_one_label({"labels": ["refund"]})


@given(st.floats(0.05, 20), st.floats(0.001, 0.999))
def test_a_temperature_over_confidences_alone_is_the_same_as_a_line_with_a_slope(temperature: float, confidence: float) -> None:
    plain = Calibration("m", "temperature", (temperature,))
    seen = scored([confidence], [{}], [None])
    assert plain.by_confidence.method == "platt"
    assert risks(plain.by_confidence, seen)[0] == pytest.approx(risks(plain, seen)[0], abs=1e-9)


# ------------------------------------------------------------------------------------------------------------- consensus


def test_each_label_is_agreed_upon_by_itself() -> None:
    answers = [said("a", "refund", "billing"), said("b", "refund"), said("c", "refund", "billing", "cancel")]
    consensus = judge_parts(answers, ConsensusRule.MAJORITY, 3, KIND)
    assert consensus.agreement is Agreement.AGREED
    assert consensus.answer is not None
    assert consensus.answer.output == {"labels": ["billing", "refund"]}
    assert [each.reviewer for each in consensus.behind] == ["a"]


def test_a_label_that_half_name_disputes_the_item() -> None:
    answers = [said("a", "refund", "billing"), said("b", "refund")]
    for rule in ConsensusRule:
        assert judge_parts(answers, rule, 2, KIND).agreement is Agreement.DISPUTED


def test_all_say_no_label_is_agreement_and_no_rejection() -> None:
    consensus = judge_parts([said("a"), said("b")], ConsensusRule.UNANIMOUS, 2, KIND)
    assert consensus.answer is not None
    assert consensus.answer.output == {"labels": []}
    assert not consensus.answer.rejects


def test_one_who_rejects_and_one_who_finds_no_label_disagree() -> None:
    assert judge_parts([said("a"), said("b", rejects=True)], ConsensusRule.MAJORITY, 2, KIND).agreement is Agreement.DISPUTED


def test_with_weights_the_probability_is_that_of_all_labels_together() -> None:
    weighing = Weighing(Reliability(("yes", "no"), accuracy=0.9), KIND.text, at_least=0.9)
    two = [said("a", "refund"), said("b", "refund")]
    consensus = judge_parts(two, ConsensusRule.WEIGHTED, 2, KIND, weighing)
    assert consensus.agreement is Agreement.AGREED
    assert consensus.probability == pytest.approx(0.9**2 / (0.9**2 + 0.1**2))
    several = [said("a", "refund", "billing"), said("b", "refund")]
    assert judge_parts(several, ConsensusRule.WEIGHTED, 2, KIND, weighing).agreement is Agreement.DISPUTED
