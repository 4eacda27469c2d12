"""The read model: counts and lists for every face. Nothing here is needed to do the bridge's work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, RowMapping

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.item_life import life_of
from hitl_bridge.adapters.sql.rows import annotation_of, event_of
from hitl_bridge.adapters.sql.statements import is_latest_revision
from hitl_bridge.adapters.sql.store_commit import IS_LATEST_DECISION
from hitl_bridge.adapters.sql.store_quarantine import items_of_tasks, quarantined_rows
from hitl_bridge.adapters.sql.store_waits import is_waiting
from hitl_bridge.adapters.sql.tables import annotation_revisions, batches, decisions, events, items, projects, review_tasks
from hitl_bridge.core.lifecycle import OPEN
from hitl_bridge.core.model import JSON, Annotation, AnnotationState, ItemId, ItemState, Op, Outcome, Purpose, TaskState
from hitl_bridge.ports import Event


class SqlInsights:
    """Implements `ports.Insights`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def item_counts(self) -> Mapping[str, int]:
        counted = sa.select(items.c.state, sa.func.count().label("n")).where(is_latest_revision()).group_by(items.c.state)
        unseen = sa.select(sa.func.coalesce(sa.func.sum(batches.c.accepted - batches.c["items"]), 0))
        with reading(self.engine) as connection:
            counts = {row["state"]: row["n"] for row in connection.execute(counted).mappings()}
            auto_approved = max(0, int(connection.execute(unseen).scalar_one()))
        if auto_approved:
            counts[ItemState.AUTO_APPROVED.value] = auto_approved + counts.get(ItemState.AUTO_APPROVED.value, 0)
        return counts

    def tier_counts(self) -> Mapping[str, int]:
        total: Counter[str] = Counter()
        with reading(self.engine) as connection:
            for tiers in connection.execute(sa.select(batches.c.tiers)).scalars():
                total.update(tiers)
        return dict(total)

    def project_counts(self) -> list[Mapping[str, JSON]]:
        """`tasks` are those that are there; `answered` have an answer; `open` wait for (another) one in the present round, and of
        these `open_answered` have one already; `closed` are those that do not wait."""
        with reading(self.engine) as connection:
            return [_project_line(row) for row in connection.execute(_PROJECT_COUNTS).mappings()]

    def overdue(self, now: datetime) -> list[Mapping[str, JSON]]:
        """The one that has waited longest past its deadline comes first. What waits for room in the review budget is not late."""
        late = sa.select(items).where(items.c.state.in_(sorted(OPEN)), items.c.due_at < now, is_latest_revision(), ~is_waiting())
        with reading(self.engine) as connection:
            return [_overdue_line(row, now) for row in connection.execute(late.order_by(items.c.due_at)).mappings()]

    def decision_counts(self) -> Mapping[str, int]:
        current = sa.select(decisions.c.outcome, sa.func.count().label("n")).where(IS_LATEST_DECISION)
        counted = current.where(decisions.c.op != Op.REMOVE).group_by(decisions.c.outcome)
        with reading(self.engine) as connection:
            return {row["outcome"]: row["n"] for row in connection.execute(counted).mappings()}

    def audit_counts(self) -> Mapping[str, int]:
        """`decided` audits and how many of them were `overturned`: the answer was not the prediction."""
        of_item = (items.c.item_id == decisions.c.item_id) & (items.c.revision == decisions.c.revision)
        overturned = sa.case((decisions.c.outcome != Outcome.ACCEPTED, 1), else_=0)
        counted = (
            sa.select(sa.func.count().label("decided"), sa.func.coalesce(sa.func.sum(overturned), 0).label("overturned"))
            .select_from(items.join(decisions, of_item))
            .where(items.c.purpose == Purpose.AUDIT, IS_LATEST_DECISION, decisions.c.op != Op.REMOVE)
        )
        with reading(self.engine) as connection:
            row = connection.execute(counted).mappings().one()
        return {"decided": row["decided"], "overturned": row["overturned"]}

    def life_of(self, item_id: ItemId) -> Mapping[str, JSON]:
        with reading(self.engine) as connection:
            return life_of(connection, item_id)

    def last_event(self, action: str) -> Event | None:
        wanted = sa.select(events).where(events.c.action == action).order_by(events.c.seq.desc()).limit(1)
        with reading(self.engine) as connection:
            row = connection.execute(wanted).mappings().first()
        return None if row is None else event_of(row)

    def problems(self) -> list[Mapping[str, JSON]]:
        """What a person has to look at: {kind: item | annotation, item_id, revision, reason, …}."""
        with reading(self.engine) as connection:
            return [*_items_aside(connection), *_quarantined_annotations(connection)]


