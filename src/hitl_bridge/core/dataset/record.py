"""A decision as a row of the dataset: all that a later reader needs to know of it, and no personal text."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from hitl_bridge.core.model import JSON, Decision, Item, Op, Outcome

Pseudonym = Callable[[str], str]

_BANDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


class Cause(StrEnum):
    """Why a record is as it is: people settled it; its answers no longer support it; somebody took it back; what was taken back
    left an earlier decision that holds again."""

    SETTLED = "settled"
    WITHDRAWN = "withdrawn"
    REVERTED = "reverted"
    REINSTATED = "reinstated"


class Consent(StrEnum):
    """What the person whom an item is about said of its use. NONE: nothing is known."""

    YES = "yes"
    NO = "no"


@dataclass(frozen=True, slots=True)
class DataUse:
    """What decisions are collected for, and which attribute of an item says whether that was agreed to."""

    purpose: str | None = None
    consent: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of how a decision came about, beside the item and the answers.

    Args:
        asked_at: when the first task of the round was sent.
        label_configs: SHA-256 of the pages on which was answered.
        annotations_sha256: `answers_digest` of what was answered.
        receipt_sha256: of the file of receipts that the item's is in.
        selected_by: the arm by which the item got room in the review budget, and `selection_probability` the chance it had;
            None where it never waited.
        reverted_by: who took something back, `revert_reason` why, `taken_back` the answers that count no more with it.
    """

    asked_at: datetime | None = None
    label_configs: tuple[str, ...] = ()
    annotations_sha256: str | None = None
    receipt_sha256: str | None = None
    selected_by: str | None = None
    selection_probability: float | None = None
    reverted_by: str | None = None
    revert_reason: str | None = None
    taken_back: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unversioned:
    """A decision that is in no version yet, its item, and the decision of the same item that a version holds, if any."""

    decision: Decision
    item: Item
    committed: Decision | None
    answered_at: str | None
    context: Context = field(default_factory=Context)


def record(settled: Unversioned, op: Op, pseudonym: Pseudonym, use: DataUse) -> Mapping[str, JSON]:
    """The row of `schema.decision_schema`."""
    decision, item, triage, context = settled.decision, settled.item, settled.item.triage, settled.context
    prediction = item.prediction
    return {
        "op": op.value,
        "item_id": item.item_id,
        "revision": item.revision,
        "seq": decision.seq,
        "model_version": prediction.model_version,
        "prediction": _json(prediction.output),
        "scores": _json(prediction.scores),
        "confidence": prediction.confidence,
        "risk": triage.risk,
        "tier": triage.tier,
        "purpose": triage.purpose.value,
        "split": triage.split.value,
        "edge": triage.edge,
        "scenario": decision.scenario or prediction.scenario,
        "attributes": _json(prediction.attributes),
        "outcome": decision.outcome.value,
        "decision": None if decision.output is None or decision.outcome is Outcome.REJECTED else _json(decision.output),
        "agreement": decision.agreement,
        "reviewers": sorted(pseudonym(reviewer) for reviewer in decision.reviewers),
        "annotations": sorted(decision.annotations),
        "round": decision.round,
        "policy_version": triage.policy_version,
        "audit_rate": triage.audit_rate,
        "uniform_rate": triage.uniform_rate,
        "received_at": _time(item.received_at),
        "answered_at": settled.answered_at,
        "decided_at": _time(decision.decided_at),
        "confidence_band": confidence_band(prediction.confidence),
        "probability": decision.probability,
        "reason_codes": sorted(decision.reason_codes),
        "asked_at": None if context.asked_at is None else _time(context.asked_at),
        "label_configs": sorted(context.label_configs),
        "annotations_sha256": context.annotations_sha256,
        "batch_id": item.batch_id,
        "receipt_sha256": context.receipt_sha256,
        "rule": triage.rule,
        "blind_rate": triage.blind_rate,
        "selected_by": context.selected_by,
        "selection_probability": context.selection_probability,
        "used_for": use.purpose,
        "consent": consent(prediction.attributes, use),
        "cause": cause(settled).value,
        "cause_reason": context.revert_reason,
        "cause_by": None if context.reverted_by is None else pseudonym(context.reverted_by),
        "taken_back": sorted(context.taken_back),
    }


_SAID = ("outcome", "decision", "agreement", "reviewers", "annotations", "round", "scenario")


def says_the_same(row: Mapping[str, JSON], settled: Unversioned, pseudonym: Pseudonym) -> bool:
    """Whether `row` of a version holds what was `settled`: the same answer to the same revision, from the same annotations.

    Whenever it was settled, and however often: a decision that is made again from the same answers is the same decision.
    """
    anew = record(settled, settled.decision.op, pseudonym, DataUse())
    removes = (row["op"] == Op.REMOVE.value, settled.decision.op is Op.REMOVE)
    same = all(row[name] == anew[name] for name in ("item_id", "revision", *_SAID))
    return same and removes[0] == removes[1]


def rests_on_what_was_taken_back(row: Mapping[str, JSON], settled: Unversioned) -> bool:
    """Whether a version says that an answer behind what was `settled` counts no more: a store that was restored from a backup
    may not know of the revert."""
    gone, decision = row.get("taken_back"), settled.decision
    return isinstance(gone, list) and decision.op is not Op.REMOVE and not set(gone).isdisjoint(decision.annotations)


def payload(settled: Unversioned) -> Mapping[str, JSON]:
    """The row of `schema.payload_schema`."""
    return {
        "item_id": settled.item.item_id,
        "revision": settled.item.revision,
        "input": _json(settled.item.prediction.input),
        "rationale": settled.decision.rationale,
    }


def cause(settled: Unversioned) -> Cause:
    removes = settled.decision.op is Op.REMOVE
    if settled.context.reverted_by is not None:
        return Cause.REVERTED if removes else Cause.REINSTATED
    return Cause.WITHDRAWN if removes else Cause.SETTLED


def consent(attributes: Mapping[str, JSON], use: DataUse) -> str | None:
    """YES or NO as the item's attribute says; None where none is named, or it says nothing that can be understood."""
    said = attributes.get(use.consent) if use.consent else None
    if isinstance(said, bool):
        return (Consent.YES if said else Consent.NO).value
    words = {"yes": Consent.YES, "true": Consent.YES, "no": Consent.NO, "false": Consent.NO}
    known = words.get(said.strip().casefold()) if isinstance(said, str) else None
    return None if known is None else known.value


def confidence_band(confidence: float) -> str:
    """`0.90–0.95` for 0.9 ≤ confidence < 0.95; the last band, from 0.99 on, holds 1."""
    place = bisect_right(_BANDS, confidence)
    upper = _BANDS[place] if place < len(_BANDS) else 1.0
    return f"{_BANDS[max(0, place - 1)]:.2f}–{upper:.2f}"


def answers_digest(results: Mapping[str, JSON]) -> str:
    """SHA-256 that stands for raw answers, by `Annotation.key`: of a line for each, its key and the SHA-256 of its canonical
    JSON, sorted."""
    lines = sorted(f"{key} {hashlib.sha256(_json(result).encode()).hexdigest()}\n" for key, result in results.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
