"""From the settings to the adapters and the ports that the services ask for. The one place where adapters meet services."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hitl_bridge.adapters.workspace_lock import workspace_lock
from hitl_bridge.core import draws
from hitl_bridge.core.model import ADJUDICATION, JSONObject, Project, TaskId
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.task_types.controls import ESCALATE, RETURN
from hitl_bridge.errors import AccessRefused, UsageError
from hitl_bridge.ports import Clock, LabelingService, Lease, OnlineStore, PredictionChunk, TriageEngine, WorkspacePaths
from hitl_bridge.settings import Secret, Settings

if TYPE_CHECKING:
    from hitl_bridge.adapters.dvc.dataset import DvcDatasetStore
    from hitl_bridge.adapters.dvc.pipeline import DvcPipeline
    from hitl_bridge.adapters.label_studio.client import LabelStudioClient
    from hitl_bridge.adapters.receipts.files import ParquetReceipts
    from hitl_bridge.adapters.sql.access_tokens import SqlAccessTokens
    from hitl_bridge.adapters.sql.store import SqlStore
    from hitl_bridge.core.review.records import GoldMisses
    from hitl_bridge.services.audits.lots import LotPorts
    from hitl_bridge.services.audits.recall import RecallHook
    from hitl_bridge.services.dataset.commit import CommitPorts
    from hitl_bridge.services.intake.ingest import IngestPorts
    from hitl_bridge.services.intake.online import Answering, FlushPorts
    from hitl_bridge.services.keeping.leases import LeaseTerms
    from hitl_bridge.services.keeping.quarantine import QuarantinePorts
    from hitl_bridge.services.model.champions import ChampionPorts
    from hitl_bridge.services.model.signing import Approvals
    from hitl_bridge.services.policy.plan import PlanPorts
    from hitl_bridge.services.policy.thresholds import ThresholdPorts
    from hitl_bridge.services.sync.push import HandOut, PushPorts


PROJECTS, COMMIT, DAEMON, TRAIN = "projects", "commit", "daemon", "train"
"""What is done by one bridge at a time: the work on review projects, committing, looping, training."""

_FRESH_SECONDS = 2.0
"""So long a threshold may still be used after another process has tightened it."""

_FULL_PAGE = "comprehensive"
"""The label config of tiers that have no file of their own."""


class Wiring(AbstractContextManager["Wiring"]):
    """What the verbs of a workspace need, each made when it is first asked for; and who may use it now."""

    def __init__(self, settings: Settings, *, labeling: LabelingService | None, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._given_labeling = labeling
        self._believed = False
        self._policy: ReviewPolicy | None = None
        self._policy_asked, self._policy_number = 0.0, (0, "")
        self._lots_judged_at: str | None = None
        self._chosen_at: tuple[str, int, int] | None = None
        self._kept: set[str] = set()
        self._roster_kept = False
        self._also_open = ExitStack()

    @cached_property
    def paths(self) -> WorkspacePaths:
        return WorkspacePaths(self.settings.root)

    @property
    def policy(self) -> ReviewPolicy:
        """The settings, with the calibrations and thresholds in force: asked for anew after a moment, since another process
        may have tightened them."""
        now = self.clock.now().timestamp()
        if self._policy is None or not 0 <= now - self._policy_asked < _FRESH_SECONDS:
            newest = (self.store.thresholds().newest(), self.store.lots().newest())
            if self._policy is None or newest != self._policy_number:
                self._policy, self._policy_number = self._policy_in_force(), newest
            self._policy_asked = now
        return self._policy

    def _policy_in_force(self) -> ReviewPolicy:
        from hitl_bridge.core.audits.tightened import with_audit_rate, with_ceilings
        from hitl_bridge.core.budget.budget_policy import plan_in_force
        from hitl_bridge.core.people import former

        policy = replace(self.settings.policy, former=former(self.store.people().terms()))
        plan = plan_in_force(policy.plan, self.store.thresholds().in_force(), policy.budget)
        plan = with_ceilings(plan, self.store.lots().ceilings(policy.plan.policy_version))
        raised = self.store.lots().audit_rate()
        return replace(policy, plan=plan if raised is None else with_audit_rate(plan, raised.rate))

    def forget_policy(self) -> None:
        """What is in force was changed here: the next question looks it up."""
        self._policy = None

    @cached_property
    def store(self) -> SqlStore:
        from hitl_bridge.adapters.sql.store import open_store

        return open_store(self.settings.store_url, self.settings.root, key=self.settings.workspace_key)

    @cached_property
    def receipts(self) -> ParquetReceipts:
        from hitl_bridge.adapters.receipts.files import ParquetReceipts

        return ParquetReceipts(self.paths.receipts)

    @cached_property
    def labeling(self) -> LabelingService:
        if self._given_labeling is not None:
            return self._given_labeling
        from hitl_bridge.adapters.label_studio.gateway import LabelStudio

        # Two workspaces may use one Label Studio, with pools of the same names.
        return LabelStudio(self._client, namespace=draws.digest(self.settings.workspace_key, "namespace")[:8])

    @cached_property
    def _client(self) -> LabelStudioClient:
        from hitl_bridge.adapters.label_studio.client import LabelStudioClient

        if self.settings.token is None:
            raise AccessRefused(
                f"There is no token for Label Studio at {self.settings.label_studio_url}.",
                remedy="Set HITL_LABEL_STUDIO_TOKEN, or try a local one with `hitl-bridge label-studio start`.",
            )
        return LabelStudioClient(self.settings.label_studio_url, self.settings.token.reveal(), self.clock)

    @cached_property
    def dataset(self) -> DvcDatasetStore:
        from hitl_bridge.adapters.dvc.dataset import DvcDatasetStore

        return DvcDatasetStore(self.settings.root, self.settings.git_branch, remote=self.settings.git_remote)

    def label_config(self, tier: str) -> str:
        """The label config of a tier: the workspace's template with labels and checklist filled in."""
        from hitl_bridge.adapters.label_studio.pages import find_template, render_label_config

        policy = self.policy.tier(tier)
        template = find_template(self.paths.label_configs, self.settings.task, tier, otherwise=_FULL_PAGE)
        return render_label_config(
            template,
            self.policy.labels,
            policy.checklist,
            rationale_required=policy.rationale_required,
            reasons=policy.reasons,
            request=RETURN if tier == ADJUDICATION else ESCALATE,
        )

    @cached_property
    def access_tokens(self) -> SqlAccessTokens:
        from hitl_bridge.adapters.sql.access_tokens import SqlAccessTokens

        return SqlAccessTokens(self.store.engine)

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

        engine = DuckDbTriage(pools=tuple((pool.name, pool.when) for pool in policy.pools.values())).kept()
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
        pools = tuple((pool.name, pool.when) for pool in policy.pools.values())
        engine = self._also_open.enter_context(DuckDbTriage(pools, threads=1).kept())
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

        engine = self._engine([(pool.name, pool.when) for pool in self.policy.pools.values()])
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
        return PushPorts(self.store, self.labeling, self.label_config, self.clock, key, self._hand_out)

    @property
    def _hand_out(self) -> HandOut | None:
        """Who gets what, where each reviewer has projects of their own."""
        from hitl_bridge.services.desk.assignment import HandingOut, hand_out

        if not self.settings.by_reviewer:
            return None
        gold = self.store.agreement().gold
        ports = HandingOut(self.store, self.store.people(), self.clock, self.settings.workspace_key, gold)
        return lambda items: hand_out(ports, self.policy, items)

    @cached_property
    def _quarantine_ports(self) -> QuarantinePorts:
        from hitl_bridge.adapters.label_studio.payloads import controls_of
        from hitl_bridge.services.keeping.quarantine import QuarantinePorts

        reachable = self._given_labeling is not None or self.settings.token is not None

        def link(project: Project, task_id: TaskId) -> str:
            return self.labeling.task_url(project, task_id) if reachable else project.url

        return QuarantinePorts(self.store.desk(), self.policy, controls_of, link, self.clock)

    # ------------------------------------------------------------------------------------------------- one at a time

    @contextmanager
    def _alone(self, scope: str = PROJECTS, *, believed: bool = False) -> Iterator[None]:
        """Holds the lease of `scope`; whatever the store is told meanwhile is refused once somebody has taken it over."""
        from hitl_bridge.services.keeping.leases import held

        if self.store.fence is not None and self.store.fence.scope == scope:
            yield  # a verb within a verb
            return
        with held(self._lease_terms, scope) as lease:
            before, self.store.fence = self.store.fence, lease
            try:
                if not believed:
                    self._refuse_older_store()
                yield
            finally:
                self.store.fence = before

    def _refuse_older_store(self) -> None:
        """Once, when the first verb begins: who puts an old store in place does it while nothing runs."""
        from hitl_bridge.services.sync.restored import refuse_older_store

        if self._believed or not (self.settings.root / ".dvc").is_dir():
            return
        refuse_older_store(self.store.desk(), self.dataset.anchors)
        self._believed = True

    @contextmanager
    def stand_by(self, stop: Callable[[], bool]) -> Iterator[Lease | None]:
        """Waits until no other daemon loops over this store, and holds its place until the end; None if told to `stop`."""
        from hitl_bridge.services.keeping.leases import kept_alive, wait_for

        lease = wait_for(self._lease_terms, DAEMON, stop=stop)
        if lease is None:
            yield None
            return
        with kept_alive(self._lease_terms, lease):
            yield lease

    @cached_property
    def _lease_terms(self) -> LeaseTerms:
        from hitl_bridge.adapters.processes import is_dead, this_process
        from hitl_bridge.services.keeping.leases import LeaseTerms

        return LeaseTerms(self.store.leases(), this_process(), is_dead, self.clock)

    def _workspace_alone(self) -> AbstractContextManager[None]:
        """One training or promotion at a time in this working tree; other machines have trees of their own."""
        return workspace_lock(self.paths.state / "bridge.lock")

    # ------------------------------------------------------------------------------------------------ open and close

    def close(self) -> None:
        """Closes what was opened."""
        self._also_open.close()
        if "store" in self.__dict__:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
