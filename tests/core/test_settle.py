from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.core.lifecycle import may_move
from hitl_bridge.core.model import (
    ADJUDICATION,
    Agreement,
    Annotation,
    AnnotationState,
    ItemId,
    ItemState,
    Op,
    Outcome,
    ProjectKey,
    Purpose,
    PushKey,
    ReviewTask,
)
from hitl_bridge.core.review.consensus import ConsensusRule
from hitl_bridge.core.review.settle import Given, Settled, SettlePolicy, asked_alike, settle
from hitl_bridge.core.task_types import task_type
from tests.core.examples import LABELS, NOW, an_annotation, an_item

same = task_type("text-classification").same
ONE = SettlePolicy(frozenset(), 1, ConsensusRule.SINGLE, timedelta(hours=24))
TWO = SettlePolicy(frozenset(), 2, ConsensusRule.UNANIMOUS, timedelta(hours=24))


@pytest.mark.parametrize(
    ("answered", "outcome"), [("refund", Outcome.ACCEPTED), ("cancel", Outcome.CORRECTED), (None, Outcome.REJECTED)]
)
def test_the_outcome_compares_the_answer_with_the_prediction_by_value(answered: str | None, outcome: Outcome) -> None:
    settled = settle(an_item(), Given((an_annotation(label=answered),)), None, ONE, same, NOW)
    assert settled.decision is not None
    assert settled.decision.outcome is outcome
    assert settled.state is ItemState.DECIDED


def test_a_dispute_queues_the_item_for_an_adjudicator() -> None:
    answers = (an_annotation("a", "refund"), an_annotation("b", "cancel", annotation_id=2))
    settled = settle(an_item(), Given(answers), None, TWO, same, NOW)
    assert settled.decision is None
    assert settled.next_round is not None
    assert settled.next_round.round == 2
    assert settled.next_round.route.tier == ADJUDICATION
    assert settled.next_round.state is ItemState.QUEUED


def test_an_adjudicator_who_is_alone_settles() -> None:
    item = an_item()
    item = replace(item, round=2, route=replace(item.route, tier=ADJUDICATION))
    settled = settle(item, Given((an_annotation("dee", "billing"),)), None, ONE, same, NOW)
    assert settled.decision is not None
    assert settled.decision.round == 2


def test_adjudicators_who_disagree_open_no_third_round() -> None:
    item = an_item()
    item = replace(item, round=2, route=replace(item.route, tier=ADJUDICATION))
    answers = (an_annotation("dee", "billing"), an_annotation("eve", "cancel", annotation_id=2))
    settled = settle(item, Given(answers), None, ONE, same, NOW)
    assert settled.next_round is None
    assert settled.state is ItemState.ANSWERED


def test_an_audit_that_overturns_the_model_goes_to_an_adjudicator_first() -> None:
    settled = settle(an_item(purpose=Purpose.AUDIT), Given((an_annotation(label="cancel"),)), None, ONE, same, NOW)
    assert settled.escalated
    assert settled.decision is None
    assert settled.next_round is not None


def test_an_audit_that_confirms_the_model_is_decided() -> None:
    settled = settle(an_item(purpose=Purpose.AUDIT), Given((an_annotation(label="refund"),)), None, ONE, same, NOW)
    assert settled.decision is not None
    assert settled.decision.outcome is Outcome.ACCEPTED


def test_settling_again_with_the_same_answers_makes_no_second_decision() -> None:
    answers = (an_annotation(),)
    first = settle(an_item(), Given(answers), None, ONE, same, NOW)
    committed = an_item(state=ItemState.COMMITTED)
    again = settle(committed, Given(answers), first.decision, ONE, same, NOW + timedelta(hours=1))
    assert again.decision is None
    assert again.state is ItemState.COMMITTED


def test_an_edited_answer_changes_the_decision() -> None:
    first = settle(an_item(), Given((an_annotation(label="refund"),)), None, ONE, same, NOW).decision
    edited = (an_annotation(label="cancel", updated_at="2026-11-22T11:00:00.000000Z"),)
    again = settle(an_item(state=ItemState.COMMITTED), Given(edited), first, ONE, same, NOW)
    assert again.decision is not None
    assert (again.decision.op, again.decision.seq, again.decision.outcome) == (Op.CHANGE, 1, Outcome.CORRECTED)


