"""The composition root: settings → a `Bridge` whose methods are the verbs. The one place where adapters meet services."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.workspace_lock import workspace_lock
from hitl_bridge.core import draws
from hitl_bridge.core.model import ADJUDICATION, JSON, ItemId, Project, ProjectId, TaskId
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.errors import AccessRefused, BridgeError, LeaseLost, UsageError
from hitl_bridge.ports import AuditHead, AuditReport, Clock, Event, LabelingService, Lease, PredictionChunk, WorkspacePaths
from hitl_bridge.settings import Settings, load_settings, read_token

if TYPE_CHECKING:
    import pandas as pd

    from hitl_bridge.adapters.dvc import DvcDatasetStore
    from hitl_bridge.adapters.dvc_pipeline import DvcPipeline
    from hitl_bridge.adapters.label_studio.client import LabelStudioClient
    from hitl_bridge.adapters.label_studio.local_server import LocalServer
    from hitl_bridge.adapters.receipts import ParquetReceipts
    from hitl_bridge.adapters.sql.access_tokens import SqlAccessTokens
    from hitl_bridge.adapters.sql.store import SqlStore
    from hitl_bridge.services.backup import BackupResult
    from hitl_bridge.services.commit import CommitResult
    from hitl_bridge.services.cycle import CycleResult
    from hitl_bridge.services.doctor import Check
    from hitl_bridge.services.failures import Failure, Retried
    from hitl_bridge.services.ingest import IngestPorts, IngestResult
    from hitl_bridge.services.init import InitRequest, InitResult
    from hitl_bridge.services.insights import Status
    from hitl_bridge.services.leases import LeaseTerms
    from hitl_bridge.services.pull import PullResult
    from hitl_bridge.services.push import Progress, PushPorts, PushResult
    from hitl_bridge.services.quarantine import Doubtful, QuarantinePorts, Ruled
    from hitl_bridge.services.resolve import ResolveResult
    from hitl_bridge.services.retrain import PromoteResult, RetrainResult
    from hitl_bridge.services.webhooks import WebhooksKept


PROJECTS, COMMIT, DAEMON = "projects", "commit", "daemon"
"""What is done by one bridge at a time: the work on review projects, committing, looping."""

_FULL_PAGE = "comprehensive"
"""The label config of tiers that have no file of their own."""


def open_bridge(root: Path | str, *, labeling: LabelingService | None = None, clock: Clock | None = None) -> Bridge:
    """The bridge of the workspace at `root`.

    Args:
        labeling: takes the place of the Label Studio named in the settings (to try things out).
        clock: takes the place of the system's clock.

    Raises:
        SettingsError: every mistake in `hitl.yaml`, each with its line.
    """
    from hitl_bridge.adapters.triage_engine.rules import DuckDbRules

    settings = load_settings(Path(root), rules=DuckDbRules())
    return Bridge(settings, labeling=labeling, clock=clock or SystemClock())


def load_decisions(version: str | None = None, root: Path | str = ".") -> pd.DataFrame:
    """What held at a dataset version (the latest if None), one row an item, with inputs and rationales.

    Args:
        version: like `v0.12.0`.
        root: the workspace.

    Raises:
        UnknownName: there is no such version.
    """
    with open_bridge(root) as bridge:
        return bridge.load_decisions(version)


class Bridge(AbstractContextManager["Bridge"]):
    """The verbs of a workspace. What a verb does not need is not opened: `status` works while Label Studio is away.

    Verbs that change something hold a lease: a command run by hand and a daemon never interleave, on one machine or on two.
    """

    def __init__(self, settings: Settings, *, labeling: LabelingService | None, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._given_labeling = labeling
        self._believed = False

    # ------------------------------------------------------------------------------------------ the verbs

    def ingest(self, source: str, *, dry_run: bool = False, progress: Callable[[int], None] | None = None) -> IngestResult:
        """Reads predictions from a file, or from standard input if `source` is `-`."""
        from hitl_bridge.services.ingest import ingest

        with self._alone():
            return ingest(self._ingest_ports, self.policy, source, dry_run=dry_run, progress=progress)

    def push(
        self,
        *,
        dry_run: bool = False,
        replace_gone: bool = False,
        restore_label_config: bool = False,
        progress: Progress | None = None,
    ) -> PushResult:
        """Creates the tasks that are due. With `replace_gone`, projects that were deleted are given up and made anew; with
        `restore_label_config`, ours is put back where somebody changed it."""
        from hitl_bridge.services.push import PushWish, foresee, push

        with self._alone():
            if dry_run:
                return foresee(self.store, self.policy, self.settings.workspace_key)
            return push(self._push_ports, self.policy, PushWish(replace_gone, restore_label_config), progress=progress)

    def pull(
        self,
        *,
        accept_lost: bool = False,
        accept_restored: bool = False,
        sweep: bool = False,
        only: Collection[ProjectId] | None = None,
    ) -> PullResult:
        """Brings back what changed, in all projects or `only` in some. With `sweep` they are compared as a whole. With
        `accept_lost` it is believed when most tasks of a project are gone, with `accept_restored` when Label Studio was
        restored from a backup."""
        from hitl_bridge.services.pull import pull
        from hitl_bridge.services.reading import PullPorts, PullWish

        ports = PullPorts(self.store, self.labeling, self.label_config, self.clock)
        wish = PullWish(only, sweep, self.settings.daemon.sweep_every, accept_lost, accept_restored)
        with self._alone():
            return pull(ports, self.policy, wish)

    def resolve(self, *, dry_run: bool = False) -> ResolveResult:
        """Settles what changed."""
        from hitl_bridge.services.resolve import resolve

        with self._alone():
            return resolve(self.store, self.policy, self.clock, dry_run=dry_run)

    def commit(self, *, dry_run: bool = False) -> CommitResult:
        """Commits what was decided."""
        from hitl_bridge.services.commit import CommitPorts, commit

        ports = CommitPorts(self.store, self.store.insights(), self.dataset, self.clock, self.settings.workspace_key)
        with self._alone(COMMIT):
            return commit(ports, self.settings.labels, dry_run=dry_run)

    def sync(self, *, accept_restored_store: bool = False) -> CycleResult:
        """One cycle. With `accept_restored_store` a store that is older than what was published from it is believed."""
        from hitl_bridge.services.cycle import CycleResult

        if accept_restored_store:
            self.accept_restored_store()
        result = CycleResult(self.push(), self.pull(), self.resolve(), self.push(), self.commit())
        self.record_cycle(did_something=result.did_something)
        return result

    # ------------------------------------------------------------------------------- what a person settles

    def quarantined(self) -> list[Doubtful]:
        """Every answer that can't be believed and on which nobody has ruled."""
        from hitl_bridge.services.quarantine import listed

        return listed(self._quarantine_ports)

    def accept_quarantined(self, number: int, *, reason: str, by: str | None = None) -> Ruled:
        """Lets that answer count, in the name of `by` (git's user.name if None)."""
        from hitl_bridge.services.quarantine import accept

        signer = by or self._committer()
        with self._alone():
            return accept(self._quarantine_ports, number, by=signer, reason=reason)

    def drop_quarantined(self, number: int, *, reason: str, by: str | None = None) -> Ruled:
        """Takes that answer off the list for good, in the name of `by` (git's user.name if None)."""
        from hitl_bridge.services.quarantine import drop

        signer = by or self._committer()
        with self._alone():
            return drop(self._quarantine_ports, number, by=signer, reason=reason)

    def failures(self) -> list[Failure]:
        """Every item that was set aside."""
        from hitl_bridge.services.failures import listed

        return listed(self.store.desk())

    def retry(self, item_id: str | None, *, reason: str = "asked to try again", by: str | None = None) -> Retried:
        """Queues that item (all that were set aside if None) in a new round."""
        from hitl_bridge.services.failures import retry

        signer = by or self._committer()
        with self._alone():
            return retry(self.store.desk(), self.clock, item_id, by=signer, reason=reason)

    def backup(self, file: Path | None = None) -> BackupResult:
        """Copies the store to `file` (by the time, in `.hitl/backups`, if None). Needs no lease: others go on writing."""
        from hitl_bridge.services.backup import back_up

        copies = self.store.backups()
        name = f"bridge-{self.clock.now():%Y%m%dT%H%M%SZ}{copies.suffix()}"
        return back_up(copies, self.clock, file or self.paths.state / "backups" / name)

    def verify_backup(self, file: Path) -> BackupResult:
        """Reads a backup through and holds it against the notes beside it."""
        from hitl_bridge.services.backup import verify

        return verify(self.store.backups(), file)

    def accept_restored_store(self, *, by: str | None = None) -> bool:
        """Believes a store that was restored from a backup; False if it is not older than what was published."""
        from hitl_bridge.services.restored import accept_older_store

        signer = by or self._committer()
        with self._alone(believed=True):
            return accept_older_store(self.store.desk(), self.clock, self.store.audit_head(), self.dataset.anchors, signer)

    def verify_audit(self) -> AuditReport:
        """Computes the audit log anew and holds it against itself, the records that it tells of, and the heads that dataset
        commits carry."""
        anchors = {tag: AuditHead(seq, digest) for tag, seq, digest in self.dataset.anchors()}
        return self.store.verify_audit(anchors)

    def status(self) -> Status:
        """How things stand."""
        from hitl_bridge.services.insights import status

        order = [tier.name for tier in self.policy.plan.tiers]
        return status(self.store, self.store.insights(), self.paths, self.clock, order)

    def trace(self, item_id: str) -> Mapping[str, JSON]:
        """An item's whole life."""
        from hitl_bridge.services.insights import trace

        return trace(self.store, self.store.insights(), self.receipts, self.paths, ItemId(item_id))

    def retrain(self, *, force: bool = False, progress: Callable[[str], None] | None = None) -> RetrainResult:
        """Runs the pipeline. `progress` is told each line that it prints."""
        from hitl_bridge.services.retrain import retrain

        with self._workspace_alone():
            return retrain(self._pipeline(progress), self.paths, self.settings.pipeline_file, force=force)

    def promote(self, *, reason: str, by: str | None = None, override: bool = False) -> PromoteResult:
        """Makes the candidate the champion, in the name of `by` (git's user.name if None)."""
        from hitl_bridge.adapters.champions import DvcChampions
        from hitl_bridge.services.retrain import promote

        pipeline = self._pipeline(None)
        champions = DvcChampions(self.settings.root, pipeline.track, pipeline.save)
        signer = by or pipeline.committer()
        with self._workspace_alone():
            return promote(champions, self.paths, self.clock, by=signer, reason=reason, override=override)

    def load_decisions(self, version: str | None = None) -> pd.DataFrame:
        """What held at a dataset version (the latest if None), one row an item, with inputs and rationales."""
        from hitl_bridge.services.decisions import decisions_at

        held: pd.DataFrame = decisions_at(self.dataset, version).to_pandas()
        return held

    # ------------------------------------------------------------------------------------- for the daemon

    def twin(self) -> Bridge:
        """The same workspace opened once more: threads share no bridge."""
        return Bridge(self.settings, labeling=self._given_labeling, clock=self.clock)

    def record_cycle(self, *, did_something: bool) -> None:
        """What `status` tells as the last cycle."""
        self.store.record_events([Event(self.clock.now(), "cycle", detail={"did_something": did_something})])

    def check_lease(self, lease: Lease) -> None:
        """Raises LeaseLost if somebody has taken over."""
        if self.store.leases().look(lease.scope).token != lease.token:
            raise LeaseLost(f"Another hitl-bridge has taken over ({lease.scope}): this one stood still for too long.")

    def renew_token(self) -> bool:
        """Reads Label Studio's token again; whether it is another one now, which the next call uses."""
        token = read_token(self.settings.root)
        if token == self.settings.token:
            return False
        self.settings = replace(self.settings, token=token)
        for made_with_it in ("labeling", "_client", "_push_ports", "_quarantine_ports"):
            self.__dict__.pop(made_with_it, None)
        return True

    def keep_webhooks(self) -> WebhooksKept:
        """Sees to it that Label Studio calls `daemon.webhook_url` when somebody answers."""
        from hitl_bridge.adapters.label_studio.webhooks import LabelStudioWebhooks
        from hitl_bridge.services.webhooks import WebhooksKept, keep_webhooks

        url = self.settings.daemon.webhook_url
        if url is None or self._given_labeling is not None:
            return WebhooksKept()
        return keep_webhooks(self.store, LabelStudioWebhooks(self._client), self.clock, self.settings.workspace_key, url)

    def labeling_requests(self) -> tuple[int, int]:
        """How many requests the present client has made; the first number tells clients apart."""
        there = self.__dict__.get("labeling")
        return (id(there), there.requests_made) if there is not None else (0, 0)

    def ping_store(self) -> None:
        """Raises StoreUnavailable."""
        self.store.audit_head()

    def ping_labeling(self) -> None:
        """Raises LabelingUnavailable and AccessRefused; a token that was renewed meanwhile is used."""
        self.renew_token()
        self.labeling.ping()

    def ping_dataset(self) -> None:
        """Raises OutsideUnavailable if the git or DVC remote can't be reached."""
        from hitl_bridge.adapters.dataset_remotes import ping

        ping(self.settings.root, self.settings.git_remote)

    def signer(self, by: str | None) -> str:
        """Who does what a person decides: as they say, else git's user.name."""
        return by or self._committer()

    @property
    def process(self) -> str:
        """The name of this process among all that hold leases."""
        return self._lease_terms.holder

    @cached_property
    def access_tokens(self) -> SqlAccessTokens:
        from hitl_bridge.adapters.sql.access_tokens import SqlAccessTokens

        return SqlAccessTokens(self.store.engine)

    # ------------------------------------------------------------------------------------- what they need

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
        from hitl_bridge.adapters.dvc import DvcDatasetStore

        return DvcDatasetStore(self.settings.root, self.settings.git_branch, remote=self.settings.git_remote)

    def label_config(self, tier: str) -> str:
        """The label config of a tier: the workspace's template with labels and checklist filled in."""
        from hitl_bridge.adapters.label_studio.label_configs import find_template, render_label_config

        policy = self.policy.tier(tier)
        template = find_template(self.paths.label_configs, self.settings.task, tier, otherwise=_FULL_PAGE)
        return render_label_config(template, self.policy.labels, policy.checklist, rationale_required=policy.rationale_required)

    def _committer(self) -> str:
        return self._pipeline(None).committer()

    def _pipeline(self, progress: Callable[[str], None] | None) -> DvcPipeline:
        from hitl_bridge.adapters.dvc_pipeline import DvcPipeline

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

    def _refuse_older_store(self) -> None:
        """Once, when the first verb begins: who puts an old store in place does it while nothing runs."""
        from hitl_bridge.services.restored import refuse_older_store

        if self._believed or not (self.settings.root / ".dvc").is_dir():
            return
        refuse_older_store(self.store.desk(), self.dataset.anchors)
        self._believed = True

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

    # --------------------------------------------------------------------------------------- open and close

    def close(self) -> None:
        """Closes what was opened."""
        if "store" in self.__dict__:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


