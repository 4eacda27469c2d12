"""From the adapters of an opened workspace to the ports that the services ask for. The one place where adapters meet services."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_bridge.bootstrap.opened import Opened
from hitl_bridge.core.gold import is_training
from hitl_bridge.core.model import Item, JSONObject, Project, TaskId
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import OnlineStore, PredictionChunk, TriageEngine
from hitl_bridge.settings import Secret

if TYPE_CHECKING:
    from hitl_bridge.adapters.dvc.pipeline import DvcPipeline
    from hitl_bridge.core.prior import Asked
    from hitl_bridge.core.review.records import GoldMisses
    from hitl_bridge.services.audits.lots import LotPorts
    from hitl_bridge.services.audits.recall import RecallHook
    from hitl_bridge.services.dataset.commit import CommitPorts
    from hitl_bridge.services.desk.assignment import Handed
    from hitl_bridge.services.desk.prior import PriorPorts
    from hitl_bridge.services.intake.ingest import IngestPorts
    from hitl_bridge.services.intake.online import Answering, FlushPorts
    from hitl_bridge.services.keeping.quarantine import QuarantinePorts
    from hitl_bridge.services.model.champions import ChampionPorts
    from hitl_bridge.services.model.signing import Approvals
    from hitl_bridge.services.policy.plan import PlanPorts
    from hitl_bridge.services.policy.thresholds import ThresholdPorts
    from hitl_bridge.services.sync.push import HandOut, PushPorts


class Wiring(Opened):
    """The ports that the verbs of a workspace need."""

    def _committer(self) -> str:
        return self._pipeline(None).committer()

    def _pipeline(self, progress: Callable[[str], None] | None) -> DvcPipeline:
        from hitl_bridge.adapters.dvc.pipeline import DvcPipeline

        return DvcPipeline(self.settings.root, self.settings.git_branch, self.settings.pipeline_file, progress=progress)

    @cached_property
    def _ingest_ports(self) -> IngestPorts:
        from hitl_bridge.adapters.predictions.files import item_hashes, read_predictions
        from hitl_bridge.adapters.triage_engine import doubt
        from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
        from hitl_bridge.services.intake.ingest import IngestPorts
        from hitl_bridge.services.intake.online import flush

        policy, key = self.policy, self.settings.workspace_key

        def read(source: str, progress: Callable[[int], None] | None) -> Iterator[PredictionChunk]:
            scores = bool(policy.plan.calibrations)
            terms = (policy.kind, policy.labels, key, policy.plan.attributes)
            return read_predictions(source, *terms, with_scores=scores, progress=progress)

        engine = DuckDbTriage(policy.pool_conditions).kept()
        self._also_open.enter_context(engine)
        settle = partial(flush, self._flush_ports)
        conditions = [*(rule.when for rule in policy.plan.rules), *(pool.when for pool in policy.pools.values() if pool.when)]
        others = doubt.names(conditions, doubt.DISAGREEMENT)
        world = (read, self.store, engine, self.receipts, self.receipts, self.clock, key)
        return IngestPorts(*world, item_hashes=item_hashes, settle=settle, asks_other_models=others)

    def _kept_policy(self) -> ReviewPolicy:
        """The policy in force, kept by its version before the first receipt names it."""
        from hitl_bridge.services.policy.replay import keep_policy

        policy = self.policy
        version = policy.plan.policy_version
        if version not in self._kept:
            self._check_policy()
            keep_policy(self.store.policies(), policy, self.clock.now())
            self._kept.add(version)
        return policy

    @property
    def _policy_terms(self) -> JSONObject:
        from hitl_bridge.core.policy_change import policy_terms

        return policy_terms(self.settings.policy, self.settings.sign_off)

    def _check_policy(self) -> None:
        """Raises RefusedForSafety where the settings let more through than what somebody has agreed to."""
        from hitl_bridge.services.policy.sign_off import agreed_policy

        agreed_policy(self._approvals(None), self._policy_terms)

    def _approvals(self, token: Secret | None, *, sign: bool = False) -> Approvals:
        from hitl_bridge.adapters.git.signatures import GitRegistry
        from hitl_bridge.services.model.signing import Approvals

        return Approvals(
            sign_offs=self.store.sign_offs(),
            tokens=self.access_tokens,
            registry=GitRegistry(self.settings.root, self.settings.git_branch),
            clock=self.clock,
            signers=self.settings.root / self.settings.sign_off.allowed_signers,
            people=tuple(person.email for person in self.settings.roster if person.approves),
            token=None if token is None else token.reveal(),
            sign=sign,
        )

    @property
    def _champion_ports(self) -> ChampionPorts:
        from hitl_bridge.adapters.dvc.champions import DvcChampions
        from hitl_bridge.adapters.git.repository import GitRepository
        from hitl_bridge.adapters.git.signatures import GitRegistry
        from hitl_bridge.services.model.champions import ChampionPorts

        root, branch, pipeline = self.settings.root, self.settings.git_branch, self._pipeline(None)
        champions = DvcChampions(root, GitRepository(root, branch), pipeline.track, pipeline.save)
        return ChampionPorts(champions, self.store.sign_offs(), GitRegistry(root, branch), self.access_tokens, self.paths)

    @staticmethod
    def _engine(pools: Sequence[tuple[str, str | None]]) -> TriageEngine:
        from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage

        return DuckDbTriage(pools=tuple(pools))

    @cached_property
    def _plan_ports(self) -> PlanPorts:
        from hitl_bridge.adapters.receipts.recorded import ParquetRecord
        from hitl_bridge.services.policy.plan import PlanPorts

        record, policies, receipts = self.store.record(), self.store.policies(), ParquetRecord(self.paths.receipts)
        return PlanPorts(record, policies, receipts, self._engine, self.settings.workspace_key)

    def _policy_of(self, file: Path) -> ReviewPolicy:
        """The policy of another settings file for this workspace, with the calibrations and thresholds in force."""
        from hitl_bridge.adapters.triage_engine.rules import DuckDbRules
        from hitl_bridge.core.budget.budget_policy import plan_in_force
        from hitl_bridge.settings import load_other_settings

        policy = load_other_settings(self.settings.root, file, rules=DuckDbRules()).policy
        return replace(policy, plan=plan_in_force(policy.plan, self.store.thresholds().in_force(), policy.budget))

    def _answering(self, store: OnlineStore) -> Answering:
        """Answers predictions one by one; whoever has it shares it with no other thread."""
        from hitl_bridge.adapters.predictions.rows import RowRules, check_predictions
        from hitl_bridge.adapters.receipts.index import ReceiptIndex
        from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
        from hitl_bridge.services.intake.online import Answering, OnlinePorts

        policy, key = self.policy, self.settings.workspace_key
        rules = RowRules(policy.kind, policy.labels, key, policy.plan.attributes)
        known = ReceiptIndex(self.receipts, self.paths.receipts)
        engine = self._also_open.enter_context(DuckDbTriage(policy.pool_conditions, threads=1).kept())
        return Answering(
            OnlinePorts(lambda rows: check_predictions(rows, rules), store, known, engine, self.clock, key, self._kept_policy)
        )

    @cached_property
    def _own_answering(self) -> Answering:
        return self._answering(self.store.online())

    @cached_property
    def _flush_ports(self) -> FlushPorts:
        from hitl_bridge.adapters.receipts.index import receipt_table
        from hitl_bridge.services.intake.online import FlushPorts

        return FlushPorts(self.store.online(), self.receipts, receipt_table, self.clock, self.settings.workspace_key)

    @property
    def _threshold_ports(self) -> ThresholdPorts:
        from hitl_bridge.services.policy.thresholds import ThresholdPorts

        engine = self._engine(self.policy.pool_conditions)
        return ThresholdPorts(self.store.thresholds(), engine, self.clock, self.settings.workspace_key, self.settings.policy.plan)

    @property
    def _lot_ports(self) -> LotPorts:
        from hitl_bridge.adapters.receipts.tallies import ParquetTallies
        from hitl_bridge.services.audits.lots import LotPorts

        tallies = ParquetTallies(self.paths.receipts, self.policy.plan.auto_tier)
        version = self.settings.policy.plan.policy_version
        return LotPorts(self.store.lots(), tallies, self.store.thresholds(), self.clock, version, self._gold_misses)

    def _gold_misses(self) -> GoldMisses:
        from hitl_bridge.services.desk.agreement import gold_misses

        return gold_misses(self.store.agreement(), self.settings.policy, self.settings.workspace_key)

    @property
    def _recall_hook(self) -> RecallHook | None:
        """Raises UsageError where calls could not be signed."""
        from hitl_bridge.adapters.recalls import RecallWebhook

        url, secret = self.settings.audits.recall_webhook, self.settings.recall_secret
        if url is None:
            return None
        if secret is None:
            raise UsageError(
                "Recalls can't be signed: audit.recall_webhook is set and HITL_RECALL_SECRET is not.",
                remedy="Set HITL_RECALL_SECRET to a secret that the receiver knows, too.",
            )
        return RecallWebhook(url, secret.reveal())

    @property
    def _commit_ports(self) -> CommitPorts:
        from hitl_bridge.services.dataset.commit import CommitPorts

        world = (self.store, self.store.insights(), self.dataset, self.clock, self.settings.workspace_key)
        return CommitPorts(*world, self.store.reverts(), self.settings.use)

    @cached_property
    def _push_ports(self) -> PushPorts:
        from hitl_bridge.services.sync.push import PushPorts

        key = self.settings.workspace_key
        return PushPorts(self.store, self.labeling, self.label_config, self.clock, key, self._hand_out, self._beside)

    def _beside(self, items: Sequence[Item]) -> Asked:
        """What was decided before, for the pages of these items."""
        from hitl_bridge.services.desk.prior import beside

        return beside(self._prior_ports, items)

    @cached_property
    def _prior_ports(self) -> PriorPorts:
        from hitl_bridge.adapters.decided_items import DecidedItemFiles
        from hitl_bridge.services.desk.prior import PriorPorts

        key = self.settings.workspace_key
        return PriorPorts(self.store.prior(), DecidedItemFiles(self.paths.similar, key), self.settings.policy.kind, key)

    @property
    def _hand_out(self) -> HandOut | None:
        """Who gets what, where each reviewer has projects of their own."""
        return (lambda items: self._handed(self.policy, items)) if self.settings.by_reviewer else None

    def _handed(self, policy: ReviewPolicy, items: Sequence[Item]) -> Handed:
        from hitl_bridge.services.desk.assignment import HandingOut, hand_out

        gold = self.store.agreement().gold
        ports = HandingOut(self.store, self.store.people(), self.clock, self.settings.workspace_key, gold)
        return hand_out(ports, policy, [item for item in items if not is_training(item)])

    @cached_property
    def _quarantine_ports(self) -> QuarantinePorts:
        from hitl_bridge.adapters.label_studio.remote import controls_of
        from hitl_bridge.services.keeping.quarantine import QuarantinePorts

        reachable = self._given_labeling is not None or self.settings.token is not None

        def link(project: Project, task_id: TaskId) -> str:
            return self.labeling.task_url(project, task_id) if reachable else project.url

        return QuarantinePorts(self.store.desk(), self.policy, controls_of, link, self.clock)
