"""The ladder of a tier: what happens, and when, to an item that nobody finishes in time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

_NONE = timedelta(0)


class Audience(StrEnum):
    """Who is told: those of the item's pool, or the review lead."""

    POOL = "pool"
    LEAD = "lead"


@dataclass(frozen=True, slots=True)
class Rung:
    """A step of a tier's ladder: so much working time `after` the deadline (before it where that is negative) somebody is told
    (`tell`), or the item is given to another pool, or to an adjudicator (`give_to`). Exactly one of the two is said.

    `name` is how it is remembered: an item takes each step of one deadline once, also where the settings change its time.
    """

    after: timedelta = _NONE
    tell: Audience | None = None
    give_to: str | None = None

    @property
    def name(self) -> str:
        if self.give_to is not None:
            return "adjudicator" if self.give_to == ADJUDICATOR else f"pool:{self.give_to}"
        early = "at_risk" if self.tell is Audience.POOL else "lead_at_risk"
        late = "overdue" if self.tell is Audience.POOL else "lead"
        return early if self.after < _NONE else late


ADJUDICATOR = "adjudicator"
"""In place of a pool's name: the item goes to an adjudicator of its own pool. No pool may be called this."""

OVERDUE = Rung(tell=Audience.POOL)
"""What happens where the settings say nothing: those who are late are told."""

LEAD = Rung(tell=Audience.LEAD)
"""What happens where an adjudicator is late."""


def usual_ladder(sla: timedelta, escalate_after: timedelta | None) -> tuple[Rung, ...]:
    """Of a tier without one of its own; `escalate_after` is counted from when the item was asked about."""
    if escalate_after is None:
        return (OVERDUE,)
    rungs = (OVERDUE, Rung(escalate_after - sla, give_to=ADJUDICATOR))
    return tuple(sorted(rungs, key=lambda rung: rung.after))
