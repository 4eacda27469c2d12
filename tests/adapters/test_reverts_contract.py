"""Decisions taken back, and the answers that count no more with them, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.dataset.reverting import TakenBack, take_back
from hitl_bridge.core.model import Annotation, AnnotationState, Item, ItemId, ItemState, Op
from hitl_bridge.ports import Revert, RevertChoice
from tests.adapters.store_examples import (
    LATER,
    NOW,
    a_decision,
    a_task,
    a_version,
    an_annotation,
    an_item,
    answered_review,
    contents,
    decided,
    pull,
)

ANA = "ana@example.com"
REVERT = Revert("r-1", "Dee", "misread", {"reviewer": "r_1"}, LATER)


def settled(store: SqlStore, item_id: str = "t-1") -> tuple[Item, Annotation]:
    """An item that an answer of Ana's has decided, in a version."""
    item = an_item(item_id)
    annotation = answered_review(store, item)
    decision = a_decision(item, behind=[annotation])
    store.record_settlements([decided(item, decision)], LATER)
    store.record_version(a_version(), [decision])
    return item, annotation


def chosen(store: SqlStore, choice: RevertChoice) -> list[TakenBack]:
    found = [take_back(history, lambda each: True, LATER) for _, history in store.reverts().histories(choice)]
    return [each for each in found if each is not None]


def states(store: SqlStore, item: Item) -> Sequence[AnnotationState]:
    return [each.state for each in store.standing_annotations([a_task(item).push_key])]


class TestReverts:
    def test_a_revert_writes_its_decisions_and_the_answers_behind_them_count_no_more(self, store: SqlStore) -> None:
        item, annotation = settled(store)
        (taken,) = chosen(store, RevertChoice(reviewer=ANA))
        assert (taken.decision.op, taken.answers) == (Op.REMOVE, frozenset({annotation.key}))
        assert store.reverts().record(REVERT, [taken]) == 1
        assert states(store, item) == [AnnotationState.QUARANTINED]
        assert store.reverts().uncommitted() == {"t-1"}
        (waiting,) = store.uncommitted()
        assert (waiting.decision, waiting.context.reverted_by, waiting.context.revert_reason) == (
            taken.decision,
            "Dee",
            "misread",
        )
        assert waiting.context.taken_back == (annotation.key,)
        assert [each.state for each in store.items_in(*ItemState)] == [ItemState.DECIDED]
        assert store.verify_audit({}).problems == ()

    def test_the_same_revert_twice_is_one(self, store: SqlStore) -> None:
        settled(store)
        taken = chosen(store, RevertChoice(items=[ItemId("t-1")]))
        store.reverts().record(REVERT, taken)
        before = contents(store)
        assert store.reverts().record(REVERT, taken) == 0
        assert contents(store) == before

    def test_what_the_author_said_before_is_in_force_again_and_what_they_say_after_it_too(self, store: SqlStore) -> None:
        item, first = settled(store)
        second = replace(first, updated_at="2026-11-22T12:00:00Z", result=({"x": 2},))
        pull(store, second)
        decision = a_decision(item, 1, op=Op.CHANGE, behind=[second])
        store.record_settlements([decided(item, decision)], LATER)
        histories = store.reverts().histories(RevertChoice(since=NOW))
        taken = [take_back(history, lambda each: each.decision.seq == 1, LATER) for _, history in histories]
        store.reverts().record(REVERT, [each for each in taken if each is not None])
        (standing,) = store.standing_annotations([a_task(item).push_key])
        assert standing.key == first.key
        pull(store, replace(first, updated_at="2026-11-22T13:00:00Z", result=({"x": 3},)))
        (standing,) = store.standing_annotations([a_task(item).push_key])
        assert standing.updated_at == "2026-11-22T13:00:00Z"

    def test_a_revert_that_is_taken_back_lets_its_answers_count_again(self, store: SqlStore) -> None:
        item, _ = settled(store)
        store.reverts().record(REVERT, chosen(store, RevertChoice(versions=["v0.1.0"])))
        histories = store.reverts().histories(RevertChoice(versions=[None]))
        taken = [take_back(history, lambda each: each.by_revert, LATER) for _, history in histories]
        store.reverts().record(replace(REVERT, revert_id="r-2"), [each for each in taken if each is not None])
        assert states(store, item) == [AnnotationState.ANSWER]

    def test_answers_of_a_reviewer_on_open_items_count_no_more_and_the_items_are_settled_anew(self, store: SqlStore) -> None:
        item = an_item("open")
        annotation = answered_review(store, item)
        store.record_settlements([replace(decided(item, a_decision(item)), state=ItemState.ANSWERED, decision=None)], LATER)
        assert store.open_reviews() == []
        assert store.reverts().record(replace(REVERT, answers_of=ANA), []) == 1
        (review,) = store.open_reviews()
        assert [(each.key, each.state) for each in review.annotations] == [(annotation.key, AnnotationState.QUARANTINED)]
        assert store.reverts().answers_by(ANA) == {annotation.key}
        assert store.reverts().answering() == {ANA}

    def test_an_item_is_asked_again_in_its_next_round(self, store: SqlStore) -> None:
        item, _ = settled(store)
        again = replace(item, round=item.round + 1, route=replace(item.route, due_at=LATER))
        store.reverts().record(REVERT, chosen(store, RevertChoice(reviewer=ANA)), [again])
        (found,) = store.items_in(ItemState.QUEUED)
        assert (found.round, found.route.due_at) == (1, LATER)

    def test_how_a_decision_came_about_is_told_with_it(self, store: SqlStore) -> None:
        item = an_item()
        annotation = answered_review(store, item)
        store.record_settlements([decided(item, a_decision(item, behind=[annotation]))], LATER)
        (waiting,) = store.uncommitted()
        context = waiting.context
        assert (context.asked_at, context.receipt_sha256, context.selected_by) == (NOW, "cd" * 32, None)
        assert len(str(context.annotations_sha256)) == 64
        other = an_annotation(a_task(item), number=5)
        store.record_settlements([decided(item, a_decision(item, 1, op=Op.CHANGE, behind=[annotation, other]))], LATER)
        assert store.uncommitted()[0].context.annotations_sha256 is None  # one of the answers is not known here
