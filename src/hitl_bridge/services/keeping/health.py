"""How the daemon and everything it depends on are doing: written by its threads, read by whoever asks.

Asking outside systems costs them something. So what was found is kept for a while, each is asked by one thread at a time,
and nobody waits for an answer longer than `PATIENCE`: a client that hammers `/health` hammers nobody else.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from hitl_bridge.core.model import JSON
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.errors import BridgeError, OutsideUnavailable
from hitl_bridge.ports import Clock, EscalationStore, Insights, NoticeStore, StateStore
from hitl_bridge.services.desk.escalation import DeadlineLine, deadline_lines
from hitl_bridge.services.desk.notices import channels

FRESH = 15.0
"""Seconds for which an answer is good."""

PATIENCE = 3.0
"""Seconds that an outside system is given to answer."""

STORE, LABELING, DATASET = "store", "label_studio", "dataset"


@dataclass(frozen=True, slots=True)
class Outside:
    """An outside system: whether it is `up` (None: not known yet), since when that is so, and why if it is not."""

    name: str
    up: bool | None = None
    since: datetime | None = None
    reason: str = ""


@dataclass(slots=True)
class Vitals:
    """What the daemon knows of itself. Its threads write with `note` and the counters, all under one lock."""

    clock: Clock
    started_at: datetime = field(init=False)
    lease_held: bool = False
    last_good_cycle: datetime | None = None
    last_cycle_seconds: float = 0.0
    access_refused: bool = False
    commit_refused: bool = False
    webhooks_refused: bool = False
    projects_stopped: int = 0
    requests: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    outside: dict[str, Outside] = field(default_factory=dict)
    last_sign: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.started_at = self.clock.now()

    def note(self, name: str, *, up: bool, reason: str = "") -> bool:
        """What was found of an outside system. Returns whether that is a change."""
        with self._lock:
            before = self.outside.get(name, Outside(name))
            changed = before.up is not up
            since = self.clock.now() if changed else before.since
            self.outside[name] = Outside(name, up, since, "" if up else reason)
        return changed

    def count(self, what: str, result: str, seconds: float = 0.0) -> None:
        """One more `what` that ended with `result`."""
        with self._lock:
            self.counts[what, result] += 1
            self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def sign_of_life(self) -> None:
        """The loop goes on: it is not stuck."""
        self.last_sign = time.monotonic()

    def seconds_since_sign(self) -> float:
        return time.monotonic() - self.last_sign


class OutsideWatch:
    """Asks outside systems how they are, no more often than every `fresh` seconds, and for no longer than PATIENCE."""

    def __init__(self, probes: Mapping[str, Callable[[], object]], vitals: Vitals, *, fresh: float = FRESH) -> None:
        self._probes = probes
        self._vitals = vitals
        self._fresh = fresh
        self._asking = threading.Lock()
        self._asked_at = float("-inf")
        self._threads: dict[str, threading.Thread] = {}

    def look(self) -> list[Outside]:
        """Every system, as last seen; asked anew if that was a while ago and nobody else is asking just now."""
        if time.monotonic() - self._asked_at >= self._fresh and self._asking.acquire(blocking=False):
            try:
                self._ask()
                self._asked_at = time.monotonic()
            finally:
                self._asking.release()
        return [self._vitals.outside.get(name, Outside(name)) for name in self._probes]

    def _ask(self) -> None:
        until = time.monotonic() + PATIENCE
        for name in self._probes:
            if name not in self._threads or not self._threads[name].is_alive():
                self._threads[name] = threading.Thread(target=self._ask_one, args=(name,), name=f"ping-{name}", daemon=True)
                self._threads[name].start()
        for name, thread in self._threads.items():
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                self._vitals.note(name, up=False, reason=f"no answer in {PATIENCE:.0f} s")

    def _ask_one(self, name: str) -> None:
        try:
            self._probes[name]()
        except BridgeError as error:
            self._vitals.note(name, up=False, reason=error.message)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what there is to tell of that system)
            self._vitals.note(name, up=False, reason=type(error).__name__)
        else:
            self._vitals.note(name, up=True)


@dataclass(frozen=True, slots=True)
class Figures:
    """What the store counts, for `/metrics`. `deadlines` are unfinished items by tier, then by how their deadline stands; of the
    notices that are to go to a channel, `notices_waiting` were not taken yet, some of them (`notices_not_taken`) though sent."""

    items: Mapping[str, int] = field(default_factory=dict)
    deadlines: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notices_waiting: int = 0
    notices_not_taken: int = 0
    quarantined: int = 0
    failures: int = 0
    audit_seq: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """What is counted for `/metrics`: the store, the policy by which deadlines stand, and the outbox."""

    store: StateStore
    insights: Insights
    escalations: EscalationStore
    notices: NoticeStore
    policy: ReviewPolicy


def figures(ports: Counted, clock: Clock) -> Figures:
    """Reads the store, and asks nobody outside."""
    problems = Counter(str(problem.get("kind")) for problem in ports.insights.problems())
    outbox = channels(ports.notices, ports.policy.notices) if ports.policy.notices.channels else []
    refused = sum(each.not_taken for each in outbox if each.tries)
    return Figures(
        items=ports.insights.item_counts(),
        deadlines=_by_tier(deadline_lines(ports.escalations, ports.policy, clock.now())),
        notices_waiting=sum(each.waiting + each.not_taken for each in outbox),
        notices_not_taken=refused,
        quarantined=problems.pop("annotation", 0),
        failures=sum(problems.values()),
        audit_seq=ports.store.audit_head().seq,
    )


def _by_tier(lines: Sequence[DeadlineLine]) -> Mapping[str, Mapping[str, int]]:
    """Pools put together: there can be many of them, and a label's values are to be few."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        found.setdefault(line.tier, Counter()).update({"due": line.due, "at_risk": line.at_risk, "overdue": line.overdue})
    return found


@dataclass(slots=True)
class Kept:
    """Figures that are read anew at most every `fresh` seconds; none while the store is away."""

    read: Callable[[], Figures]
    fresh: float = 10.0
    value: Figures | None = None
    _read_at: float = float("-inf")
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def get(self) -> Figures | None:
        if time.monotonic() - self._read_at >= self.fresh and self._reading.acquire(blocking=False):
            try:
                self.value = self.read()
            except OutsideUnavailable:
                self.value = None
            finally:
                self._read_at = time.monotonic()
                self._reading.release()
        return self.value


def described(outside: Outside) -> Mapping[str, JSON]:
    """For `/health`."""
    since = outside.since.isoformat(timespec="seconds") if outside.since else None
    return {"name": outside.name, "up": outside.up, "since": since, "reason": outside.reason}
