"""Training again when enough is new (`retrain:` of the settings), in a thread and with a bridge of their own."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from hitl_bridge.errors import BridgeError

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge
    from hitl_bridge.daemon import Shared

LOOK_EVERY = 60.0
AFTER_TROUBLE = 3600.0
"""Seconds until the next try where a training failed: the same data would mostly fail the same way."""


class Trainer:
    """Looks from `with` to its end whether it is time to train; a training in hand is ended with the daemon, and begun anew by
    the next one. Does nothing where nobody asked for it."""

    def __init__(self, bridge: Bridge, shared: Shared, *, look_every: float = LOOK_EVERY) -> None:
        self._bridge = bridge
        self._shared = shared
        self._look_every = look_every
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="trainer")

    def __enter__(self) -> Self:
        if self._bridge.settings.retrain is not None:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def raise_if_failed(self) -> None:
        """In the loop's thread: what nobody has foreseen ends the daemon, wherever it happened."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with self._bridge.twin() as bridge:
                pause = 0.0
                while not self._stop.wait(pause):
                    pause = self._train(bridge)
        except BaseException as error:  # noqa: BLE001 (raised again by the loop)
            self._failure = error
            self._shared.nudges.wake()

    def _train(self, bridge: Bridge) -> float:
        """Returns how many seconds to wait for the next look."""
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
