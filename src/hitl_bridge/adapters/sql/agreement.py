"""Answers as a record of those who gave them, and items whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.record import LATEST_REVISION
from hitl_bridge.adapters.sql.rulings import RULED_COLUMNS, TAKEN_BACK, RevisionRow, with_rulings
from hitl_bridge.adapters.sql.statements import insert_or_update, record_events
from hitl_bridge.adapters.sql.tables import annotation_revisions, gold_bank, gold_items, items, review_tasks
from hitl_bridge.core.gold import TRAINING
from hitl_bridge.core.model import ADJUDICATION, AnnotationState, ItemId, JSONObject, Purpose
from hitl_bridge.core.review.records import GivenAnswer
from hitl_bridge.ports import Event

ADDED, REMOVED = "gold.added", "gold.removed"
"""The events of items whose answer is known from now on, or no more."""


class SqlAgreement:
    """Implements `ports.AgreementStore`. Writes go through the store's own fence."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._engine = engine
        self._writing = writing

    def given(self, most: int, *, settled: bool = False, only_gold: bool = False) -> list[GivenAnswer]:
        wanted = _GIVEN.order_by(annotation_revisions.c.id.desc()).limit(most)
        if settled:
            wanted = wanted.where(items.c.needs_resolve.is_(None))
        if only_gold:
            wanted = wanted.where(gold_items.c.item_id.is_not(None))
        with reading(self._engine) as connection:
            rows = with_rulings(connection, connection.execute(wanted).mappings())
            return [_answer(row) for row in rows if not row.get(TAKEN_BACK) and "request" not in (row["answer"] or {})]

    def gold(self) -> Mapping[ItemId, JSONObject | None]:
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(gold_items).order_by(gold_items.c.item_id)).mappings()
            return {ItemId(row["item_id"]): row["output"] for row in rows}

    def record_gold(self, known: Mapping[ItemId, JSONObject | None], by: str, at: datetime) -> None:
        with self._writing() as connection:
            for item_id, output in known.items():
                row = {"item_id": item_id, "output": output, "by": by, "at": at}
                insert_or_update(connection, gold_items, row, key=("item_id",))
            record_events(connection, [Event(at, ADDED, item_id, actor=by) for item_id in known])

    def forget_gold(self, item_ids: Sequence[ItemId], by: str, at: datetime) -> int:
        with self._writing() as connection:
            there = [each for each in item_ids if connection.execute(_known(each)).first()]
            for each in there:
                connection.execute(sa.delete(gold_items).where(gold_items.c.item_id == each))
                connection.execute(sa.delete(gold_bank).where(gold_bank.c.item_id == each))  # with its input
            record_events(connection, [Event(at, REMOVED, item_id, actor=by) for item_id in there])
        return len(there)


def _known(item_id: ItemId) -> sa.Select[Any]:
    return sa.select(gold_items.c.item_id).where(gold_items.c.item_id == item_id)


_GIVEN = (
    sa.select(
        *RULED_COLUMNS,
        annotation_revisions.c.reviewer,
        annotation_revisions.c.lead_time,
        review_tasks.c.round,
        review_tasks.c.tier,
        items.c.item_id,
        items.c.revision,
        items.c.output.label("predicted"),
        items.c.pool,
        items.c.scenario,
        items.c.purpose,
        items.c.model_version,
        items.c.blind_rate,
        gold_items.c.item_id.label("gold"),
        gold_items.c.output.label("known"),
    )
    .select_from(
        annotation_revisions.join(review_tasks, annotation_revisions.c.push_key == review_tasks.c.push_key)
        .join(items, (items.c.item_id == review_tasks.c.item_id) & (items.c.revision == review_tasks.c.revision))
        .outerjoin(gold_items, gold_items.c.item_id == items.c.item_id)
    )
    .where(
        annotation_revisions.c.state == AnnotationState.ANSWER,
        annotation_revisions.c.reviewer != "",
        review_tasks.c.tier != ADJUDICATION,
        ~items.c.batch_id.startswith(TRAINING),
        LATEST_REVISION,
    )
)


def _answer(row: RevisionRow) -> GivenAnswer:
    purpose = Purpose(row["purpose"])
    return GivenAnswer(
        item_id=ItemId(row["item_id"]),
        revision=row["revision"],
        reviewer=row["reviewer"],
        said=(row["answer"] or {}).get("output"),
        predicted=row["predicted"],
        pool=row["pool"],
        tier=row["tier"],
        scenario=row["scenario"],
        purpose=purpose,
        model_version=row["model_version"],
        round=row["round"],
        seconds=None if row["lead_time"] is None else float(row["lead_time"]),
        shown=purpose is Purpose.REVIEW,
        blind_rate=row["blind_rate"],
        is_gold=row["gold"] is not None,
        known=row["known"],
    )
