"""The whole review policy of a workspace, as one value: what the settings say, in the words that the services ask for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from hitl_bridge.core.audits.lots import AuditTerms, LotPromise, promise_of
from hitl_bridge.core.budget.budget_policy import BudgetPolicy
from hitl_bridge.core.model import ADJUDICATION, Item, ProjectKey, Purpose, ReviewTask
from hitl_bridge.core.people import Deciders, Former, Person, Role
from hitl_bridge.core.review.consensus import ConsensusRule
from hitl_bridge.core.review.demands import Demands
from hitl_bridge.core.review.handed_on import ReviewTerms
from hitl_bridge.core.review.settle import SettlePolicy
from hitl_bridge.core.routing import Pool, Tier
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.triage.plan import TriagePlan
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

    @property
    def lot_promise(self) -> LotPromise | None:
        """What a lot has to keep. Where errors cost differently the error budget is no share of items, and says nothing here."""
        share = None if self.budget.costs is not None else self.budget.share
        return promise_of(self.audits, share, self.budget.of, self.budget.confidence)

    def tier(self, name: str) -> Tier:
        """The tier of that name; adjudication is one that every workspace has."""
        return adjudication_tier(self.adjudication_sla) if name == ADJUDICATION else self.tiers[name]

    def settling(self, item: Item, tasks: Sequence[ReviewTask] = ()) -> SettlePolicy:
        """How the present round of `item` is settled; `tasks` are the item's, of all rounds.

        Audits and uniform items are one blind look: the tier's second reviewer is for what the model doubts.
        """
        tier = self.tier(item.route.tier)
        return SettlePolicy(
            eligible=self._eligible(item.route.pool, item.route.tier),
            needed=item.route.reviewers,
            rule=ConsensusRule(tier.consensus),
            adjudication_sla=self.adjudication_sla,
            demands=Demands(tier.rationale_required, tier.checklist, tier.reasons),
            returns_to=self._reviewed_in(item, tasks) if item.route.tier == ADJUDICATION else None,
            seats=tier.reviewers,
            most=tier.max_reviewers if item.triage.purpose is Purpose.REVIEW else 0,
        )

    def _reviewed_in(self, item: Item, tasks: Sequence[ReviewTask]) -> ReviewTerms | None:
        """The tier in which `item` was last reviewed, as long as the settings have it."""
        before = [task for task in tasks if task.round < item.round and task.project_key.tier in self.tiers]
        if not before:
            return None
        tier = self.tiers[max(before, key=lambda task: task.round).project_key.tier]
        return ReviewTerms(tier.name, tier.reviewers, tier.sla)

    def _eligible(self, pool_name: str, tier: str) -> Collection[str]:
        """Who may decide; an empty set means everybody. Whoever adjudicates may also review."""
        people = self.people(pool_name, tier)
        roles = [Role.ADJUDICATOR] if tier == ADJUDICATION and people else [Role.REVIEWER, Role.ADJUDICATOR]
        left = {email: until for role in roles for email, until in self.former.get((pool_name, role), {}).items()}
        return Deciders(people, left) if people and left else people

    def people(self, pool_name: str, tier: str) -> frozenset[str]:
        """Who may decide now, an empty set meaning everybody."""
        pool = self.pools.get(pool_name)
        if pool is None or not pool.reviewers:
            return frozenset()
        if tier == ADJUDICATION and pool.adjudicators:
            return frozenset(pool.adjudicators)
        return frozenset(pool.reviewers) | frozenset(pool.adjudicators)


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


def criteria(tier: Tier) -> str:
    """What to go by, in two sentences on each page."""
    said = "Choose the label that fits best; “None of these” if no label fits or the item can't be judged."
    return f"{said} Say why in a sentence that a colleague would understand." if tier.rationale_required else said


def instructions(key: ProjectKey, tier: Tier, labels: tuple[str, ...]) -> str:
    """The criteria of the tier as plain lines, shown before the first task. No value of the data is in it."""
    lines = [
        f"{key.team}: {key.tier} review.",
        "The model's answer is filled in. Read the item first, then keep the answer or change it.",
        "Choose “None of these” if no label fits or the item can't be judged, and say why.",
        "Keys: 1 to 9 choose a label, 0 is “None of these”, the letters beside the other answers choose those. X lets an "
        "adjudicator decide. Ctrl+Enter submits; out of a text field, press Tab first.",
    ]
    if tier.checklist:
        lines.append("Check each of: " + "; ".join(tier.checklist) + ".")
    if tier.rationale_required:
        lines.append("Write down why: a sentence that a colleague would understand.")
    if tier.reviewers > 1:
        lines.append(f"{tier.reviewers} people answer each item independently; please don't compare notes.")
    lines.append("Labels: " + ", ".join(labels) + ".")
    return "\n".join(lines)
