"""Answers as a record of reviewers, and gold items: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import ADJUDICATION, ItemId, ProjectKey
from tests.adapters.store_examples import (
    LATER,
    NOW,
    a_decision,
    a_task,
    an_annotation,
    an_item,
    answered_review,
    decided,
    ingest,
    pull,
    push,
)


class TestAgreement:
    def test_the_newest_revision_of_each_answer_is_told_with_what_it_was_an_answer_to(self, store: SqlStore) -> None:
        item = an_item("t-1")
        item = replace(item, triage=replace(item.triage, blind_rate=0.25))
        ingest(store, item)
        task = a_task(item)
        push(store, task)
        pull(store, an_annotation(task, label="refund"))
        pull(store, an_annotation(task, updated_at="2026-11-22T12:00:00Z", label="billing"))
        (given,) = store.agreement().given(10)
        assert (given.said, given.predicted, given.reviewer) == ({"label": "billing"}, {"label": "refund"}, "ana@example.com")
        assert (given.blind_rate, given.seconds, given.is_gold, given.scenario) == (0.25, 3.25, False, "payments")
        assert store.agreement().given(10, only_gold=True) == []

    def test_answers_that_wait_to_be_settled_can_be_left_out(self, store: SqlStore) -> None:
        item = an_item("t-1")
        answered_review(store, item)
        assert store.agreement().given(10, settled=True) == []
        store.record_settlements([decided(item, a_decision(item))], LATER)
        assert len(store.agreement().given(10, settled=True)) == 1

    def test_what_adjudicators_say_is_no_review(self, store: SqlStore) -> None:
        item = an_item("t-1")
        ingest(store, item)
        task = replace(a_task(item), project_key=ProjectKey("payments", ADJUDICATION))
        push(store, task)
        pull(store, an_annotation(task))
        assert store.agreement().given(10) == []

    def test_a_known_answer_is_kept_replaced_and_taken_off_with_an_event_each(self, store: SqlStore) -> None:
        gold, item = store.agreement(), ItemId("t-1")
        answered_review(store, an_item("t-1"))
        gold.record_gold({item: {"label": "refund"}, ItemId("t-2"): None}, "Ana", NOW)
        gold.record_gold({item: {"label": "cancel"}}, "Ana", LATER)
        assert gold.gold() == {item: {"label": "cancel"}, "t-2": None}
        assert [each.known for each in gold.given(10)] == [{"label": "cancel"}]
        assert gold.forget_gold([item, ItemId("t-9")], "Ana", LATER) == 1
        assert [each.is_gold for each in gold.given(10)] == [False]
        assert store.insights().last_event("gold.removed") is not None
        assert not store.verify_audit({}).problems

    def test_a_decision_keeps_its_probability(self, store: SqlStore) -> None:
        item = an_item("t-1")
        answered_review(store, item)
        store.record_settlements([decided(item, replace(a_decision(item), probability=0.97))], LATER)
        assert [each.decision.probability for each in store.uncommitted()] == [0.97]