_THERE = sa.case((review_tasks.c.task_id.is_not(None), 1), else_=0)
_ANSWER_OF_TASK = annotation_revisions.c.push_key == review_tasks.c.push_key
_HAS_ANSWER = sa.exists().where(_ANSWER_OF_TASK, annotation_revisions.c.state == AnnotationState.ANSWER)
_WAITS = (
    (review_tasks.c.state == TaskState.LIVE)
    & (review_tasks.c.round == items.c.round)
    & items.c.state.in_((ItemState.PUSHED, ItemState.ANSWERED))
)
_OF_PROJECT = sa.and_(*(review_tasks.c[name] == projects.c[name] for name in ("pool", "tier", "part")))
_OF_ITEM = (items.c.item_id == review_tasks.c.item_id) & (items.c.revision == review_tasks.c.revision)
_PROJECT_COUNTS = (
    sa.select(
        projects,
        sa.func.coalesce(sa.func.sum(_THERE), 0).label("tasks"),
        sa.func.coalesce(sa.func.sum(sa.case((_HAS_ANSWER, 1), else_=0)), 0).label("answered"),
        sa.func.coalesce(sa.func.sum(sa.case((_WAITS, 1), else_=0)), 0).label("open"),
        sa.func.coalesce(sa.func.sum(sa.case((_WAITS & _HAS_ANSWER, 1), else_=0)), 0).label("open_answered"),
    )
    .select_from(projects.outerjoin(review_tasks, _OF_PROJECT).outerjoin(items, _OF_ITEM))
    .group_by(*projects.c)
    .order_by(projects.c.pool, projects.c.tier, projects.c.part)
)


def _project_line(row: RowMapping) -> Mapping[str, JSON]:
    names = ("title", "url", "project_id", "pool", "tier", "part", "tasks", "answered", "open", "open_answered")
    return {**{name: row[name] for name in names}, "closed": row["tasks"] - row["open"]}


def _overdue_line(row: RowMapping, now: datetime) -> Mapping[str, JSON]:
    late = now - row["due_at"]
    names = ("item_id", "revision", "state", "round", "pool", "tier")
    return {
        **{name: row[name] for name in names},
        "due_at": row["due_at"].isoformat(),
        "hours_late": round(late.total_seconds() / 3600, 2),
    }


def _items_aside(connection: Connection) -> list[Mapping[str, JSON]]:
    aside = items.c.state.in_((ItemState.QUARANTINED, ItemState.FAILED))
    rows = connection.execute(sa.select(items).where(aside, is_latest_revision()).order_by(items.c.item_id)).mappings()
    names = ("item_id", "revision", "state", "round", "pool", "tier")
    return [{"kind": "item", **{name: row[name] for name in names}, "reason": row["state_reason"]} for row in rows]


def _quarantined_annotations(connection: Connection) -> list[Mapping[str, JSON]]:
    standing = quarantined_rows(connection)
    known = items_of_tasks(connection, standing)
    return [_quarantined_line(annotation_of(row), known.get(row["push_key"])) for row in standing]


def _quarantined_line(annotation: Annotation, task: RowMapping | None) -> Mapping[str, JSON]:
    return {
        "kind": "annotation",
        "item_id": None if task is None else task["item_id"],
        "revision": None if task is None else task["revision"],
        "project_id": annotation.project_id,
        "task_id": annotation.task_id,
        "annotation": annotation.key,
        "reviewer": annotation.reviewer,
        "reason": annotation.reason,
    }
