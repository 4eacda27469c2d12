"""Two daemons on one workspace, people at work, a bad network, and kills at random moments; then the oracles: `make soak`.

Label Studio is the embedded one, or with `--fake` the fake one, behind the fault proxy. At the end the faults go off, everybody
who should answer does, cycles run until nothing happens any more, and I1 to I9 are asked. One line of JSON tells what happened;
the exit code is 0 if nothing is wrong. The seed is printed: `--seed` draws the same faults, kills and acts again, as far as the
machine's own timing lets it.

    python -m tests.faults.soak [--minutes 15 | --kills 200] [--seed N] [--fake] [--hurried]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests

from hitl_bridge.adapters.label_studio.local_server import LocalServer
from hitl_bridge.bootstrap import Bridge, open_bridge
from hitl_bridge.core.model import ItemState, TaskState
from hitl_bridge.settings import cache_dir
from tests.faults import oracles
from tests.faults.fake_label_studio import FakeLabelStudio
from tests.faults.hurried_daemon import SPEED
from tests.faults.one_cycle import LaterClock, cycle
from tests.faults.people import ADJUDICATOR, REVIEWERS, STRANGER, Crowd
from tests.faults.processes import Daemon, Ingester, hurried_daemon, true_daemon
from tests.faults.proxy import FaultProxy
from tests.faults.workspaces import TEXT_CANARY, make_workspace, write_predictions
from tests.live.conftest import PASSWORD, free_port

ACTS: Final[Mapping[str, float]] = {
    "answer": 60,
    "edit": 8,
    "skip": 4,
    "again": 3,
    "stranger": 3,
    "meddle": 3,
    "unsay": 5,
    "delete task": 1,
}
MOST_DELETED_TASKS: Final = 5
"""In one soak: many at once are for a person to confirm, which is another test's."""

_BAD_ROWS: Final = ("no json", '{"item_id": "x", "confidence": NaN}')
_PASSES: Final = 40
_PATIENCE: Final = 10.0
_UNDER_FIRE: Final = {"kills": 3, "faults": 5, "people acted": 10}
_AT_THE_END: Final = {"items": 5, "answers": 5, "decisions": 5, "versions": 1}


@dataclass(frozen=True)
class Pace:
    """How fast things happen: seconds between kills, seconds that a stopped daemon sleeps, between two acts of people, and
    between two ingests; and how many predictions an ingest brings. A kill waits (not for ever) until there were
    `least_requests` since the last one: who is killed before having begun proves nothing."""

    kill: tuple[float, float] = (3.0, 15.0)
    sleep: tuple[float, float] = (5.0, 70.0)
    act: float = 0.3
    ingest: float = 12.0
    rows: int = 6
    most_files: int = 60
    least_requests: int = 0


HURRIED: Final = Pace(kill=(1.0, 5.0), sleep=(0.5, 5.0), act=0.05, ingest=2.0, rows=6, most_files=8, least_requests=5)


@dataclass(frozen=True)
class Asked:
    """What to do, and until when: for so many seconds, or until so many kills have happened."""

    seconds: float
    kills: int
    seed: int
    fake: bool
    hurried: bool

    @property
    def pace(self) -> Pace:
        return HURRIED if self.hurried else Pace()


