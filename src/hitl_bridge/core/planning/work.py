"""What reviews asked of people, from the record: time, second opinions, and when in the day they work."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median, pstdev

from hitl_bridge.core.model import ADJUDICATION, Purpose
from hitl_bridge.core.planning.forecast import Terms, Times, Work
from hitl_bridge.core.routing import Tier
from hitl_bridge.core.triage.plan import TriagePlan

LONGEST = 10.0
"""Times the median: an answer counts as at most that long. The labeling service goes on counting while a page lies open."""

_FEW_TIMES = 5
"""Fewer timed answers of a kind say too little of how they differ."""
_BUSY = 0.9


@dataclass(frozen=True, slots=True)
class Settled:
    """Items of a tier that were looked at for a purpose: how many are decided, and how many of these by an adjudicator."""

    tier: str
    purpose: Purpose
    decided: int
    adjudicated: int


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """An answer: the tier of its project, why the item was looked at, the seconds it took (None: not told), when it was given
    (the labeling service's own text, ISO 8601)."""

    tier: str
    purpose: Purpose
    seconds: float | None
    given_at: str


@dataclass(slots=True)
class PastWork:
    """What the record says of reviews, and in `notes` what was taken for something that it does not say."""

    settled: Sequence[Settled]
    seconds: Mapping[tuple[str, bool], Sequence[float]]
    hours_by_day: Mapping[str, float]
    answers_by_hour: Mapping[int, int]
    notes: list[str] = field(default_factory=list)

    def terms(self, plan: TriagePlan, tiers: Mapping[str, Tier], seats_then: Mapping[str, int]) -> Terms:
        """What a policy's tiers will ask.

        Args:
            tiers: the policy's, by name.
            seats_then: by recorded tier, how many reviewers an item had.
        """
        return Terms(
            auto_tier=plan.auto_tier,
            uniform_rate=plan.uniform_rate,
            audit_rate=plan.audit_rate,
            tiers={name: self._work(tier, seats_then) for name, tier in tiers.items()},
            blind=self._blind(),
            adjudication=self._times("adjudication", lambda tier, _: tier == ADJUDICATION),
        )

    def _work(self, tier: Tier, seats_then: Mapping[str, int]) -> Work:
        alike = [each for each in self.settled if each.purpose is Purpose.REVIEW and each.decided]
        seated = [each for each in alike if seats_then.get(each.tier) == tier.reviewers]
        same = [each for each in seated if each.tier == tier.name]
        if not seated and alike:
            self._note(
                f"No tier had {tier.reviewers} reviewers yet: how often {tier.name} goes to an adjudicator is taken from all."
            )
        decided, adjudicated = _sums(same or seated or alike)
        times = self._times(tier.name, lambda name, blind: name == tier.name and not blind)
        return Work(tier.reviewers, decided, adjudicated, times)

    def _blind(self) -> Work:
        decided, adjudicated = _sums([each for each in self.settled if each.purpose is not Purpose.REVIEW])
        return Work(1, decided, adjudicated, self._times("blind looks", lambda tier, blind: blind and tier != ADJUDICATION))

    def _times(self, kind: str, fits: Callable[[str, bool], bool]) -> Times | None:
        """Of answers of that kind; of all where there are too few."""
        found = [each for (tier, blind), several in self.seconds.items() if fits(tier, blind) for each in several]
        if len(found) >= _FEW_TIMES:
            return _times(found)
        every = [each for several in self.seconds.values() for each in several]
        if len(every) < _FEW_TIMES:
            return None
        self._note(f"Only {len(found)} answers of {kind} were timed: they are taken to last as long as all answers do.")
        return _times(every)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    @property
    def usual_hours(self) -> float | None:
        """Hours that were worked in a day, of all people together: 9 of 10 days had at most so many. None without answers."""
        worked = sorted(self.hours_by_day.values())
        return worked[min(len(worked) - 1, int(_BUSY * len(worked)))] if worked else None


def past_work(settled: Sequence[Settled], answers: Iterable[RecordedAnswer]) -> PastWork:
    """The record summed up."""
    raw: dict[tuple[str, bool], list[float]] = defaultdict(list)
    when: list[tuple[str, tuple[str, bool], float]] = []
    hours: Counter[int] = Counter()
    for answer in answers:
        kind = (answer.tier, answer.purpose is not Purpose.REVIEW)
        hours[_hour(answer.given_at)] += 1
        if answer.seconds is not None and answer.seconds > 0:
            raw[kind].append(answer.seconds)
            when.append((answer.given_at[:10], kind, answer.seconds))
    longest = {kind: LONGEST * median(several) for kind, several in raw.items()}
    by_day: dict[str, float] = defaultdict(float)
    for day, kind, seconds in when:
        by_day[day] += min(seconds, longest[kind]) / 3600.0
    capped = {kind: [min(each, longest[kind]) for each in several] for kind, several in raw.items()}
    return PastWork(tuple(settled), capped, dict(by_day), dict(hours))


def _hour(given_at: str) -> int:
    """Of the day, in UTC, as the labeling service writes it."""
    text = given_at[11:13]
    return int(text) % 24 if text.isdecimal() else 0


def _times(seconds: Sequence[float]) -> Times:
    return Times(len(seconds), fmean(seconds), pstdev(seconds))


def _sums(several: Sequence[Settled]) -> tuple[int, int]:
    return sum(each.decided for each in several), sum(each.adjudicated for each in several)
