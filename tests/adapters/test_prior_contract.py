"""Decisions that were made before, as pages and the index need them: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import AnnotationState, Answer, ItemId, Op, Split
from hitl_bridge.ports import AuditHead
from tests.adapters.store_examples import (
    LATER,
    NOW,
    a_decision,
    a_task,
    an_annotation,
    an_item,
    answered_review,
    decided,
    decided_item,
    ingest,
    pull,
    push,
)


class TestPrior:
    def test_each_item_is_new_once_from_the_head_at_which_somebody_last_looked(self, store: SqlStore) -> None:
        prior = store.prior()
        decided_item(store, an_item("t-1"))
        (first,) = prior.newly_decided(None)
        assert (first.item_id, first.revision, first.input) == ("t-1", 0, {"text": "secret words of t-1"})
        assert first.scores == an_item().prediction.scores
        head = prior.head()
        assert list(prior.newly_decided(head)) == []
        decided_item(store, an_item("t#2.0"))
        decided_item(store, an_item("t#2.0", revision=1))
        item = an_item("t-1")
        store.record_settlements([decided(item, a_decision(item, 1, op=Op.CHANGE))], LATER)
        assert [(each.item_id, each.revision) for each in prior.newly_decided(head)] == [("t#2.0", 0), ("t#2.0", 1)]
        assert len(list(prior.newly_decided(None))) == 3

    def test_what_measures_the_model_is_never_shown_as_decided(self, store: SqlStore) -> None:
        item = an_item("t-1")
        decided_item(store, replace(item, triage=replace(item.triage, split=Split.HOLDOUT)))
        assert list(store.prior().newly_decided(None)) == []
        assert list(store.prior().newly_decided(AuditHead(0, "0" * 64))) == []

    def test_a_head_of_another_store_is_not_known(self, store: SqlStore) -> None:
        decided_item(store, an_item("t-1"))
        head = store.prior().head()
        assert store.prior().knows(head)
        assert not store.prior().knows(replace(head, hash="f" * 64))
        assert not store.prior().knows(replace(head, seq=head.seq + 1))

    def test_only_decisions_that_hold_are_shown_and_none_of_a_gold_item(self, store: SqlStore) -> None:
        prior, item = store.prior(), an_item("t-1")
        decided_item(store, item)
        decided_item(store, an_item("t-2"))
        (held, _) = prior.holding([(ItemId("t-1"), 0), (ItemId("t-2"), 0), (ItemId("t-9"), 0)]).values()
        assert (held.item_id, held.decision.output, held.input) == ("t-1", {"label": "billing"}, {"text": "secret words of t-1"})
        store.agreement().record_gold({ItemId("t-2"): {"label": "refund"}}, "Ana", NOW)
        store.record_settlements([decided(item, a_decision(item, 1, op=Op.REMOVE))], LATER)
        assert prior.holding([(ItemId("t-1"), 0), (ItemId("t-2"), 0)]) == {}

    def test_the_last_decision_is_told_also_where_it_was_taken_back(self, store: SqlStore) -> None:
        item = an_item("t-1")
        first = decided_item(store, item)
        taken_back = replace(a_decision(item, 1, op=Op.REMOVE), rationale="")
        store.record_settlements([decided(item, taken_back)], LATER)
        identity = (ItemId("t-1"), 0)
        assert store.prior().last_decisions([identity]) == {identity: first}

    def test_the_latest_revision_of_an_item_is_found(self, store: SqlStore) -> None:
        ingest(store, an_item("t-1"))
        ingest(store, an_item("t-1", revision=1), batch_id="b-2")
        found = store.prior().latest(ItemId("t-1"))
        assert found is not None
        assert found.revision == 1
        assert store.prior().latest(ItemId("t-9")) is None

    def test_missing_labels_are_counted_as_people_write_them(self, store: SqlStore) -> None:
        def wishes(number: int, item_id: str, name: str, reviewer: str, state: AnnotationState = AnnotationState.ANSWER) -> None:
            task = a_task(an_item(item_id))
            wish = replace(
                an_annotation(task, number), answer=Answer(None, reason_codes=("a label is missing",), missing_label=name)
            )
            pull(store, replace(wish, reviewer=reviewer, updated_by=reviewer, state=state))

        for item_id in ("t-1", "t-2", "t-3"):
            ingest(store, an_item(item_id), batch_id=f"b-{item_id}")
            push(store, a_task(an_item(item_id)), first_task_id=hash(item_id) % 10**6)
        wishes(1, "t-1", "Gift card", "ana@example.com")
        wishes(2, "t-2", "gift  card", "ben@example.com")
        wishes(3, "t-3", "gift card", "ana@example.com")
        wishes(4, "t-3", "voucher", "ben@example.com")
        wishes(5, "t-3", "spam", "mallory@example.com", AnnotationState.QUARANTINED)
        answered_review(store, an_item("t-4"))
        gift, voucher = store.prior().missing_labels()
        assert (gift.name, gift.times, gift.reviewers, gift.items) == ("gift card", 3, 2, ("t-3", "t-2", "t-1"))
        assert gift.names == ("gift card", "Gift card")
        assert (voucher.name, voucher.times) == ("voucher", 1)

    def test_a_decision_keeps_the_scenario_that_reviewers_name(self, store: SqlStore) -> None:
        item = an_item("t-1")
        answered_review(store, item)
        store.record_settlements([decided(item, replace(a_decision(item), scenario="fraud"))], LATER)
        assert [each.decision.scenario for each in store.uncommitted()] == ["fraud"]
        told: Any = store.insights().life_of(ItemId("t-1"))["decisions"]
        assert [each["scenario"] for each in told] == ["fraud"]
        assert not store.verify_audit({}).problems
