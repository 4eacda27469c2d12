"""A plan as a value: each policy's figures, what they rest on, and what can't be known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hitl_bridge.core.budget.error_budget import Budget, Judged, labels_needed
from hitl_bridge.core.planning.forecast import DAYS_ENOUGH, Cell, Forecast, Range, Unknown
from hitl_bridge.core.planning.waiting import Missed
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.triage.plan import TriagePlan


@dataclass(frozen=True, slots=True)
class PlannedPolicy:
    """A policy's figures, in the unit of the plan (a day, or all of the items). None is what can't be known.

    `tiers` are shares of the recorded predictions. `deadlines` is None where nothing is known of times.
    """

    name: str
    policy_version: str
    tiers: Mapping[str, float]
    approved: Range
    reviews: Range
    adjudications: Range
    hours: Range | None
    escaped: Range | None
    escaped_known: Range
    escaped_share: Range | None
    escaped_of_approved: Range | None
    caught: Range | None
    reviews_per_caught: Range | None
    hours_per_caught: Range | None
    looks: int
    unknown: tuple[Unknown, ...]
    deadlines: Missed | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the plan was made from, from the day `since` to the day `until` (UTC). `undecided` items wait for a decision."""

    model_version: str
    predictions: int
    since: str
    until: str
    days: int
    items_a_day: float
    undecided: int


@dataclass(frozen=True, slots=True)
class Roster:
    """Hours of review a day, of all people together; `known` says where the number is from."""

    hours_a_day: float | None
    known: str


@dataclass(frozen=True, slots=True)
class BudgetOutlook:
    """How far it is to a threshold from the error budget: calibration items judged so far, needed (None: no number would do),
    still missing, and the days that the uniform stream takes to bring them (None: it never does)."""

    share: float
    confidence: float
    labels: int
    needed: int | None
    more: int | None
    days: float | None


@dataclass(frozen=True, slots=True)
class PlanResult:
    """Policies side by side, today's first. `unit` is `a day` or `the next N items`; ranges hold with probability `level`."""

    unit: str
    level: float
    recorded: Recorded
    policies: tuple[PlannedPolicy, ...]
    roster: Roster
    budget: BudgetOutlook | None
    notes: tuple[str, ...] = field(default=())


def planned(
    name: str, policy: ReviewPolicy, cells: Sequence[Cell], foreseen: Forecast, deadlines: Missed | None, by: int
) -> PlannedPolicy:
    total = sum(cell.predictions for cell in cells)
    sizes: Counter[str] = Counter()
    for cell in cells:
        sizes[cell.tier] += cell.predictions

    def each(figure: Range | None) -> Range | None:
        return None if figure is None else figure.over(by)

    return PlannedPolicy(
        name=name,
        policy_version=policy.plan.policy_version,
        tiers={tier.name: sizes[tier.name] / total for tier in policy.plan.tiers},
        approved=foreseen.approved.over(by),
        reviews=foreseen.reviews.over(by),
        adjudications=foreseen.adjudications.over(by),
        hours=each(foreseen.hours),
        escaped=each(foreseen.escaped),
        escaped_known=foreseen.escaped_known.over(by),
        escaped_share=foreseen.escaped_share,
        escaped_of_approved=foreseen.escaped_of_approved,
        caught=each(foreseen.caught),
        reviews_per_caught=foreseen.reviews_per_caught,
        hours_per_caught=foreseen.hours_per_caught,
        looks=foreseen.looks,
        unknown=foreseen.unknown,
        deadlines=deadlines,
    )


def outlook(judged: Judged, budget: Budget | None, plan: TriagePlan, items_a_day: float) -> BudgetOutlook | None:
    """How far it is to a threshold from `budget`; None where no budget is asked for."""
    if budget is None:
        return None
    needed = labels_needed(judged, budget)
    more = None if needed is None else max(0, needed - len(judged))
    a_day = items_a_day * plan.uniform_rate * (1.0 - plan.holdout_share)
    days = None if more is None or (more and not a_day) else more / a_day if more else 0.0
    return BudgetOutlook(budget.share, budget.confidence, len(judged), needed, more, days)


# ------------------------------------------------------------------------------------------------------------- notes


