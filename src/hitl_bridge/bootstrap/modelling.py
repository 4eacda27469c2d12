"""From decisions to a signed-off model, and back: training, sign-offs, the champion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from hitl_bridge.bootstrap.opened import TRAIN
from hitl_bridge.bootstrap.settling import Settling
from hitl_bridge.errors import OutsideUnavailable
from hitl_bridge.settings import Secret, read_approver_token

if TYPE_CHECKING:
    from datetime import datetime

    from hitl_bridge.ports import Champion
    from hitl_bridge.services.model.promote import PromoteResult
    from hitl_bridge.services.model.publish import CaughtUp
    from hitl_bridge.services.model.retrain import RetrainResult
    from hitl_bridge.services.model.rollback import RollbackResult
    from hitl_bridge.services.policy.sign_off import PolicyStanding
    from hitl_bridge.services.policy.thresholds import ModelThresholds

_CALIBRATION = "data/snapshot/calibration.parquet"
_TAGS_AGAIN = timedelta(hours=1)
"""After a refusal; a daemon commits every few seconds, and a remote that is away keeps it waiting."""


class Modelling(Settling):
    """The verbs about models and policies that somebody signs off; `Bridge` has them all."""

    _tags_refused_at: datetime | None = None

    def retrain(
        self, *, force: bool = False, by: str | None = None, progress: Callable[[str], None] | None = None
    ) -> RetrainResult:
        """Runs the pipeline; `by` has it trained (git's user.name if None). `progress` is told each line that it prints.

        Raises RefusedForSafety where the champion, with which the candidate is compared, is not what was signed off.
        """
        from hitl_bridge.services.model.retrain import RetrainPorts, retrain

        pipeline = self._pipeline(progress)
        versions = self.store.dataset_versions()
        ports = RetrainPorts(
            pipeline,
            self.store.sign_offs(),
            self.clock,
            self.paths,
            self.settings.pipeline_file,
            by or pipeline.committer(),
            versions[-1].version if versions else None,
        )
        with self._alone(TRAIN), self._workspace_alone():
            self.champion()
            return retrain(ports, force=force)

    def retrain_if_due(self) -> RetrainResult | None:
        """Trains in a clone if `retrain:` of the settings says that it is time; None if it is not, or nobody asked for it."""
        from hitl_bridge.adapters.dvc.apart import DvcPipelineApart
        from hitl_bridge.services.model.retrain import RetrainApartPorts, retrain_apart, why_due

        settings = self.settings
        if settings.retrain is None:
            return None
        ports = RetrainApartPorts(self.store.sign_offs(), self.clock, self.store.dataset_versions())
        if why_due(ports, settings.retrain) is None:
            return None
        with self._alone(TRAIN):
            because = why_due(ports, settings.retrain)  # another one may have done it while we waited
            if because is None:
                return None
            apart = DvcPipelineApart(settings.root, settings.git_branch, settings.pipeline_file)
            return retrain_apart(ports, apart, because)

    def promote(
        self,
        *,
        reason: str,
        override: bool = False,
        sign: bool = False,
        token: str | None = None,
        dry_run: bool = False,
    ) -> PromoteResult:
        """Makes the candidate the champion, with the sign-off of an approver: their access token (`token`, else
        HITL_APPROVER_TOKEN or its file), or a tag that they signed; with `sign` it is signed here, with git's key."""
        from hitl_bridge.adapters.dvc.outputs import LockedOutputs
        from hitl_bridge.services.model.promote import PromotePorts, promote

        settings = self.settings
        outputs = LockedOutputs(settings.root, settings.git_branch, settings.pipeline_file)
        approvals = self._approvals(Secret(token) if token is not None else read_approver_token(), sign=sign)
        lock_file = settings.pipeline_file.removesuffix(".yaml") + ".lock"
        ports = PromotePorts(self._champion_ports, approvals, outputs, settings.sign_off, lock_file)
        self._pipeline(None).committer()
        with self._workspace_alone():
            if not dry_run:
                self._check_policy()
            result = promote(ports, reason=reason, override=override, dry_run=dry_run)
        if dry_run:
            return result
        published = replace(result, unpublished=self._publish_tags())
        return published if result.git_commit is None else replace(published, thresholds=self._recalibrated())

    def _publish_tags(self) -> str | None:
        """Why tags of models are not on the git remote; None where they are, or there is none."""
        from hitl_bridge.adapters.git.remotely import GitTagRemote
        from hitl_bridge.services.model.publish import publish_tags

        remote = self.settings.git_remote
        return publish_tags(self.store.sign_offs(), None if remote is None else GitTagRemote(self.settings.root, remote))

    def _catch_up_tags(self) -> CaughtUp:
        """Sends tags of models that the git remote has not taken yet; after a refusal not again for a while."""
        from hitl_bridge.adapters.git.remotely import GitTagRemote
        from hitl_bridge.services.model.publish import CaughtUp, catch_up

        remote, now, refused = self.settings.git_remote, self.clock.now(), self._tags_refused_at
        if remote is None or (refused is not None and refused <= now < refused + _TAGS_AGAIN):  # the clock may be set back
            return CaughtUp()
        found = catch_up(self.store.sign_offs(), GitTagRemote(self.settings.root, remote))
        self._tags_refused_at = None if found.unpublished is None else now
        return found

    def recalibrate(self) -> ModelThresholds | None:
        """Chooses thresholds for the champion from what people have judged already; None where they have judged nothing.

        Raises OutsideUnavailable where the champion could not score the items.
        """
        from hitl_bridge.adapters.champion_scores import champion_answers
        from hitl_bridge.services.model.recalibrate import recalibrate

        if not (self.settings.root / _CALIBRATION).is_file() or not self.store.thresholds().calibration_items():
            return None
        version, answers = champion_answers(self.settings.root)
        with self._alone():
            found = recalibrate(self._threshold_ports, self.policy, version, answers)
        self.forget_policy()
        return found

    def _recalibrated(self) -> str:
        """What became of the thresholds; the promotion stands whatever it was."""
        try:
            found = self.recalibrate()
        except OutsideUnavailable as away:
            return f"not chosen: {away.message}"
        return "nothing to choose from" if found is None else found.did

    def rollback(self, *, reason: str, by: str | None = None, to: str | None = None, dry_run: bool = False) -> RollbackResult:
        """Puts the champion before the present one (or `to`) into production again, in the name of `by` (git's user.name)."""
        from hitl_bridge.services.model.rollback import rollback

        signer = self.signer(by)
        with self._workspace_alone():
            result = rollback(self._champion_ports, self.clock, by=signer, reason=reason, to=to, dry_run=dry_run)
        return result if dry_run else replace(result, unpublished=self._publish_tags())

    def champion(self) -> Champion | None:
        """The model in use, checked; None where there is none that was promoted here. Raises RefusedForSafety."""
        from hitl_bridge.services.model.champions import standing

        return standing(self._champion_ports)

    def champion_signed_off_by(self) -> str | None:
        """Who signed off the model in use, which is checked; None where this store knows of no sign-off."""
        from hitl_bridge.services.model.reports import read_json, text

        return None if self.champion() is None else text(read_json(self.paths.champion).get("by"))

    def policy_standing(self) -> PolicyStanding:
        """Whether the settings let more through than what was agreed to."""
        from hitl_bridge.services.policy.sign_off import policy_standing

        return policy_standing(self._approvals(None), self._policy_terms)

    def approve_policy(self, *, reason: str, sign: bool = False, token: str | None = None) -> PolicyStanding:
        """Puts the settings in force that let more through, in the name of an approver (as in `promote`)."""
        from hitl_bridge.services.policy.sign_off import approve_policy

        approvals = self._approvals(Secret(token) if token is not None else read_approver_token(), sign=sign)
        with self._workspace_alone():
            return approve_policy(approvals, self._policy_terms, reason=reason)
