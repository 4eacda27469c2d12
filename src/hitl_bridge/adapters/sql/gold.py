"""Known items that the bridge asks by itself, and newcomers who learn by them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql.audit_log import Seal
from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.statements import chunks, insert_new_returning, insert_or_update, record_events
from hitl_bridge.adapters.sql.store_ingest import record_batch
from hitl_bridge.adapters.sql.tables import (
    annotation_revisions,
    gold_asked,
    gold_bank,
    gold_items,
    items,
    onboardings,
    review_tasks,
)
from hitl_bridge.core.gold import FirstAnswer, Known, Learner, Newcomers
from hitl_bridge.core.lifecycle import OPEN
from hitl_bridge.core.model import AnnotationState, ItemId
from hitl_bridge.ports import Batch, Event
from hitl_bridge.ports.gold import AskedGold, BankedItem

ASKED, LEARNS, PASSED = "gold.asked", "reviewer.learns", "reviewer.passed"
"""The events of known items that the bridge asked by itself, and of newcomers."""


class SqlGold:
    """Implements `ports.GoldStore`. Writes go through the store's own fence."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]], seal: Seal) -> None:
        self._engine = engine
        self._writing = writing
        self._seal = seal

    def keep(self, rows: Sequence[BankedItem], by: str, at: datetime) -> None:
        with self._writing() as connection:
            for each in rows:
                row = {"item_id": each.item_id, "row": each.row, "why": each.why or None, "by": by, "at": at}
                insert_or_update(connection, gold_bank, row, key=("item_id",))

    def bank(self) -> list[BankedItem]:
        wanted = sa.select(gold_bank).where(_IS_KNOWN).order_by(gold_bank.c.item_id)
        with reading(self._engine) as connection:
            rows = connection.execute(wanted).mappings()
            return [BankedItem(ItemId(row["item_id"]), row["row"], row["why"] or "") for row in rows]

    def left(self) -> int:
        wanted = sa.select(sa.func.count()).select_from(gold_bank).where(_IS_KNOWN, ~(_IS_THERE | _IS_TAUGHT))
        with reading(self._engine) as connection:
            return int(connection.execute(wanted).scalar_one())

    def mixed_in(self) -> frozenset[ItemId]:
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(gold_bank.c.item_id).where(_IS_THERE | _IS_TAUGHT)).scalars()
            return frozenset(ItemId(each) for each in found)

    def paired(self, names: Collection[str]) -> frozenset[str]:
        found: set[str] = set()
        with reading(self._engine) as connection:
            for some in chunks(sorted(names)):
                found |= set(connection.execute(sa.select(gold_asked.c.beside).where(gold_asked.c.beside.in_(some))).scalars())
        return frozenset(found)

    def ask(self, batch: Batch, asked: Sequence[AskedGold], at: datetime) -> None:
        with self._writing() as connection:
            record_batch(connection, batch, None, [each.item for each in asked])
            rows = [_asked_row(each, at) for each in asked]
            new = insert_new_returning(connection, gold_asked, rows, [gold_asked.c.item_id])
            if new:
                record_events(connection, [Event(at, ASKED, detail={"batch_id": batch.batch_id, "items": len(new)})])

    def lessons(self) -> dict[ItemId, Known]:
        wanted = (
            sa.select(gold_asked.c.item_id, gold_items.c.output, gold_bank.c.why)
            .select_from(
                gold_asked.join(gold_items, gold_items.c.item_id == gold_asked.c.gold_id).outerjoin(
                    gold_bank, gold_bank.c.item_id == gold_asked.c.gold_id
                )
            )
            .where(gold_asked.c.person.is_not(None))
        )
        with reading(self._engine) as connection:
            return {
                ItemId(row["item_id"]): Known(row["output"], row["why"] or "") for row in connection.execute(wanted).mappings()
            }

    # ------------------------------------------------------------------------------------------------------ newcomers

    def newcomers(self) -> Newcomers:
        found: dict[str, dict[str, datetime | None]] = {}
        with reading(self._engine) as connection:
            for row in connection.execute(sa.select(onboardings)).mappings():
                found.setdefault(row["pool"], {})[row["person"]] = row["passed_at"]
        return found

    def learners(self) -> list[Learner]:
        wanted = sa.select(onboardings).where(onboardings.c.passed_at.is_(None))
        ordered = wanted.order_by(onboardings.c.pool, onboardings.c.person)
        with reading(self._engine) as connection:
            rows = list(connection.execute(ordered).mappings())
            return [_learner(connection, row) for row in rows]

    def begin(self, people: Collection[tuple[str, str]], at: datetime) -> None:
        rows = [{"pool": pool, "person": person, "since": at} for pool, person in sorted(people)]
        with self._writing() as connection:
            new = insert_new_returning(connection, onboardings, rows, [onboardings.c.pool, onboardings.c.person])
            record_events(connection, [self._event(LEARNS, row["pool"], row["person"], at) for row in new])

    def passed(self, learner: Learner, at: datetime) -> None:
        with self._writing() as connection:
            theirs = (onboardings.c.pool == learner.pool) & (onboardings.c.person == learner.person)
            done = sa.update(onboardings).where(theirs, onboardings.c.passed_at.is_(None)).values(passed_at=at)
            if connection.execute(done).rowcount:
                record_events(connection, [self._event(PASSED, learner.pool, learner.person, at)])

    def _event(self, action: str, pool: str, person: str, at: datetime) -> Event:
        return Event(at, action, detail={"reviewer": self._seal.person(person), "pool": pool})


