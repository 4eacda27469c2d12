"""The composition root: settings → a `Bridge` whose methods are the verbs. The one place where adapters meet services."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.workspace_lock import workspace_lock
from hitl_bridge.core import draws
from hitl_bridge.core.model import ADJUDICATION, JSON, ItemId
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.errors import AccessRefused, BridgeError, UsageError
from hitl_bridge.ports import Clock, Event, LabelingService, PredictionChunk, WorkspacePaths
from hitl_bridge.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

    from hitl_bridge.adapters.dvc import DvcDatasetStore
    from hitl_bridge.adapters.dvc_pipeline import DvcPipeline
    from hitl_bridge.adapters.label_studio.local_server import LocalServer
    from hitl_bridge.adapters.receipts import ParquetReceipts
    from hitl_bridge.adapters.sql.store import SqlStore
    from hitl_bridge.services.commit import CommitResult
    from hitl_bridge.services.cycle import CycleResult
    from hitl_bridge.services.doctor import Check
    from hitl_bridge.services.ingest import IngestPorts, IngestResult
    from hitl_bridge.services.init import InitRequest, InitResult
    from hitl_bridge.services.insights import Status
    from hitl_bridge.services.pull import PullResult
    from hitl_bridge.services.push import Progress, PushPorts, PushResult
    from hitl_bridge.services.resolve import ResolveResult
    from hitl_bridge.services.retrain import PromoteResult, RetrainResult


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

    Verbs that change something hold the workspace's lock: a command run by hand and a daemon never interleave.
    """

    def __init__(self, settings: Settings, *, labeling: LabelingService | None, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._given_labeling = labeling

    # ------------------------------------------------------------------------------------------ the verbs

    def ingest(self, source: str, *, dry_run: bool = False, progress: Callable[[int], None] | None = None) -> IngestResult:
        """Reads predictions from a file, or from standard input if `source` is `-`."""
        from hitl_bridge.services.ingest import ingest

        with self._alone():
            return ingest(self._ingest_ports, self.policy, source, dry_run=dry_run, progress=progress)

    def push(self, *, dry_run: bool = False, replace_gone: bool = False, progress: Progress | None = None) -> PushResult:
        """Creates the tasks that are due. With `replace_gone`, projects that were deleted are given up and made anew."""
        from hitl_bridge.services.push import foresee, push

        with self._alone():
            if dry_run:
                return foresee(self.store, self.policy, self.settings.workspace_key)
            return push(self._push_ports, self.policy, replace_gone=replace_gone, progress=progress)

    def pull(self, *, accept_lost: bool = False) -> PullResult:
        """Brings back what changed. With `accept_lost` it is believed when most tasks of a project are gone."""
        from hitl_bridge.services.pull import pull

        with self._alone():
            return pull(self.store, self.labeling, self.policy, self.clock, accept_lost=accept_lost)

    def resolve(self, *, dry_run: bool = False) -> ResolveResult:
        """Settles what changed."""
        from hitl_bridge.services.resolve import resolve

        with self._alone():
            return resolve(self.store, self.policy, self.clock, dry_run=dry_run)

    def commit(self, *, dry_run: bool = False) -> CommitResult:
        """Commits what was decided."""
        from hitl_bridge.services.commit import CommitPorts, commit

        ports = CommitPorts(self.store, self.store.insights(), self.dataset, self.clock, self.settings.workspace_key)
        with self._alone():
            return commit(ports, self.settings.labels, dry_run=dry_run)

    def sync(self) -> CycleResult:
        """One cycle."""
        from hitl_bridge.services.cycle import CycleResult

        result = CycleResult(self.push(), self.pull(), self.resolve(), self.push(), self.commit())
        self.store.record_events([Event(self.clock.now(), "cycle", detail={"did_something": result.did_something})])
        return result

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

        with self._alone():
            return retrain(self._pipeline(progress), self.paths, self.settings.pipeline_file, force=force)

    def promote(self, *, reason: str, by: str | None = None, override: bool = False) -> PromoteResult:
        """Makes the candidate the champion, in the name of `by` (git's user.name if None)."""
        from hitl_bridge.adapters.champions import DvcChampions
        from hitl_bridge.services.retrain import promote

        pipeline = self._pipeline(None)
        champions = DvcChampions(self.settings.root, pipeline.track, pipeline.save)
        signer = by or pipeline.committer()
        with self._alone():
            return promote(champions, self.paths, self.clock, by=signer, reason=reason, override=override)

    def load_decisions(self, version: str | None = None) -> pd.DataFrame:
        """What held at a dataset version (the latest if None), one row an item, with inputs and rationales."""
        from hitl_bridge.services.decisions import decisions_at

        held: pd.DataFrame = decisions_at(self.dataset, version).to_pandas()
        return held

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

        return open_store(self.settings.store_url, self.settings.root)

    @cached_property
    def receipts(self) -> ParquetReceipts:
        from hitl_bridge.adapters.receipts import ParquetReceipts

        return ParquetReceipts(self.paths.receipts)

    @cached_property
    def labeling(self) -> LabelingService:
        if self._given_labeling is not None:
            return self._given_labeling
        from hitl_bridge.adapters.label_studio.client import LabelStudioClient
        from hitl_bridge.adapters.label_studio.gateway import LabelStudio

        if self.settings.token is None:
            raise AccessRefused(
                f"There is no token for Label Studio at {self.settings.label_studio_url}.",
                remedy="Set HITL_LABEL_STUDIO_TOKEN, or try a local one with `hitl-bridge label-studio start`.",
            )
        client = LabelStudioClient(self.settings.label_studio_url, self.settings.token.reveal(), self.clock)
        # Two workspaces may use one Label Studio, with pools of the same names.
        return LabelStudio(client, namespace=draws.digest(self.settings.workspace_key, "namespace")[:8])

    @cached_property
    def dataset(self) -> DvcDatasetStore:
        from hitl_bridge.adapters.dvc import DvcDatasetStore

        return DvcDatasetStore(self.settings.root, self.settings.git_branch)

    def label_config(self, tier: str) -> str:
        """The label config of a tier: the workspace's template with labels and checklist filled in."""
        from hitl_bridge.adapters.label_studio.label_configs import find_template, render_label_config

        policy = self.policy.tier(tier)
        template = find_template(self.paths.label_configs, self.settings.task, tier, otherwise=_FULL_PAGE)
        return render_label_config(template, self.policy.labels, policy.checklist, rationale_required=policy.rationale_required)

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

    def _alone(self) -> AbstractContextManager[None]:
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
