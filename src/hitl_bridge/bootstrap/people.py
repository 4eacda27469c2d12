"""Who reviews, and who gets what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hitl_bridge.bootstrap.settling import Settling
from hitl_bridge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hitl_bridge.services.desk.adopt import AdoptResult
    from hitl_bridge.services.desk.people import PeoplePorts, ReviewersResult


class Staffing(Settling):
    """The verbs about people; `Bridge` has them all."""

    def sync_reviewers(self, *, make: bool = False, dry_run: bool = False) -> ReviewersResult:
        """Compares the roster with Label Studio's accounts, and makes those that are missing if `make`."""
        from hitl_bridge.services.desk.people import release, sync_reviewers

        with self._alone():
            result = sync_reviewers(self._people_ports, self.policy, make=make, dry_run=dry_run)
            if not dry_run:
                release(self.store, result.left, self.clock)
        self.forget_policy()
        return result

    def keep_roster(self) -> None:
        """Writes down who has joined or left; before anything is settled."""
        from hitl_bridge.core.people import RosterChange
        from hitl_bridge.services.desk.people import keep_roster, release

        if self._roster_kept:
            return
        with self._alone():
            change = keep_roster(self.store.people(), self.settings.policy, self.clock, self._learn)
            release(self.store, change.left, self.clock)
        self._roster_kept = True
        if change != RosterChange():
            self.forget_policy()

    def adopt(
        self, project_id: int, control: str, *, id_field: str | None = None, by: str | None = None, dry_run: bool = False
    ) -> AdoptResult:
        """Takes over the decisions that people made in a Label Studio project of your own."""
        from hitl_bridge.adapters.label_studio.archive import LabelStudioArchive
        from hitl_bridge.services.desk.adopt import AdoptPorts, AdoptWish, adopt

        archive = LabelStudioArchive(self._client)
        ports = AdoptPorts(self.store, archive, self.clock, self.settings.workspace_key)
        wish = AdoptWish(project_id, control, id_field, "" if dry_run else self.signer(by))
        with self._alone():
            return adopt(ports, self.policy, wish, dry_run=dry_run)

    @property
    def new_accounts_file(self) -> Path:
        """Where the first passwords of new accounts are."""
        return self.paths.state / "new-accounts.json"

    @property
    def _people_ports(self) -> PeoplePorts:
        from hitl_bridge.adapters.label_studio.accounts import LabelStudioAccounts
        from hitl_bridge.adapters.new_accounts import PasswordFile
        from hitl_bridge.services.desk.people import PeoplePorts

        if self._given_labeling is not None:
            raise UsageError("Accounts are Label Studio's, and there is none here.", remedy="Run it in a workspace with one.")
        ours = self.labeling.ping().user
        keep = PasswordFile(self.new_accounts_file).keep
        return PeoplePorts(self.store.people(), LabelStudioAccounts(self._client), self.clock, keep, ours, self._learn)

    def _learn(self, joined: Sequence[tuple[str, str]]) -> None:
        from hitl_bridge.services.desk.gold import begin_learning

        begin_learning(self.store.gold(), self.settings.policy, joined, self.clock)
