"""Which steps were taken for items that are late."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.notices import add_notices
from hitl_bridge.adapters.sql.rows import item_of, route_row
from hitl_bridge.adapters.sql.statements import (
    chunks,
    insert_new_returning,
    is_latest_revision,
    items_with_input,
    record_events,
)
from hitl_bridge.adapters.sql.store_waits import is_waiting
from hitl_bridge.adapters.sql.tables import items, late_steps
from hitl_bridge.core.lifecycle import OPEN
from hitl_bridge.core.model import JSON, Item, ItemId, ItemState, Purpose
from hitl_bridge.core.review.escalation import Escalation
from hitl_bridge.ports import Event, OpenDeadline

ESCALATED = "escalated"
_ASKED = (ItemState.PUSHED, ItemState.ANSWERED)


class SqlEscalations:
    """Implements `ports.EscalationStore`. Writes go through the store's own fence."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._engine = engine
        self._writing = writing

    def due_by(self, moment: datetime, steps: Mapping[str, Collection[str]] | None = None) -> list[Item]:
        wanted = items_with_input().where(items.c.state.in_(_ASKED), items.c.due_at <= moment, is_latest_revision())
        if steps is not None:
            wanted = wanted.where(_has_steps_left(steps))
        wanted = wanted.order_by(items.c.due_at, items.c.item_id)
        with reading(self._engine) as connection:
            return [item_of(row) for row in connection.execute(wanted).mappings()]

    def taken(self, late: Sequence[Item]) -> Mapping[tuple[ItemId, int, datetime], frozenset[str]]:
        found: defaultdict[tuple[ItemId, int, datetime], set[str]] = defaultdict(set)
        with reading(self._engine) as connection:
            for some in chunks([item.item_id for item in late]):
                for row in connection.execute(sa.select(late_steps).where(late_steps.c.item_id.in_(some))):
                    found[ItemId(row.item_id), row.revision, row.due_at].add(row.step)
        return {key: frozenset(steps) for key, steps in found.items()}

    def record(self, due: Sequence[Escalation], at: datetime) -> list[Escalation]:
        recorded: list[Escalation] = []
        for some in chunks(due):
            with self._writing() as connection:
                possible = [each for each in some if each.next_round is None or _moved(connection, each)]
                rows = [{**_key(each), "round": each.item.round, "at": at} for each in possible]
                new = {_name(dict(row)) for row in insert_new_returning(connection, late_steps, rows, list(late_steps.c))}
                taken = [each for each in possible if _name(_key(each)) in new]
                record_events(connection, [_event(each, at) for each in taken])
                add_notices(connection, [notice for each in taken for notice in each.notices], at)
                recorded += taken
        return recorded

    def open_deadlines(self) -> list[OpenDeadline]:
        names = ("pool", "tier", "purpose", "due_at")
        of = [items.c[name] for name in names]
        counted = sa.select(*of, sa.func.count().label("n")).where(
            items.c.state.in_(sorted(OPEN)), is_latest_revision(), ~is_waiting()
        )
        with reading(self._engine) as connection:
            rows = connection.execute(counted.group_by(*of).order_by(items.c.due_at)).mappings()
            return [OpenDeadline(row["pool"], row["tier"], Purpose(row["purpose"]), row["due_at"], row["n"]) for row in rows]


def _has_steps_left(steps: Mapping[str, Collection[str]]) -> sa.ColumnElement[bool]:
    """Whether some of its tier's steps was not taken; in a tier that is not named, whether none was."""
    of_deadline = [late_steps.c[name] == items.c[name] for name in ("item_id", "revision", "due_at")]
    taken = sa.select(sa.func.count()).select_from(late_steps).where(*of_deadline).correlate(items)
    left = [
        (items.c.tier == tier) & (taken.where(late_steps.c.step.in_(sorted(names))).scalar_subquery() < len(names))
        for tier, names in steps.items()
    ]
    return sa.or_(*left, items.c.tier.not_in(sorted(steps)) & (taken.scalar_subquery() < 1))


def _moved(connection: Connection, each: Escalation) -> bool:
    """Opens the next round, if the item is still in the one that is late and its answers have not come meanwhile."""
    assert each.next_round is not None  # noqa: S101  (asked for where there is one)
    of_round = (items.c.item_id == each.item.item_id) & (items.c.revision == each.item.revision)
    waits = of_round & (items.c.round == each.item.round) & items.c.state.in_(_ASKED) & items.c.needs_resolve.is_(None)
    following = each.next_round
    values = {**route_row(following.route), "round": following.round, "state": ItemState.QUEUED}
    return connection.execute(sa.update(items).where(waits).values(values)).rowcount == 1


def _key(each: Escalation) -> dict[str, object]:
    item = each.item
    return {"item_id": item.item_id, "revision": item.revision, "due_at": item.route.due_at, "step": each.step}


def _name(row: Mapping[str, object]) -> tuple[object, ...]:
    return row["item_id"], row["revision"], row["due_at"], row["step"]


def _event(each: Escalation, at: datetime) -> Event:
    detail: dict[str, JSON] = {"step": each.step, "round": each.item.round, "revision": each.item.revision}
    detail |= {"passed_over": True} if each.passed_over else {}
    return Event(at, ESCALATED, each.item.item_id, {**detail, "due_at": each.item.route.due_at.isoformat()})
