"""People: their accounts with the labeling service, and who might decide when."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from hitl_bridge.core.model import Item, ItemId, JSONObject
from hitl_bridge.core.people import RosterChange, Term


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who can log in to the labeling service."""

    user_id: int
    email: str


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account that was just made, with the password to hand over."""

    email: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """What somebody answered, and what was decided in the end (None: the item was rejected)."""

    email: str
    scenario: str | None
    said: JSONObject | None
    decided: JSONObject | None


@dataclass(frozen=True, slots=True)
class AnswerThere:
    """Somebody answered an item in a pool, at the labeling service's own time (ISO 8601)."""

    pool: str
    email: str
    item_id: ItemId
    at: str


class Accounts(Protocol):
    """The labeling service's own accounts. Raises like LabelingService."""

    def listed(self) -> list[Account]: ...
    def invitation(self) -> str:
        """The address at which somebody makes an account of their own."""

    def make(self, email: str) -> NewAccount:
        """Makes an account with a password of chance, behind the invitation."""


class PeopleStore(Protocol):
    """Who might decide when. Nothing here is ever taken out."""

    def terms(self) -> list[Term]: ...
    def record(self, change: RosterChange, at: datetime) -> None:
        """Begins and ends terms, each with an event."""

    def open_work(self) -> Mapping[str, int]:
        """Tasks in each person's own projects that wait for their answer."""

    def open_in_pools(self) -> Mapping[str, int]:
        """Answers that are still to come to what people were asked, by pool."""

    def reroute(self, moved: Sequence[tuple[Item, str]], at: datetime) -> None:
        """The items go to these pools, with an event each. What is on its way already stays where it is."""

    def seconds_an_answer(self) -> Mapping[str, float]:
        """How long each person takes, on the average; pauses of more than half an hour count as half an hour."""

    def checked_answers(self, most: int) -> Iterator[CheckedAnswer]:
        """Answers to decided items, the newest first, out of `most` at most; without those on which alone the decision rests,
        unless the item has a known answer: then `decided` is that one."""

    def answers_of_others(self, people: Mapping[str, Collection[str]]) -> Sequence[AnswerThere]:
        """Every answer that was given in one of these pools by somebody who is not of its people."""
