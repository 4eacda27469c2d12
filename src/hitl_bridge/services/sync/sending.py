"""Tasks go to one project, chunk after chunk: promise, send, confirm.

While the labeling service works on one chunk, the one before is confirmed and the next is made ready. No chunk is marked as
sent before the one ahead of it has a clear outcome: what was not sent is in no doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from hitl_bridge.core.model import Item, Project, PushKey, ReviewTask, TaskState
from hitl_bridge.core.page import TaskContent
from hitl_bridge.errors import BridgeError
from hitl_bridge.ports import Clock, LabelingService, PushOutcome, StateStore
from hitl_bridge.services.sync.attempts import given_up_because, in_order

STEP = "push"
"""The name of this step in `attempts`; the store takes its tries back when tasks are confirmed or refused."""

FIRST_SENT = 200
"""Tasks in the first chunk: few, so that the labeling service soon has something to do. The next ones are twice as long."""

SEND_AT_ONCE = 2_000
"""Tasks in a chunk: some seconds of the labeling service's work, and not too much to look up if the outcome is unclear."""

SETTLE_TIME = timedelta(seconds=60)
"""How long a request whose outcome is unclear may still be at work on the server; nothing is sent again before."""

Due: TypeAlias = "tuple[Item, ReviewTask]"
Render: TypeAlias = "Callable[[Sequence[Due]], list[TaskContent]]"


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a chunk of `tasks` tasks. `waiting` were sent by an earlier push, which may still be at work; `given_up`
    ended the process each time."""

    tasks: int
    outcome: PushOutcome = field(default_factory=PushOutcome)
    waiting: int = 0
    given_up: int = 0

    @property
    def pending(self) -> int:
        return len(self.outcome.unknown) + self.waiting


@dataclass(frozen=True, slots=True)
class _Posted:
    """A chunk that the labeling service is at work on."""

    keys: Sequence[PushKey]
    waiting: int
    answer: Future[PushOutcome]

    def sent(self) -> Sent:
        """Waits for the answer. Raises what sending it raised."""
        return Sent(len(self.keys) + self.waiting, self.answer.result(), self.waiting)


@dataclass(slots=True)
class Sending:
    """Sends what is due in `project`. `render` makes the pages of some tasks, in their order."""

    store: StateStore
    labeling: LabelingService
    clock: Clock
    project: Project
    render: Render
    _begun: set[PushKey] = field(default_factory=set)

    def send(self, due: Sequence[Due]) -> Generator[Sent]:
        """Chunk by chunk; to be read to its end, or closed. What the process died of before goes last, in small groups.

        After an unclear outcome nothing more is sent: the server may be overburdened.

        Raises:
            LabelingUnavailable, AccessRefused, RemoteGone, ProjectChanged: nothing more can be sent to this project.
        """
        order = in_order(due, _subject, self.store.deaths(STEP))
        if order.given_up:
            self.store.give_up([_subject(each) for each in order.given_up], given_up_because("sending"), self.clock.now())
            yield Sent(len(order.given_up), given_up=len(order.given_up))
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="push") as worker:
            for batch in order.batches:
                clear = True
                with closing(self._tried(batch, worker)) as chunks:
                    for sent in chunks:
                        clear = clear and not sent.pending
                        yield sent
                if not clear:
                    return

    def _tried(self, due: Sequence[Due], worker: ThreadPoolExecutor) -> Generator[Sent]:
        """Ends the tries that were begun, also after an error that somebody foresaw, and after Ctrl-C, here or in whoever reads
        this. Any other error counts as a death: the process ends of it."""
        try:
            yield from self._in_turn(due, worker)
        except (BridgeError, KeyboardInterrupt, GeneratorExit):
            self._end_tries()
            raise
        self._end_tries()

    def _in_turn(self, due: Sequence[Due], worker: ThreadPoolExecutor) -> Iterator[Sent]:
        before: _Posted | None = None
        for chunk in _chunks(due):
            contents, waiting = self._make_ready(chunk)  # while the chunk before is at work
            clear = before is None or not before.sent().pending
            following = self._post(contents, waiting, worker) if clear else None
            if before is not None:
                yield self._recorded(before)
            before = following
            if before is None:
                return
        if before is not None:
            yield self._recorded(before)

    def _make_ready(self, chunk: Sequence[Due]) -> tuple[list[TaskContent], int]:
        """Promises the tasks; returns the pages of what may be sent now, and how many must wait. A page may be what the
        process dies of."""
        now = self.clock.now()
        self.store.intend([task for _, task in chunk])
        ready = [each for each in chunk if _may_be_sent(each[1], now)]
        keys = [_subject(each) for each in ready]
        self.store.begin_try(STEP, keys, now)
        self._begun |= set(keys)
        return self.render(ready), len(chunk) - len(ready)

    def _post(self, contents: Sequence[TaskContent], waiting: int, worker: ThreadPoolExecutor) -> _Posted:
        keys = [content.push_key for content in contents]
        self.store.mark_unknown(keys, self.clock.now())
        return _Posted(keys, waiting, worker.submit(self.labeling.create_tasks, self.project, contents))

    def _recorded(self, posted: _Posted) -> Sent:
        """Writes down what became of a chunk, and that its tries have ended."""
        sent, now = posted.sent(), self.clock.now()
        if sent.outcome.unknown:  # the server may be at work on them from now on, whenever they were sent
            self.store.mark_unknown(sent.outcome.unknown, now)
            self.store.end_try(STEP, sent.outcome.unknown)
        self.store.confirm(self.project.project_id, sent.outcome.created, now)
        self.store.refuse(sent.outcome.refused, now)
        self._begun -= set(posted.keys)
        return sent

    def _end_tries(self) -> None:
        if self._begun:
            self.store.end_try(STEP, sorted(self._begun))
            self._begun.clear()


def _subject(each: Due) -> PushKey:
    return each[1].push_key


def _may_be_sent(task: ReviewTask, now: datetime) -> bool:
    """A task whose outcome is unclear is not sent again while the server may still be at work on it."""
    return task.state is TaskState.INTENDED or task.sent_at is None or now - task.sent_at >= SETTLE_TIME


def _chunks(due: Sequence[Due]) -> Iterator[Sequence[Due]]:
    start, size = 0, FIRST_SENT
    while start < len(due):
        yield due[start : start + size]
        start, size = start + size, min(2 * size, SEND_AT_ONCE)
