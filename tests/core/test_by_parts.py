from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.model import Agreement, Annotation, AnnotationId, Answer, Consensus, ItemId, Purpose
from hitl_bridge.core.review.by_parts import NO, YES, judge_parts
from hitl_bridge.core.review.consensus import ConsensusRule, Weighing
from hitl_bridge.core.review.part_votes import agreement_by_parts, pairs_by_parts, votes_by_parts
from hitl_bridge.core.review.records import GivenAnswer
from hitl_bridge.core.review.reliability import Reliability
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.task_types.entities import Span, output_of
from tests.core.examples import an_annotation

KIND, SEVERAL = task_type("entities"), task_type("multi-label-text")
LABELS = ("person", "location")
ANA, ANAS, LISBON = Span(0, 3, "person"), Span(0, 9, "person"), Span(19, 25, "location")
RULES = st.sampled_from(list(ConsensusRule))


def marked(reviewer: str, *spans: Span, rejects: bool = False) -> Annotation:
    answer = Answer(None if rejects else output_of(spans), rationale=f"says {reviewer}")
    return replace(an_annotation(reviewer), answer=answer)


def judged(rule: ConsensusRule, *answers: Annotation, weighing: Weighing | None = None) -> Consensus:
    return judge_parts(answers, rule, 1, KIND, weighing)


def said(consensus: Consensus) -> frozenset[str]:
    return KIND.parts(consensus.answer.output if consensus.answer else None)


def test_an_entity_that_most_name_is_in_and_one_that_few_name_is_out() -> None:
    found = judged(ConsensusRule.MAJORITY, marked("a", ANA, LISBON), marked("b", ANA), marked("c", ANA, LISBON, ANAS))
    assert found.agreement is Agreement.AGREED
    assert said(found) == KIND.parts(output_of([ANA, LISBON]))
    assert [each.reviewer for each in found.behind] == ["a"]
    assert found.share == (1 + 2 / 3 + 2 / 3) / 3


def test_parts_settled_by_different_people_have_all_of_them_behind_the_answer() -> None:
    one, two, three = marked("a", ANA, LISBON), marked("b", LISBON, ANAS), marked("c", ANA, ANAS)
    found = judged(ConsensusRule.MAJORITY, one, two, three)
    assert said(found) == KIND.parts(output_of([ANA, LISBON, ANAS]))
    assert len(found.behind) == 3
    assert found.reason == "agreed part by part by 3"


def test_a_tie_over_one_entity_disputes_the_item_and_says_over_how_many() -> None:
    found = judged(ConsensusRule.MAJORITY, marked("a", ANA, LISBON), marked("b", ANA))
    assert (found.agreement, found.reason) == (Agreement.DISPUTED, "1 of 2 parts are disputed")


def test_nothing_named_by_anybody_is_agreed_upon() -> None:
    for rule in ConsensusRule:
        found = judged(rule, marked("a"), marked("b"), weighing=weighing())
        assert (found.agreement, said(found), found.probability) == (Agreement.AGREED, frozenset(), None)


def test_unanimous_asks_for_the_same_entities_of_all() -> None:
    assert judged(ConsensusRule.UNANIMOUS, marked("a", ANA), marked("b", ANA)).agreement is Agreement.AGREED
    assert judged(ConsensusRule.UNANIMOUS, marked("a", ANA), marked("b", ANAS)).agreement is Agreement.DISPUTED


def test_who_rejects_is_asked_first_and_then_not_heard() -> None:
    two = judged(ConsensusRule.MAJORITY, marked("a", rejects=True), marked("b", rejects=True), marked("c", ANA))
    assert two.answer is not None
    assert two.answer.rejects
    one = judged(ConsensusRule.MAJORITY, marked("a", rejects=True), marked("b", ANA), marked("c", ANA))
    assert said(one) == KIND.parts(output_of([ANA]))
    tie = judged(ConsensusRule.MAJORITY, marked("a", rejects=True), marked("b", ANA))
    assert tie.agreement is Agreement.DISPUTED
    assert judged(ConsensusRule.UNANIMOUS, marked("a", rejects=True), marked("b", ANA), marked("c", ANA)).answer is None


def weighing(at_least: float = 0.9, **reviewers: tuple[float, float]) -> Weighing:
    """Reviewers by how often they name what is there, and what is not."""
    tables = {
        name: np.array([[1000 * finds, 1000 * (1 - finds)], [1000 * invents, 1000 * (1 - invents)]])
        for name, (finds, invents) in reviewers.items()
    }
    return Weighing(Reliability((YES, NO), 0.8, tables), KIND.text, at_least)


