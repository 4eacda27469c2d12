from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.model import Agreement, AnnotationState
from hitl_bridge.core.review.consensus import ConsensusRule, deciding_answers, judge
from hitl_bridge.core.task_types import task_type
from tests.core.examples import LABELS, an_annotation

same = task_type("text-classification").same


def test_one_answer_is_enough_where_one_is_due() -> None:
    consensus = judge([an_annotation()], ConsensusRule.SINGLE, 1, same)
    assert consensus.agreement is Agreement.AGREED
    assert consensus.answer is not None
    assert consensus.answer.output == {"label": "refund"}


def test_fewer_answers_than_due_are_incomplete() -> None:
    assert judge([an_annotation()], ConsensusRule.UNANIMOUS, 2, same).agreement is Agreement.INCOMPLETE


def test_no_answer_is_incomplete_even_if_none_is_due() -> None:
    assert judge([], ConsensusRule.SINGLE, 0, same).agreement is Agreement.INCOMPLETE


def test_two_against_one_is_a_majority_but_not_unanimous() -> None:
    answers = [an_annotation("a", "refund"), an_annotation("b", "refund"), an_annotation("c", "cancel")]
    assert judge(answers, ConsensusRule.MAJORITY, 3, same).agreement is Agreement.AGREED
    assert judge(answers, ConsensusRule.UNANIMOUS, 3, same).agreement is Agreement.DISPUTED


def test_one_against_one_is_disputed_by_every_rule() -> None:
    answers = [an_annotation("a", "refund"), an_annotation("b", "cancel")]
    assert {judge(answers, rule, 2, same).agreement for rule in ConsensusRule} == {Agreement.DISPUTED}


def test_a_rejection_agrees_with_a_rejection_only() -> None:
    answers = [an_annotation("a", None), an_annotation("b", None)]
    consensus = judge(answers, ConsensusRule.UNANIMOUS, 2, same)
    assert consensus.answer is not None
    assert consensus.answer.rejects
    mixed = [an_annotation("a", None), an_annotation("b", "refund")]
    assert judge(mixed, ConsensusRule.UNANIMOUS, 2, same).agreement is Agreement.DISPUTED


def test_the_rationales_of_those_who_agree_are_kept_once_each() -> None:
    answers = [an_annotation("a", rationale="duplicate debit"), an_annotation("b", rationale="duplicate debit ")]
    consensus = judge(answers, ConsensusRule.UNANIMOUS, 2, same)
    assert consensus.answer is not None
    assert consensus.answer.rationale == "duplicate debit"


@pytest.mark.parametrize("state", [AnnotationState.SKIP, AnnotationState.TOMBSTONE, AnnotationState.QUARANTINED])
def test_skips_deletions_and_quarantined_answers_do_not_decide(state: AnnotationState) -> None:
    assert deciding_answers([an_annotation(state=state)], ()) == ()


def test_only_the_latest_answer_of_a_person_counts() -> None:
    first = an_annotation(label="cancel", annotation_id=1, updated_at="2026-11-22T10:05:00.000000Z")
    second = an_annotation(label="refund", annotation_id=2, updated_at="2026-11-22T10:06:00.000000Z")
    assert deciding_answers([second, first], ()) == (second,)


def test_an_answer_from_outside_the_pool_does_not_decide() -> None:
    stranger = an_annotation("zoe@example.com")
    assert deciding_answers([stranger], {"ana@example.com"}) == ()


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=7), st.sampled_from(list(ConsensusRule)), st.randoms())
def test_the_order_of_the_answers_never_changes_the_verdict(labels: list[str], rule: ConsensusRule, random) -> None:  # type: ignore[no-untyped-def]
    answers = [an_annotation(f"r{place}", label, annotation_id=place) for place, label in enumerate(labels)]
    shuffled = list(answers)
    random.shuffle(shuffled)
    one, other = judge(answers, rule, 1, same), judge(shuffled, rule, 1, same)
    assert one.agreement is other.agreement
    assert (one.answer and one.answer.output) == (other.answer and other.answer.output)


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=7))
def test_what_is_unanimous_is_also_a_majority(labels: list[str]) -> None:
    answers = [an_annotation(f"r{place}", label, annotation_id=place) for place, label in enumerate(labels)]
    if judge(answers, ConsensusRule.UNANIMOUS, 1, same).agreement is Agreement.AGREED:
        assert judge(answers, ConsensusRule.MAJORITY, 1, same).agreement is Agreement.AGREED
