"""A workspace opened: its adapters, each made when it is first asked for, its policy in force, and who may use it now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hitl_bridge.adapters.workspace_lock import workspace_lock
from hitl_bridge.core import draws
from hitl_bridge.core.model import ADJUDICATION
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.task_types.controls import ESCALATE, RETURN
from hitl_bridge.errors import AccessRefused
from hitl_bridge.ports import Clock, LabelingService, Lease, WorkspacePaths
from hitl_bridge.settings import Settings

if TYPE_CHECKING:
    from hitl_bridge.adapters.dvc.dataset import DvcDatasetStore
    from hitl_bridge.adapters.label_studio.client import LabelStudioClient
    from hitl_bridge.adapters.receipts.files import ParquetReceipts
    from hitl_bridge.adapters.sql.access_tokens import SqlAccessTokens
    from hitl_bridge.adapters.sql.store import SqlStore
    from hitl_bridge.core.gold import Newcomers
    from hitl_bridge.core.people import Former
    from hitl_bridge.services.keeping.leases import LeaseTerms


PROJECTS, COMMIT, DAEMON, TRAIN = "projects", "commit", "daemon", "train"
"""What is done by one bridge at a time: the work on review projects, committing, looping, training."""

_FRESH_SECONDS = 2.0
"""So long a threshold may still be used after another process has tightened it."""

_FULL_PAGE = "comprehensive"
"""The label config of tiers that have no file of their own."""


class Opened(AbstractContextManager["Opened"]):
    """What stands behind every verb of a workspace."""

    def __init__(self, settings: Settings, *, labeling: LabelingService | None, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._given_labeling = labeling
        self._believed = False
        self._policy: ReviewPolicy | None = None
        self._policy_asked = 0.0
        self._policy_number: object = None
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
        may have tightened them, or have written down who has left."""
        now = self.clock.now().timestamp()
        if self._policy is None or not 0 <= now - self._policy_asked < _FRESH_SECONDS:
            people = self._people_known()
            newest = (self.store.thresholds().newest(), self.store.lots().newest(), people)
            if self._policy is None or newest != self._policy_number:
                self._policy, self._policy_number = self._policy_in_force(*people), newest
            self._policy_asked = now
        return self._policy

    def _people_known(self) -> tuple[Former, Newcomers]:
        from hitl_bridge.core.people import former

        return former(self.store.people().terms()), self.store.gold().newcomers()

    def _policy_in_force(self, left: Former, newcomers: Newcomers) -> ReviewPolicy:
        from hitl_bridge.core.audits.tightened import with_audit_rate, with_ceilings
        from hitl_bridge.core.budget.budget_policy import plan_in_force

        policy = replace(self.settings.policy, former=left, newcomers=newcomers)
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
            scenarios=self.policy.scenarios,
        )

    @cached_property
    def access_tokens(self) -> SqlAccessTokens:
        from hitl_bridge.adapters.sql.access_tokens import SqlAccessTokens

        return SqlAccessTokens(self.store.engine)

    # ------------------------------------------------------------------------------------------------- one at a time

    @contextmanager
    def _alone(self, scope: str = PROJECTS, *, believed: bool = False) -> Iterator[None]:
        """Holds the lease of `scope`; whatever the store is told meanwhile is refused once somebody has taken it over."""
        from hitl_bridge.adapters.interpreter import older_objects_left_alone
        from hitl_bridge.services.keeping.leases import held

        if self.store.fence is not None and self.store.fence.scope == scope:
            yield  # a verb within a verb
            return
        with held(self._lease_terms, scope) as lease, older_objects_left_alone():
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
