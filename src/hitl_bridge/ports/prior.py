"""Decided items: what the store knows of them, and an index of what each of them is like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from hitl_bridge.core.model import Decision, Item, ItemId, JSONObject
from hitl_bridge.core.prior import MissingLabel, PriorDecision
from hitl_bridge.ports.audit import AuditHead

if TYPE_CHECKING:
    from hitl_bridge.core.similarity import Terms

Identity: TypeAlias = "tuple[ItemId, int]"
"""An item and its revision."""


@dataclass(frozen=True, slots=True)
class DecidedItem:
    """An item that was decided for the first time, as it came in."""

    item_id: ItemId
    revision: int
    input: JSONObject
    scores: Mapping[str, float]


class PriorStore(Protocol):
    """The store, as far as it tells of decisions that were made before."""

    def head(self) -> AuditHead: ...
    def knows(self, head: AuditHead) -> bool:
        """Whether that is in this store's log: not after it was restored from an older backup."""

    def newly_decided(self, after: AuditHead | None) -> Iterator[DecidedItem]:
        """Items of the training split that got their first decision after that; all there are if None. The cost grows with what
        was decided since. Those whose input was erased are missing."""

    def holding(self, identities: Sequence[Identity]) -> Mapping[Identity, PriorDecision]:
        """Of these, the ones on which a decision holds, and that may be shown: nothing whose true answer measures people."""

    def last_decisions(self, identities: Sequence[Identity]) -> Mapping[Identity, Decision]:
        """The newest decision on each of these, as it was before it was taken back if it was."""

    def latest(self, item_id: ItemId) -> Item | None:
        """An item's latest revision; None for one that no person was to see."""

    def missing_labels(self) -> list[MissingLabel]:
        """What reviewers call the labels that they miss, in the answers in force; the most frequent first."""


class DecidedIndex(Protocol):
    """What decided items are like. It can be made anew from the store at any time."""

    @property
    def size(self) -> int:
        """How many items are in it."""

    def alone(self) -> AbstractContextManager[None]:
        """While it is brought up to date. Raises OutsideUnavailable if another process does that for too long."""

    def head(self) -> AuditHead | None:
        """Up to where in the store's log it has come; None of an empty one, or one that can't be read."""

    def take_in(self, items: Iterable[tuple[Identity, Terms]], head: AuditHead, *, anew: bool) -> int:
        """Adds these items, all or none, and notes how far it has come; returns how many. `anew`: in place of all there were."""

    def nearest(self, terms: Terms, most: int) -> list[tuple[Identity, float]]:
        """The items that are most like one with these terms, and how much: a cosine; the most alike first."""
