"""What is done beside the loop: in a thread and with a bridge of its own, so that no answer waits for it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge
    from hitl_bridge.daemon import Shared


class Beside(ABC):
    """Takes one turn after another, from `with` to its end; the turn in hand is finished first."""

    def __init__(self, bridge: Bridge, shared: Shared, *, name: str, wanted: bool = True) -> None:
        self._bridge = bridge
        self._shared = shared
        self._wanted = wanted
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name)

    @abstractmethod
    def _turn(self, bridge: Bridge) -> float:
        """Returns how many seconds to wait for the next one. What it raises nobody has foreseen."""

    def __enter__(self) -> Self:
        if self._wanted:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        if self._wanted:
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
                    pause = self._turn(bridge)
        except BaseException as error:  # noqa: BLE001 (raised again by the loop)
            self._failure = error
            self._shared.nudges.wake()
