"""Resolve: which items have news, and what they were settled to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping, bindparam

from hitl_bridge.adapters.sql.audit_log import Seal
from hitl_bridge.adapters.sql.rows import Row, decision_of, decision_row, decision_text, item_of, route_row, task_of
from hitl_bridge.adapters.sql.rulings import RevisionRow, with_rulings
from hitl_bridge.adapters.sql.statements import (
    chunks,
    insert_new,
    is_latest_revision,
    items_with_input,
    record_events,
    update_each,
)
from hitl_bridge.adapters.sql.store_attempts import end_try
from hitl_bridge.adapters.sql.store_pull import deleted_answers, revisions_in_force
from hitl_bridge.adapters.sql.tables import annotation_revisions, decisions, items, review_tasks
from hitl_bridge.core.lifecycle import OPEN, may_move
from hitl_bridge.core.model import (
    ADJUDICATION,
    JSON,
    Annotation,
    Decision,
    DecisionId,
    Item,
    ItemId,
    ItemState,
    ReviewTask,
    TaskState,
)
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.ports import Event, OpenReview, Settlement, item_subject

ItemKey = tuple[ItemId, int]
Marks = Mapping[ItemKey, int]
"""For each item with news, the newest annotation revision (its row id) that a reader has seen."""

AnyRow = TypeVar("AnyRow", bound=RevisionRow)

_REVIEWED = (ItemState.PUSHED, ItemState.ANSWERED, ItemState.DECIDED, ItemState.COMMITTED)
_STANDING_ASIDE = (ItemState.QUARANTINED, ItemState.FAILED)


def open_reviews(connection: Connection) -> tuple[list[OpenReview], Marks]:
    """One query for the marked items and a few for each chunk of them.

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
    revisions = connection.execute(behind.where(review_tasks.c.item_id.in_(ids))).mappings()
    answers = _of_items(with_rulings(connection, revisions))
    settled = _by_item(connection, sa.select(decisions).where(decisions.c.item_id.in_(ids)))
    return [_open_review(row, tasks[_key(row)], answers[_key(row)], settled[_key(row)]) for row in marked]


def adjudications(connection: Connection) -> list[OpenReview]:
    """All that wait for an adjudicator, whether or not there is news of them."""
    wanted = items_with_input().where(items.c.state.in_(sorted(OPEN)), items.c.tier == ADJUDICATION, is_latest_revision())
    waiting = connection.execute(wanted.order_by(items.c.item_id)).mappings().all()
    return [review for some in chunks(waiting) for review in _open_reviews(connection, some)]


def record_settlements(connection: Connection, settlements: Sequence[Settlement], at: datetime, seen: Marks, seal: Seal) -> None:
    if len({_settled_key(each) for each in settlements}) < len(settlements):
        raise UsageError("An item is settled twice in one call.", remedy="Settle each item once, from its open review.")
    for some in chunks(settlements):
        before = _item_rows(connection, some)
        decided = _decisions_there(connection, some)
        new = [each for each in some if not _was_recorded(each, before[_settled_key(each)], decided)]
        for each in new:
            _refuse_illegal_move(each, before[_settled_key(each)])
        insert_new(connection, decisions, [decision_row(each.decision) for each in new if each.decision is not None])
        _update_items(connection, new)
        _clear_marks(connection, new, seen)
        end_try(connection, _STEP, [item_subject(each.item_id, each.revision) for each in some])
        record_events(connection, [_settled_event(each, before[_settled_key(each)], at, decided, seal) for each in new])


def _key(row: RevisionRow) -> ItemKey:
    return ItemId(row["item_id"]), row["revision"]


def _by_item(connection: Connection, wanted: sa.Select[Any]) -> Mapping[ItemKey, list[RowMapping]]:
    return _of_items(connection.execute(wanted).mappings())


def _of_items(rows: Iterable[AnyRow]) -> Mapping[ItemKey, list[AnyRow]]:
    found: defaultdict[ItemKey, list[AnyRow]] = defaultdict(list)
    for row in rows:
        found[_key(row)].append(row)
    return found


def _open_review(
    row: RowMapping, tasks: Iterable[RowMapping], revisions: Sequence[RevisionRow], settled: Sequence[RowMapping]
) -> OpenReview:
    item = item_of(row)
    known = sorted((task_of(task) for task in tasks), key=lambda task: (task.round, task.seat))
    present = _keys_of_round(known, item.round)
    standing = revisions_in_force(revisions)
    decision = max(settled, key=lambda each: int(each["seq"]), default=None)
    return OpenReview(
        item=item,
        tasks=tuple(known),
        annotations=_with_keys(standing, present, wanted=True),
        earlier=_with_keys(standing, present, wanted=False),
        deleted=_with_keys(deleted_answers(revisions), present, wanted=False),
        decision=None if decision is None else decision_of(decision),
    )


def _keys_of_round(tasks: Iterable[ReviewTask], number: int) -> frozenset[str]:
    return frozenset(task.push_key for task in tasks if task.round == number)


def _with_keys(standing: Iterable[Annotation], keys: frozenset[str], *, wanted: bool) -> tuple[Annotation, ...]:
    return tuple(each for each in standing if (each.push_key in keys) is wanted)


def _settled_key(settlement: Settlement) -> ItemKey:
    return settlement.item_id, settlement.revision


def _item_rows(connection: Connection, settlements: Sequence[Settlement]) -> Mapping[ItemKey, RowMapping]:
    wanted = sa.select(items).where(items.c.item_id.in_([each.item_id for each in settlements]))
    found = {_key(row): row for row in connection.execute(wanted).mappings()}
    for each in settlements:
        if _settled_key(each) not in found:
            raise UnknownName("item", f"{each.item_id} (revision {each.revision})", remedy="Ingest it first.")
    return found


