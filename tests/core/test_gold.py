"""Known items that the bridge asks by itself: which, beside what, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hitl_bridge.core.gold import (
    FirstAnswer,
    GoldTerms,
    Known,
    KnownItem,
    Learner,
    due_beside,
    is_training,
    learner,
    lesson,
    mixed_in,
    next_lessons,
    paired,
    settle_lesson,
)
from hitl_bridge.core.model import Answer, BatchId, Item, ItemId, ItemState, Prediction, Purpose, Request
from hitl_bridge.core.people import Deciders, together
from hitl_bridge.core.review.settle import Given
from hitl_bridge.core.routing import Tier
from hitl_bridge.core.task_types import task_type
from tests.core.examples import an_annotation, an_item

KEY = b"a key of the workspace, for draws"
NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
ANA = "ana@example.com"
KIND = task_type("text-classification")
QUICK = Tier("quick", 0.4)


def known(name: str, tier: str = "quick", pool: str = "general") -> KnownItem:
    said = Prediction(ItemId(name), {"text": "words"}, {"label": "refund"}, 0.7, "m1")
    return KnownItem(said, pool, tier, 0.3, "p1", "The model says refund and is 70 % sure")


def queued(name: str, *, pool: str = "general", tier: str = "quick") -> Item:
    item = an_item()
    prediction = replace(item.prediction, item_id=ItemId(name))
    route = replace(item.route, pool=pool, tier=tier)
    return replace(item, item_id=ItemId(name), round=1, prediction=prediction, route=route, batch_id=BatchId("b-1"))


def test_the_draw_decides_beside_which_reviews_one_is_due_and_only_beside_those() -> None:
    items = [queued(f"t-{number}") for number in range(400)]
    due = due_beside(KEY, items, 0.25)
    assert 70 < len(due) < 130
    assert due_beside(KEY, items, 0.25) == due
    assert set(map(id, due_beside(KEY, items, 0.05))) < set(map(id, due))
    audit = replace(items[0], triage=replace(items[0].triage, purpose=Purpose.AUDIT))
    others = [replace(items[0], round=2), replace(items[0], batch_id=BatchId("gold-1")), audit]
    assert due_beside(KEY, others, 1.0) == []


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(["quick", "full"]), max_size=12), st.lists(st.sampled_from(["quick", "full", "auto"]), max_size=12)
)
def test_each_known_item_is_used_once_and_of_the_same_tier_as_long_as_there_is_one(wanted: list[str], there: list[str]) -> None:
    due = [queued(f"t-{place}", tier=tier) for place, tier in enumerate(wanted)]
    bank = [known(f"g-{place}", tier) for place, tier in enumerate(there)] + [known("other", pool="payments")]
    pairs = paired(KEY, due, bank)
    assert len(pairs) == min(len(due), len(there))
    assert len({each.item_id for _, each in pairs}) == len(pairs)
    assert "other" not in {each.item_id for _, each in pairs}
    first = next(((item, each) for item, each in pairs if item.route.tier in there), None)
    assert first is None or first[0] is not due[0] or first[1].tier == first[0].route.tier


def test_a_mixed_in_item_is_routed_as_its_neighbour_is_and_blind_where_nobody_would_see_it() -> None:
    beside = queued("t-1")
    shown = mixed_in(known("g-1"), beside, QUICK, BatchId("gold-1"), NOW, KEY)
    assert (shown.route.due_at, shown.route.pool, shown.route.blind) == (beside.route.due_at, "general", False)
    hidden = mixed_in(replace(known("g-2"), reason=None), beside, QUICK, BatchId("gold-1"), NOW, KEY)
    assert hidden.route.blind
    assert hidden.triage.blind_rate is None
    drawn = mixed_in(known("g-3"), beside, replace(QUICK, blind=0.999), BatchId("gold-1"), NOW, KEY)
    assert (drawn.route.blind, drawn.triage.blind_rate) == (True, 0.999)
    assert drawn.triage.reason == hidden.triage.reason


@pytest.mark.parametrize(
    ("right", "there", "passes"),
    [
        ([1, 1, 1, 0], 9, True),
        ([1, 1, 0, 0], 9, False),
        ([0, 0, 1, 1, 1, 0], 9, True),
        ([1, 1, 1], 9, False),
        ([1, 1], 2, True),
        ([], 0, False),
    ],
)
def test_who_counts_is_decided_by_the_newest_first_answers(right: list[int], there: int, passes: bool) -> None:
    true = {"label": "refund"}
    answers = tuple(FirstAnswer(true if each else {"label": "cancel"}, true) for each in right)
    pupil = Learner("general", ANA, NOW, answers=answers)
    assert pupil.has_passed(GoldTerms(onboarding=4, passing=0.75), there, KIND.same) is passes


def test_lessons_are_given_in_batches_none_twice_and_none_of_another_pool() -> None:
    bank = [known(f"g-{number}") for number in range(10)] + [known("other", pool="payments")]
    terms, pupil = GoldTerms(onboarding=8), Learner("general", ANA, NOW)
    first = next_lessons(KEY, pupil, bank, terms)
    assert len(first) == 8
    asked = frozenset(each.item_id for each in first)
    assert next_lessons(KEY, replace(pupil, given=asked, open=1), bank, terms) == []
    more = next_lessons(KEY, replace(pupil, given=asked), bank, terms)
    assert len(more) == 2
    assert not asked & {each.item_id for each in more}


def test_a_wrong_answer_brings_a_lesson_back_once_with_what_is_right() -> None:
    item = replace(
        lesson(known("g-1"), Learner("general", ANA, NOW), QUICK, BatchId("training-1"), NOW, KEY), state=ItemState.PUSHED
    )
    true = Known({"label": "cancel"}, "They want to leave.")
    assert (is_training(item), learner(item)) == (True, ANA)
    assert settle_lesson(item, Given(()), true, KIND).state is ItemState.PUSHED
    wrong, right = (replace(an_annotation(label=label), reviewer=ANA) for label in ("refund", "cancel"))
    assert settle_lesson(item, Given((right,)), true, KIND).state is ItemState.WITHDRAWN
    told = settle_lesson(item, Given((wrong,)), true, KIND)
    assert told.next_round is not None
    assert told.next_round.route.note == "You answered “refund”; right is “cancel”. They want to leave."
    assert settle_lesson(told.next_round, Given((wrong,)), true, KIND).state is ItemState.WITHDRAWN
    asked = settle_lesson(item, Given((replace(wrong, answer=Answer(None, request=Request.ESCALATE)),)), true, KIND)
    assert asked.next_round is not None
    assert asked.next_round.route.note.startswith("You asked for an adjudicator; right is")
    assert settle_lesson(item, Given((replace(wrong, reviewer="ben@example.com"),)), true, KIND).next_round is None


def test_what_somebody_said_before_they_counted_does_not_count_later() -> None:
    people = Deciders(frozenset({ANA, "ben@example.com"}), begun={ANA: NOW})
    assert not people.might(ANA, "2026-11-22T09:59:59Z")
    assert people.might(ANA, "2026-11-22T10:00:01Z")
    assert people.might("ben@example.com", "2026-11-22T09:59:59Z")
    nobody = together([Deciders(frozenset()), Deciders(frozenset())])
    assert isinstance(nobody, Deciders)
    assert not nobody.might(ANA, "2026-11-22T10:00:01Z")