def test_a_deleted_answer_withdraws_the_decision_and_a_new_one_adds_it_again() -> None:
    first = settle(an_item(), Given((an_annotation(),)), None, ONE, same, NOW).decision
    gone = (an_annotation(state=AnnotationState.TOMBSTONE),)
    withdrawn = settle(an_item(state=ItemState.COMMITTED), Given(gone), first, ONE, same, NOW)
    assert withdrawn.decision is not None
    assert withdrawn.decision.op is Op.REMOVE
    assert withdrawn.state is ItemState.PUSHED
    back = settle(an_item(), Given((an_annotation(annotation_id=2),)), withdrawn.decision, ONE, same, NOW)
    assert back.decision is not None
    assert (back.decision.op, back.decision.seq) == (Op.ADD, 2)


answers = st.lists(
    st.builds(
        an_annotation,
        reviewer=st.sampled_from(["a", "b", "c"]),
        label=st.sampled_from([*LABELS, None]),
        annotation_id=st.integers(1, 9),
        state=st.sampled_from(list(AnnotationState)),
    ),
    max_size=5,
).map(tuple)


@given(answers, answers, st.sampled_from([ONE, TWO]), st.sampled_from(list(Purpose)))
def test_whatever_is_answered_then_changed_every_move_is_legal_and_seqs_rise(before, after, policy, purpose) -> None:  # type: ignore[no-untyped-def]
    item = an_item(purpose=purpose)
    first: Settled = settle(item, Given(before), None, policy, same, NOW)
    assert may_move(item.state, first.state)
    if first.next_round is not None:
        return
    moved = replace(item, state=first.state)
    second = settle(moved, Given(after), first.decision, policy, same, NOW)
    assert may_move(moved.state, second.state)
    if first.decision and second.decision:
        assert second.decision.seq == first.decision.seq + 1
    if second.state is ItemState.QUEUED:
        assert second.next_round is not None


def used_up(*states: AnnotationState) -> tuple[Annotation, ...]:
    """One annotation of each state, all by the same person."""
    return tuple(an_annotation("ana", annotation_id=place, state=state) for place, state in enumerate(states, start=1))


@pytest.mark.parametrize(
    "given",
    [
        used_up(AnnotationState.ANSWER, AnnotationState.ANSWER),
        used_up(AnnotationState.QUARANTINED, AnnotationState.ANSWER),
        (an_annotation("mallory"), an_annotation("ana", annotation_id=2)),
    ],
)
def test_answers_that_use_up_the_seats_and_do_not_count_open_the_next_round_in_the_same_tier(
    given: tuple[Annotation, ...],
) -> None:
    item = an_item(tier="comprehensive")
    settled = settle(item, Given(given), None, replace(TWO, eligible=frozenset({"ana", "ben"})), same, NOW)
    assert (settled.asked_again, settled.state, settled.decision) == (True, ItemState.QUEUED, None)
    assert settled.next_round == replace(item, state=ItemState.QUEUED, round=2)
    assert settled.reason == "the answers given do not count; asked again"
    again = settle(settled.next_round, Given(()), None, TWO, same, NOW)  # nobody has answered the new round
    assert (again.asked_again, again.next_round) == (False, None)


@pytest.mark.parametrize("state", [AnnotationState.SKIP, AnnotationState.TOMBSTONE])
def test_a_skip_and_a_deleted_answer_leave_their_seat_free(state: AnnotationState) -> None:
    settled = settle(an_item(), Given(used_up(AnnotationState.ANSWER, state)), None, TWO, same, NOW)
    assert (settled.asked_again, settled.state) == (False, ItemState.ANSWERED)


def test_an_adjudication_that_does_not_count_is_asked_again_as_an_adjudication() -> None:
    item = an_item()
    item = replace(item, round=2, route=replace(item.route, tier=ADJUDICATION))
    settled = settle(item, Given((an_annotation("ana"),)), None, replace(ONE, eligible=frozenset({"dee"})), same, NOW)
    assert settled.next_round is not None
    assert (settled.next_round.round, settled.next_round.route) == (3, item.route)


def test_an_author_who_makes_their_decided_answer_unfit_is_asked_again_and_the_decision_is_taken_back() -> None:
    decided = settle(an_item(), Given((an_annotation(),)), None, ONE, same, NOW).decision
    unfit = used_up(AnnotationState.QUARANTINED)
    settled = settle(an_item(state=ItemState.COMMITTED), Given(unfit), decided, ONE, same, NOW)
    assert settled.decision is not None
    assert (settled.decision.op, settled.asked_again) == (Op.REMOVE, True)


# --------------------------------------------------------------------- all rounds that asked the same question


def of_round(*rounds: tuple[int, str]) -> list[ReviewTask]:
    """A task in each of these rounds, in a project of that tier."""
    keys = [(number, ProjectKey("payments", tier)) for number, tier in rounds]
    return [ReviewTask(PushKey(f"k-{number}"), ItemId("t-1"), 1, number, 0, key) for number, key in keys]


