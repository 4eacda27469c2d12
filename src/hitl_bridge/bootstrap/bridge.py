"""A workspace's verbs, each one call of a service."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_bridge.bootstrap.wiring import COMMIT, Wiring
from hitl_bridge.core.model import JSON, ItemId, ProjectId
from hitl_bridge.ports import AuditHead, AuditReport, Event, Lease
from hitl_bridge.settings import read_token

if TYPE_CHECKING:
    import pandas as pd

    from hitl_bridge.adapters.dvc.remote import RemoteReport
    from hitl_bridge.services.backup import BackupResult
    from hitl_bridge.services.commit import CommitResult
    from hitl_bridge.services.cycle import CycleResult
    from hitl_bridge.services.failures import Failure, Retried
    from hitl_bridge.services.ingest import IngestResult
    from hitl_bridge.services.insights import Status
    from hitl_bridge.services.pull import PullResult
    from hitl_bridge.services.push import Progress, PushResult
    from hitl_bridge.services.quarantine import Doubtful, Ruled
    from hitl_bridge.services.resolve import ResolveResult
    from hitl_bridge.services.retrain import PromoteResult, RetrainResult
    from hitl_bridge.services.webhooks import WebhooksKept


class Bridge(Wiring):
    """The verbs of a workspace. What a verb does not need is not opened: `status` works while Label Studio is away.

    Verbs that change something hold a lease: a command run by hand and a daemon never interleave, on one machine or on two.
    """

    # ------------------------------------------------------------------------------------------------------ the loop

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

    # ----------------------------------------------------------------------------------------- what a person settles

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

    def verify_dataset(self, *, heal: bool = False, deep: bool = False) -> RemoteReport:
        """Looks on the DVC remote for every file of every version; with `deep` reads each, with `heal` uploads what is amiss."""
        return self.dataset.check_remote(heal=heal, deep=deep)

    # ------------------------------------------------------------------------------------------- looking, and models

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
        from hitl_bridge.adapters.dvc.champions import DvcChampions
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

    # ------------------------------------------------------------------------------------------------ for the daemon

    def twin(self) -> Bridge:
        """The same workspace opened once more: threads share no bridge."""
        return Bridge(self.settings, labeling=self._given_labeling, clock=self.clock)

    def record_cycle(self, *, did_something: bool) -> None:
        """What `status` tells as the last cycle."""
        self.store.record_events([Event(self.clock.now(), "cycle", detail={"did_something": did_something})])

    def check_lease(self, lease: Lease) -> None:
        """Raises LeaseLost if somebody has taken over."""
        self.store.leases().check(lease)

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
        from hitl_bridge.adapters.dvc.reachable import ping

        ping(self.settings.root, self.settings.git_remote)

    def signer(self, by: str | None) -> str:
        """Who does what a person decides: as they say, else git's user.name."""
        return by or self._committer()

    @property
    def process(self) -> str:
        """The name of this process among all that hold leases."""
        return self._lease_terms.holder
