"""The desk at which predictions wait for their answer: one thread answers whatever has gathered, as one group.

Many requests share one look into the store, one run of the engine and one durable write (group commit, DeWitt et al.,
SIGMOD 1984, section 4.1). Nobody waits for others to come: a group is what came in while the one before it was written.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self, TypeAlias

from hitl_bridge.errors import BridgeError
from hitl_bridge.services.intake.online import Answered, Asked, Conflict, Triaged

PATIENCE: Final = 5.0
"""Seconds that a group waits for somebody else who writes to the store."""

MOST_ROWS: Final = 1_000
"""Predictions that one request may hold."""

GROUP_ROWS: Final = 512
"""Predictions after which a group is full; a request is never divided."""

MOST_WAITING_ROWS: Final = 4_096
MOST_WAITING_BYTES: Final = 64 * 1024 * 1024

BUCKETS: Final = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper ends of the histogram of waiting times, in seconds."""

RESULTS: Final = ("accepted", "again", "conflict", "problem", "failed")
"""What can become of a prediction; `again`: it was answered like that before."""

AnswerGroup: TypeAlias = Callable[[Sequence[Asked]], list[Answered]]


class Busy(Exception):
    """More waits than may: come back later. Nothing was taken."""


@dataclass(slots=True)
class OnlineFigures:
    """What was answered since the start, and how long it took."""

    rows: Counter[str] = field(default_factory=Counter)
    groups: int = 0
    turned_away: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, answers: Sequence[Answered], waited: Sequence[float]) -> None:
        """A group; `waited` is how long each of its requests did, in seconds."""
        with self._lock:
            self.groups += 1
            self.rows.update(_kind(result) for answer in answers for result in answer.results)
            for seconds in waited:
                self.buckets[bisect_left(BUCKETS, seconds)] += 1
                self.seconds += seconds

    def waited(self) -> tuple[float, list[int]]:
        """Seconds in all, and how many requests lie in each bucket."""
        with self._lock:
            return self.seconds, list(self.buckets)

    def failed(self, rows: int) -> None:
        with self._lock:
            self.rows["failed"] += rows


def _kind(result: object) -> str:
    match result:
        case Triaged(again=True):
            return "again"
        case Triaged():
            return "accepted"
        case Conflict():
            return "conflict"
    return "problem"


@dataclass(frozen=True, slots=True)
class _Waiting:
    asked: Asked
    size: int
    since: float
    future: Future[Answered]

    @property
    def rows(self) -> int:
        """An empty request is something to do, too."""
        return max(1, len(self.asked.rows))


class Desk:
    """Takes requests from any thread, from `with` to its end; what was taken by then is still answered."""

    def __init__(self, answer: AnswerGroup, failed: Callable[[str], None], *, most_rows: int = MOST_WAITING_ROWS) -> None:
        self.figures = OnlineFigures()
        self._answer = answer
        self._failed = failed
        self._most_rows = most_rows
        self._waiting: deque[_Waiting] = deque()
        self._rows = self._bytes = 0
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._work, name="online", daemon=True)

    def __enter__(self) -> Self:
        self._answer([])  # what takes long the first time is done before anybody asks
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def ask(self, asked: Asked, size: int) -> Future[Answered]:
        """The answer to come; `size` is the request's, in bytes. Raises Busy."""
        waiting = _Waiting(asked, size, time.perf_counter(), Future())
        with self._changed:
            full = self._rows + waiting.rows > self._most_rows or self._bytes + size > MOST_WAITING_BYTES
            if self._over or (full and self._waiting):
                self.figures.turned_away += 1
                raise Busy
            self._waiting.append(waiting)
            self._rows += waiting.rows
            self._bytes += size
            self._changed.notify()
        return waiting.future

    def _work(self) -> None:
        while (group := self._next()) is not None:
            wanted = [each for each in group if each.future.set_running_or_notify_cancel()]  # else nobody is there any more
            if wanted:
                self._serve(wanted)

    def _next(self) -> list[_Waiting] | None:
        """What has gathered; None when all is over."""
        group, rows = list[_Waiting](), 0
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._over)
            while self._waiting and (not group or rows + self._waiting[0].rows <= GROUP_ROWS):
                group.append(self._waiting.popleft())
                rows += group[-1].rows
                self._rows -= group[-1].rows
                self._bytes -= group[-1].size
        return group or None

    def _serve(self, group: Sequence[_Waiting]) -> None:
        try:
            answers = self._answer([each.asked for each in group])
        except Exception as error:  # noqa: BLE001 (handed to whoever asked)
            self._could_not(group, error)
            return
        now = time.perf_counter()
        self.figures.answered(answers, [now - each.since for each in group])
        for each, answer in zip(group, answers, strict=True):
            each.future.set_result(answer)

    def _could_not(self, group: Sequence[_Waiting], error: Exception) -> None:
        """What nobody has foreseen may lie in one request: the others get their answers all the same."""
        if len(group) > 1 and not isinstance(error, BridgeError):
            for each in group:
                self._serve([each])
            return
        self._failed(type(error).__name__)
        for each in group:
            self.figures.failed(len(each.asked.rows))
            each.future.set_exception(error)
