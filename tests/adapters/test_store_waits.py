"""Items that wait for room in the review budget, run on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import Item, ItemId, ItemState, Purpose
from hitl_bridge.core.triage.selection import Arm
from hitl_bridge.ports import Pick, RecordedSelection, Spent
from tests.adapters.store_examples import LATER, NOW, a_task, an_item, contents, ingest, push


def by_risk(item_id: str = "t-1", *, priority: float = 0.5) -> Item:
    item = replace(an_item(item_id, 1, priority=priority), round=1)
    return replace(item, triage=replace(item.triage, rule=None))


class TestStoreWaits:
    def test_who_begins_to_wait_is_out_of_the_queue_until_picked(self, store: SqlStore) -> None:
        first, second = by_risk("t-1", priority=0.2), by_risk("t-2", priority=0.1)
        ingest(store, first, second)
        assert [item.item_id for item in store.queued()] == ["t-2", "t-1"]
        assert (store.waiting(), store.waiting_count()) == ([], 0)
        store.record_selection(RecordedSelection(left=[first], detail={"began_to_wait": 1}), NOW)
        assert [item.item_id for item in store.queued()] == ["t-2"]
        assert [(each.identity, each.since) for each in store.waiting()] == [(("t-1", 1), NOW)]
        assert store.waiting()[0].doubt == pytest.approx(1 / 3 - 0.3)
        assert [item.item_id for item in store.items_of([(ItemId("t-1"), 1), (ItemId("t-2"), 9)])] == ["t-1"]
        assert store.waiting_count() == 1
        assert [item.item_id for item in store.items_in(ItemState.QUEUED)] == ["t-2", "t-1"]
        store.record_selection(RecordedSelection(left=[first], detail={"began_to_wait": 1}), LATER)
        assert store.waiting()[0].since == NOW

    def test_of_an_answer_with_several_labels_the_confidence_is_what_doubt_goes_by(self, store: SqlStore) -> None:
        item = by_risk()
        sure_of_two = {"refund": 0.99, "billing": 0.98}
        item = replace(item, prediction=replace(item.prediction, output={"labels": [*sure_of_two]}, scores=sure_of_two))
        ingest(store, item)
        store.record_selection(RecordedSelection(left=[item], detail={"began_to_wait": 1}), NOW)
        assert store.waiting()[0].doubt == item.prediction.confidence

    def test_who_is_picked_gets_the_new_deadline_and_counts_as_promised(self, store: SqlStore) -> None:
        item = by_risk()
        ingest(store, item)
        store.record_selection(RecordedSelection(left=[item]), NOW)
        late = replace(item, route=replace(item.route, due_at=LATER, priority=0.7, reason="later"))
        store.record_selection(RecordedSelection([Pick(late, Arm.CHANCE, 0.01)], detail={"picked": 1}), LATER)
        (found,) = store.queued()
        assert found.route == late.route
        assert store.waiting_count() == 0
        assert store.spent(NOW) == Spent(0, frozenset({(ItemId("t-1"), 1)}))
        told = store.insights().last_event("selected")
        assert told is not None
        assert (told.at, told.detail) == (LATER, {"picked": 1})

    def test_what_of_the_budget_is_gone(self, store: SqlStore) -> None:
        drawn, ruled, again = (
            by_risk("drawn"),
            replace(by_risk("ruled"), triage=an_item().triage),
            replace(by_risk("again"), round=2),
        )
        drawn = replace(drawn, triage=replace(drawn.triage, purpose=Purpose.AUDIT))
        sent, intended, untouched = by_risk("sent"), by_risk("intended"), by_risk("untouched")
        ingest(store, drawn, ruled, again, sent, intended, untouched)
        push(store, *(a_task(item) for item in (drawn, ruled, again, sent)))
        store.intend([a_task(intended)])
        promised = frozenset({(intended.item_id, 1)})
        assert store.spent(NOW) == Spent(1, promised)
        assert store.spent(NOW + timedelta(seconds=1)) == Spent(0, promised)

    def test_what_waits_is_not_late(self, store: SqlStore) -> None:
        waits, late = by_risk("t-1"), by_risk("t-2")
        ingest(store, waits, late)
        store.record_selection(RecordedSelection(left=[waits]), NOW)
        assert [row["item_id"] for row in store.insights().overdue(NOW + timedelta(days=9))] == ["t-2"]

    def test_a_newer_revision_does_not_wait_in_place_of_the_older_one(self, store: SqlStore) -> None:
        item = by_risk()
        ingest(store, item)
        store.record_selection(RecordedSelection(left=[item]), NOW)
        ingest(store, replace(item, revision=2), batch_id="b-2")
        assert store.waiting_count() == 0
        assert [each.revision for each in store.queued()] == [2]

    def test_nothing_decided_is_nothing_written(self, store: SqlStore) -> None:
        ingest(store, by_risk())
        before = contents(store)
        store.record_selection(RecordedSelection(), NOW)
        assert contents(store) == before