def notes_on(
    policies: Sequence[PlannedPolicy], recorded: Recorded, roster: Roster, today: TriagePlan, budget: BudgetOutlook | None
) -> list[str]:
    """What the figures take for granted and what can't be known, in sentences."""
    found = [_unseen(policy, each, today, recorded) for policy in policies for each in policy.unknown]
    found += [_uncaught(policy) for policy in policies if policy.caught is None]
    if recorded.days < DAYS_ENOUGH:
        many = "only one day is" if recorded.days == 1 else f"only {recorded.days} days are"
        found.append(f"How days differ can't be known: {many} recorded, and the next ones are taken to be like it.")
    if recorded.undecided:
        found.append(f"{recorded.undecided:,} items wait for a decision; they are taken to be like those that have one.")
    if any(policy.hours is None for policy in policies):
        found.append("Hours and deadlines can't be known: too few answers were timed.")
    if roster.hours_a_day is not None and any(policy.deadlines for policy in policies):
        found.append(f"The team works {roster.hours_a_day:.1f} hours a day, {roster.known}; anybody may review anything.")
    if budget is not None and budget.more and budget.days is None:
        found.append("The error budget can't be reached: nothing is drawn for the uniform stream (audit: {uniform: …}).")
    return found


def _unseen(policy: PlannedPolicy, part: Unknown, today: TriagePlan, recorded: Recorded) -> str:
    a_day = part.share * recorded.items_a_day * today.uniform_rate
    if part.chance == 0.0 and a_day == 0.0:
        when = "no look is drawn there: set a rate for the uniform stream (audit: {uniform: …})"
    elif part.chance == 0.0:
        when = f"with today's uniform stream they come in about {part.draws / a_day:,.0f} days"
    else:
        when = "some are drawn and wait for a decision, or none happened to be drawn"
    return (
        f"With “{policy.name}”, {100 * part.share:.1f} % of the items would be approved where there was no random look. How "
        f"many of these are wrong can't be known; {part.draws:,} looks there, all right, would tell. As it is, {when}."
    )


def _uncaught(policy: PlannedPolicy) -> str:
    return f"What “{policy.name}” catches can't be known: nothing is decided of the items of one of its tiers."


# ------------------------------------------------------------------------------------------------------------- telling


@dataclass(frozen=True, slots=True)
class Line:
    """A figure in words, with a text for each policy."""

    says: str
    values: tuple[str, ...]


UNKNOWN = "can't be known"


def lines_of(plan: PlanResult) -> list[Line]:
    """The plan as people read it: `12.3 (8 to 17)`."""

    def line(says: str, told: Callable[[PlannedPolicy], str]) -> Line:
        return Line(says, tuple(told(policy) for policy in plan.policies))

    unit = plan.unit if plan.unit.startswith("a ") else "in all"
    return [
        line("tiers", lambda each: " · ".join(f"{name} {share:.0%}" for name, share in each.tiers.items())),
        line(f"approved without a look, {unit}", lambda each: told(each.approved)),
        line(f"reviews {unit}", lambda each: told(each.reviews)),
        line("… adjudications among them", lambda each: told(each.adjudications)),
        line(f"hours of review {unit}", lambda each: told(each.hours)),
        line(f"errors let through, {unit}", _escaped),
        line("… share of all items", lambda each: told(each.escaped_share, percent=True)),
        line("… share of the approved", lambda each: told(each.escaped_of_approved, percent=True)),
        line("… from so many random looks", lambda each: f"{each.looks:,}"),
        line(f"errors caught, {unit}", lambda each: told(each.caught)),
        line("reviews for each error caught", lambda each: told(each.reviews_per_caught)),
        line("minutes for each error caught", lambda each: told(each.hours_per_caught and each.hours_per_caught.over(1 / 60))),
        line("deadlines missed a day", lambda each: told(each.deadlines.a_day if each.deadlines else None)),
        line("… share of the reviews", lambda each: told(each.deadlines.share if each.deadlines else None, percent=True)),
        line("work over what the team can do", lambda each: f"{each.deadlines.load:.0%}" if each.deadlines else UNKNOWN),
    ]


def _escaped(policy: PlannedPolicy) -> str:
    if policy.escaped is not None:
        return told(policy.escaped)
    return f"{UNKNOWN}; {told(policy.escaped_known)} where people looked"


def told(figure: Range | None, *, percent: bool = False) -> str:
    """A figure and its range."""
    if figure is None:
        return UNKNOWN
    parts = (figure.expected, figure.low, figure.high)
    expected, low, high = (_number(100 * part if percent else part) for part in parts)
    return f"{expected} ({low} to {high}){' %' if percent else ''}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 or value == 0 else f"{value:.2g}"
