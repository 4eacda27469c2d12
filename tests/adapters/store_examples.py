"""Small values of every kind that a store keeps, and the steps of a review up to a point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from hitl_bridge.adapters.sql.store import SqlStore
from hitl_bridge.adapters.sql.tables import metadata
from hitl_bridge.core.model import (
    Annotation,
    AnnotationId,
    AnnotationState,
    Answer,
    BatchId,
    DatasetVersion,
    Decision,
    Item,
    ItemId,
    ItemState,
    Op,
    Outcome,
    Prediction,
    ProjectId,
    ProjectKey,
    Purpose,
    PushKey,
    ReviewTask,
    Route,
    Split,
    TaskId,
    Triage,
)
from hitl_bridge.ports import Batch, ReceiptFile, RemoteTask, Settlement, StateStore

NOW = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
KEY = ProjectKey("payments", "comprehensive")
PROJECT = ProjectId(7)


def an_item(item_id: str = "t-1", revision: int = 0, *, priority: float = 0.5, state: ItemState = ItemState.QUEUED) -> Item:
    return Item(
        item_id=ItemId(item_id),
        revision=revision,
        state=state,
        round=0,
        prediction=Prediction(
            item_id=ItemId(item_id),
            input={"text": f"secret words of {item_id}"},
            output={"label": "refund"},
            confidence=0.1 + 0.2,
            model_version="intent-3",
            scores={"refund": 0.1 + 0.2, "billing": 1 / 3},
            scenario="payments",
            attributes={"amount": 12000, "language": "en", "vip": None},
            predicted_at="2026-11-22T09:00:00Z",
        ),
        triage=Triage(
            tier="comprehensive",
            risk=0.7,
            reason="high stakes",
            purpose=Purpose.REVIEW,
            split=Split.TRAIN,
            policy_version="p1",
            audit_rate=0.05,
            uniform_rate=0.02,
            rule="amount > 10000",
            edge=True,
        ),
        route=Route(
            pool="payments",
            tier="comprehensive",
            reviewers=2,
            due_at=NOW + timedelta(hours=24),
            priority=priority,
            blind=False,
            reason="scenario = 'payments'",
        ),
        batch_id=BatchId("b-1"),
        received_at=NOW,
    )


def a_batch(batch_id: str = "b-1", accepted: int = 10) -> Batch:
    return Batch(
        batch_id=BatchId(batch_id),
        source="predictions.jsonl",
        content_sha256="ab" * 32,
        read=accepted + 2,
        accepted=accepted,
        duplicates=1,
        problems=1,
        tiers={"auto": accepted - 1, "comprehensive": 1},
        audits=0,
        received_at=NOW,
    )


def a_task(item: Item, seat: int = 1, *, push_key: str = "") -> ReviewTask:
    key = push_key or f"{item.item_id}/{item.revision}/{item.round}/{seat}"
    return ReviewTask(PushKey(key), item.item_id, item.revision, item.round, seat, KEY)


def an_annotation(
    task: ReviewTask,
    number: int = 1,
    *,
    updated_at: str = "2026-11-22T11:00:00.5Z",
    state: AnnotationState = AnnotationState.ANSWER,
    label: str = "billing",
) -> Annotation:
    return Annotation(
        project_id=PROJECT,
        task_id=TaskId(100),
        annotation_id=AnnotationId(number),
        push_key=task.push_key,
        created_at="2026-11-22T10:30:00Z",
        updated_at=updated_at,
        reviewer="ana@example.com",
        updated_by="ana@example.com",
        state=state,
        answer=Answer({"label": label}, "clear", ("read", "checked"), 4) if state == AnnotationState.ANSWER else None,
        result=({"from_name": "label", "value": {"choices": [label]}},),
        lead_time=3.25,
        reason="" if state == AnnotationState.ANSWER else "why",
    )


def a_decision(item: Item, seq: int = 0, *, op: Op = Op.ADD, behind: Sequence[Annotation] = ()) -> Decision:
    return Decision(
        item_id=item.item_id,
        revision=item.revision,
        seq=seq,
        op=op,
        outcome=Outcome.CORRECTED,
        output=None if op == Op.REMOVE else {"label": "billing"},
        rationale="clear",
        reviewers=("ana@example.com",),
        annotations=tuple(each.key for each in behind),
        agreement=1.0,
        round=item.round,
        decided_at=LATER,
    )


def a_version(number: int = 1) -> DatasetVersion:
    return DatasetVersion(f"v0.{number}.0", f"decisions@v0.{number}.0", "c0ffee", 1, 0, 0, LATER + timedelta(hours=number))


def decided(item: Item, decision: Decision) -> Settlement:
    return Settlement(item.item_id, item.revision, ItemState.DECIDED, decision=decision, event="decided")


def contents(store: SqlStore) -> Mapping[str, list[tuple[Any, ...]]]:
    """Every row of every table: what must not change when a method runs twice."""
    with store.engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def ingest(store: StateStore, *items: Item, batch_id: str = "b-1") -> None:
    of_batch = [replace(item, batch_id=BatchId(batch_id)) for item in items]
    store.record_batch(a_batch(batch_id), ReceiptFile(f"receipts/{batch_id}.parquet", "cd" * 32, 10), of_batch)


def push(store: StateStore, *tasks: ReviewTask, first_task_id: int = 100) -> None:
    store.intend(tasks)
    store.mark_unknown([task.push_key for task in tasks], NOW)
    there = [RemoteTask(task.push_key, TaskId(first_task_id + n), "2026-11-22T10:10:00Z") for n, task in enumerate(tasks)]
    store.confirm(PROJECT, there, NOW)


def pull(store: StateStore, *annotations: Annotation, cursor: str | None = "2026-11-22T11:00:00Z") -> int:
    return store.record_pull(PROJECT, annotations, cursor, LATER)


def answered_review(store: StateStore, item: Item) -> Annotation:
    """Brings the item from ingest to its first answer."""
    ingest(store, item, batch_id=f"b-{item.item_id}-{item.revision}")
    task = a_task(item)
    push(store, task)
    annotation = an_annotation(task, number=abs(hash((item.item_id, item.revision))) % 10**6)
    pull(store, annotation)
    return annotation


def decided_item(store: StateStore, item: Item) -> Decision:
    annotation = answered_review(store, item)
    decision = a_decision(item, behind=[annotation])
    store.record_settlements([decided(item, decision)], LATER)
    return decision
