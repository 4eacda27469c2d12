"""The settings of a workspace, as one frozen tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from hitl_bridge.core.audits.lots import AuditTerms
from hitl_bridge.core.budget.budget_policy import BudgetPolicy
from hitl_bridge.core.dataset.record import DataUse
from hitl_bridge.core.gold import GoldTerms
from hitl_bridge.core.ladder import Rung
from hitl_bridge.core.notices import NoticeTerms
from hitl_bridge.core.people import Person
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.retraining import RetrainTerms
from hitl_bridge.core.routing import Pool, Tier
from hitl_bridge.core.signing import SignOffTerms
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.triage.plan import TriagePlan
from hitl_bridge.core.triage.selection import ReviewBudget
from hitl_bridge.ports import WorkspacePaths

PIPELINE_APART = "review"
"""The folder of the bridge's pipeline where the repository's root has one already."""


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A text that no message, log line or traceback shows. Only `reveal` gives it."""

    _text: str

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """How the daemon works: a cycle `every` so often, dataset commits apart, every project compared as a whole from time to
    time (`sweep_every`). It answers HTTP at `listen` (None: not at all), and Label Studio is told to call it at
    `webhook_url` (None: it is not told)."""

    every: timedelta = timedelta(seconds=30)
    commit_every: timedelta = timedelta(seconds=60)
    sweep_every: timedelta = timedelta(hours=6)
    listen: str | None = None
    webhook_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `hitl.yaml`, the environment and the workspace's secret files say.

    `tiers` are those that people work in, lenient to strict; the tier `auto` is in `plan` alone. `pools` are in the
    order in which they are asked; the last takes the rest. `token` is None where none is known yet. A relative SQLite
    path counts from the workspace's root and is absolute here. `pipeline_file` is `review/dvc.yaml` in a repository that
    had a pipeline of its own before the bridge came. `git_remote` is a remote's name or address: with it dataset versions
    are committed in a clone of the bridge's own and pushed there.
    """

    root: Path
    task: str
    labels: tuple[str, ...]
    label_studio_url: str
    token: Secret | None
    store_url: str = field(repr=False)  # may hold a password, from HITL_STORE_URL
    git_branch: str
    plan: TriagePlan
    tiers: tuple[Tier, ...]
    audit_sla: timedelta
    adjudication_sla: timedelta
    pools: tuple[Pool, ...]
    workspace_key: bytes = field(repr=False)
    pipeline_file: str = "dvc.yaml"
    git_remote: str | None = None
    error_budget: float | None = None
    budget_confidence: float = 0.95
    review_budget: ReviewBudget | None = None
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)
    audits: AuditTerms = field(default_factory=AuditTerms)
    roster: tuple[Person, ...] = ()
    by_reviewer: bool = False
    gold: GoldTerms = field(default_factory=GoldTerms)
    adjudication_ladder: tuple[Rung, ...] | None = None
    adjudication_criteria: str = ""
    scenarios: tuple[str, ...] = ()
    notices: NoticeTerms = field(default_factory=NoticeTerms)
    notice_addresses: Mapping[str, Secret] = field(default_factory=dict)
    recall_secret: Secret | None = None
    daemon: DaemonSettings = DaemonSettings()
    sign_off: SignOffTerms = field(default_factory=SignOffTerms)
    retrain: RetrainTerms | None = None
    use: DataUse = field(default_factory=DataUse)

    @property
    def paths(self) -> WorkspacePaths:
        return WorkspacePaths(self.root)

    @property
    def policy(self) -> ReviewPolicy:
        """The part that the services obey."""
        return ReviewPolicy(
            kind=task_type(self.task),
            labels=self.labels,
            plan=self.plan,
            tiers={tier.name: tier for tier in self.tiers},
            pools={pool.name: pool for pool in self.pools},
            audit_sla=self.audit_sla,
            adjudication_sla=self.adjudication_sla,
            review_budget=self.review_budget,
            budget=self.budget,
            audits=self.audits,
            roster=self.roster,
            by_reviewer=self.by_reviewer,
            gold=self.gold,
            adjudication_ladder=self.adjudication_ladder,
            adjudication_criteria=self.adjudication_criteria,
            scenarios=self.scenarios,
            notices=self.notices,
        )