_IS_KNOWN = sa.exists().where(gold_items.c.item_id == gold_bank.c.item_id)
_IS_THERE = sa.exists().where(items.c.item_id == gold_bank.c.item_id)
_IS_TAUGHT = sa.exists().where(gold_asked.c.gold_id == gold_bank.c.item_id, gold_asked.c.person.is_not(None))
"""Somebody was told what is right: mixed in unseen among their reviews it would measure what they remember."""

_OF_ASKED = (items.c.item_id == gold_asked.c.item_id) & (items.c.revision == gold_asked.c.revision)

_FIRST_ANSWERS = (
    sa.select(gold_asked.c.item_id, annotation_revisions.c.answer, gold_items.c.output.label("known"))
    .select_from(
        gold_asked.join(gold_items, gold_items.c.item_id == gold_asked.c.gold_id)
        .join(
            review_tasks,
            (review_tasks.c.item_id == gold_asked.c.item_id)
            & (review_tasks.c.revision == gold_asked.c.revision)
            & (review_tasks.c.round == 1),
        )
        .join(annotation_revisions, annotation_revisions.c.push_key == review_tasks.c.push_key)
    )
    .where(annotation_revisions.c.state == AnnotationState.ANSWER)
    .order_by(annotation_revisions.c.id)
)
"""What learners said before they were told what is right, the oldest first."""


def _learner(connection: Connection, row: Mapping[Any, Any]) -> Learner:
    theirs = (gold_asked.c.pool == row["pool"]) & (gold_asked.c.person == row["person"])
    joined = gold_asked.join(items, _OF_ASKED)
    given = connection.execute(sa.select(gold_asked.c.gold_id, items.c.state).select_from(joined).where(theirs)).all()
    said = _FIRST_ANSWERS.where(theirs, annotation_revisions.c.reviewer == row["person"])
    first: dict[str, FirstAnswer] = {}
    for each in connection.execute(said).mappings():
        answer = each["answer"] or {}
        first.setdefault(each["item_id"], FirstAnswer(answer.get("output"), each["known"], "request" in answer))
    waiting = sum(state in OPEN for _, state in given)
    ids = frozenset(gold_id for gold_id, _ in given)
    return Learner(row["pool"], row["person"], row["since"], ids, waiting, tuple(first.values()))


def _asked_row(asked: AskedGold, at: datetime) -> dict[str, Any]:
    return {
        "item_id": asked.item.item_id,
        "revision": asked.item.revision,
        "gold_id": asked.gold_id,
        "beside": asked.beside,
        "pool": asked.pool,
        "person": asked.person,
        "at": at,
    }
