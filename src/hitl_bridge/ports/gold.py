"""Known items that the bridge asks by itself, and newcomers who learn by them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from hitl_bridge.core.gold import Known, Learner, Newcomers
from hitl_bridge.core.model import Item, ItemId, JSONObject
from hitl_bridge.ports.store import Batch


@dataclass(frozen=True, slots=True)
class BankedItem:
    """A gold item as it came: the row of a prediction, its input in it."""

    item_id: ItemId
    row: JSONObject
    why: str = ""


@dataclass(frozen=True, slots=True)
class AskedGold:
    """That `item` is asked for the sake of `gold_id`: `beside` another item (by its name), or of `person`."""

    item: Item
    gold_id: ItemId
    pool: str
    beside: str | None = None
    person: str | None = None


class GoldStore(Protocol):
    """The bank of known items, and what was asked out of it."""

    def keep(self, rows: Sequence[BankedItem], by: str, at: datetime) -> None:
        """In the bank from now on, in place of what was there of the same items."""

    def bank(self) -> list[BankedItem]:
        """All whose answer is known still."""

    def left(self) -> int:
        """How many of the bank can still be mixed in."""

    def mixed_in(self) -> frozenset[ItemId]:
        """Items of the bank that can't be mixed in any more: they were, came in as predictions, or somebody learns by them."""

    def paired(self, names: Collection[str]) -> frozenset[str]:
        """Of these items, by name, those beside which a known one was asked."""

    def ask(self, batch: Batch, asked: Sequence[AskedGold], at: datetime) -> None:
        """The items and what they are for: all or nothing, with an event. A second call changes nothing."""

    def lessons(self) -> Mapping[ItemId, Known]:
        """Of each item that somebody learns by: what is true."""

    def newcomers(self) -> Newcomers: ...

    def learners(self) -> list[Learner]:
        """Those whose answers do not count yet, and how they do."""

    def begin(self, people: Collection[tuple[str, str]], at: datetime) -> None:
        """Of these, by pool and e-mail, no answer counts until they have passed, with an event each."""

    def passed(self, learner: Learner, at: datetime) -> None:
        """Their answers count from now on, with an event."""