def _decisions_there(connection: Connection, settlements: Sequence[Settlement]) -> Mapping[DecisionId, Decision]:
    wanted = sa.select(decisions).where(decisions.c.item_id.in_([each.item_id for each in settlements if each.decision]))
    there = [decision_of(row) for row in connection.execute(wanted).mappings()]
    return {decision.decision_id: decision for decision in there}


def _was_recorded(settlement: Settlement, row: RowMapping, decided: Mapping[DecisionId, Decision]) -> bool:
    """Whether the decision or the round is there already. Raises UsageError if there is another in its place."""
    was_decided = settlement.decision is not None and _was_decided(settlement, settlement.decision, decided)
    if settlement.next_round is not None:
        return _round_was_opened(settlement, settlement.next_round, row)
    return was_decided


def _round_was_opened(settlement: Settlement, following: Item, row: RowMapping) -> bool:
    if following.round > row["round"]:
        return False
    if following.round == row["round"] and all(row[name] == value for name, value in route_row(following.route).items()):
        return True
    raise UsageError(
        f"Item {settlement.item_id!r} is in round {row['round']} already; round {following.round} can't be next.",
        remedy=_READ_AGAIN,
    )


def _was_decided(settlement: Settlement, decision: Decision, decided: Mapping[DecisionId, Decision]) -> bool:
    if (decision.item_id, decision.revision) != _settled_key(settlement):
        raise UsageError(f"The settlement of {settlement.item_id!r} holds the decision {decision.decision_id!r}.")
    there = decided.get(decision.decision_id)
    if there is not None and decision_text(there) != decision_text(decision):
        raise UsageError(f"Another decision {decision.decision_id!r} was recorded meanwhile.", remedy=_READ_AGAIN)
    return there is not None


def _refuse_illegal_move(settlement: Settlement, row: RowMapping) -> None:
    if not may_move(ItemState(row["state"]), settlement.state):
        raise UsageError(
            f"Item {settlement.item_id!r} (revision {settlement.revision}) can't go from {row['state']!r} to "
            f"{settlement.state.value!r}.",
            remedy=_READ_AGAIN,
        )


def _update_items(connection: Connection, settlements: Sequence[Settlement]) -> None:
    stay = [_where(each) | _state_of(each) for each in settlements if each.next_round is None]
    update_each(connection, _update_columns(("state", "state_reason")), stay)
    move = [
        _where(each) | _state_of(each) | {f"new_{name}": value for name, value in _round_of(each.next_round).items()}
        for each in settlements
        if each.next_round is not None
    ]
    if move:
        update_each(connection, _update_columns(("state", "state_reason", *_ROUND_COLUMNS)), move)
        update_each(connection, _CLOSE_UNSENT, [{name: each[name] for name in ("of_item", "of_revision")} for each in move])


def _where(settlement: Settlement) -> Row:
    return {"of_item": settlement.item_id, "of_revision": settlement.revision}


def _state_of(settlement: Settlement) -> Row:
    reason = settlement.event if settlement.state in _STANDING_ASIDE else ""
    return {"new_state": settlement.state, "new_state_reason": reason}


def _round_of(following: Item) -> Row:
    return {"round": following.round, **route_row(following.route)}


def _update_columns(names: Iterable[str]) -> sa.Update:
    new_values = {name: bindparam(f"new_{name}", type_=items.c[name].type) for name in names}
    return sa.update(items).where(_IS_ITEM).values(new_values)


def _clear_marks(connection: Connection, settlements: Sequence[Settlement], seen: Marks) -> None:
    """What came in after the reader looked has not been settled by this: its mark stays."""
    looked_at = items.c.needs_resolve <= bindparam("mark", type_=sa.BigInteger)
    marks = [_where(each) | {"mark": seen.get(_settled_key(each), _EVERYTHING)} for each in settlements]
    update_each(connection, sa.update(items).where(_IS_ITEM, looked_at).values(needs_resolve=None), marks)


def _settled_event(
    settlement: Settlement, row: RowMapping, at: datetime, decided: Mapping[DecisionId, Decision], seal: Seal
) -> Event:
    detail: dict[str, JSON] = {"from": row["state"], "revision": settlement.revision, "reason": settlement.event}
    detail["round"] = row["round"] if settlement.next_round is None else settlement.next_round.round
    told = Event(at=at, action=settlement.state.value, item_id=settlement.item_id, detail=detail)
    decision = settlement.decision
    if decision is None:
        return told
    detail["decision_id"] = decision.decision_id
    earlier = decided.get(replace(decision, seq=decision.seq - 1).decision_id)
    return replace(told, before=None if earlier is None else seal.decision(earlier), after=seal.decision(decision))


_STEP = "resolve"
_READ_AGAIN = "Read the open reviews again and settle the item from its present state."
_EVERYTHING = 2**62
"""A mark above all others: without a reading before, a settlement covers whatever is there."""

_ROUND_COLUMNS = ("round", "pool", "tier", "reviewers", "due_at", "priority", "blind", "route_reason", "note")
_IS_ITEM = (items.c.item_id == bindparam("of_item")) & (items.c.revision == bindparam("of_revision"))

# Tasks of the round that ends, promised but never sent, are no longer needed.
_CLOSE_UNSENT = (
    sa.update(review_tasks)
    .where(review_tasks.c.item_id == bindparam("of_item"), review_tasks.c.revision == bindparam("of_revision"))
    .where(review_tasks.c.state == TaskState.INTENDED)
    .values(state=TaskState.CLOSED)
)
