"""What a policy would have asked of people and let through, and what it will: today's, and another one beside it.

The record (receipts, decisions, answers) is replayed under each policy by the engine that triages. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING

from hitl_bridge.core.budget.error_budget import Budget
from hitl_bridge.core.deadlines import DAY, WorkingHours
from hitl_bridge.core.planning.forecast import LEVEL, Horizon, Terms, Times, Work, forecast
from hitl_bridge.core.planning.planned import PlannedPolicy, PlanResult, Recorded, Roster, notes_on, outlook, planned
from hitl_bridge.core.planning.waiting import Missed, Span, Stream, Team, missed_deadlines, shifts_of
from hitl_bridge.core.planning.work import PastWork, past_work
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.triage.plan import TriagePlan
from hitl_bridge.core.triage.policy_record import read_policy
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import Policies, RecordedReceipts, ReviewRecord
from hitl_bridge.services.desk.pools import weekly_hours
from hitl_bridge.services.policy.backtest import Arrivals, Backtest, Engines, newest_model, recorded_days, within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TODAY = "today"
"""The name of the policy in force."""

NO_BUDGET = Budget(0.02)
"""Where the settings name no error budget: how many looks would tell is said for this one."""

_MONTH = 31


@dataclass(frozen=True, slots=True)
class PlanPorts:
    """What planning needs of the world. `engine` is made for a policy's pools."""

    record: ReviewRecord
    policies: Policies
    receipts: RecordedReceipts
    engine: Engines
    key: bytes


@dataclass(frozen=True, slots=True)
class PlanWish:
    """What is asked: for how many `days` (figures are then a day's) or for the next `items`; with a team that works
    `hours_a_day` in all (None: as much as was worked); from the records of one `model` (None: the newest) and of the `last`
    so many days (None: all)."""

    days: int = 7
    items: int | None = None
    hours_a_day: float | None = None
    model: str | None = None
    last: int | None = None


