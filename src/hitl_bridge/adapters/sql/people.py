"""Who might decide when, and who has answered where."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql.audit_log import Seal
from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.record import DECISION_OF_ITEM, HOLDS, LATEST_REVISION
from hitl_bridge.adapters.sql.statements import insert_new, record_events
from hitl_bridge.adapters.sql.tables import annotation_revisions, decisions, gold_items, items, review_tasks, roster_terms
from hitl_bridge.core.lifecycle import OPEN
from hitl_bridge.core.model import JSON, AnnotationState, Item, ItemId, ItemState, ProjectKey, TaskState
from hitl_bridge.core.people import Role, RosterChange, Seat, Term
from hitl_bridge.ports import AnswerThere, CheckedAnswer, Event

_THERE = (TaskState.INTENDED, TaskState.UNKNOWN, TaskState.LIVE)
_LONGEST = 1800.0
"""Seconds: who takes longer has had a break."""

JOINED, LEFT, REROUTED = "reviewer.joined", "reviewer.left", "rerouted"


class SqlPeople:
    """Implements `ports.PeopleStore`. Writes go through the store's own fence."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]], seal: Seal) -> None:
        self._engine = engine
        self._writing = writing
        self._seal = seal

    def terms(self) -> list[Term]:
        ordered = sa.select(roster_terms).order_by(roster_terms.c.since, roster_terms.c.pool, roster_terms.c.person)
        with reading(self._engine) as connection:
            return [
                Term(Seat(row["pool"], Role(row["role"]), row["person"]), row["since"], row["until"])
                for row in connection.execute(ordered).mappings()
            ]

    def record(self, change: RosterChange, at: datetime) -> None:
        with self._writing() as connection:
            begun = [{**_key(seat), "since": at} for seat in change.joined]
            insert_new(connection, roster_terms, begun)
            for seat in change.left:
                held = [roster_terms.c[name] == value for name, value in _key(seat).items()]
                connection.execute(sa.update(roster_terms).where(*held, roster_terms.c.until.is_(None)).values(until=at))
            record_events(connection, [self._event(JOINED, seat, at) for seat in change.joined])
            record_events(connection, [self._event(LEFT, seat, at) for seat in change.left])

    def _event(self, action: str, seat: Seat, at: datetime) -> Event:
        return Event(at, action, detail={"reviewer": self._seal.person(seat.email), "pool": seat.pool, "role": seat.role})

    def open_work(self) -> dict[str, int]:
        answered = sa.exists().where(
            annotation_revisions.c.push_key == review_tasks.c.push_key, annotation_revisions.c.state == AnnotationState.ANSWER
        )
        waiting = _tasks_with_items().where(
            review_tasks.c.state.in_(_THERE), items.c.state.in_(sorted(OPEN)), review_tasks.c.pool.contains("/"), ~answered
        )
        counted: dict[str, int] = {}
        with reading(self._engine) as connection:
            for pool in connection.execute(waiting).scalars():
                email = ProjectKey(pool, "").reviewer
                counted[email] = counted.get(email, 0) + 1
        return counted

    def open_in_pools(self) -> dict[str, int]:
        asked = items.c.state.in_((ItemState.PUSHED, ItemState.ANSWERED))
        counted = sa.select(items.c.pool, sa.func.sum(items.c.reviewers)).where(asked).group_by(items.c.pool)
        with reading(self._engine) as connection:
            return {pool: int(count) for pool, count in connection.execute(counted)}

    def reroute(self, moved: Sequence[tuple[Item, str]], at: datetime) -> None:
        with self._writing() as connection:
            for item, pool in moved:
                there = connection.execute(_WAITS.where(*_of(item)).values(pool=pool, route_reason=_reason(item, pool)))
                if there.rowcount:
                    detail: dict[str, JSON] = {"from": item.route.pool, "to": pool, "revision": item.revision}
                    record_events(connection, [Event(at, REROUTED, item.item_id, detail)])

    def seconds_an_answer(self) -> dict[str, float]:
        taken = annotation_revisions.c.lead_time
        capped = sa.case((taken > _LONGEST, _LONGEST), else_=taken)
        averages = (
            sa.select(annotation_revisions.c.reviewer, sa.func.avg(sa.cast(capped, sa.Float)))
            .where(annotation_revisions.c.state == AnnotationState.ANSWER, taken > 0)
            .group_by(annotation_revisions.c.reviewer)
        )
        with reading(self._engine) as connection:
            return {person: float(seconds) for person, seconds in connection.execute(averages)}

    def checked_answers(self, most: int) -> Iterator[CheckedAnswer]:
        with reading(self._engine) as connection:
            for row in connection.execute(_newest_checked(most)).mappings():
                is_gold, answer = row["gold"] is not None, row["answer"] or {}
                if "request" in answer:
                    continue  # who hands an item on judges nothing
                if is_gold or set(row["reviewers"]) != {row["reviewer"]}:
                    true = row["known"] if is_gold else row["decided"]
                    yield CheckedAnswer(row["reviewer"], row["scenario"], answer.get("output"), true)

    def answers_of_others(self, people: Mapping[str, Collection[str]]) -> list[AnswerThere]:
        revision, task = annotation_revisions.c, review_tasks.c
        by_others = [_in_pool(pool) & revision.reviewer.not_in(sorted(names)) for pool, names in people.items()]
        wanted = (
            sa.select(task.pool, revision.reviewer, task.item_id, revision.updated_at)
            .select_from(annotation_revisions.join(review_tasks, task.push_key == revision.push_key))
            .where(revision.state == AnnotationState.ANSWER, revision.reviewer != "", LATEST_REVISION)
            .where(sa.or_(sa.false(), *by_others))
        )
        with reading(self._engine) as connection:
            return [
                AnswerThere(ProjectKey(pool, "").team, email, ItemId(item_id), at)
                for pool, email, item_id, at in connection.execute(wanted)
            ]


