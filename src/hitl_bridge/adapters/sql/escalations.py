"""Which steps were taken for items that are late."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.rows import item_of, route_row
from hitl_bridge.adapters.sql.statements import (
    chunks,
    insert_new_returning,
    is_latest_revision,
    items_with_input,
    record_events,
)
from hitl_bridge.adapters.sql.tables import escalations, items
from hitl_bridge.core.model import JSON, Item, ItemId, ItemState
from hitl_bridge.core.review.escalation import Escalation, Step
from hitl_bridge.ports import Event

ESCALATED = "escalated"
_ASKED = (ItemState.PUSHED, ItemState.ANSWERED)


class SqlEscalations:
    """Implements `ports.EscalationStore`. Writes go through the store's own fence."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._engine = engine
        self._writing = writing

    def due_by(self, moment: datetime, more_steps: Collection[str]) -> list[Item]:
        told = sa.exists().where(
            escalations.c.item_id == items.c.item_id,
            escalations.c.revision == items.c.revision,
            escalations.c.round == items.c.round,
        )
        wanted = items_with_input().where(items.c.state.in_(_ASKED), items.c.due_at <= moment, is_latest_revision())
        wanted = wanted.where(~told | items.c.tier.in_(sorted(more_steps)))
        with reading(self._engine) as connection:
            return [item_of(row) for row in connection.execute(wanted.order_by(items.c.due_at)).mappings()]

    def taken(self, late: Sequence[Item]) -> Mapping[tuple[ItemId, int, int], frozenset[Step]]:
        found: defaultdict[tuple[ItemId, int, int], set[Step]] = defaultdict(set)
        with reading(self._engine) as connection:
            for some in chunks([item.item_id for item in late]):
                for row in connection.execute(sa.select(escalations).where(escalations.c.item_id.in_(some))):
                    found[ItemId(row.item_id), row.revision, row.round].add(Step(row.step))
        return {key: frozenset(steps) for key, steps in found.items()}

    def record(self, due: Sequence[Escalation], at: datetime) -> int:
        taken = 0
        for some in chunks(due):
            with self._writing() as connection:
                possible = [each for each in some if each.next_round is None or _moved(connection, each)]
                rows = [{**_key(each), "at": at} for each in possible]
                new = {_name(dict(row)) for row in insert_new_returning(connection, escalations, rows, list(escalations.c))}
                record_events(connection, [_event(each, at) for each in possible if _name(_key(each)) in new])
                taken += len(new)
        return taken


def _moved(connection: Connection, each: Escalation) -> bool:
    """Opens the next round, if the item is still in the one that is late and its answers have not come meanwhile."""
    assert each.next_round is not None  # noqa: S101  (asked for where there is one)
    of_round = (items.c.item_id == each.item.item_id) & (items.c.revision == each.item.revision)
    waits = of_round & (items.c.round == each.item.round) & items.c.state.in_(_ASKED) & items.c.needs_resolve.is_(None)
    following = each.next_round
    values = {**route_row(following.route), "round": following.round, "state": ItemState.QUEUED}
    return connection.execute(sa.update(items).where(waits).values(values)).rowcount == 1


def _key(each: Escalation) -> dict[str, object]:
    return {
        "item_id": each.item.item_id,
        "revision": each.item.revision,
        "round": each.item.round,
        "step": each.step.value,
    }


def _name(row: Mapping[str, object]) -> tuple[object, ...]:
    return row["item_id"], row["revision"], row["round"], row["step"]


def _event(each: Escalation, at: datetime) -> Event:
    detail: dict[str, JSON] = {"step": each.step.value, "round": each.item.round, "revision": each.item.revision}
    return Event(at, ESCALATED, each.item.item_id, {**detail, "due_at": each.item.route.due_at.isoformat()})
