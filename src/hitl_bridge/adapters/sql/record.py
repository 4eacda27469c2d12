"""What was recorded of predictions and reviews, for planning. Nothing here says who answered or what an item says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.rows import receipt_file_of
from hitl_bridge.adapters.sql.tables import annotation_revisions, batches, decisions, items, receipt_files, review_tasks
from hitl_bridge.core.lifecycle import OPEN
from hitl_bridge.core.model import ADJUDICATION, AnnotationState, ItemId, Op, Purpose
from hitl_bridge.ports import RecordedAnswer, RecordedBatch, RecordedDecision, Settled

_AT_ONCE = 10_000

_newer_decision = decisions.alias("newer_decision")
HOLDS = ~sa.exists().where(
    _newer_decision.c.item_id == decisions.c.item_id,
    _newer_decision.c.revision == decisions.c.revision,
    _newer_decision.c.seq > decisions.c.seq,
) & (decisions.c.op != Op.REMOVE)
DECISION_OF_ITEM = (decisions.c.item_id == items.c.item_id) & (decisions.c.revision == items.c.revision)
_WENT_ON = sa.exists().where(
    review_tasks.c.item_id == items.c.item_id,
    review_tasks.c.revision == items.c.revision,
    review_tasks.c.tier == ADJUDICATION,
)

_newer_answer = annotation_revisions.alias("newer_answer")
LATEST_REVISION = ~sa.exists().where(
    _newer_answer.c.push_key == annotation_revisions.c.push_key,
    _newer_answer.c.project_id == annotation_revisions.c.project_id,
    _newer_answer.c.annotation_id == annotation_revisions.c.annotation_id,
    _newer_answer.c.created_at == annotation_revisions.c.created_at,
    _newer_answer.c.id > annotation_revisions.c.id,
)


class SqlReviewRecord:
    """Implements `ports.ReviewRecord`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def batches(self) -> list[RecordedBatch]:
        joined = receipt_files.join(batches, receipt_files.c.batch_id == batches.c.batch_id)
        wanted = sa.select(receipt_files, batches.c.received_at).select_from(joined).order_by(receipt_files.c.id)
        return [RecordedBatch(receipt_file_of(row), row["received_at"]) for row in self._rows(wanted)]

    def decisions(self) -> Iterator[RecordedDecision]:
        wanted = sa.select(decisions.c.item_id, decisions.c.revision, decisions.c.output).where(HOLDS)
        for row in self._rows(wanted):
            yield RecordedDecision(ItemId(row["item_id"]), row["revision"], row["output"])

    def settled(self) -> list[Settled]:
        wanted = (
            sa.select(
                items.c.triage_tier,
                items.c.purpose,
                sa.func.count().label("decided"),
                sa.func.sum(sa.case((_WENT_ON, 1), else_=0)).label("adjudicated"),
            )
            .select_from(items.join(decisions, DECISION_OF_ITEM))
            .where(HOLDS)
            .group_by(items.c.triage_tier, items.c.purpose)
            .order_by(items.c.triage_tier, items.c.purpose)
        )
        return [
            Settled(row["triage_tier"], Purpose(row["purpose"]), row["decided"], row["adjudicated"]) for row in self._rows(wanted)
        ]

    def answers(self) -> Iterator[RecordedAnswer]:
        of_task = annotation_revisions.c.push_key == review_tasks.c.push_key
        of_item = (items.c.item_id == review_tasks.c.item_id) & (items.c.revision == review_tasks.c.revision)
        wanted = (
            sa.select(review_tasks.c.tier, items.c.purpose, annotation_revisions.c.lead_time, annotation_revisions.c.updated_at)
            .select_from(annotation_revisions.join(review_tasks, of_task).join(items, of_item))
            .where(annotation_revisions.c.state == AnnotationState.ANSWER, LATEST_REVISION)
        )
        for row in self._rows(wanted):
            yield RecordedAnswer(row["tier"], Purpose(row["purpose"]), row["lead_time"], row["updated_at"])

    def undecided(self) -> int:
        waiting = sa.select(sa.func.count().label("n")).select_from(items).where(items.c.state.in_(sorted(OPEN)))
        [row] = self._rows(waiting)
        return int(row["n"])

    def _rows(self, query: sa.Select[Any]) -> Iterator[sa.RowMapping]:
        with reading(self._engine) as connection:
            result = connection.execution_options(yield_per=_AT_ONCE).execute(query)
            yield from result.mappings()
