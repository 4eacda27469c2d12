"""Decisions × what is committed → the rows of the next dataset version."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hitl_bridge.core.model import JSON, Decision, Item, Op, Outcome

_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")

TAG = "decisions@"
"""What the tag of a dataset version starts with."""

Pseudonym = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Unversioned:
    """A decision that is in no version yet, its item, and the decision of the same item that a version holds, if any."""

    decision: Decision
    item: Item
    committed: Decision | None
    answered_at: str | None


@dataclass(frozen=True, slots=True)
class DatasetChange:
    """The next dataset version as values: its number, its rows, and the texts that lie apart so that they can be erased."""

    version: str
    records: tuple[Mapping[str, JSON], ...]
    payloads: tuple[Mapping[str, JSON], ...]
    added: int
    changed: int
    removed: int

    @property
    def tag(self) -> str:
        return TAG + self.version

    def summary(self) -> str:
        """For the commit message: counts alone, no text of anybody's."""
        return f"{self.tag}: {self.added} added, {self.changed} changed, {self.removed} removed"


def plan_change(
    settled: Sequence[Unversioned], last_version: str | None, pseudonym: Pseudonym, *, new_labels: bool = False
) -> DatasetChange:
    """The version that holds `settled`. `new_labels`: the label set is no longer that of `last_version`."""
    ordered = sorted(settled, key=lambda each: (each.item.item_id, each.item.revision))
    ops = [operation(each) for each in ordered]
    return DatasetChange(
        version=next_version(last_version, ops, new_labels=new_labels),
        records=tuple(_record(each, op, pseudonym) for each, op in zip(ordered, ops, strict=True)),
        payloads=tuple(_payload(each) for each, op in zip(ordered, ops, strict=True) if op is not Op.REMOVE),
        added=ops.count(Op.ADD),
        changed=ops.count(Op.CHANGE),
        removed=ops.count(Op.REMOVE),
    )


def operation(settled: Unversioned) -> Op:
    """What the version does with the item: whatever happened between two versions counts as one step."""
    if settled.decision.op is Op.REMOVE:
        return Op.REMOVE
    held = settled.committed is not None and settled.committed.op is not Op.REMOVE
    return Op.CHANGE if held else Op.ADD


def next_version(last: str | None, ops: Collection[Op], *, new_labels: bool = False) -> str:
    """Patch: only corrected or reverted decisions. Minor: new ones. Major: the label set changed. The first is v0.1.0."""
    match = _VERSION.fullmatch(last or "v0.0.0")
    if match is None:
        raise ValueError(f"{last!r} is not a version like v0.12.0")
    major, minor, patch = (int(part) for part in match.groups())
    if new_labels and last is not None:
        return f"v{major + 1}.0.0"
    if last is None or Op.ADD in ops:
        return f"v{major}.{minor + 1}.0"
    return f"v{major}.{minor}.{patch + 1}"


def version_order(version: str) -> tuple[int, int, int]:
    """Sorts v0.10.0 after v0.9.0. Raises ValueError on anything else."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError(f"{version!r} is not a version like v0.12.0")
    major, minor, patch = (int(part) for part in match.groups())
    return major, minor, patch


def _record(settled: Unversioned, op: Op, pseudonym: Pseudonym) -> Mapping[str, JSON]:
    decision, item, triage = settled.decision, settled.item, settled.item.triage
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
        "scenario": prediction.scenario,
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
    }


_SAID = ("outcome", "decision", "agreement", "reviewers", "annotations", "round")


def says_the_same(row: Mapping[str, JSON], settled: Unversioned, pseudonym: Pseudonym) -> bool:
    """Whether `row` of a version holds what was `settled`: the same answer to the same revision, from the same annotations.

    Whenever it was settled, and however often: a decision that is made again from the same answers is the same decision.
    """
    anew = _record(settled, operation(settled), pseudonym)
    removes = (row["op"] == Op.REMOVE.value, settled.decision.op is Op.REMOVE)
    same = all(row[name] == anew[name] for name in ("item_id", "revision", *_SAID))
    return same and removes[0] == removes[1]


def _payload(settled: Unversioned) -> Mapping[str, JSON]:
    return {
        "item_id": settled.item.item_id,
        "revision": settled.item.revision,
        "input": _json(settled.item.prediction.input),
        "rationale": settled.decision.rationale,
    }


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
