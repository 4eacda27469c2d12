"""Resolve: which items have news, and what they were settled to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from hitl_bridge.adapters.sql.rows import decision_of, decision_row, decision_text, item_of, route_row, task_of
from hitl_bridge.adapters.sql.statements import chunks, insert_new, items_with_input, record_events
from hitl_bridge.adapters.sql.store_pull import latest_revisions
from hitl_bridge.adapters.sql.tables import annotation_revisions, decisions, items, review_tasks
from hitl_bridge.core.lifecycle import may_move
from hitl_bridge.core.model import JSON, Annotation, AnnotationState, Decision, ItemId, ItemState, ReviewTask, TaskState
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.ports import Event, OpenReview, Settlement

ItemKey = tuple[ItemId, int]
Marks = Mapping[ItemKey, int]
"""For each item with news, the newest annotation revision (its row id) that a reader has seen."""

_REVIEWED = (ItemState.PUSHED, ItemState.ANSWERED, ItemState.DECIDED, ItemState.COMMITTED)
_STANDING_ASIDE = (ItemState.QUARANTINED, ItemState.FAILED)


def open_reviews(connection: Connection) -> tuple[list[OpenReview], Marks]:
    """One query for the marked items and three for each chunk of them.

    Not one join: without statistics SQLite would start it at the large tables. And the state is looked at here, because
    with it in the query SQLite would rather read every committed item than the few that are marked.
    """
    wanted = items_with_input().where(items.c.needs_resolve.is_not(None)).order_by(items.c.needs_resolve)
    marked = [row for row in connection.execute(wanted).mappings() if row["state"] in _REVIEWED]
    reviews = [review for some in chunks(marked) for review in _open_reviews(connection, some)]
    return reviews, {_key(row): row["needs_resolve"] for row in marked}


def _open_reviews(connection: Connection, marked: Sequence[RowMapping]) -> list[OpenReview]:
    ids = [row["item_id"] for row in marked]
    tasks = _by_item(connection, sa.select(review_tasks).where(review_tasks.c.item_id.in_(ids)))
    of_task = annotation_revisions.c.push_key == review_tasks.c.push_key
    behind = sa.select(annotation_revisions, review_tasks.c.item_id, review_tasks.c.revision)
    behind = behind.select_from(review_tasks.join(annotation_revisions, of_task))
    answers = _by_item(connection, behind.where(review_tasks.c.item_id.in_(ids)))
    settled = _by_item(connection, sa.select(decisions).where(decisions.c.item_id.in_(ids)))
    return [_open_review(row, tasks[_key(row)], answers[_key(row)], settled[_key(row)]) for row in marked]


def record_settlements(connection: Connection, settlements: Sequence[Settlement], at: datetime, seen: Marks) -> None:
    happened = [_settle(connection, settlement, at, seen) for settlement in settlements]
    record_events(connection, [event for event in happened if event is not None])


def _key(row: RowMapping) -> ItemKey:
    return ItemId(row["item_id"]), row["revision"]


def _by_item(connection: Connection, wanted: sa.Select[Any]) -> Mapping[ItemKey, list[RowMapping]]:
    found: defaultdict[ItemKey, list[RowMapping]] = defaultdict(list)
    for row in connection.execute(wanted).mappings():
        found[_key(row)].append(row)
    return found


def _open_review(
    row: RowMapping, tasks: Iterable[RowMapping], revisions: Iterable[RowMapping], settled: Sequence[RowMapping]
) -> OpenReview:
    item = item_of(row)
    known = sorted((task_of(task) for task in tasks), key=lambda task: (task.round, task.seat))
    present = _keys_of_round(known, item.round)
    standing = [each for each in latest_revisions(revisions) if each.state != AnnotationState.TOMBSTONE]
    decision = max(settled, key=lambda each: int(each["seq"]), default=None)
    return OpenReview(
        item=item,
        tasks=tuple(known),
        annotations=_with_keys(standing, present, wanted=True),
        earlier=_with_keys(standing, present, wanted=False),
        decision=None if decision is None else decision_of(decision),
    )


def _keys_of_round(tasks: Iterable[ReviewTask], number: int) -> frozenset[str]:
    return frozenset(task.push_key for task in tasks if task.round == number)


def _with_keys(standing: Iterable[Annotation], keys: frozenset[str], *, wanted: bool) -> tuple[Annotation, ...]:
    return tuple(each for each in standing if (each.push_key in keys) is wanted)


def _settle(connection: Connection, settlement: Settlement, at: datetime, seen: Marks) -> Event | None:
    """What happened; None if exactly this was recorded before."""
    row = _item_row(connection, settlement)
    if _was_recorded(connection, settlement, row):
        return None
    if not may_move(ItemState(row["state"]), settlement.state):
        raise UsageError(
            f"Item {settlement.item_id!r} (revision {settlement.revision}) can't go from {row['state']!r} to "
            f"{settlement.state.value!r}.",
            remedy="Settle it from its present state: read the open reviews again.",
        )
    if settlement.decision is not None:
        insert_new(connection, decisions, [decision_row(settlement.decision)])
    _update_item(connection, settlement, seen)
    return _settled_event(settlement, row, at)


def _item_row(connection: Connection, settlement: Settlement) -> RowMapping:
    wanted = sa.select(items).where(_is_item(settlement.item_id, settlement.revision))
    row = connection.execute(wanted).mappings().first()
    if row is None:
        raise UnknownName("item", f"{settlement.item_id} (revision {settlement.revision})", remedy="Ingest it first.")
    return row


def _is_item(item_id: ItemId, revision: int) -> sa.ColumnElement[bool]:
    return (items.c.item_id == item_id) & (items.c.revision == revision)


def _was_recorded(connection: Connection, settlement: Settlement, row: RowMapping) -> bool:
    """Whether the decision or the round is there already. Raises UsageError if there is another in its place."""
    decided = settlement.decision is not None and _decision_is_there(connection, settlement, settlement.decision)
    if settlement.next_round is None:
        return decided
    if settlement.next_round.round > row["round"]:
        return False
    if settlement.next_round.round == row["round"] and _same_route(settlement, row):
        return True
    raise UsageError(
        f"Item {settlement.item_id!r} is in round {row['round']} already; round {settlement.next_round.round} can't be next.",
        remedy="Read the open reviews again.",
    )


def _same_route(settlement: Settlement, row: RowMapping) -> bool:
    route = {} if settlement.next_round is None else route_row(settlement.next_round.route)
    return all(row[name] == value for name, value in route.items())


def _decision_is_there(connection: Connection, settlement: Settlement, decision: Decision) -> bool:
    if (decision.item_id, decision.revision) != (settlement.item_id, settlement.revision):
        raise UsageError(f"The settlement of {settlement.item_id!r} holds the decision {decision.decision_id!r}.")
    key = (decisions.c.item_id == decision.item_id) & (decisions.c.revision == decision.revision)
    row = connection.execute(sa.select(decisions).where(key, decisions.c.seq == decision.seq)).mappings().first()
    if row is not None and decision_text(decision_of(row)) != decision_text(decision):
        raise UsageError(
            f"Another decision {decision.decision_id!r} was recorded meanwhile.", remedy="Read the open reviews again."
        )
    return row is not None


def _update_item(connection: Connection, settlement: Settlement, seen: Marks) -> None:
    changed: dict[str, Any] = {"state": settlement.state}
    if settlement.state in _STANDING_ASIDE:
        changed["state_reason"] = settlement.event
    if settlement.next_round is not None:
        changed |= {"round": settlement.next_round.round, **route_row(settlement.next_round.route)}
        _close_unsent(connection, settlement.item_id, settlement.revision)
    this = _is_item(settlement.item_id, settlement.revision)
    connection.execute(sa.update(items).where(this).values(changed))
    # What came in after the reader looked has not been settled by this: its mark stays.
    seen_mark = seen.get((settlement.item_id, settlement.revision))
    looked_at = sa.true() if seen_mark is None else items.c.needs_resolve <= seen_mark
    connection.execute(sa.update(items).where(this, looked_at).values(needs_resolve=None))


def _close_unsent(connection: Connection, item_id: ItemId, revision: int) -> None:
    """Tasks of the round that ends, promised but never sent, are no longer needed."""
    connection.execute(
        sa.update(review_tasks)
        .where(review_tasks.c.item_id == item_id, review_tasks.c.revision == revision)
        .where(review_tasks.c.state == TaskState.INTENDED)
        .values(state=TaskState.CLOSED)
    )


def _settled_event(settlement: Settlement, row: RowMapping, at: datetime) -> Event:
    detail: dict[str, JSON] = {"from": row["state"], "revision": settlement.revision, "reason": settlement.event}
    detail["round"] = row["round"] if settlement.next_round is None else settlement.next_round.round
    if settlement.decision is not None:
        detail["decision_id"] = settlement.decision.decision_id
    return Event(at=at, action=settlement.state.value, item_id=settlement.item_id, detail=detail)
