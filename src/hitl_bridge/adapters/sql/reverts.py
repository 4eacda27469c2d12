"""Decisions that were taken back, the answers that count no more with them, and who said so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, RowMapping, bindparam

from hitl_bridge.adapters.sql.audit_log import Seal
from hitl_bridge.adapters.sql.column_types import canonical_json
from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.rows import annotation_of, decision_of, decision_row, item_of, route_row
from hitl_bridge.adapters.sql.statements import (
    chunks,
    insert_new,
    insert_new_returning,
    items_with_input,
    record_events,
    update_each,
)
from hitl_bridge.adapters.sql.store_commit import IS_LATEST_DECISION
from hitl_bridge.adapters.sql.tables import (
    annotation_revisions,
    answers_taken_back,
    decisions,
    items,
    reverted_decisions,
    reverts,
    review_tasks,
)
from hitl_bridge.core.dataset.reverting import Recorded, TakenBack
from hitl_bridge.core.model import JSON, AnnotationState, Item, ItemId, ItemState, TaskState
from hitl_bridge.ports import Event, Revert, RevertChoice

REVERT, REVERTED = "revert", "reverted"
"""The events of a revert and of each decision that it wrote."""

_GIVEN = (AnnotationState.ANSWER, AnnotationState.QUARANTINED)
_BY_REVERT = sa.exists().where(
    reverted_decisions.c.item_id == decisions.c.item_id,
    reverted_decisions.c.revision == decisions.c.revision,
    reverted_decisions.c.seq == decisions.c.seq,
)


class SqlReverts:
    """Implements `ports.Reverts`. Writes go through the store's own fence."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]], seal: Seal) -> None:
        self._engine = engine
        self._writing = writing
        self._seal = seal

    def answering(self) -> frozenset[str]:
        with reading(self._engine) as connection:
            return frozenset(connection.execute(sa.select(annotation_revisions.c.reviewer).distinct()).scalars())

    def histories(self, choice: RevertChoice) -> Iterator[tuple[Item, Sequence[Recorded]]]:
        with reading(self._engine) as connection:
            for some in chunks(_candidates(connection, choice)):
                yield from _histories(connection, some)

    def answers_by(self, reviewer: str) -> frozenset[str]:
        with reading(self._engine) as connection:
            return frozenset(_keys_of(connection, reviewer))

    def record(self, revert: Revert, taken_back: Sequence[TakenBack], next_rounds: Sequence[Item] = ()) -> int:
        with self._writing() as connection:
            if not insert_new_returning(connection, reverts, [_row(revert)], [reverts.c.revert_id]):
                return 0
            for some in chunks(taken_back):
                _write(connection, revert, some, self._seal)
            given = _keys_of(connection, revert.answers_of) if revert.answers_of else {}
            _void(connection, revert, given)
            _ask_again(connection, next_rounds)
            _mark_open(connection, given)
            answers = _voided(connection, revert)
            detail: dict[str, JSON] = {"revert": revert.revert_id, "scope": revert.scope, "reason": revert.reason}
            detail |= {"decisions": len(taken_back), "answers": answers, "asked_again": len(next_rounds)}
            record_events(connection, [Event(revert.at, REVERT, None, detail, revert.by)])
        return answers

    def uncommitted(self) -> frozenset[ItemId]:
        waits = sa.select(decisions.c.item_id).where(decisions.c.version.is_(None), IS_LATEST_DECISION, _BY_REVERT)
        with reading(self._engine) as connection:
            return frozenset(ItemId(found) for found in connection.execute(waits).scalars())


# ------------------------------------------------------------------------------------------------------- reading


def _candidates(connection: Connection, choice: RevertChoice) -> list[str]:
    """By whatever of the choice narrows most; the caller looks at the rest of it."""
    if choice.items:
        return sorted(set(choice.items))
    wanted = sa.select(decisions.c.item_id).distinct()
    if choice.reviewer is not None:
        # One person's address between quotation marks, somewhere in the list; whose it is, is compared afterwards.
        quoted = canonical_json(choice.reviewer, "reviewer")
        wanted = wanted.where(sa.type_coerce(decisions.c.reviewers, sa.Text).contains(quoted, autoescape=True))
    elif choice.versions:
        wanted = wanted.where(sa.or_(*(decisions.c.version.is_not_distinct_from(version) for version in choice.versions)))
    elif choice.since is not None:
        wanted = wanted.where(decisions.c.decided_at >= choice.since)
    else:
        return []
    return sorted(connection.execute(wanted).scalars())


def _histories(connection: Connection, item_ids: Sequence[str]) -> Iterator[tuple[Item, Sequence[Recorded]]]:
    newest: dict[str, RowMapping] = {}
    rows = connection.execute(items_with_input().where(items.c.item_id.in_(item_ids)).order_by(items.c.revision)).mappings()
    decided: defaultdict[tuple[str, int], list[Recorded]] = defaultdict(list)
    for row in rows:
        newest[row["item_id"]] = row
    with_reverts = sa.select(decisions, _BY_REVERT.label("by_revert")).where(decisions.c.item_id.in_(item_ids))
    for row in connection.execute(with_reverts).mappings():
        made = Recorded(decision_of(row), row["version"], bool(row["by_revert"]))
        decided[row["item_id"], row["revision"]].append(made)
    for item_id in item_ids:
        latest = max((revision for known, revision in decided if known == item_id), default=None)
        if latest is not None and item_id in newest:
            yield item_of(newest[item_id]), decided[item_id, latest]


