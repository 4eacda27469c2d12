"""Values that tests of the core begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import settings

from hitl_bridge.core.model import (
    JSON,
    Annotation,
    AnnotationId,
    AnnotationState,
    Answer,
    BatchId,
    Item,
    ItemId,
    ItemState,
    Prediction,
    ProjectId,
    Purpose,
    PushKey,
    Route,
    Split,
    TaskId,
    Triage,
)

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
UNHURRIED = settings(deadline=None)
"""How long one example takes is a matter of the machine, not of the core."""
LABELS = ("refund", "billing", "cancel")


def an_item(
    item_id: str = "t-1",
    *,
    label: str = "refund",
    purpose: Purpose = Purpose.REVIEW,
    tier: str = "quick",
    state: ItemState = ItemState.PUSHED,
    scores: Mapping[str, float] | None = None,
    attributes: Mapping[str, JSON] | None = None,
) -> Item:
    blind = purpose is not Purpose.REVIEW
    return Item(
        item_id=ItemId(item_id),
        revision=1,
        state=state,
        round=1,
        prediction=Prediction(
            item_id=ItemId(item_id),
            input={"text": "I was charged twice"},
            output={"label": label},
            confidence=0.51,
            model_version="intent-3",
            scores=scores or {"refund": 0.51, "billing": 0.42, "cancel": 0.07},
            scenario="payments",
            attributes=attributes or {},
        ),
        triage=Triage(
            tier=tier,
            risk=0.49,
            reason="The model is unsure",
            purpose=purpose,
            split=Split.TRAIN,
            policy_version="p-1",
            audit_rate=0.05,
            uniform_rate=0.02,
        ),
        route=Route(
            pool="payments",
            tier=tier,
            reviewers=1,
            due_at=NOW + timedelta(hours=4),
            priority=0.06,
            blind=blind,
            reason="to payments",
        ),
        batch_id=BatchId("b-1"),
        received_at=NOW,
    )


def an_annotation(
    reviewer: str = "ana@example.com",
    label: str | None = "refund",
    *,
    annotation_id: int = 1,
    updated_at: str = "2026-11-22T10:05:00.000000Z",
    state: AnnotationState = AnnotationState.ANSWER,
    rationale: str = "",
    result: Sequence[JSON] = (),
) -> Annotation:
    return Annotation(
        project_id=ProjectId(7),
        task_id=TaskId(70),
        annotation_id=AnnotationId(annotation_id),
        push_key=PushKey("k-1"),
        created_at="2026-11-22T10:01:00.000000Z",
        updated_at=updated_at,
        reviewer=reviewer,
        updated_by=reviewer,
        state=state,
        answer=Answer({"label": label} if label else None, rationale) if state is AnnotationState.ANSWER else None,
        result=result,
    )