@dataclass
class Soak:
    """A workspace under fire."""

    asked: Asked
    root: Path
    url: str
    crowd: Crowd
    proxy: FaultProxy
    born: float
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        command = hurried_daemon(self.root, self.born) if self.asked.hurried else true_daemon(self.root)
        logs = self.root.parent
        self.daemons = [Daemon(name, self.root, logs / f"daemon-{name}.log", command, self.wrong) for name in ("a", "b")]
        self._ingester = Ingester(self.root, self.counts, self.wrong)

    # ------------------------------------------------------------------------------------------- under fire

    def endure(self) -> None:
        threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self._people, self._predictions)]
        for daemon in self.daemons:
            daemon.start()
        for thread in threads:
            thread.start()
        try:
            self._fire()
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
            for daemon in self.daemons:
                daemon.kill()

    def _fire(self) -> None:
        """Kills and stops, drawn from the seed, until it is enough."""
        chance, pace = random.Random(f"{self.asked.seed}/kills"), self.asked.pace
        began, next_shot, asked_before = time.monotonic(), time.monotonic() + 2.0, 0
        while not self._is_enough(time.monotonic() - began):
            time.sleep(0.05)
            for daemon in self.daemons:
                daemon.look_after()
            late = time.monotonic() - next_shot
            at_work = sum(self.proxy.counts.values()) - asked_before >= pace.least_requests or late > _PATIENCE
            if late >= 0 and at_work:
                self._shoot(chance)
                next_shot, asked_before = time.monotonic() + chance.uniform(*pace.kill), sum(self.proxy.counts.values())

    def _is_enough(self, seconds: float) -> bool:
        """On a busy machine it takes longer until something has happened."""
        self._count_work()
        happened = not oracles.work_happened(self.counts, _UNDER_FIRE) and self.counts["kills"] >= self.asked.kills
        return seconds >= self.asked.seconds and (happened or (not self.asked.kills and seconds >= 4 * self.asked.seconds))

    def _count_work(self) -> None:
        self.counts["people acted"] = sum(self.crowd.did.values())
        self.counts["faults"] = sum(count for kind, count in dict(self.proxy.counts).items() if kind != "untouched")

    def _shoot(self, chance: random.Random) -> None:
        daemon, kind = chance.choice(self.daemons), chance.random()
        if kind < 0.2 and daemon.wakes_at is None:
            daemon.sleep(chance.uniform(*self.asked.pace.sleep))
            self.counts["stops"] += 1
            return
        for each in self.daemons if kind > 0.85 else [daemon]:
            each.kill()
            self.counts["kills"] += 1
            each.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Trouble in a thread is the soak's trouble."""
        try:
            work()
        except Exception as error:  # noqa: BLE001
            self.wrong.append(f"The soak itself broke: {type(error).__name__}: {error}")

    def _people(self) -> None:
        chance = random.Random(f"{self.asked.seed}/people")
        while not self._over.wait(chance.random() * 2 * self.asked.pace.act):
            deleted = self.crowd.did["delete task"] >= MOST_DELETED_TASKS
            try:
                self.crowd.act(chance, {kind: rate for kind, rate in ACTS.items() if not deleted or kind != "delete task"})
            except requests.HTTPError as refused:
                self.counts[f"people met {refused.response.status_code}"] += 1

    def _predictions(self) -> None:
        chance, pace = random.Random(f"{self.asked.seed}/predictions"), self.asked.pace
        for number in range(pace.most_files):
            bad = _BAD_ROWS if number % 3 == 0 else ()
            source = write_predictions(self.root.parent, f"batch{number}", pace.rows, bad_rows=bad)
            self._ingester.take_in(source, chance)
            self.counts["files"] += 1
            if self._over.wait(chance.random() * 2 * pace.ingest):
                return

    # ------------------------------------------------------------------------------------------- and after it

    def judge(self) -> None:
        """Faults off; everybody finishes; then the oracles."""
        self.proxy.on = False
        self.proxy.settle()
        clock = LaterClock((time.time() - self.born) * SPEED if self.asked.hurried else 0.0)
        with open_bridge(self.root, clock=clock) as bridge:
            self._finish(bridge, clock)
            self.wrong += oracles.of_the_reviews(bridge, self.crowd.anybody)
            self.wrong += oracles.audit_integrity(bridge)
            self.wrong += oracles.version_integrity(bridge, self.root)
            self.wrong += oracles.termination(bridge, self.root, lambda: self._cycle(bridge, clock))
            self.wrong += oracles.isolation(bridge, ())
            self._count(bridge)
        self.wrong += oracles.no_leak(self.root, [daemon.log for daemon in self.daemons], self._canaries())
        self.wrong += oracles.work_happened(self.counts, {**_UNDER_FIRE, **_AT_THE_END})

    def _finish(self, bridge: Bridge, clock: LaterClock) -> None:
        for _ in range(_PASSES):
            busy = self._cycle(bridge, clock)
            if not self.crowd.finish() and not busy:
                return
        self.wrong.append(f"I6: after {_PASSES} cycles with everybody answering there was still something to do.")

    def _cycle(self, bridge: Bridge, clock: LaterClock) -> bool:
        clock.forward()
        return cycle(bridge, commits=True)

    def _count(self, bridge: Bridge) -> None:
        items = bridge.store.items_in(*ItemState)
        tasks = bridge.store.tasks_in(*TaskState)
        known = bridge.store.annotations_of([task.push_key for task in tasks])
        decisions = [each for item in items for each in oracles.decisions_of(bridge, item.item_id)]
        self.counts.update({"items": len(items), "tasks": len(tasks), "answers": len(known), "decisions": len(decisions)})
        self.counts["versions"] = len(bridge.store.dataset_versions())
        self._count_work()
        undecided = [item.item_id for item in items if item.state not in (ItemState.DECIDED, ItemState.COMMITTED)]
        self.wrong += [f"I1: item {name} was answered by everybody and is not decided." for name in undecided]

    def _canaries(self) -> oracles.Canaries:
        token = (self.root / ".hitl" / "label-studio" / "token").read_text("utf-8")
        return oracles.Canaries([token, *self.crowd.tokens.values()], [TEXT_CANARY, *REVIEWERS, ADJUDICATOR, STRANGER])

    def told(self) -> dict[str, Any]:
        kinds = {kind: count for kind, count in self.proxy.counts.items() if kind != "untouched"}
        seen = {"counts": dict(self.counts), "faults": kinds, "people": dict(self.crowd.did)}
        return {"ok": not self.wrong, "seed": self.asked.seed, **seen, "wrong": self.wrong}


