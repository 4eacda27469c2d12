"""Commit: decisions that are in no dataset version yet, and the versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam

from hitl_bridge.adapters.sql.contexts import contexts_of
from hitl_bridge.adapters.sql.rows import decision_of, item_of, moment_sort_key, version_of, version_row
from hitl_bridge.adapters.sql.statements import chunks, insert_new, items_with_input, record_events, update_each
from hitl_bridge.adapters.sql.tables import dataset_versions, decisions, items
from hitl_bridge.core.model import JSON, DatasetVersion, Decision, Item, ItemId, ItemState, Op
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import Event, UncommittedDecision

_later = decisions.alias("later")
IS_LATEST_DECISION = ~sa.exists().where(
    _later.c.item_id == decisions.c.item_id,
    (_later.c.revision > decisions.c.revision) | ((_later.c.revision == decisions.c.revision) & (_later.c.seq > decisions.c.seq)),
)
_WAITS = decisions.c.version.is_(None) & IS_LATEST_DECISION


def uncommitted(connection: Connection) -> list[UncommittedDecision]:
    """One query for the decisions that wait and two for each chunk of them."""
    in_order = sa.select(decisions).where(_WAITS).order_by(decisions.c.decided_at, decisions.c.item_id)
    waiting = [decision_of(row) for row in connection.execute(in_order).mappings()]
    return [each for some in chunks(waiting) for each in _with_items(connection, some)]


def _with_items(connection: Connection, waiting: Sequence[Decision]) -> list[UncommittedDecision]:
    ids = [decision.item_id for decision in waiting]
    rows = connection.execute(items_with_input().where(items.c.item_id.in_(ids))).mappings()
    found = {(row["item_id"], row["revision"]): item_of(row) for row in rows}
    before = _committed_before(connection, ids)
    contexts = contexts_of(connection, waiting, found)
    return [
        UncommittedDecision(
            decision,
            found[decision.item_id, decision.revision],
            before.get(decision.item_id),
            _answered_at(decision),
            contexts[decision.decision_id],
            _item_of(before.get(decision.item_id), found),
        )
        for decision in waiting
        if not _takes_back_nothing(decision, before.get(decision.item_id))
    ]


def _item_of(committed: Decision | None, found: Mapping[tuple[ItemId, int], Item]) -> Item | None:
    return None if committed is None else found.get((committed.item_id, committed.revision))


def all_versions(connection: Connection) -> list[DatasetVersion]:
    rows = connection.execute(sa.select(dataset_versions).order_by(dataset_versions.c.id)).mappings()
    return [version_of(row) for row in rows]


def record_version(connection: Connection, version: DatasetVersion, behind: Sequence[Decision]) -> None:
    insert_new(connection, dataset_versions, [version_row(version)])
    recorded = sa.select(dataset_versions).where(dataset_versions.c.version == version.version)
    if version_of(connection.execute(recorded).mappings().one()) != version:
        raise UsageError(f"Another dataset version {version.version!r} was recorded before.", remedy="Take the next number.")
    update_each(connection, _put_into_version(version), [_parameters(decision) for decision in behind])
    update_each(connection, _ITEM_COMMITTED, [{"of_item": each.item_id, "of_revision": each.revision} for each in behind])
    record_events(connection, [_version_event(version)])


def _committed_before(connection: Connection, item_ids: Sequence[ItemId]) -> dict[ItemId, Decision]:
    """Of each of these items the newest decision that is in a version."""
    query = (
        sa.select(decisions)
        .where(decisions.c.item_id.in_(item_ids), decisions.c.version.is_not(None))
        .order_by(decisions.c.item_id, decisions.c.revision, decisions.c.seq)
    )
    return {row["item_id"]: decision_of(row) for row in connection.execute(query).mappings()}


def _takes_back_nothing(decision: Decision, committed: Decision | None) -> bool:
    return decision.op == Op.REMOVE and (committed is None or committed.op == Op.REMOVE)


def _answered_at(decision: Decision) -> str | None:
    """The newest `updated_at` of the annotations behind it: the end of each `Annotation.key`."""
    times = [key.partition("@")[2] for key in decision.annotations]
    return max(times, key=moment_sort_key, default=None)


def _put_into_version(version: DatasetVersion) -> sa.Update:
    """Earlier decisions of the item that no version holds are settled by it, too."""
    revision, seq = bindparam("of_revision", type_=sa.Integer), bindparam("of_seq", type_=sa.Integer)
    up_to_this = (decisions.c.revision < revision) | ((decisions.c.revision == revision) & (decisions.c.seq <= seq))
    return (
        sa.update(decisions)
        .where(decisions.c.item_id == bindparam("of_item"), up_to_this, decisions.c.version.is_(None))
        .values(version=version.version)
    )


def _parameters(decision: Decision) -> dict[str, object]:
    return {"of_item": decision.item_id, "of_revision": decision.revision, "of_seq": decision.seq}


# An item that was settled anew while the version was being made has a decision that is in no version: it stays decided.
_ITEM_COMMITTED = (
    sa.update(items)
    .where(items.c.item_id == bindparam("of_item"), items.c.revision <= bindparam("of_revision"))
    .where(items.c.state == ItemState.DECIDED)
    .where(
        ~sa.exists().where(
            decisions.c.item_id == items.c.item_id,
            decisions.c.revision == items.c.revision,
            decisions.c.version.is_(None),
        )
    )
    .values(state=ItemState.COMMITTED)
)


def _version_event(version: DatasetVersion) -> Event:
    detail: dict[str, JSON] = {"version": version.version, "tag": version.tag, "added": version.added}
    return Event(
        at=version.committed_at,
        action="version_recorded",  # "committed" is the event of the service, which knows the labels
        detail={**detail, "changed": version.changed, "removed": version.removed, "git_commit": version.git_commit},
    )
