"""What a person looks at and settles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hitl_bridge.core.model import JSON, Annotation, Answer, Item, ItemId, Project, ProjectId, PushKey, TaskId
from hitl_bridge.ports.audit import Event


@dataclass(frozen=True, slots=True)
class QuarantinedRevision:
    """A revision of an annotation that can't be believed, and on which nobody has ruled. `number` names it here; `item_id`
    and `project` are None where the bridge has forgotten them."""

    number: int
    annotation: Annotation
    item_id: ItemId | None
    project: Project | None


@dataclass(frozen=True, slots=True)
class UnreadableTask:
    """A task that the labeling service itself can't show; read again by every pull."""

    project_id: ProjectId
    task_id: TaskId
    reason: str
    since: datetime
    item_id: ItemId | None
    project: Project | None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a person said of a quarantined revision: it counts, and what it says (`answer`), or (None) it never will."""

    number: int
    answer: Answer | None
    by: str
    reason: str
    at: datetime


class Quarantine(Protocol):
    """Annotations that can't be believed, until a person rules. Nothing of them is ever deleted."""

    def quarantined(self) -> list[QuarantinedRevision]:
        """Oldest first: the newest revision of each annotation, if that is quarantined and nobody has ruled on it."""

    def unreadable(self) -> list[UnreadableTask]: ...
    def rule(self, ruling: Ruling) -> None:
        """Writes the ruling and its event, and marks the item for `open_reviews`. Raises UnknownName for a number that is not
        among the quarantined (any more)."""


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that was set aside: `quarantined` (the labeling service refused its task) or `failed` (the process died of it)."""

    item: Item
    reason: str
    project: Project | None
    push_key: PushKey | None


class Failures(Protocol):
    """Items that were set aside, until a person asks for another try."""

    def failed_items(self) -> list[FailedItem]: ...
    def requeue(self, items: Sequence[Item], by: str, reason: str, at: datetime) -> None:
        """Queues these items for their next round (so that their tasks get new keys), with an event each."""


class Insights(Protocol):
    """The one read model for every face: command line, pages, metrics."""

    def item_counts(self) -> Mapping[str, int]:
        """Items by state; auto-approved ones counted from the batches."""

    def tier_counts(self) -> Mapping[str, int]: ...
    def project_counts(self) -> list[Mapping[str, JSON]]:
        """For each project: title, url, pool, tier, tasks, answered, open, closed, open_answered."""

    def overdue(self, now: datetime) -> list[Mapping[str, JSON]]: ...
    def decision_counts(self) -> Mapping[str, int]:
        """Current decisions by outcome."""

    def audit_counts(self) -> Mapping[str, int]:
        """Decided audits: how many, and how many were overturned."""

    def life_of(self, item_id: ItemId) -> Mapping[str, JSON]:
        """Everything the store knows of an item: revisions, tasks, annotation revisions, decisions, versions, events."""

    def last_event(self, action: str) -> Event | None: ...
    def problems(self) -> list[Mapping[str, JSON]]:
        """Quarantined annotations and items, refused tasks: what a person has to look at."""
