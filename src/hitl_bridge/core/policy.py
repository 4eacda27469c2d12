"""The whole review policy of a workspace, as one value: what the settings say, in the words that the services ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hitl_bridge.core.audits.lots import AuditTerms, LotPromise, promise_of
from hitl_bridge.core.budget.budget_policy import BudgetPolicy
from hitl_bridge.core.deadlines import AT_RISK, WorkingHours, shift
from hitl_bridge.core.gold import GoldTerms, Newcomers
from hitl_bridge.core.ladder import Rung
from hitl_bridge.core.model import ADJUDICATION, Item, ProjectKey, Purpose, ReviewTask
from hitl_bridge.core.notices import NoticeTerms
from hitl_bridge.core.people import Deciders, Former, Person, Role, together
from hitl_bridge.core.review.consensus import ConsensusRule
from hitl_bridge.core.review.demands import Demands
from hitl_bridge.core.review.handed_on import ReviewTerms
from hitl_bridge.core.review.settle import SettlePolicy, asked_alike
from hitl_bridge.core.routing import Pool, Tier, hours_of
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.triage.plan import TriagePlan
from hitl_bridge.core.triage.policy_record import PoolCondition
from hitl_bridge.core.triage.selection import ReviewBudget

_TITLE_LENGTH = 50


@dataclass(frozen=True, slots=True)
class ReviewPolicy:
    """What is judged, how it is triaged, who reviews it, and when that is enough."""

    kind: TaskType
    labels: tuple[str, ...]
    plan: TriagePlan
    tiers: Mapping[str, Tier]
    pools: Mapping[str, Pool]
    audit_sla: timedelta
    adjudication_sla: timedelta
    review_budget: ReviewBudget | None = None
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    audits: AuditTerms = field(default_factory=AuditTerms)
    roster: tuple[Person, ...] = ()
    by_reviewer: bool = False
    former: Former = field(default_factory=dict)
    gold: GoldTerms = field(default_factory=GoldTerms)
    newcomers: Newcomers = field(default_factory=dict)
    notices: NoticeTerms = field(default_factory=NoticeTerms)
    adjudication_ladder: tuple[Rung, ...] | None = None
    adjudication_criteria: str = ""
    scenarios: tuple[str, ...] = ()

    @property
    def pool_conditions(self) -> tuple[PoolCondition, ...]:
        """The pools as a triage engine needs them, in the order in which they are asked."""
        return tuple((pool.name, pool.when) for pool in self.pools.values())

    @property
    def lot_promise(self) -> LotPromise | None:
        """What a lot has to keep. Where errors cost differently the error budget is no share of items, and says nothing here."""
        share = None if self.budget.costs is not None else self.budget.share
        return promise_of(self.audits, share, self.budget.of, self.budget.confidence)

    def tier(self, name: str) -> Tier:
        """The tier of that name; adjudication is one that every workspace has."""
        if name != ADJUDICATION:
            return self.tiers[name]
        usual = adjudication_tier(self.adjudication_sla)
        return replace(usual, ladder=self.adjudication_ladder, criteria=self.adjudication_criteria)

    def little_time(self, tier_name: str, purpose: Purpose) -> timedelta:
        """With so much working time left, or less, an item is at risk."""
        tier = self.tier(tier_name)
        given = tier.sla if purpose is Purpose.REVIEW or tier_name == ADJUDICATION else self.audit_sla
        return AT_RISK * given if tier.at_risk is None else tier.at_risk

    @property
    def parts(self) -> TaskType | None:
        """What answers are agreed upon part by part with; None where an answer is one whole."""
        return self.kind if self.kind.several else None

    def settling(self, item: Item, tasks: Sequence[ReviewTask] = ()) -> SettlePolicy:
        """How the present round of `item` is settled; `tasks` are the item's, of all rounds.

        Audits and uniform items are one blind look: the tier's second reviewer is for what the model doubts.
        """
        tier = self.tier(item.route.tier)
        return SettlePolicy(
            eligible=self._deciders(item, tasks),
            needed=item.route.reviewers,
            rule=ConsensusRule(tier.consensus),
            adjudication_sla=self.adjudication_sla,
            demands=Demands(tier.rationale_required, tier.checklist, tier.reasons),
            returns_to=self._reviewed_in(item, tasks) if item.route.tier == ADJUDICATION else None,
            seats=tier.reviewers,
            most=tier.max_reviewers if item.triage.purpose is Purpose.REVIEW else 0,
            parts=self.parts,
            hours=self.hours(item.route.pool, ADJUDICATION),
        )

    def hours(self, pool: str, tier: str) -> WorkingHours | None:
        """By which hours a deadline is counted there; None: by the clock, as in a pool or tier that the settings have no more."""
        return hours_of(self.pools.get(pool), self.tier(tier)) if self.has_tier(tier) else None

    def adjudicated_by(self, pool: str, now: datetime) -> datetime:
        """When an adjudicator of that pool is to have answered."""
        return shift(now, self.adjudication_sla, self.hours(pool, ADJUDICATION))

    def has_tier(self, name: str) -> bool:
        """Whether the settings have it (still)."""
        return name == ADJUDICATION or name in self.tiers

    def _reviewed_in(self, item: Item, tasks: Sequence[ReviewTask]) -> ReviewTerms | None:
        """The tier in which `item` was last reviewed, as long as the settings have it."""
        before = [task for task in tasks if task.round < item.round and task.project_key.tier in self.tiers]
        if not before:
            return None
        tier = self.tiers[max(before, key=lambda task: task.round).project_key.tier]
        return ReviewTerms(tier.name, tier.reviewers, tier.sla, self.hours(item.route.pool, tier.name))

    def _deciders(self, item: Item, tasks: Sequence[ReviewTask]) -> Collection[str]:
        """Who may decide the present round: those of the item's pool, and of pools that were asked the same before it."""
        alike = asked_alike(item, tasks)
        pools = [item.route.pool, *(task.project_key.team for task in tasks if task.push_key in alike)]
        several = [self._eligible(pool, item.route.tier) for pool in dict.fromkeys(pools)]
        return several[0] if len(several) == 1 else together(several)

    def _eligible(self, pool_name: str, tier: str) -> Collection[str]:
        """Who may decide; an empty set means everybody. Whoever adjudicates may also review."""
        people, left = self._staff(pool_name, tier), self._left(pool_name, tier)
        if people is None:
            return frozenset()
        new = self._newcomers(pool_name, tier)
        begun = {email: since for email, since in new.items() if since is not None}
        learning = new.keys() - begun.keys()  # also of those who have left: they never counted
        said_in_time = {email: until for email, until in left.items() if email not in learning}
        return Deciders(people - learning, said_in_time, begun) if left or new or not people else people

    def _left(self, pool_name: str, tier: str) -> Mapping[str, datetime]:
        """Who has left, and until when they might decide in such a tier, by whichever role they had the longest."""
        roles = [Role.ADJUDICATOR] if self._settled_by_experts(pool_name, tier) else [Role.REVIEWER, Role.ADJUDICATOR]
        found: dict[str, datetime] = {}
        for role in roles:
            for email, until in self.former.get((pool_name, role), {}).items():
                found[email] = max(until, found.get(email, until))
        return found

    def people(self, pool_name: str, tier: str) -> frozenset[str]:
        """Who may decide now and whom something can be given to; of a pool that names nobody, nobody."""
        learning = {email for email, since in self._newcomers(pool_name, tier).items() if since is None}
        return (self._staff(pool_name, tier) or frozenset()) - learning

    def _newcomers(self, pool_name: str, tier: str) -> Mapping[str, datetime | None]:
        return {} if self._settled_by_experts(pool_name, tier) else self.newcomers.get(pool_name, {})

    def _settled_by_experts(self, pool_name: str, tier: str) -> bool:
        """Whether it is adjudicated there by people named for that; else by the reviewers, newcomers once they count."""
        pool = self.pools.get(pool_name)
        return tier == ADJUDICATION and pool is not None and bool(pool.adjudicators)

    def _staff(self, pool_name: str, tier: str) -> frozenset[str] | None:
        """Everybody of the pool for such a tier; None where it names nobody: that is everybody there is. Who has left is not of
        them, also where these settings were read before that; and of a pool that there is no more, nobody is."""
        pool = self.pools.get(pool_name)
        if pool is None:
            return frozenset() if any(name == pool_name for name, _ in self.former) else None
        adjudicators = self._present(pool_name, Role.ADJUDICATOR, pool.adjudicators)
        if self._settled_by_experts(pool_name, tier):
            return adjudicators
        if not pool.reviewers:
            return None
        return adjudicators | self._present(pool_name, Role.REVIEWER, pool.reviewers)

    def _present(self, pool_name: str, role: Role, named: Sequence[str]) -> frozenset[str]:
        return frozenset(named) - self.former.get((pool_name, role), {}).keys()


