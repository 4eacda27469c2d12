"""From the settings to the adapters and the ports that the services ask for. The one place where adapters meet services."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hitl_bridge.adapters.workspace_lock import workspace_lock
from hitl_bridge.core import draws
from hitl_bridge.core.model import Project, TaskId
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.errors import AccessRefused
from hitl_bridge.ports import Clock, LabelingService, Lease, PredictionChunk, WorkspacePaths
from hitl_bridge.settings import Settings

if TYPE_CHECKING:
    from hitl_bridge.adapters.dvc.dataset import DvcDatasetStore
    from hitl_bridge.adapters.dvc.pipeline import DvcPipeline
    from hitl_bridge.adapters.label_studio.client import LabelStudioClient
    from hitl_bridge.adapters.receipts import ParquetReceipts
    from hitl_bridge.adapters.sql.access_tokens import SqlAccessTokens
    from hitl_bridge.adapters.sql.store import SqlStore
    from hitl_bridge.services.ingest import IngestPorts
    from hitl_bridge.services.leases import LeaseTerms
    from hitl_bridge.services.push import PushPorts
    from hitl_bridge.services.quarantine import QuarantinePorts


PROJECTS, COMMIT, DAEMON = "projects", "commit", "daemon"
"""What is done by one bridge at a time: the work on review projects, committing, looping."""

_FULL_PAGE = "comprehensive"
"""The label config of tiers that have no file of their own."""


class Wiring(AbstractContextManager["Wiring"]):
    """What the verbs of a workspace need, each made when it is first asked for; and who may use it now."""

    def __init__(self, settings: Settings, *, labeling: LabelingService | None, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._given_labeling = labeling
        self._believed = False

    @cached_property
    def paths(self) -> WorkspacePaths:
        return WorkspacePaths(self.settings.root)

    @cached_property
    def policy(self) -> ReviewPolicy:
        return self.settings.policy

    @cached_property
    def store(self) -> SqlStore:
        from hitl_bridge.adapters.sql.store import open_store

        return open_store(self.settings.store_url, self.settings.root, key=self.settings.workspace_key)

    @cached_property
    def receipts(self) -> ParquetReceipts:
        from hitl_bridge.adapters.receipts import ParquetReceipts

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
        from hitl_bridge.adapters.label_studio.label_configs import find_template, render_label_config

        policy = self.policy.tier(tier)
        template = find_template(self.paths.label_configs, self.settings.task, tier, otherwise=_FULL_PAGE)
        return render_label_config(template, self.policy.labels, policy.checklist, rationale_required=policy.rationale_required)

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
        from hitl_bridge.adapters.prediction_files import read_predictions
        from hitl_bridge.adapters.triage_engine.duckdb import DuckDbTriage
        from hitl_bridge.services.ingest import IngestPorts

        policy, key = self.policy, self.settings.workspace_key

        def read(source: str, progress: Callable[[int], None] | None) -> Iterator[PredictionChunk]:
            return read_predictions(source, policy.kind, policy.labels, key, policy.plan.attributes, progress=progress)

        engine = DuckDbTriage(pools=tuple((pool.name, pool.when) for pool in policy.pools.values()))
        return IngestPorts(read, self.store, engine, self.receipts, self.receipts, self.clock, key)

    @cached_property
    def _push_ports(self) -> PushPorts:
        from hitl_bridge.services.push import PushPorts

        return PushPorts(self.store, self.labeling, self.label_config, self.clock, self.settings.workspace_key)

    @cached_property
    def _quarantine_ports(self) -> QuarantinePorts:
        from hitl_bridge.adapters.label_studio.payloads import controls_of
        from hitl_bridge.services.quarantine import QuarantinePorts

        reachable = self._given_labeling is not None or self.settings.token is not None

        def link(project: Project, task_id: TaskId) -> str:
            return self.labeling.task_url(project, task_id) if reachable else project.url

        return QuarantinePorts(self.store.desk(), self.policy, controls_of, link, self.clock)

    # ------------------------------------------------------------------------------------------------- one at a time

    @contextmanager
    def _alone(self, scope: str = PROJECTS, *, believed: bool = False) -> Iterator[None]:
        """Holds the lease of `scope`; whatever the store is told meanwhile is refused once somebody has taken it over."""
        from hitl_bridge.services.leases import held

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
        from hitl_bridge.services.restored import refuse_older_store

        if self._believed or not (self.settings.root / ".dvc").is_dir():
            return
        refuse_older_store(self.store.desk(), self.dataset.anchors)
        self._believed = True

    @contextmanager
    def stand_by(self, stop: Callable[[], bool]) -> Iterator[Lease | None]:
        """Waits until no other daemon loops over this store, and holds its place until the end; None if told to `stop`."""
        from hitl_bridge.services.leases import kept_alive, wait_for

        lease = wait_for(self._lease_terms, DAEMON, stop=stop)
        if lease is None:
            yield None
            return
        with kept_alive(self._lease_terms, lease):
            yield lease

    @cached_property
    def _lease_terms(self) -> LeaseTerms:
        from hitl_bridge.adapters.processes import is_dead, this_process
        from hitl_bridge.services.leases import LeaseTerms

        return LeaseTerms(self.store.leases(), this_process(), is_dead, self.clock)

    def _workspace_alone(self) -> AbstractContextManager[None]:
        """One training or promotion at a time in this working tree; other machines have trees of their own."""
        return workspace_lock(self.paths.state / "bridge.lock")

    # ------------------------------------------------------------------------------------------------ open and close

    def close(self) -> None:
        """Closes what was opened."""
        if "store" in self.__dict__:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
