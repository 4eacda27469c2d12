"""Is it time to train again? Enough that is new, or long enough ago; and a look at the champion from time to time even so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class RetrainTerms:
    """`retrain:` of the settings. After so many (`after`) committed corrections, or decisions of any kind where `corrections` is
    False; or when the last training is `every` so long ago and anything is new; `revalidate_every` so often in any case."""

    after: int | None = None
    corrections: bool = True
    every: timedelta | None = None
    revalidate_every: timedelta | None = None


@dataclass(frozen=True, slots=True)
class NewSince:
    """What was committed since the last training: decisions, and those of them that said otherwise than the model."""

    decisions: int
    corrections: int


def due(terms: RetrainTerms, last: datetime | None, new: NewSince, now: datetime) -> str | None:
    """Why it is time to train, in a sentence; None while it is not. `last`: when it was done last, if ever."""
    counted = new.corrections if terms.corrections else new.decisions
    if terms.after is not None and counted >= terms.after:
        what = "corrections" if terms.corrections else "decisions"
        return f"{counted} {what} since the last training; {terms.after} are asked for"
    if last is None:
        return "nothing was ever trained here" if new.decisions and terms.every is not None else None
    ago = now - last
    if terms.every is not None and new.decisions and ago >= terms.every:
        return f"the last training was {ago.days} days ago, and {new.decisions} decisions are new"
    if terms.revalidate_every is not None and ago >= terms.revalidate_every:
        return f"the last look at the champion was {ago.days} days ago"
    return None
