"""Who reviews: the roster, and what follows from it for the pools."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias

from hitl_bridge.core.routing import Pool

WEEKLY = timedelta(hours=40)


class Role(StrEnum):
    """What somebody may do in a pool."""

    REVIEWER = "reviewer"
    ADJUDICATOR = "adjudicator"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody of the roster, by e-mail. Without `languages` they read all; `weekly` is the time that they have for reviews."""

    email: str
    pools: tuple[str, ...] = ()
    weekly: timedelta = WEEKLY
    languages: tuple[str, ...] = ()
    adjudicates: bool = False
    approves: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Seat:
    """The right to decide in a pool."""

    pool: str
    role: Role
    email: str


@dataclass(frozen=True, slots=True)
class Term:
    """A right to decide that somebody has had `since`, `until` they left the roster (None: they have it)."""

    seat: Seat
    since: datetime
    until: datetime | None = None


Former: TypeAlias = "Mapping[tuple[str, Role], Mapping[str, datetime]]"
"""By pool and role: who has left, and until when what they said counts."""


@dataclass(frozen=True, slots=True)
class RosterChange:
    """Rights that are new, and rights that ended."""

    joined: tuple[Seat, ...] = ()
    left: tuple[Seat, ...] = ()


@dataclass(frozen=True, slots=True)
class Deciders(Collection[str]):
    """Who may decide; and those who might, until they left: what they said before goes on counting. Of those who have `begun`
    at some time, what they said before does not. With `either`, each of these tells for itself who might."""

    present: frozenset[str]
    former: Mapping[str, datetime] = field(default_factory=dict)
    begun: Mapping[str, datetime] = field(default_factory=dict)
    either: tuple[Deciders, ...] = ()

    def __contains__(self, email: object) -> bool:
        return email in self.present

    def __iter__(self) -> Iterator[str]:
        return iter(self.present)

    def __len__(self) -> int:
        return len(self.present)

    def might(self, email: str, at: str) -> bool:
        """Whether what they said at that time (ISO 8601) decides."""
        if self.either:
            return any(one.might(email, at) for one in self.either)
        said, since, until = datetime.fromisoformat(at), self.begun.get(email), self.former.get(email)
        if since is not None and said < since:
            return False
        return email in self.present or (until is not None and said <= until)


def together(several: Sequence[Collection[str]]) -> Collection[str]:
    """Who may decide by any of these, an empty one meaning everybody."""
    if not all(isinstance(one, Deciders) or one for one in several):
        return frozenset()
    each = tuple(one if isinstance(one, Deciders) else Deciders(frozenset(one)) for one in several)
    return Deciders(frozenset().union(*(one.present for one in each)), either=each)


def with_roster(pools: Iterable[Pool], roster: Sequence[Person]) -> tuple[Pool, ...]:
    """The pools, with the people of the roster who belong to them beside those that the pool itself names."""
    return tuple(_with_people(pool, [person for person in roster if pool.name in person.pools]) for pool in pools)


def _with_people(pool: Pool, people: Sequence[Person]) -> Pool:
    reviewers = dict.fromkeys([*pool.reviewers, *(person.email for person in people)])
    adjudicators = dict.fromkeys([*pool.adjudicators, *(person.email for person in people if person.adjudicates)])
    return replace(pool, reviewers=tuple(reviewers), adjudicators=tuple(adjudicators))


def seats(pools: Iterable[Pool]) -> frozenset[Seat]:
    """Who may decide where."""
    return frozenset(
        Seat(pool.name, role, email)
        for pool in pools
        for role, people in ((Role.REVIEWER, pool.reviewers), (Role.ADJUDICATOR, pool.adjudicators))
        for email in people
    )


def roster_change(now: Collection[Seat], terms: Iterable[Term]) -> RosterChange:
    """What has changed since the terms were written down."""
    held = {term.seat for term in terms if term.until is None}
    return RosterChange(tuple(sorted(set(now) - held)), tuple(sorted(held - set(now))))


def decided_until(terms: Iterable[Term]) -> dict[tuple[str, str], datetime | None]:
    """By pool and e-mail: until when somebody might decide there, in whatever role; None where they have not left."""
    found: dict[tuple[str, str], datetime | None] = {}
    for term in terms:
        who = term.seat.pool, term.seat.email
        before = found.get(who, term.until)
        found[who] = None if before is None or term.until is None else max(before, term.until)
    return found


def former(terms: Iterable[Term]) -> Former:
    """Those who have left, and until when what they said there counts."""
    found: dict[tuple[str, Role], dict[str, datetime]] = {}
    for term in sorted(terms, key=lambda term: term.since):
        people = found.setdefault((term.seat.pool, term.seat.role), {})
        if term.until is None:
            people.pop(term.seat.email, None)
        else:
            people[term.seat.email] = term.until
    return found
