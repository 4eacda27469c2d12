"""What the store tells a planner, and policies by their version: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.core.model import ADJUDICATION, AnnotationState, Op, ProjectKey, Purpose
from hitl_bridge.ports import RecordedAnswer, RecordedDecision, Settled
from tests.adapters.store_examples import (
    LATER,
    NOW,
    a_decision,
    a_task,
    an_annotation,
    an_item,
    contents,
    decided,
    decided_item,
    ingest,
    pull,
    push,
)


class TestRecord:
    def test_every_file_of_receipts_comes_with_the_time_of_its_batch_oldest_first(self, store: SqlStore) -> None:
        ingest(store, an_item("t-1"), batch_id="b-1")
        ingest(store, an_item("t-2"), batch_id="b-2")
        found = store.record().batches()
        assert [each.file.path for each in found] == ["receipts/b-1.parquet", "receipts/b-2.parquet"]
        assert {each.received_at for each in found} == {NOW}

    def test_of_each_revision_the_decision_that_holds_is_told_once(self, store: SqlStore) -> None:
        one, two = an_item("t-1"), an_item("t-2")
        decided_item(store, one)
        decided_item(store, two)
        store.record_settlements([decided(two, a_decision(two, 1, op=Op.REMOVE))], LATER)
        assert list(store.record().decisions()) == [RecordedDecision(one.item_id, one.revision, {"label": "billing"})]

    def test_items_are_counted_by_tier_and_purpose_and_by_who_settled_them(self, store: SqlStore) -> None:
        item = an_item("t-1")
        audit = an_item("t-2")
        audit = replace(audit, triage=replace(audit.triage, tier="auto", purpose=Purpose.AUDIT))
        decided_item(store, item)
        decided_item(store, audit)
        second = replace(a_task(item, push_key="adjudicated"), round=1, project_key=ProjectKey("payments", ADJUDICATION))
        store.intend([second])
        ingest(store, an_item("t-3"), batch_id="b-9")
        assert store.record().settled() == [
            Settled("auto", Purpose.AUDIT, 1, 0),
            Settled("comprehensive", Purpose.REVIEW, 1, 1),
        ]
        assert store.record().undecided() == 1

    def test_an_answer_counts_once_however_often_it_was_revised(self, store: SqlStore) -> None:
        item = an_item()
        task = a_task(item)
        ingest(store, item)
        push(store, task)
        pull(store, an_annotation(task), an_annotation(task, 2, state=AnnotationState.SKIP))
        pull(store, replace(an_annotation(task, updated_at="2026-11-22T12:00:00Z"), lead_time=9.5))
        told = list(store.record().answers())
        assert told == [RecordedAnswer("comprehensive", Purpose.REVIEW, 9.5, "2026-11-22T12:00:00Z")]

    def test_a_policy_is_kept_once_with_its_event_and_stays_as_it_was(self, store: SqlStore) -> None:
        policies = store.policies()
        assert policies.content("p-1") is None
        policies.keep("p-1", {"tiers": [{"name": "auto", "max_risk": 0.1 + 0.2}]}, NOW)
        before = contents(store)
        policies.keep("p-1", {"tiers": []}, LATER)
        assert contents(store) == before
        assert policies.content("p-1") == {"tiers": [{"name": "auto", "max_risk": 0.1 + 0.2}]}
        told = store.insights().last_event("policy")
        assert told is not None
        assert (told.at, told.detail) == (NOW, {"policy_version": "p-1"})