def _keys_of(connection: Connection, reviewer: str) -> Mapping[str, RowMapping]:
    """The latest row of each revision that the reviewer gave, by `Annotation.key`."""
    given = sa.select(annotation_revisions).where(
        annotation_revisions.c.reviewer == reviewer, annotation_revisions.c.state.in_(_GIVEN)
    )
    rows = connection.execute(given.order_by(annotation_revisions.c.id)).mappings()
    return {annotation_of(row).key: row for row in rows}


# ------------------------------------------------------------------------------------------------------- writing


def _row(revert: Revert) -> dict[str, object]:
    return {
        "revert_id": revert.revert_id,
        "by": revert.by,
        "reason": revert.reason,
        "scope": dict(revert.scope),
        "at": revert.at,
    }


def _write(connection: Connection, revert: Revert, some: Sequence[TakenBack], seal: Seal) -> None:
    written = [each.decision for each in some]
    connection.execute(sa.insert(decisions), [decision_row(decision) for decision in written])
    connection.execute(
        sa.insert(reverted_decisions),
        [
            {
                "item_id": each.decision.item_id,
                "revision": each.decision.revision,
                "seq": each.decision.seq,
                "revert_id": revert.revert_id,
                "taken_back": sorted(each.answers),
            }
            for each in some
        ],
    )
    _void(connection, revert, [key for each in some for key in each.answers])
    restored = sorted({key for each in some for key in each.restored})
    for keys in chunks(restored):
        connection.execute(sa.delete(answers_taken_back).where(answers_taken_back.c.annotation.in_(keys)))
    of_items = [{"of_item": decision.item_id, "of_revision": decision.revision} for decision in written]
    update_each(connection, _DECIDED_ANEW, of_items)
    record_events(connection, [_event(revert, each, seal) for each in some])


def _void(connection: Connection, revert: Revert, keys: Iterable[str]) -> None:
    rows = [{"annotation": key, "revert_id": revert.revert_id} for key in sorted(set(keys))]
    insert_new(connection, answers_taken_back, rows)


def _voided(connection: Connection, revert: Revert) -> int:
    of_revert = answers_taken_back.c.revert_id == revert.revert_id
    return connection.execute(sa.select(sa.func.count()).where(of_revert)).scalar_one()


def _ask_again(connection: Connection, next_rounds: Sequence[Item]) -> None:
    moved = [
        {"of_item": item.item_id, "of_revision": item.revision, "new_round": item.round}
        | {f"new_{name}": value for name, value in route_row(item.route).items()}
        for item in next_rounds
    ]
    update_each(connection, _NEXT_ROUND, moved)
    update_each(connection, _CLOSE_PROMISES, [{name: each[name] for name in ("of_item", "of_revision")} for each in moved])


def _mark_open(connection: Connection, given: Mapping[str, RowMapping]) -> None:
    """Items that wait for answers and have lost one are settled anew: they may have to be asked again."""
    newest: dict[str, int] = {}
    for row in given.values():
        newest[row["push_key"]] = max(row["id"], newest.get(row["push_key"], 0))
    update_each(connection, _SETTLE_ANEW, [{"key": key, "mark": mark} for key, mark in newest.items()])


def _event(revert: Revert, taken: TakenBack, seal: Seal) -> Event:
    detail: dict[str, JSON] = {
        "revert": revert.revert_id,
        "revision": taken.decision.revision,
        "decision_id": taken.decision.decision_id,
        "undone": [decision.decision_id for decision in taken.undone],
        "op": taken.decision.op.value,
        "reason": revert.reason,
    }
    before, after = seal.decision(taken.undone[0]), seal.decision(taken.decision)
    return Event(revert.at, REVERTED, taken.decision.item_id, detail, revert.by, before, after)


_IS_ITEM = (items.c.item_id == bindparam("of_item")) & (items.c.revision == bindparam("of_revision"))

# What holds of it is in no version yet.
_DECIDED_ANEW = sa.update(items).where(_IS_ITEM, items.c.state == ItemState.COMMITTED).values(state=ItemState.DECIDED)

_OF_ITEM = (review_tasks.c.item_id == items.c.item_id) & (review_tasks.c.revision == items.c.revision)
_NEWEST_ANSWER = (
    sa.select(sa.func.max(annotation_revisions.c.id))
    .join(review_tasks, review_tasks.c.push_key == annotation_revisions.c.push_key)
    .where(_OF_ITEM)
    .scalar_subquery()
)
_ROUTE = ("pool", "tier", "reviewers", "due_at", "priority", "blind", "route_reason")
_NEXT_ROUND = (
    sa.update(items)
    .where(_IS_ITEM)
    .values(
        {name: bindparam(f"new_{name}", type_=items.c[name].type) for name in ("round", *_ROUTE)}
        | {"state": ItemState.QUEUED, "needs_resolve": _NEWEST_ANSWER}
    )
)
_CLOSE_PROMISES = (
    sa.update(review_tasks)
    .where(review_tasks.c.item_id == bindparam("of_item"), review_tasks.c.revision == bindparam("of_revision"))
    .where(review_tasks.c.state == TaskState.INTENDED)
    .values(state=TaskState.CLOSED)
)
_SETTLE_ANEW = (
    sa.update(items)
    .where(_OF_ITEM, review_tasks.c.push_key == bindparam("key"))
    .where((items.c.state == ItemState.PUSHED) | (items.c.state == ItemState.ANSWERED))
    .where(sa.func.coalesce(items.c.needs_resolve, 0) < bindparam("mark", type_=sa.BigInteger))
    .values(needs_resolve=bindparam("mark", type_=sa.BigInteger))
)