def test_where_people_miss_more_than_they_make_up_one_of_three_can_be_enough() -> None:
    answers = marked("a", ANA, LISBON), marked("b", ANA), marked("c", ANA)
    known = weighing(a=(0.5, 0.001), b=(0.5, 0.001), c=(0.5, 0.001))
    found = judged(ConsensusRule.WEIGHTED, *answers, weighing=known)
    assert said(found) == KIND.parts(output_of([ANA, LISBON]))
    assert found.probability is not None
    assert 0.9 < found.probability < 1
    careful = weighing(a=(0.98, 0.2), b=(0.98, 0.2), c=(0.98, 0.2))
    assert said(judged(ConsensusRule.WEIGHTED, *answers, weighing=careful)) == KIND.parts(output_of([ANA]))


def test_two_likely_entities_that_overlap_and_that_nobody_named_together_are_disputed() -> None:
    known = weighing(a=(0.5, 0.001), b=(0.5, 0.001))
    found = judged(ConsensusRule.WEIGHTED, marked("a", ANA), marked("b", ANAS), weighing=known)
    assert (found.agreement, found.reason) == (Agreement.DISPUTED, "parts that exclude each other are both likely")


def test_what_is_not_probable_enough_is_disputed_with_its_probability() -> None:
    found = judged(ConsensusRule.WEIGHTED, marked("a", ANA), marked("b"), weighing=weighing(a=(0.7, 0.3), b=(0.7, 0.3)))
    assert found.agreement is Agreement.DISPUTED
    assert found.probability is not None
    assert found.probability < 0.9


@given(st.lists(st.sets(st.sampled_from([ANA, ANAS, LISBON])), min_size=1, max_size=5), RULES, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_never_changes_the_verdict(drawn: list[set[Span]], rule: ConsensusRule, random) -> None:  # type: ignore[no-untyped-def]
    answers = [replace(marked(f"r{place}", *each), annotation_id=AnnotationId(place)) for place, each in enumerate(drawn)]
    shuffled = list(answers)
    random.shuffle(shuffled)
    one, other = judged(rule, *answers, weighing=weighing()), judged(rule, *shuffled, weighing=weighing())
    assert (one.agreement, said(one), one.probability) == (other.agreement, said(other), other.probability)
    if len({frozenset(each) for each in drawn}) == 1 and rule is not ConsensusRule.WEIGHTED:
        assert said(one) == KIND.parts(output_of(drawn[0]))


# ------------------------------------------------------------------------------------------------ agreement and votes


def given_by(reviewer: str, item: str, *spans: Span, known: tuple[Span, ...] | None = None) -> GivenAnswer:
    output = output_of(spans)
    return GivenAnswer(
        ItemId(item), 1, reviewer, output, output, "p", "t", None, Purpose.REVIEW, "m", 1, None, True, None,
        is_gold=known is not None, known=None if known is None else output_of(known),
    )  # fmt: skip


def test_votes_are_on_what_somebody_marked_or_is_known_to_be_there() -> None:
    votes = votes_by_parts([given_by("a", "i", ANA, known=(ANA, LISBON)), given_by("b", "i", known=(ANA, LISBON))], KIND, LABELS)
    assert [(each.item, each.reviewer, each.answer, each.known) for each in votes] == [
        ("i#1|0:3:person", "a", YES, YES),
        ("i#1|0:3:person", "b", NO, YES),
        ("i#1|19:25:location", "a", NO, YES),
        ("i#1|19:25:location", "b", NO, YES),
    ]


def test_agreement_on_entities_is_the_f1_between_persons() -> None:
    answers = [
        given_by("a", "i", ANA, LISBON),
        given_by("b", "i", ANA),
        given_by("a", "j"),
        given_by("b", "j"),
        given_by("a", "k"),
    ]
    line = agreement_by_parts("p", answers, KIND, LABELS)
    assert (line.items, line.alpha) == (2, 2 / 3)
    (pair,) = pairs_by_parts(answers, KIND, LABELS)
    assert (pair.name, pair.items, pair.alpha, pair.share) == ("a · b", 2, 2 / 3, 0.5)
    assert agreement_by_parts("p", answers[2:], KIND, LABELS).alpha is None


def test_agreement_on_several_labels_is_alpha_over_all_of_them() -> None:
    def ticked(reviewer: str, item: str, *labels: str) -> GivenAnswer:
        return replace(given_by(reviewer, item), said={"labels": list(labels)})

    agreeing = [ticked(person, item, label) for person in "ab" for item, label in (("i", "person"), ("j", "location"))]
    assert agreement_by_parts("p", agreeing, SEVERAL, LABELS).alpha == 1
    turned = [ticked("a", "i", "person"), ticked("b", "i", "location"), ticked("a", "j", "person"), ticked("b", "j", "person")]
    alpha = agreement_by_parts("p", turned, SEVERAL, LABELS).alpha
    assert alpha is not None
    assert 0 < alpha < 0.5 or alpha < 0
