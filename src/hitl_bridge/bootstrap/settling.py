"""What is settled beside the loop: by audits, by the error budget, by a person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hitl_bridge.bootstrap.opened import COMMIT
from hitl_bridge.bootstrap.wiring import Wiring
from hitl_bridge.ports import AuditHead, AuditProblem, AuditReport, RaisedRate, ThresholdRow
from hitl_bridge.settings import read_approver_token

if TYPE_CHECKING:
    from hitl_bridge.adapters.dvc.remote import RemoteReport
    from hitl_bridge.core.dataset.difference import DatasetDifference
    from hitl_bridge.services.audits.audit_report import AuditPicture
    from hitl_bridge.services.audits.lots import LotsResult
    from hitl_bridge.services.audits.recall import RecallResult
    from hitl_bridge.services.dataset.revert import RevertResult, RevertWish
    from hitl_bridge.services.keeping.backup import BackupResult
    from hitl_bridge.services.keeping.failures import Failure, Retried
    from hitl_bridge.services.keeping.quarantine import Doubtful, Ruled
    from hitl_bridge.services.model.doubtful_labels import DoubtfulLabels, DoubtPorts
    from hitl_bridge.services.policy.thresholds import ThresholdsResult


class Settling(Wiring):
    """The verbs by which limits are set and troubles ended; `Bridge` has them all."""

    # ----------------------------------------------------------------------------------------------------- the audits

    def keep_lots(self) -> LotsResult:
        """Counts new receipts, looks for drift, judges lots by their audits, and tells the webhook of those that are held."""
        from hitl_bridge.errors import UsageError
        from hitl_bridge.services.audits.lots import keep_lots
        from hitl_bridge.services.audits.recall import deliver_recalls

        with self._alone():
            ports = self._lot_ports
            result, self._lots_judged_at = keep_lots(ports, self.policy, judged_at=self._lots_judged_at)
            if result.changed or result.alarms:
                self.forget_policy()
            try:
                hook = self._recall_hook
            except UsageError as error:
                return replace(result, troubles=(error.message,))
            told = deliver_recalls(ports, hook) if hook is not None else None
        return result if told is None else replace(result, recalled=told.lot_ids, troubles=told.troubles)

    def audit_picture(self) -> AuditPicture:
        """What audits tell: the auto tier's error by lot and scenario, the whole traffic's accuracy, drift. Writes nothing."""
        from hitl_bridge.services.audits.audit_report import audit_picture

        return audit_picture(self._lot_ports, self.policy)

    def recall(self, lot_id: str, *, out: Path | None = None, dry_run: bool = False) -> RecallResult:
        """Lists what that lot released in `out` (`.hitl/recalls/LOT.jsonl` if None), and tells the webhook if there is one."""
        from hitl_bridge.adapters.recalls import write_recall
        from hitl_bridge.services.audits.recall import recall

        path = out or self.paths.state / "recalls" / f"{lot_id}.jsonl"
        with self._alone():
            hook = None if dry_run else self._recall_hook
            return recall(self._lot_ports, lot_id, path=path, write=write_recall, hook=hook, dry_run=dry_run)

    def lower_audit_rate(self, *, reason: str, by: str | None = None) -> RaisedRate:
        """Puts the settings' audit rate in force again; what comes now is the new reference for drift."""
        from hitl_bridge.services.audits.lots import lower_audit_rate

        signer = self.signer(by)
        with self._alone():
            row = lower_audit_rate(self._lot_ports, by=signer, reason=reason)
        self.forget_policy()
        return row

    # ------------------------------------------------------------------------------------------------ the error budget

    def thresholds(self) -> ThresholdsResult:
        """Which thresholds are in force, and what the judged items say now; writes nothing."""
        from hitl_bridge.services.policy.thresholds import show

        return show(self._threshold_ports, self.policy)

    def choose_thresholds(self, *, dry_run: bool = False, force: bool = False) -> ThresholdsResult:
        """Chooses thresholds from the error budget: tighter ones are in force at once, others wait for a sign-off. Without
        `force` only where enough more items were judged since the last time."""
        from hitl_bridge.services.policy.thresholds import choose

        with self._alone():
            result = choose(self._threshold_ports, self.policy, dry_run=dry_run, force=force)
        self.forget_policy()
        return result

    def keep_thresholds(self) -> ThresholdsResult | None:
        """`choose_thresholds`, where the error budget decides and something was judged since the last time (or an hour has
        passed: what is overdue counts as wrong)."""
        if not self.settings.budget.decides:
            return None
        seen = (self.store.thresholds().mark(), self.store.thresholds().newest(), int(self.clock.now().timestamp() // 3600))
        if seen == self._chosen_at:
            return None
        result = self.choose_thresholds()
        self._chosen_at = (seen[0], self.store.thresholds().newest(), seen[2])
        return result

    def approve_thresholds(self, *, reason: str, model_version: str | None = None) -> tuple[ThresholdRow, ...]:
        """Puts thresholds that wait for a sign-off in force, in the name of the access token in HITL_APPROVER_TOKEN."""
        from hitl_bridge.services.model.signing import approver, check_may_approve
        from hitl_bridge.services.policy.thresholds import approve

        token = read_approver_token()
        with self._alone():
            by = approver(self.access_tokens, self.clock, None if token is None else token.reveal())
            check_may_approve(by, self._approvals(None).people)
            signed = approve(self.store.thresholds(), self.clock, by=by, reason=reason, model_version=model_version)
        self.forget_policy()
        return signed

    # ----------------------------------------------------------------------------------------- what a person settles

    def quarantined(self) -> list[Doubtful]:
        """Every answer that can't be believed and on which nobody has ruled."""
        from hitl_bridge.services.keeping.quarantine import listed

        return listed(self._quarantine_ports)

    def accept_quarantined(self, number: int, *, reason: str, by: str | None = None) -> Ruled:
        """Lets that answer count, in the name of `by` (git's user.name if None)."""
        from hitl_bridge.services.keeping.quarantine import accept

        signer = self.signer(by)
        with self._alone():
            return accept(self._quarantine_ports, number, by=signer, reason=reason)

    def drop_quarantined(self, number: int, *, reason: str, by: str | None = None) -> Ruled:
        """Takes that answer off the list for good, in the name of `by` (git's user.name if None)."""
        from hitl_bridge.services.keeping.quarantine import drop

        signer = self.signer(by)
        with self._alone():
            return drop(self._quarantine_ports, number, by=signer, reason=reason)

    def failures(self) -> list[Failure]:
        """Every item that was set aside."""
        from hitl_bridge.services.keeping.failures import listed

        return listed(self.store.desk())

    def retry(self, item_id: str | None, *, reason: str = "asked to try again", by: str | None = None) -> Retried:
        """Queues that item (all that were set aside if None) in a new round."""
        from hitl_bridge.services.keeping.failures import retry

        signer = self.signer(by)
        with self._alone():
            return retry(self.store.desk(), self.clock, item_id, by=signer, reason=reason)

    def doubtful_labels(self) -> DoubtfulLabels:
        """Decided labels that are probably wrong, as the last training found."""
        from hitl_bridge.services.model.doubtful_labels import listed

        return listed(self._doubt_ports)

    def ask_again(self, most: int, *, by: str | None = None, dry_run: bool = False) -> DoubtfulLabels:
        """Queues the `most` doubtful of them for an adjudicator, in the name of `by` (git's user.name if None)."""
        from hitl_bridge.services.model.doubtful_labels import ask_again

        signer = self.signer(by)
        with self._alone():
            return ask_again(self._doubt_ports, most, by=signer, dry_run=dry_run)

    @property
    def _doubt_ports(self) -> DoubtPorts:
        from hitl_bridge.services.model.doubtful_labels import DoubtPorts

        policy = self.policy
        return DoubtPorts(self.store, self.store.reverts(), self.clock, self.paths.root, policy.kind, policy.adjudicated_by)

    def backup(self, file: Path | None = None) -> BackupResult:
        """Copies the store to `file` (by the time, in `.hitl/backups`, if None). Needs no lease: others go on writing."""
        from hitl_bridge.services.keeping.backup import back_up

        copies = self.store.backups()
        name = f"bridge-{self.clock.now():%Y%m%dT%H%M%SZ}{copies.suffix()}"
        return back_up(copies, self.clock, file or self.paths.state / "backups" / name)

    def verify_backup(self, file: Path) -> BackupResult:
        """Reads a backup through and holds it against the notes beside it."""
        from hitl_bridge.services.keeping.backup import verify

        return verify(self.store.backups(), file)

    def accept_restored_store(self, *, by: str | None = None) -> bool:
        """Believes a store that was restored from a backup; False if it is not older than what was published."""
        from hitl_bridge.services.sync.restored import accept_older_store

        signer = self.signer(by)
        with self._alone(believed=True):
            return accept_older_store(self.store.desk(), self.clock, self.store.audit_head(), self.dataset.anchors, signer)

    def diff(self, older: str, newer: str | None = None) -> DatasetDifference:
        """What differs between two dataset versions (the second the latest if None), by whom and why."""
        from hitl_bridge.services.dataset.decisions import difference

        return difference(self.dataset, older, newer)

    def revert(self, wish: RevertWish, *, dry_run: bool = False) -> RevertResult:
        """Takes decisions back and commits a version without them. `wish.by` empty: git's user.name."""
        from hitl_bridge.services.dataset.commit import commit
        from hitl_bridge.services.dataset.revert import RevertPorts, revert, with_version

        wish = replace(wish, by=self.signer(wish.by or None))
        reverts = self.store.reverts()
        ports = RevertPorts(reverts, self.store, self.clock, self.settings.workspace_key, self.policy.hours)
        if not dry_run:
            self.dataset.check()
        with self._alone():
            result = revert(ports, wish, dry_run=dry_run)
        if dry_run:
            return result
        with self._alone(COMMIT):
            return with_version(result, commit(self._commit_ports, self.settings.labels, only=reverts.uncommitted()))

    def verify_audit(self) -> AuditReport:
        """Computes the audit log anew and holds it against itself, the records that it tells of, and the heads that dataset
        commits carry; and every champion against what was signed off: its files, its tags, its sign-off."""
        from hitl_bridge.services.model.champions import champion_troubles

        anchors = {tag: AuditHead(seq, digest) for tag, seq, digest in self.dataset.anchors()}
        report = self.store.verify_audit(anchors)
        models = [AuditProblem(0, what) for what in champion_troubles(self._champion_ports)]
        return replace(report, problems=(*report.problems, *self.store.sign_offs().unlike_the_log(), *models))

    def verify_dataset(self, *, heal: bool = False, deep: bool = False) -> RemoteReport:
        """Looks on the DVC remote for every file of every version; with `deep` reads each, with `heal` uploads what is amiss."""
        return self.dataset.check_remote(heal=heal, deep=deep)

    def signer(self, by: str | None) -> str:
        """Who does what a person decides: as they say, else git's user.name."""
        return by or self._committer()