def _in_pool(name: str) -> sa.ColumnElement[bool]:
    """Whether a task is in the pool's project, or in one of its people's own."""
    return (review_tasks.c.pool == name) | review_tasks.c.pool.startswith(f"{name}/", autoescape=True)


def _tasks_with_items() -> sa.Select[Any]:
    of_item = (items.c.item_id == review_tasks.c.item_id) & (items.c.revision == review_tasks.c.revision)
    return sa.select(review_tasks.c.pool).select_from(review_tasks.join(items, of_item & (items.c.round == review_tasks.c.round)))


_IS_PROMISED = sa.exists().where(
    review_tasks.c.item_id == items.c.item_id,
    review_tasks.c.revision == items.c.revision,
    review_tasks.c.round == items.c.round,
)
_WAITS = sa.update(items).where(items.c.state == ItemState.QUEUED, ~_IS_PROMISED)


def _of(item: Item) -> tuple[sa.ColumnElement[bool], ...]:
    return items.c.item_id == item.item_id, items.c.revision == item.revision, items.c.pool == item.route.pool


def _reason(item: Item, pool: str) -> str:
    """The route's sentence begins with the pool."""
    before = f"{item.route.pool}, "
    return f"{pool}, {item.route.reason[len(before) :]}" if item.route.reason.startswith(before) else item.route.reason


def _key(seat: Seat) -> dict[str, str]:
    return {"pool": seat.pool, "role": seat.role.value, "person": seat.email}


def _newest_checked(most: int) -> sa.Select[Any]:
    """The newest answers to items that are decided or gold, with what holds of the item and what is known of it."""
    of_task = annotation_revisions.c.push_key == review_tasks.c.push_key
    of_item = (items.c.item_id == review_tasks.c.item_id) & (items.c.revision == review_tasks.c.revision)
    return (
        sa.select(
            annotation_revisions.c.reviewer,
            items.c.scenario,
            annotation_revisions.c.answer,
            decisions.c.output.label("decided"),
            decisions.c.reviewers,
            gold_items.c.item_id.label("gold"),
            gold_items.c.output.label("known"),
        )
        .select_from(
            annotation_revisions.join(review_tasks, of_task)
            .join(items, of_item)
            .outerjoin(decisions, DECISION_OF_ITEM & HOLDS)
            .outerjoin(gold_items, gold_items.c.item_id == items.c.item_id)
        )
        .where(annotation_revisions.c.state == AnnotationState.ANSWER, LATEST_REVISION)
        .where(decisions.c.item_id.is_not(None) | gold_items.c.item_id.is_not(None))
        .order_by(annotation_revisions.c.id.desc())
        .limit(most)
    )
