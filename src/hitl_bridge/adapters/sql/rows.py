"""Rows of the tables to values of the model and back. Pure translation; what is refused is refused by the column types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping

from hitl_bridge.adapters.sql.column_types import canonical_json, moment_text
from hitl_bridge.core.model import (
    JSON,
    Annotation,
    AnnotationState,
    Answer,
    DatasetVersion,
    Decision,
    Item,
    ItemState,
    Op,
    Outcome,
    Prediction,
    Project,
    ProjectKey,
    Purpose,
    Request,
    ReviewTask,
    Route,
    Split,
    TaskState,
    Triage,
)
from hitl_bridge.ports import Batch, Event, ReceiptFile

Row = dict[str, Any]


def batch_row(batch: Batch, items: int) -> Row:
    return {
        "batch_id": batch.batch_id,
        "source": batch.source,
        "content_sha256": batch.content_sha256,
        "read": batch.read,
        "accepted": batch.accepted,
        "duplicates": batch.duplicates,
        "problems": batch.problems,
        "tiers": batch.tiers,
        "audits": batch.audits,
        "items": items,
        "received_at": batch.received_at,
    }


def batch_of(row: RowMapping) -> Batch:
    return Batch(**{name: value for name, value in row.items() if name != "items"})


def receipt_file_of(row: RowMapping) -> ReceiptFile:
    return ReceiptFile(path=row["path"], sha256=row["sha256"], rows=row["rows"])


def item_row(item: Item) -> Row:
    """The row of `items`; the input is not in it."""
    prediction, triage = item.prediction, item.triage
    return {
        "item_id": item.item_id,
        "revision": item.revision,
        "state": item.state,
        "state_reason": "",
        "round": item.round,
        "output": prediction.output,
        "confidence": prediction.confidence,
        "model_version": prediction.model_version,
        "scores": prediction.scores,
        "scenario": prediction.scenario,
        "attributes": prediction.attributes,
        "predicted_at": prediction.predicted_at,
        "triage_tier": triage.tier,
        "risk": triage.risk,
        "triage_reason": triage.reason,
        "purpose": triage.purpose,
        "split": triage.split,
        "policy_version": triage.policy_version,
        "audit_rate": triage.audit_rate,
        "uniform_rate": triage.uniform_rate,
        "rule": triage.rule,
        "edge": triage.edge,
        "blind_rate": triage.blind_rate,
        **route_row(item.route),
        "batch_id": item.batch_id,
        "received_at": item.received_at,
    }


def route_row(route: Route) -> Row:
    return {
        "pool": route.pool,
        "tier": route.tier,
        "reviewers": route.reviewers,
        "due_at": route.due_at,
        "priority": route.priority,
        "blind": route.blind,
        "route_reason": route.reason,
        "note": route.note or None,
    }


def payload_row(item: Item) -> Row:
    return {"item_id": item.item_id, "revision": item.revision, "input": item.prediction.input}


def item_of(row: RowMapping) -> Item:
    """A row of `items` joined with its `input`, which is empty where the payload was erased."""
    return Item(
        item_id=row["item_id"],
        revision=row["revision"],
        state=ItemState(row["state"]),
        round=row["round"],
        prediction=_prediction_of(row),
        triage=_triage_of(row),
        route=route_of(row),
        batch_id=row["batch_id"],
        received_at=row["received_at"],
    )


def _prediction_of(row: RowMapping) -> Prediction:
    return Prediction(
        item_id=row["item_id"],
        input=row["input"] or {},
        output=row["output"],
        confidence=row["confidence"],
        model_version=row["model_version"],
        scores=row["scores"],
        scenario=row["scenario"],
        attributes=row["attributes"],
        predicted_at=row["predicted_at"],
    )


def _triage_of(row: RowMapping) -> Triage:
    return Triage(
        tier=row["triage_tier"],
        risk=row["risk"],
        reason=row["triage_reason"],
        purpose=Purpose(row["purpose"]),
        split=Split(row["split"]),
        policy_version=row["policy_version"],
        audit_rate=row["audit_rate"],
        uniform_rate=row["uniform_rate"],
        rule=row["rule"],
        edge=row["edge"],
        blind_rate=row["blind_rate"],
    )


def route_of(row: RowMapping) -> Route:
    return Route(
        pool=row["pool"],
        tier=row["tier"],
        reviewers=row["reviewers"],
        due_at=row["due_at"],
        priority=row["priority"],
        blind=row["blind"],
        reason=row["route_reason"],
        note=row["note"] or "",
    )


def project_row(project: Project) -> Row:
    return {
        "pool": project.key.pool,
        "tier": project.key.tier,
        "part": project.key.part,
        "project_id": project.project_id,
        "title": project.title,
        "url": project.url,
        "label_config_sha256": project.label_config_sha256,
        "epoch": project.epoch,
    }


def project_of(row: RowMapping) -> Project:
    return Project(
        key=project_key_of(row),
        project_id=row["project_id"],
        title=row["title"],
        url=row["url"],
        label_config_sha256=row["label_config_sha256"],
        epoch=row["epoch"],
    )


def project_key_of(row: RowMapping) -> ProjectKey:
    return ProjectKey(pool=row["pool"], tier=row["tier"], part=row["part"])


def task_row(task: ReviewTask) -> Row:
    return {
        "push_key": task.push_key,
        "item_id": task.item_id,
        "revision": task.revision,
        "round": task.round,
        "seat": task.seat,
        "pool": task.project_key.pool,
        "tier": task.project_key.tier,
        "part": task.project_key.part,
        "state": task.state,
        "state_reason": "",
        "project_id": task.project_id,
        "task_id": task.task_id,
        "task_created_at": task.task_created_at,
        "sent_at": task.sent_at,
    }


def task_of(row: RowMapping) -> ReviewTask:
    return ReviewTask(
        push_key=row["push_key"],
        item_id=row["item_id"],
        revision=row["revision"],
        round=row["round"],
        seat=row["seat"],
        project_key=project_key_of(row),
        state=TaskState(row["state"]),
        project_id=row["project_id"],
        task_id=row["task_id"],
        task_created_at=row["task_created_at"],
        sent_at=row["sent_at"],
    )


def annotation_row(annotation: Annotation) -> Row:
    return {
        "project_id": annotation.project_id,
        "task_id": annotation.task_id,
        "annotation_id": annotation.annotation_id,
        "push_key": annotation.push_key,
        "created_at": annotation.created_at,
        "updated_at": annotation.updated_at,
        "reviewer": annotation.reviewer,
        "updated_by": annotation.updated_by,
        "state": annotation.state,
        "answer": None if annotation.answer is None else answer_json(annotation.answer),
        "result": list(annotation.result),
        "lead_time": annotation.lead_time,
        "reason": annotation.reason,
        "epoch": annotation.epoch,
    }


def annotation_of(row: Mapping[Any, Any]) -> Annotation:
    return Annotation(
        project_id=row["project_id"],
        task_id=row["task_id"],
        annotation_id=row["annotation_id"],
        push_key=row["push_key"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        reviewer=row["reviewer"],
        updated_by=row["updated_by"],
        state=AnnotationState(row["state"]),
        answer=None if row["answer"] is None else answer_of(row["answer"]),
        result=tuple(row["result"]),
        lead_time=None if row["lead_time"] is None else float(row["lead_time"]),  # SQLite's RETURNING says 12 for 12.0
        reason=row["reason"],
        epoch=row["epoch"],
    )


def answer_json(answer: Answer) -> Mapping[str, JSON]:
    """What later versions added stands there only where it says something: the audit log holds digests of these texts."""
    later: dict[str, JSON] = {
        "reason_codes": list(answer.reason_codes),
        "request": answer.request,
        "missing_label": answer.missing_label,
        "scenario": answer.scenario,
    }
    return {
        "output": answer.output,
        "rationale": answer.rationale,
        "checklist": list(answer.checklist),
        "confidence": answer.confidence,
        **{name: value for name, value in later.items() if value},
    }


def answer_of(stored: Mapping[str, Any]) -> Answer:
    return Answer(
        output=stored["output"],
        rationale=stored["rationale"],
        checklist=tuple(stored["checklist"]),
        confidence=stored["confidence"],
        reason_codes=tuple(stored.get("reason_codes", ())),
        request=Request(stored["request"]) if "request" in stored else None,
        missing_label=stored.get("missing_label", ""),
        scenario=stored.get("scenario", ""),
    )


def decision_row(decision: Decision) -> Row:
    return {
        "item_id": decision.item_id,
        "revision": decision.revision,
        "seq": decision.seq,
        "op": decision.op,
        "outcome": decision.outcome,
        "output": decision.output,
        "rationale": decision.rationale,
        "reviewers": list(decision.reviewers),
        "annotations": list(decision.annotations),
        "agreement": float(decision.agreement),
        "round": decision.round,
        "decided_at": decision.decided_at,
        "reason_codes": list(decision.reason_codes) or None,
        "probability": decision.probability,
        "scenario": decision.scenario,
    }


def decision_of(row: RowMapping) -> Decision:
    return Decision(
        item_id=row["item_id"],
        revision=row["revision"],
        seq=row["seq"],
        op=Op(row["op"]),
        outcome=Outcome(row["outcome"]),
        output=row["output"],
        rationale=row["rationale"],
        reviewers=tuple(row["reviewers"]),
        annotations=tuple(row["annotations"]),
        agreement=row["agreement"],
        round=row["round"],
        decided_at=row["decided_at"],
        reason_codes=tuple(row["reason_codes"] or ()),
        probability=row["probability"],
        scenario=row["scenario"],
    )


_LATER = ("reason_codes", "probability", "scenario")


def annotation_text(annotation: Annotation) -> str:
    """The whole revision as one text, equal if and only if the revisions are."""
    return canonical_json(annotation_row(annotation), "annotation")


def decision_text(decision: Decision) -> str:
    """The whole decision as one text, equal if and only if the decisions are. What later versions added stands there only
    where it says something: the audit log holds digests of these texts."""
    row = {name: value for name, value in decision_row(decision).items() if value is not None or name not in _LATER}
    return canonical_json({**row, "decided_at": moment_text(decision.decided_at, "decided_at")}, "decision")


def version_row(version: DatasetVersion) -> Row:
    return {
        "version": version.version,
        "tag": version.tag,
        "git_commit": version.git_commit,
        "added": version.added,
        "changed": version.changed,
        "removed": version.removed,
        "committed_at": version.committed_at,
    }


def version_of(row: RowMapping) -> DatasetVersion:
    return DatasetVersion(**{name: value for name, value in row.items() if name != "id"})


def event_of(row: RowMapping) -> Event:
    return Event(**{name: row[name] for name in ("at", "action", "item_id", "detail", "actor", "before", "after")})


def moment_sort_key(text: str) -> str:
    """Orders the labeling service's timestamps: it leaves out the fraction where it is zero, and '.' sorts before 'Z'."""
    return text.removesuffix("Z").removesuffix("+00:00")
