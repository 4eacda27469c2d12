"""Decisions that a person takes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hitl_bridge.core.dataset.reverting import Recorded, TakenBack
from hitl_bridge.core.model import JSON, Item, ItemId


@dataclass(frozen=True, slots=True)
class RevertChoice:
    """Where to look for what is to be taken back; what is None or empty chooses nothing. `reviewer` is an address; `versions`
    are those of the dataset, None among them standing for decisions that are in no version yet."""

    items: Sequence[ItemId] = ()
    reviewer: str | None = None
    since: datetime | None = None
    versions: Sequence[str | None] = ()


@dataclass(frozen=True, slots=True)
class Revert:
    """Who took decisions back, why, when, and by what choice (a reviewer in `scope` by pseudonym). `answers_of` is a reviewer
    none of whose answers so far count any more, decided on or not."""

    revert_id: str
    by: str
    reason: str
    scope: Mapping[str, JSON]
    at: datetime
    answers_of: str | None = None


class Reverts(Protocol):
    """What is taken back, and what that does to answers. Nothing is deleted."""

    def answering(self) -> frozenset[str]:
        """The addresses of all who ever answered."""

    def histories(self, choice: RevertChoice) -> Iterator[tuple[Item, Sequence[Recorded]]]:
        """Of each item that a decision in the choice belongs to: its newest revision, and every decision on that. May hold
        more than was chosen."""

    def answers_by(self, reviewer: str) -> frozenset[str]:
        """Every answer that the reviewer gave, by `Annotation.key`."""

    def record(self, revert: Revert, taken_back: Sequence[TakenBack], next_rounds: Sequence[Item] = ()) -> int:
        """The revert, its decisions, the answers that count no more, and the items to be asked again in their next round, with
        an event each; all or nothing, and a revert that is there already changes nothing. Open items that lose an answer are
        marked for `open_reviews`. Returns how many answers count no more."""

    def uncommitted(self) -> frozenset[ItemId]:
        """Items whose newest decision a revert wrote, and no version holds yet."""
