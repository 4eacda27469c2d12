"""The nouns of the bridge, as frozen values. The words are those of the documentation's glossary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType, TypeAlias

# JSON as it comes from outside. Deliberately closed: no `Any` crosses a port.
JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"
JSONObject: TypeAlias = Mapping[str, "JSON"]

ItemId = NewType("ItemId", str)
BatchId = NewType("BatchId", str)
PushKey = NewType("PushKey", str)
TaskId = NewType("TaskId", int)
ProjectId = NewType("ProjectId", int)
AnnotationId = NewType("AnnotationId", int)
DecisionId = NewType("DecisionId", str)

ADJUDICATION = "adjudication"
"""The tier of the round in which an expert settles a dispute. It is the bridge's own and can't be named in `tiers`."""

NONE_OF_THESE = "None of these"
"""The answer that rejects an item: no label fits, or it can't be judged. Reserved: no label may be called this."""


class Purpose(StrEnum):
    """Why a person sees an item. Audit and uniform items are reviewed blind."""

    REVIEW = "review"
    AUDIT = "audit"
    UNIFORM = "uniform"


class Split(StrEnum):
    """What a decision may be used for. Drawn before anyone looks, whatever the answer."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    HOLDOUT = "holdout"


class ItemState(StrEnum):
    """Where an item stands; the legal moves are in `core.lifecycle`."""

    AUTO_APPROVED = "auto_approved"
    QUEUED = "queued"
    PUSHED = "pushed"
    ANSWERED = "answered"
    DECIDED = "decided"
    COMMITTED = "committed"
    WITHDRAWN = "withdrawn"
    QUARANTINED = "quarantined"
    FAILED = "failed"


class Outcome(StrEnum):
    """What people made of a prediction. `rejected`: no label fits, or it can't be judged; there is then no output."""

    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a piece of data: which row (1-based; 0 = the whole file), and why. A value, not an exception."""

    row: int
    reason: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's output for an item. `scores` maps label to score in [0, 1] and may be empty; `confidence` is always there."""

    item_id: ItemId
    input: JSONObject
    output: JSONObject
    confidence: float
    model_version: str
    scores: Mapping[str, float] = field(default_factory=dict)
    scenario: str | None = None
    attributes: JSONObject = field(default_factory=dict)
    predicted_at: str | None = None


@dataclass(frozen=True, slots=True)
class Triage:
    """What triage said of a prediction; the full receipt is the row of the same item in the receipts.

    `risk` is the probability that the prediction is wrong (1 − confidence until a calibration exists). `reason` is the
    sentence a reviewer reads. `audit_rate` and `uniform_rate` are the probabilities with which the draws were made.
    `edge` says that the item belongs to a difficult stratum (high risk or a named rule), fixed before anyone reviews it.
    `blind_rate` is the probability with which its review was drawn to be blind; None: there was no such draw.
    """

    tier: str
    risk: float
    reason: str
    purpose: Purpose
    split: Split
    policy_version: str
    audit_rate: float
    uniform_rate: float
    rule: str | None = None
    edge: bool = False
    blind_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where an item goes: reviewer pool, tier of the project, number of independent answers, deadline, order of serving.

    `priority` lies in [0, 1]; the lowest is served first. `note` is for the reviewer of this round: why they are asked again.
    """

    pool: str
    tier: str
    reviewers: int
    due_at: datetime
    priority: float
    blind: bool
    reason: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """The thing judged, as far as the bridge's store needs it: only items that a person has to see are items there."""

    item_id: ItemId
    revision: int
    state: ItemState
    round: int
    prediction: Prediction
    triage: Triage
    route: Route
    batch_id: BatchId
    received_at: datetime


@dataclass(frozen=True, slots=True)
class ProjectKey:
    """What makes a review project the bridge's: one per pool and tier, or per pool, reviewer and tier: then `pool` is both, as
    `personal` puts them together (no pool's name holds a slash). `part` counts the roll-overs."""

    pool: str
    tier: str
    part: int = 1

    @classmethod
    def personal(cls, pool: str, email: str, tier: str) -> ProjectKey:
        """Of one reviewer alone."""
        return cls(f"{pool}/{email}", tier)

    @property
    def team(self) -> str:
        """The pool."""
        return self.pool.partition("/")[0]

    @property
    def reviewer(self) -> str:
        """Whose project it is, by e-mail; empty if it is the whole pool's."""
        return self.pool.partition("/")[2]

    @property
    def mark(self) -> str:
        """The mark by which the project is found again, whatever its title has become."""
        return f"hitl-bridge:{self.pool}/{self.tier}/{self.part}"


@dataclass(frozen=True, slots=True)
class Project:
    """A project of the labeling service that the bridge keeps. `epoch` counts the times that the labeling service was restored
    from a backup and somebody said that this is right."""

    key: ProjectKey
    project_id: ProjectId
    title: str
    url: str
    label_config_sha256: str
    epoch: int = 0