def plan(
    ports: PlanPorts,
    policies: Mapping[str, ReviewPolicy],
    wish: PlanWish,
    budget: Budget | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PlanResult:
    """The figures of each policy, by its name; the first is the one in force.

    Args:
        budget: the error budget of the settings, if there is one.
        progress: told the predictions looked at, and how many there are.

    Raises:
        UsageError: nothing is recorded to plan from, or a rule can't be evaluated.
        RefusedForSafety: receipts that the store counts on are missing.
    """
    backtest = _backtested(ports, policies, wish, progress)
    past = past_work(ports.record.settled(), ports.record.answers())
    days, ours = recorded_days(backtest.volumes), next(iter(policies.values()))
    planning = _Planning(backtest, past, wish, budget or NO_BUDGET, ours, days)
    found = [planning.figures(name, policy) for name, policy in policies.items()]
    recorded, roster = planning.recorded(ports.record.undecided()), planning.roster
    ahead = outlook(backtest.judged(), budget, planning.today.plan, recorded.items_a_day)
    told = [
        *_risk_notes(backtest),
        *_waiting_notes(policies),
        *_calendar_notes(policies, planning.days),
        *notes_on(found, recorded, roster, planning.today.plan, ahead),
    ]
    return PlanResult(
        unit=f"the next {wish.items:,} items" if wish.items else "a day",
        level=LEVEL,
        recorded=recorded,
        policies=tuple(found),
        roster=roster,
        budget=ahead,
        notes=(*told, *past.notes),
    )


def _waiting_notes(policies: Mapping[str, ReviewPolicy]) -> list[str]:
    return [
        f"“{name}” has a review budget of {policy.review_budget.max_reviews:,}: the figures are what all items would "
        "ask, and errors caught are an upper estimate, as people see the most doubtful first."
        for name, policy in policies.items()
        if policy.review_budget is not None
    ]


def _calendar_notes(policies: Mapping[str, ReviewPolicy], days: Sequence[date]) -> list[str]:
    """The days to come are those of the calendar only where there is one."""
    kept = [name for name, policy in policies.items() if any(pool.hours for pool in policy.pools.values())]
    return [
        f"“{name}” has working hours: deadlines are counted in them, over the days from {days[-1] + DAY} on, and outside of them "
        "nobody works. The team's hours are those of its longest day."
        for name in kept
    ]


def _risk_notes(backtest: Backtest) -> list[str]:
    if backtest.from_confidence:
        text = "No prediction is recorded under the present calibration: risks are computed from the confidence alone, roughly."
        return [f"{text} Plan again when some have come in."]
    if backtest.left_out:
        return [f"{backtest.left_out:,} predictions of the time before the present calibration are left out: their risks differ."]
    return []


def _backtested(
    ports: PlanPorts, policies: Mapping[str, ReviewPolicy], wish: PlanWish, progress: Callable[[int, int], None] | None
) -> Backtest:
    batches = within(ports.record.batches(), wish.last)
    model = wish.model or newest_model(ports.receipts, batches)
    same = _same_calibration(ports.policies, next(iter(policies.values())).plan, model)
    backtest = Backtest(ports.record, ports.receipts, ports.engine, ports.key, policies, model, same)
    backtest.run(batches, progress)
    if backtest.left_out and not backtest.volumes:
        backtest = Backtest(ports.record, ports.receipts, ports.engine, ports.key, policies, model, from_confidence=True)
        backtest.run(batches, progress)
    if not backtest.volumes:
        raise UsageError(f"No prediction of the model version {model!r} is recorded.", remedy="Leave --model out for the newest.")
    return backtest


def _same_calibration(policies: Policies, today: TriagePlan, model: str) -> Callable[[str], bool]:
    """Whether under a policy version the model's risks were computed as they are today. One that was not kept is of a time
    when there was no calibration."""
    wanted = today.calibrations.get(model)

    @cache
    def same(version: str) -> bool:
        content = policies.content(version)
        return (None if content is None else read_policy(content).plan.calibrations.get(model)) == wanted

    return same


@dataclass(frozen=True, slots=True)
class _Planning:
    """From the backtest to each policy's figures."""

    backtest: Backtest
    past: PastWork
    wish: PlanWish
    budget: Budget
    today: ReviewPolicy
    days: Sequence[date]

    def figures(self, name: str, policy: ReviewPolicy) -> PlannedPolicy:
        seats = {tier.name: tier.reviewers for tier in self.today.tiers.values()}
        terms = self.past.terms(policy.plan, policy.tiers, seats)
        cells = self.backtest.cells(name)
        foreseen = forecast(cells, terms, self.horizon, budget=self.budget.share, confidence=self.budget.confidence)
        missed = self._missed(policy, _streams(policy, terms, self.backtest.arrivals(name, self.days)))
        return planned(name, policy, cells, foreseen, missed, by=1 if self.wish.items else self.wish.days)

    @property
    def horizon(self) -> Horizon:
        return Horizon(self.wish.items, self.wish.days, [self.backtest.volumes[day] for day in self.days])

    @property
    def roster(self) -> Roster:
        if self.wish.hours_a_day is not None:
            return Roster(self.wish.hours_a_day, "as you say")
        usual, worked = self.past.usual_hours, len(self.past.hours_by_day)
        if usual is None:
            return Roster(None, "not known: no answer was timed yet")
        days = "on the one day" if worked == 1 else f"on the {worked} days"
        return Roster(usual, f"as was worked at most in 9 of 10 cases {days} with answers (they may have more time)")

    def recorded(self, undecided: int) -> Recorded:
        total, days = sum(self.backtest.volumes.values()), self.days
        since, until = days[0].isoformat(), days[-1].isoformat()
        return Recorded(self.backtest.model, total, since, until, len(days), total / len(days), undecided)

    def _missed(self, policy: ReviewPolicy, streams: Sequence[Stream] | None) -> Missed | None:
        hours = self.roster.hours_a_day
        if not streams or not hours:
            return None
        calendars: dict[WorkingHours | None, float] = {}
        for pool in policy.pools.values():
            calendars[pool.hours] = calendars.get(pool.hours, 0.0) + weekly_hours(policy, pool.name)
        team = Team(hours, shifts_of(self.past.answers_by_hour), calendars)
        return missed_deadlines(streams, team, self.days, min(self.wish.days, _MONTH))


# ----------------------------------------------------------------------------------------------------------- the work


def _streams(policy: ReviewPolicy, terms: Terms, arrivals: Arrivals) -> list[Stream] | None:
    """The work that each tier's predictions bring; None where an answer's time is not known."""
    streams: list[Stream | None] = []
    first = policy.tiers[policy.plan.first_review_tier]
    for (name, hours), came in arrivals.items():
        look = terms.chance_of_look(name)
        due = _Due(policy.audit_sla, None if first.around_the_clock else hours, policy.adjudication_sla, hours)
        streams += _rounds(came * look, terms.blind, due, terms.adjudication)
        if name != terms.auto_tier:
            tier = policy.tiers[name]
            due = replace(due, sla=tier.sla, hours=None if tier.around_the_clock else hours)
            streams += _rounds(came * (1 - look), terms.tiers[name], due, terms.adjudication)
    known = [stream for stream in streams if stream is not None]
    return known if len(known) == len(streams) else None


@dataclass(frozen=True, slots=True)
class _Due:
    """The time that reviewers have, then adjudicators, each in the hours that it is counted in."""

    sla: timedelta
    hours: WorkingHours | None
    adjudication_sla: timedelta
    adjudication_hours: WorkingHours | None


def _rounds(came: NDArray[np.float64], work: Work, due: _Due, adjudication: Times | None) -> list[Stream | None]:
    """The first round, and the adjudications after it: they come in with it and are due that much later."""
    if not came.any():
        return []
    first = (due.sla, due.hours)
    disputed = work.adjudicated / work.settled if work.settled else 0.0
    rounds = [_stream(came, [first], work.reviewers, work.seconds)]
    later = [first, (due.adjudication_sla, due.adjudication_hours)]
    return [*rounds, _stream(came * disputed, later, 1, adjudication)] if disputed else rounds


def _stream(came: NDArray[np.float64], spans: Sequence[Span], answers: int, seconds: Times | None) -> Stream | None:
    return None if seconds is None else Stream(came, spans, answers * seconds.mean)