# ------------------------------------------------------------------------ a workspace before it has a bridge


def make_workspace(request: InitRequest) -> InitResult:
    """`init`, with the template of this installation, on this machine's git and DVC."""
    from hitl_bridge.adapters.workspace import WorkspaceTools
    from hitl_bridge.adapters.workspace_template import PackagedTemplate
    from hitl_bridge.services.init import init

    return init(request, PackagedTemplate(), WorkspaceTools())


def check_workspace(root: Path) -> list[Check]:
    """`doctor`: every check with its remedy. Never raises."""
    from hitl_bridge.adapters.triage_engine.rules import DuckDbRules
    from hitl_bridge.adapters.workspace import WorkspaceTools
    from hitl_bridge.services.doctor import Probes, doctor

    tools = WorkspaceTools()
    settings: Settings | BridgeError
    try:
        settings = load_settings(root, rules=DuckDbRules())
    except BridgeError as error:
        settings = error
    probes = Probes(
        git_version=tools.git_version,
        dvc_version=tools.dvc_version,
        repository=lambda known: _look(known).dataset.check(),
        ignores=lambda path: tools.ignores(root, path),
        store=_open_store,
        labeling=lambda known: _look(known).labeling.ping(),
        label_configs=_read_label_configs,
    )
    return doctor(root, settings, probes)