@pytest.mark.parametrize(
    ("rounds", "present", "tier", "alike"),
    [
        ([(1, "quick")], 1, "quick", []),
        ([(1, "quick"), (2, "quick")], 3, "quick", ["k-1", "k-2"]),
        ([(1, "quick"), (2, "quick"), (3, "quick")], 2, "quick", ["k-1"]),
        ([(1, "quick"), (2, ADJUDICATION)], 2, ADJUDICATION, []),
        ([(1, "quick"), (2, ADJUDICATION), (3, ADJUDICATION)], 3, ADJUDICATION, ["k-2"]),
        ([(1, "quick"), (2, "comprehensive"), (3, "quick")], 4, "quick", ["k-3"]),
        ([(1, "quick"), (4, "quick")], 4, "quick", ["k-1"]),  # rounds whose task was never promised
    ],
)
def test_the_same_question_is_what_was_asked_since_the_item_last_came_into_its_tier(
    rounds: list[tuple[int, str]], present: int, tier: str, alike: list[str]
) -> None:
    item = an_item(tier=tier)
    item = replace(item, round=present, route=replace(item.route, tier=tier))
    assert sorted(asked_alike(item, of_round(*rounds))) == alike


def test_an_answer_that_arrives_on_the_old_task_after_the_item_was_asked_again_counts() -> None:
    late = (an_annotation("ana", "cancel"), an_annotation("mallory", annotation_id=2))
    asked_again = replace(an_item(), round=2)
    settled = settle(asked_again, Given((), late), None, replace(ONE, eligible=frozenset({"ana"})), same, NOW)
    assert settled.decision is not None
    assert (settled.decision.reviewers, settled.decision.round) == (("ana",), 2)


def test_answers_of_two_rounds_make_up_the_two_that_are_due() -> None:
    settled = settle(
        replace(an_item(), round=2),
        Given((an_annotation("ben", "cancel", annotation_id=2),), (an_annotation("ana", "cancel"),)),
        None,
        TWO,
        same,
        NOW,
    )
    assert settled.decision is not None
    assert settled.decision.reviewers == ("ana", "ben")


def test_one_person_s_answers_in_two_rounds_count_once_and_the_latest_of_them() -> None:
    again = an_annotation("ana", "billing", annotation_id=2, updated_at="2026-11-22T12:00:00.000000Z")
    given_twice = Given((again,), (an_annotation("ana", "cancel"),))
    assert settle(replace(an_item(), round=2), given_twice, None, TWO, same, NOW).agreement is Agreement.INCOMPLETE
    alone = settle(replace(an_item(), round=2), given_twice, None, ONE, same, NOW)
    assert alone.decision is not None
    assert alone.decision.output == {"label": "billing"}


def test_what_used_up_the_seats_of_an_earlier_round_does_not_use_up_those_of_this_one() -> None:
    settled = settle(replace(an_item(), round=2), Given((), used_up(AnnotationState.QUARANTINED)), None, ONE, same, NOW)
    assert (settled.asked_again, settled.state) == (False, ItemState.PUSHED)


@given(answers, answers, st.sampled_from([ONE, TWO]))
def test_in_which_round_an_answer_was_given_changes_nothing_but_whether_seats_are_left(earlier, present, policy) -> None:  # type: ignore[no-untyped-def]
    item = replace(an_item(), round=2)
    apart = settle(item, Given(present, earlier), None, policy, same, NOW)
    together = settle(item, Given((*earlier, *present)), None, policy, same, NOW)
    assert apart.agreement is together.agreement
    assert apart.decision == together.decision
    if not apart.asked_again and not together.asked_again:
        assert apart == together
    if apart.asked_again:  # the seats of this round are used up: so they are with the earlier ones' beside them
        assert together.asked_again


@given(answers, answers, answers, st.sampled_from([ONE, TWO]))
def test_whatever_was_given_in_three_rounds_every_move_is_legal_and_each_person_counts_once(one, two, three, policy) -> None:  # type: ignore[no-untyped-def]
    item = replace(an_item(), round=3)
    settled = settle(item, Given(three, (*one, *two)), None, policy, same, NOW)
    assert may_move(item.state, settled.state)
    if settled.decision is not None:
        assert len(set(settled.decision.reviewers)) == len(settled.decision.reviewers)
    if settled.asked_again:
        assert settled.next_round == replace(item, state=ItemState.QUEUED, round=4)


@given(answers)
def test_without_an_answer_that_counts_nothing_is_decided_whatever_the_rounds(given_ones) -> None:  # type: ignore[no-untyped-def]
    unbelieved = tuple(each for each in given_ones if each.state is not AnnotationState.ANSWER)
    assert settle(replace(an_item(), round=2), Given((), unbelieved), None, ONE, same, NOW).decision is None