def adjudication_tier(sla: timedelta) -> Tier:
    """One expert's answer, with a rationale, settles."""
    return Tier(
        name=ADJUDICATION,
        max_risk=1.0,
        reviewers=1,
        sla=sla,
        consensus="single",
        rationale_required=True,
        checklist=(),
        escalate_after=None,
    )


def project_title(key: ProjectKey, sla: timedelta) -> str:
    """What a reviewer reads in the list of projects: what it is and how soon it is due; 3 to 50 characters."""
    part = f" ({key.part})" if key.part > 1 else ""
    whose = f" · {key.reviewer.partition('@')[0]}" if key.reviewer else ""
    tail = f" · {key.tier}{part} · due in {_span(sla)}"
    return (key.team + whose)[: _TITLE_LENGTH - len(tail)].rstrip() + tail


def _span(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    if hours < 1:
        return f"{round(hours * 60)} min"
    return f"{round(hours)} h" if hours <= 48 else f"{round(hours / 24)} d"


def criteria(tier: Tier, kind: TaskType) -> str:
    """What to go by, on each page: what the settings say of the tier, then two sentences that hold for all."""
    said = kind.guidance
    said = f"{said} Say why in a sentence that a colleague would understand." if tier.rationale_required else said
    return f"{tier.criteria}\n{said}" if tier.criteria else said


def instructions(key: ProjectKey, tier: Tier, kind: TaskType, labels: tuple[str, ...]) -> str:
    """The criteria of the tier as plain lines, shown before the first task. No value of the data is in it."""
    lines = [
        f"{key.team}: {key.tier} review.",
        "The model's answer is filled in. Read the item first, then keep the answer or change it.",
        kind.guidance,
        f"Keys: {kind.keys}, the letters beside the other answers choose those. X lets an adjudicator decide. Ctrl+Enter "
        "submits; out of a text field, press Tab first.",
    ]
    if tier.criteria:
        lines.append(tier.criteria)
    if tier.checklist:
        lines.append("Check each of: " + "; ".join(tier.checklist) + ".")
    if tier.rationale_required:
        lines.append("Write down why: a sentence that a colleague would understand.")
    if tier.reviewers > 1:
        lines.append(f"{tier.reviewers} people answer each item independently; please don't compare notes.")
    lines.append("Labels: " + ", ".join(labels) + ".")
    return "\n".join(lines)
