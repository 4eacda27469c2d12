"""Dataset commits, beside the loop: an answer need not wait for DVC to become a decision."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hitl_bridge.daemon.beside import Beside
from hitl_bridge.daemon.pauses import Pauses
from hitl_bridge.errors import LeaseLost, OutsideUnavailable, RefusedForSafety, StoreUnavailable
from hitl_bridge.services.keeping.health import DATASET, STORE

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge
    from hitl_bridge.daemon import Shared


class Committer(Beside):
    """Commits what was decided, again and again."""

    def __init__(self, bridge: Bridge, shared: Shared, pauses: Pauses) -> None:
        super().__init__(bridge, shared, name="committer")
        self._pauses = pauses

    def _turn(self, bridge: Bridge) -> float:
        began, vitals, log = time.monotonic(), self._shared.vitals, self._shared.log
        try:
            result = bridge.commit()
        except LeaseLost as lost:
            log.warning("daemon.commit_lease_lost", reason=lost.message)
            return self._failed("lease_lost", began)
        except OutsideUnavailable as away:
            name = STORE if isinstance(away, StoreUnavailable) else DATASET
            vitals.note(name, up=False, reason=away.message)
            log.warning("daemon.commit_away", system=name, reason=away.message, tries=self._pauses.tries + 1)
            return self._failed("away", began)
        except RefusedForSafety as refused:
            vitals.commit_refused = True
            log.error("daemon.commit_refused", reason=refused.message, remedy=refused.remedy, tries=self._pauses.tries + 1)
            return self._failed("refused", began)
        self._pauses.over()
        vitals.commit_refused = False
        vitals.note(DATASET, up=True)
        vitals.count("commit", "good", time.monotonic() - began)
        if result.version is not None:
            log.info("daemon.commit", version=result.version, added=result.added, changed=result.changed, removed=result.removed)
        if result.caught_up:
            log.info("daemon.tags_published", tags=list(result.caught_up))
        if result.unpublished is not None:
            log.warning("daemon.tags_not_published", reason=result.unpublished)
        return self._pauses.usual

    def _failed(self, how: str, began: float) -> float:
        self._shared.vitals.count("commit", how, time.monotonic() - began)
        return self._pauses.longer()
