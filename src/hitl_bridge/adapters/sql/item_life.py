"""The whole life of one item, for `trace`. No input text is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping

from hitl_bridge.adapters.sql.rows import annotation_of, answer_json, decision_of
from hitl_bridge.adapters.sql.tables import (
    annotation_revisions,
    dataset_versions,
    decisions,
    events,
    items,
    projects,
    review_tasks,
)
from hitl_bridge.core.model import JSON, ItemId


def life_of(connection: Connection, item_id: ItemId) -> Mapping[str, JSON]:
    """Everything the store knows of an item, each list oldest first; empty for an item that it does not know."""
    revisions = _rows(connection, sa.select(items).where(items.c.item_id == item_id).order_by(items.c.revision))
    if not revisions:
        return {}
    return {
        "item_id": item_id,
        "revisions": [_revision(row) for row in revisions],
        "tasks": [_task(row) for row in _rows(connection, _tasks(item_id))],
        "annotations": [_annotation(row) for row in _rows(connection, _annotations(item_id))],
        "decisions": [_decision(row) for row in _rows(connection, _decisions(item_id))],
        "versions": [row["tag"] for row in _rows(connection, _versions(item_id))],
        "events": [_event(row) for row in _rows(connection, _events(item_id))],
    }


def _rows(connection: Connection, query: sa.Select[Any]) -> list[RowMapping]:
    return list(connection.execute(query).mappings())


def _tasks(item_id: ItemId) -> sa.Select[Any]:
    of_project = sa.and_(*(review_tasks.c[name] == projects.c[name] for name in ("pool", "tier", "part")))
    known = sa.select(review_tasks, projects.c.url).select_from(review_tasks.outerjoin(projects, of_project))
    order = (review_tasks.c.revision, review_tasks.c.round, review_tasks.c.seat)
    return known.where(review_tasks.c.item_id == item_id).order_by(*order)


def _annotations(item_id: ItemId) -> sa.Select[Any]:
    of_task = annotation_revisions.c.push_key == review_tasks.c.push_key
    known = sa.select(annotation_revisions, review_tasks.c.round).select_from(review_tasks.join(annotation_revisions, of_task))
    return known.where(review_tasks.c.item_id == item_id).order_by(annotation_revisions.c.id)


def _decisions(item_id: ItemId) -> sa.Select[Any]:
    return sa.select(decisions).where(decisions.c.item_id == item_id).order_by(decisions.c.revision, decisions.c.seq)


def _versions(item_id: ItemId) -> sa.Select[Any]:
    of_version = decisions.c.version == dataset_versions.c.version
    known = (
        sa.select(dataset_versions.c.id, dataset_versions.c.tag)
        .distinct()
        .select_from(decisions.join(dataset_versions, of_version))
    )
    return known.where(decisions.c.item_id == item_id).order_by(dataset_versions.c.id)


def _events(item_id: ItemId) -> sa.Select[Any]:
    return sa.select(events).where(events.c.item_id == item_id).order_by(events.c.seq)


def _revision(row: RowMapping) -> Mapping[str, JSON]:
    return {
        **_pick(row, "revision", "state", "round"),
        "prediction": _pick(row, "output", "confidence", "model_version", "scenario"),
        "triage": {
            "tier": row["triage_tier"],
            "reason": row["triage_reason"],
            **_pick(row, "risk", "rule", "purpose", "split", "policy_version", "edge"),
        },
        "route": {
            **_pick(row, "pool", "tier", "reviewers", "priority", "blind"),
            "due_at": row["due_at"].isoformat(),
            "reason": row["route_reason"],
            "note": row["note"] or "",
        },
        "received_at": row["received_at"].isoformat(),
        "batch_id": row["batch_id"],
    }


def _task(row: RowMapping) -> Mapping[str, JSON]:
    names = ("push_key", "revision", "round", "seat", "pool", "tier", "part", "state", "project_id", "task_id")
    return {**_pick(row, *names), "project_url": row["url"], "reason": row["state_reason"]}


def _annotation(row: RowMapping) -> Mapping[str, JSON]:
    annotation = annotation_of(row)
    names = ("task_id", "round", "reviewer", "state", "created_at", "updated_at", "lead_time", "reason")
    answer = None if annotation.answer is None else answer_json(annotation.answer)
    return {"annotation": annotation.key, **_pick(row, *names), "answer": answer}


def _decision(row: RowMapping) -> Mapping[str, JSON]:
    decision = decision_of(row)
    names = ("revision", "op", "outcome", "output", "rationale", "reviewers", "annotations", "agreement", "round", "version")
    told = {"decision_id": decision.decision_id, **_pick(row, *names), "decided_at": decision.decided_at.isoformat()}
    return {**told, "reason_codes": list(decision.reason_codes), "scenario": decision.scenario}


def _event(row: RowMapping) -> Mapping[str, JSON]:
    return {"at": row["at"].isoformat(), **_pick(row, "actor", "action", "detail")}


def _pick(row: RowMapping, *names: str) -> dict[str, JSON]:
    return {name: row[name] for name in names}