class TaskState(StrEnum):
    """INTENDED: promised, not sent. UNKNOWN: sent, outcome unclear. LIVE: there. REJECTED: refused. CLOSED: no longer needed."""

    INTENDED = "intended"
    UNKNOWN = "unknown"
    LIVE = "live"
    REJECTED = "rejected"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class ReviewTask:
    """One item in one review project; unique by item, revision, round and seat. `push_key` is how it is found back."""

    push_key: PushKey
    item_id: ItemId
    revision: int
    round: int
    seat: int
    project_key: ProjectKey
    state: TaskState = TaskState.INTENDED
    project_id: ProjectId | None = None
    task_id: TaskId | None = None
    task_created_at: str | None = None
    sent_at: datetime | None = None


class AnnotationState(StrEnum):
    """ANSWER counts. SKIP is a skip. TOMBSTONE is a deletion. QUARANTINED can't be believed; a person decides."""

    ANSWER = "answer"
    SKIP = "skip"
    TOMBSTONE = "tombstone"
    QUARANTINED = "quarantined"


class Request(StrEnum):
    """What an answer asks for. ESCALATE: let an adjudicator decide. RETURN (an adjudicator's): let the reviewers correct it."""

    ESCALATE = "escalate"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reviewer said. `output` is None when they rejected the item, or handed it on: then there is a `request`, and nothing
    is judged. `confidence` is 1–5, or None if not asked.

    `reason_codes` are of the tier's own, or say why the item was rejected (`core.task_types.controls.REJECTIONS`);
    `missing_label` names the label that should exist; `scenario` is the one that the reviewer says this is.
    """

    output: JSONObject | None
    rationale: str = ""
    checklist: tuple[str, ...] = ()
    confidence: int | None = None
    reason_codes: tuple[str, ...] = ()
    request: Request | None = None
    missing_label: str = ""
    scenario: str = ""

    @property
    def rejects(self) -> bool:
        return self.output is None and self.request is None


@dataclass(frozen=True, slots=True)
class Annotation:
    """One revision of one reviewer's answer. Timestamps are the labeling service's own text, never our clock.

    Identity is `(project_id, annotation_id, created_at)`: ids alone are used again after a restore or a deletion.
    `result` is the raw answer as it was sent, kept for ever; `answer` is what it means, None unless `state` is ANSWER.
    `epoch` is the project's when the revision was seen.
    """

    project_id: ProjectId
    task_id: TaskId
    annotation_id: AnnotationId
    push_key: PushKey
    created_at: str
    updated_at: str
    reviewer: str
    updated_by: str
    state: AnnotationState
    answer: Answer | None = None
    result: Sequence[JSON] = ()
    lead_time: float | None = None
    reason: str = ""
    epoch: int = 0

    @property
    def key(self) -> str:
        """Names this revision in decisions and dataset records."""
        return f"{self.project_id}/{self.annotation_id}@{self.updated_at}"


class Verdict(StrEnum):
    """The gate's answer."""

    PROMOTE = "promote"
    HOLD = "hold"
    UNVERIFIED = "unverified"


class Agreement(StrEnum):
    """How the answers of a round stand to each other. `incomplete`: too few are there to tell."""

    AGREED = "agreed"
    DISPUTED = "disputed"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True)
class Consensus:
    """How the answers of one round stand. `share` is the share of the answers that agree with the winning one; `probability`,
    by what is known of those who gave them, that it is the true one (None: not asked for)."""

    agreement: Agreement
    answer: Answer | None
    behind: tuple[Annotation, ...]
    share: float
    reason: str
    probability: float | None = None


class Op(StrEnum):
    """What a decision does to the dataset: `change` replaces the one before it, `remove` takes it back."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Decision:
    """The settled answer for one revision of an item. `seq` counts the times it was settled anew (0 = first).

    A `REMOVE` decision takes an earlier one back (its annotations were deleted); it has no output. `reason_codes` are those
    of the answers behind it. `probability` is the consensus's, None where one person's word settled it. `scenario` is the one
    that reviewers say this is, None where they do not say.
    """

    item_id: ItemId
    revision: int
    seq: int
    op: Op
    outcome: Outcome
    output: JSONObject | None
    rationale: str
    reviewers: tuple[str, ...]
    annotations: tuple[str, ...]
    agreement: float
    round: int
    decided_at: datetime
    reason_codes: tuple[str, ...] = ()
    probability: float | None = None
    scenario: str | None = None

    @property
    def decision_id(self) -> DecisionId:
        return DecisionId(f"{self.item_id}#{self.revision}.{self.seq}")


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A set of decisions committed with DVC and git. `version` reads like v0.12.0, `tag` like decisions@v0.12.0."""

    version: str
    tag: str
    git_commit: str
    added: int
    changed: int
    removed: int
    committed_at: datetime