# -------------------------------------------------------------------------------------------------- setting it up


@contextmanager
def label_studio(fake: bool, home: Path) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Address, the bridge's token, and the tokens of people by e-mail."""
    people = (*REVIEWERS, ADJUDICATOR, STRANGER)
    if fake:
        with FakeLabelStudio(people=people) as running:
            yield running.url, running.token, running.reviewer_tokens
        return
    server = LocalServer(home / "label-studio", cache=cache_dir(), port=free_port())
    try:
        url = server.start().url
        token = server.service_account().token
        for email in people:
            server.reviewer_account(email, PASSWORD)
        yield url, token, {email: server.reviewer_token(email) for email in people}
    finally:
        server.stop()


def soak(asked: Asked, home: Path) -> dict[str, Any]:
    """The whole of it, in the empty folder `home`."""
    with ExitStack() as stack:
        url, token, tokens = stack.enter_context(label_studio(asked.fake, home))
        proxy = stack.enter_context(FaultProxy(url, seed=asked.seed, late_seconds=1.0 if asked.hurried else 5.0))
        root = make_workspace(home / "workspace", proxy.url, token, remote=home / "remote")
        under_fire = Soak(asked, root, url, Crowd(url, tokens), proxy, time.time())
        under_fire.endure()
        under_fire.judge()
        return under_fire.told()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=None, help="how long (15 unless --kills is given)")
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="go on until N kills have happened")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--fake", action="store_true", help="on the fake Label Studio")
    parser.add_argument("--hurried", action="store_true", help="with a fast clock, more kills and shorter leases")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="work in this empty folder, and leave everything there (else only if something is wrong)",
    )
    given = parser.parse_args()
    minutes = given.minutes if given.minutes is not None else 0.0 if given.kills else 15.0
    asked = Asked(minutes * 60, given.kills, given.seed, given.fake, given.hurried)
    print(f"seed {asked.seed}", file=sys.stderr)
    home = given.keep or Path(tempfile.mkdtemp(prefix="hitl-soak-"))
    result = soak(asked, home)
    print(json.dumps(result))
    if not result["ok"]:
        print(f"Everything is as it was left in {home}", file=sys.stderr)
        return 1
    if not given.keep:
        shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
