"""Training again when enough is new (`retrain:` of the settings), beside the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hitl_bridge.daemon.beside import Beside
from hitl_bridge.errors import BridgeError

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge
    from hitl_bridge.daemon import Shared

LOOK_EVERY = 60.0
AFTER_TROUBLE = 3600.0
"""Seconds until the next try where a training failed: the same data would mostly fail the same way."""


class Trainer(Beside):
    """Looks whether it is time to train; a training in hand is ended with the daemon, and begun anew by the next one. Does
    nothing where nobody asked for it."""

    def __init__(self, bridge: Bridge, shared: Shared, *, look_every: float = LOOK_EVERY) -> None:
        super().__init__(bridge, shared, name="trainer", wanted=bridge.settings.retrain is not None)
        self._look_every = look_every

    def _turn(self, bridge: Bridge) -> float:
        log = self._shared.log
        try:
            result = bridge.retrain_if_due()
        except BridgeError as error:
            log.error("daemon.retrain_failed", reason=error.message[:500], remedy=error.remedy, next_in=AFTER_TROUBLE)
            return AFTER_TROUBLE
        if result is not None:
            because = "; ".join(result.reasons)
            log.info("daemon.retrained", candidate=result.candidate, verdict=result.verdict, because=because, ran=result.ran)
        return self._look_every