def _look(settings: Settings) -> Bridge:
    return Bridge(settings, labeling=None, clock=SystemClock())


def _open_store(settings: Settings) -> str:
    with _look(settings) as bridge:
        return bridge.store.description


def _read_label_configs(settings: Settings) -> list[str]:
    bridge = _look(settings)
    tiers = [tier.name for tier in settings.tiers] + [ADJUDICATION]
    for tier in tiers:
        bridge.label_config(tier)
    return [f"{settings.task}.{tier}" for tier in tiers]


def local_server(root: Path, *, progress: Callable[[str], None]) -> LocalServer:
    """The embedded Label Studio of a workspace, on the port that its settings name."""
    from urllib.parse import urlsplit

    from hitl_bridge.adapters.label_studio.local_server import LocalServer
    from hitl_bridge.adapters.triage_engine.rules import DuckDbRules

    settings = load_settings(root, rules=DuckDbRules())
    address = urlsplit(settings.label_studio_url)
    if address.hostname not in ("127.0.0.1", "localhost"):
        raise UsageError(
            f"hitl.yaml names {settings.label_studio_url}, which is not on this machine.",
            remedy="The embedded server is for trying out: name it as label_studio: {url: http://127.0.0.1:8080}.",
        )
    home = settings.paths.state / "label-studio"
    return LocalServer(home, cache=settings.cache_dir, port=address.port or 8080, progress=progress)
