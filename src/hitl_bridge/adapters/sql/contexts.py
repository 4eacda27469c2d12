"""How decisions came about, for their records: when they were asked, on which pages, from which raw answers and receipts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from hitl_bridge.adapters.sql.statements import chunks
from hitl_bridge.adapters.sql.tables import (
    annotation_revisions,
    projects,
    receipt_files,
    reverted_decisions,
    reverts,
    review_tasks,
    waits,
)
from hitl_bridge.core.dataset.record import Context, answers_digest
from hitl_bridge.core.model import JSON, Decision, DecisionId, Item, ItemId

_Identity = tuple[ItemId, int]


def contexts_of(connection: Connection, waiting: Sequence[Decision], of: Mapping[_Identity, Item]) -> dict[DecisionId, Context]:
    """The context of each of these decisions (a chunk of them), by a handful of queries."""
    ids = [decision.item_id for decision in waiting]
    asked = _asked(connection, ids)
    answers = _answers(connection, ids, {key for decision in waiting for key in decision.annotations})
    pages = _pages(connection, {_project(key) for decision in waiting for key in decision.annotations})
    receipts = _receipts(connection, sorted({of[each.item_id, each.revision].batch_id for each in waiting}))
    selected = _by_item(connection, sa.select(waits).where(waits.c.item_id.in_(ids), waits.c.picked_at.is_not(None)))
    taken = _reverted(connection, ids)
    found = {}
    for each in waiting:
        identity = (each.item_id, each.revision)
        pick, revert = selected.get(identity), taken.get((*identity, each.seq))
        behind = {key: answers[key] for key in each.annotations if key in answers}
        found[each.decision_id] = Context(
            asked_at=asked.get((*identity, each.round)),
            label_configs=tuple(sorted({pages[_project(key)] for key in each.annotations if _project(key) in pages})),
            annotations_sha256=answers_digest(behind) if behind and len(behind) == len(each.annotations) else None,
            receipt_sha256=receipts.get(of[identity].batch_id),
            selected_by=None if pick is None else pick["arm"],
            selection_probability=None if pick is None else pick["probability"],
            reverted_by=None if revert is None else revert["by"],
            revert_reason=None if revert is None else revert["reason"],
            taken_back=() if revert is None else tuple(revert["taken_back"]),
        )
    return found


def _asked(connection: Connection, ids: Sequence[ItemId]) -> Mapping[tuple[ItemId, int, int], datetime]:
    """When the first task of each round was sent."""
    columns = (review_tasks.c.item_id, review_tasks.c.revision, review_tasks.c.round, review_tasks.c.sent_at)
    sent = sa.select(*columns).where(review_tasks.c.item_id.in_(ids), review_tasks.c.sent_at.is_not(None))
    found: dict[tuple[ItemId, int, int], datetime] = {}
    for item_id, revision, number, at in connection.execute(sent):
        place = (ItemId(item_id), revision, number)
        found[place] = min(at, found.get(place, at))
    return found


def _answers(connection: Connection, ids: Sequence[ItemId], keys: set[str]) -> Mapping[str, JSON]:
    """The raw answers with these keys, as they were sent."""
    of_task = annotation_revisions.c.push_key == review_tasks.c.push_key
    columns = ("project_id", "annotation_id", "updated_at", "result")
    given = sa.select(*(annotation_revisions.c[name] for name in columns)).select_from(
        review_tasks.join(annotation_revisions, of_task)
    )
    rows = connection.execute(given.where(review_tasks.c.item_id.in_(ids)).order_by(annotation_revisions.c.id))
    named = {f"{row.project_id}/{row.annotation_id}@{row.updated_at}": row.result for row in rows}
    return {key: named[key] for key in keys & named.keys()}


def _receipts(connection: Connection, batch_ids: Sequence[str]) -> Mapping[str, str]:
    columns = (receipt_files.c.batch_id, receipt_files.c.sha256)
    found: dict[str, str] = {}
    for some in chunks(batch_ids):
        rows = connection.execute(sa.select(*columns).where(receipt_files.c.batch_id.in_(some)))
        found |= {row.batch_id: row.sha256 for row in rows}
    return found


def _by_item(connection: Connection, wanted: sa.Select[Any]) -> Mapping[_Identity, RowMapping]:
    return {(ItemId(row["item_id"]), row["revision"]): row for row in connection.execute(wanted).mappings()}


def _reverted(connection: Connection, ids: Sequence[ItemId]) -> Mapping[tuple[ItemId, int, int], RowMapping]:
    by_whom = reverts.c.revert_id == reverted_decisions.c.revert_id
    wanted = sa.select(reverted_decisions, reverts.c.by, reverts.c.reason).select_from(reverted_decisions.join(reverts, by_whom))
    rows = connection.execute(wanted.where(reverted_decisions.c.item_id.in_(ids))).mappings()
    return {(ItemId(row["item_id"]), row["revision"], row["seq"]): row for row in rows}


def _pages(connection: Connection, ids: Collection[int]) -> dict[int, str]:
    """The label config's SHA-256 of each of these projects."""
    found = sa.select(projects.c.project_id, projects.c.label_config_sha256).where(projects.c.project_id.in_(sorted(ids)))
    return {row.project_id: row.label_config_sha256 for row in connection.execute(found)}


def _project(annotation_key: str) -> int:
    return int(annotation_key.partition("/")[0])
