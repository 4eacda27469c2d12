"""Kills a bridge at each of its numbered points, lets it start again, and asks the oracles: `make crash`.

Two scenarios, each in a copy of its own of a workspace that is made once: `reviews` (predictions come in, are pushed, answered,
disputed, settled; no dataset versions) and `commits` (what is decided becomes a version; git, DVC and a DVC remote). Each is run
once unharmed, which counts the points and says what should come out; then once a point, killed there, and in the first run after
the kill once more at a point drawn by the seed.

    python -m tests.faults.crash_matrix [--only reviews|commits] [--sample N] [--points N,N] [--seed N]
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hitl_bridge.bootstrap import Bridge, open_bridge
from hitl_bridge.core.model import ItemState
from tests.faults import oracles
from tests.faults.fake_label_studio import FakeLabelStudio
from tests.faults.fake_world import Contents
from tests.faults.one_cycle import CYCLE_SECONDS, LaterClock, Points, cycle, run
from tests.faults.people import Crowd
from tests.faults.workspaces import Scenario, make_workspace, write_predictions
from tests.forks import forked

ITEMS: Final = 8
MOST_RESTARTS: Final = 4


@dataclass(frozen=True)
class Run:
    """How a process ended (its exit code, negative for a signal), and the points that it passed."""

    code: int
    points: Sequence[str]
    said: str


@dataclass
class Matrix:
    """One scenario: a workspace to copy, what Label Studio held then, and what comes out when nobody is killed."""

    name: str
    template: Path
    fake: FakeLabelStudio
    scratch: Path
    commits: bool
    backup: Contents = field(init=False)
    points: Sequence[str] = ()
    expected: Mapping[str, Any] = field(default_factory=dict)
    kills: int = 0
    _copies: int = 0

    def __post_init__(self) -> None:
        self.backup = self.fake.backup()

    def count(self) -> None:
        """The unharmed run."""
        with self.copied() as root:
            done = start(root)
            if done.code:
                raise AssertionError(f"{self.name}: the unharmed run ended with {done.code}: {done.said}")
            self.points = done.points
            wrong = self.judged(root, ahead=0.0)
            with self.opened(root, 0.0) as bridge:
                self.expected = outcome(bridge)
        wrong += oracles.work_happened({"decided items": len(self.expected)}, {"decided items": ITEMS // 2})
        if wrong:
            raise AssertionError(f"{self.name}: the unharmed run is not well: {wrong}")

    def worth_dying_at(self) -> list[int]:
        """All points but those that follow on another with nothing in between: there the world looks the same."""
        pairs = zip(["", *self.points], self.points, strict=False)
        return [number for number, (last, here) in enumerate(pairs, 1) if not (_is(last, "after") and _is(here, "before"))]

    def killed_at(self, number: int, chance: random.Random) -> list[str]:
        """What is wrong after a kill at this point, another one while it is mended, and a last run to the end."""
        with self.copied() as root:
            first = start(root, die_at=number)
            if first.code not in (0, -signal.SIGKILL):  # 0: by the clock there was less to do this time
                return [f"It was to be killed at point {number}, and ended with {first.code}: {first.said}"]
            self.kills += first.code < 0
            again = start(root, die_at=chance.randrange(1, len(self.points) + 1), ahead=CYCLE_SECONDS)
            runs = [first, again]
            while runs[-1].code and len(runs) < MOST_RESTARTS:
                runs.append(start(root, ahead=CYCLE_SECONDS * len(runs)))
            if runs[-1].code:
                return [f"Started again it ended with {runs[-1].code}: {runs[-1].said}"]
            return self.judged(root, ahead=CYCLE_SECONDS * MOST_RESTARTS * 10)

    def judged(self, root: Path, ahead: float) -> list[str]:
        with self.opened(root, ahead) as bridge:
            studio = Crowd(self.fake.url, self.fake.reviewer_tokens).anybody
            wrong = oracles.of_the_reviews(bridge, studio)
            wrong += oracles.termination(bridge, root, lambda: cycle(bridge, commits=self.commits))
            wrong += oracles.audit_integrity(bridge, anchored=self.commits)
            if self.commits:
                wrong += oracles.version_integrity(bridge, root)
            come_out = outcome(bridge)
        unlike = {name for name, what in come_out.items() if self.expected and self.expected.get(name) != what}
        wrong += [f"Item {name} came out as {come_out[name]}, unharmed as {self.expected.get(name)}." for name in sorted(unlike)]
        return wrong + [f"Item {name} is lost." for name in sorted(self.expected.keys() - come_out.keys())]

    @contextlib.contextmanager
    def copied(self) -> Iterator[Path]:
        """A copy of the workspace's home, and Label Studio as it was."""
        self._copies += 1
        home = self.scratch / f"{self.name}-{self._copies}"
        shutil.copytree(self.template.parent, home, symlinks=True)
        self.fake.restore(self.backup)
        yield home / self.template.name
        shutil.rmtree(home)

    def opened(self, root: Path, ahead: float) -> Bridge:
        return open_bridge(root, clock=LaterClock(ahead))


def _is(point: str, kind: str) -> bool:
    return point.startswith(f"{kind} ")


def outcome(bridge: Bridge) -> dict[str, Any]:
    """What was last decided of each item that was decided at all."""
    names = [item.item_id for item in bridge.store.items_in(*ItemState)]
    decided = {name: oracles.decisions_of(bridge, name) for name in names}
    return {name: (each[-1]["op"], each[-1]["output"]) for name, each in decided.items() if each}


# --------------------------------------------------------------------------------------------- one run of a scenario


def start(root: Path, *, die_at: int = 0, ahead: float = 0.0) -> Run:
    """Runs the scenario in a process of its own, forked from one that has imported everything already."""
    told, log = root.parent / "points", root.parent / "log"
    process = forked(_scenario, root, die_at, ahead, told, log)
    process.join()
    points = told.read_text("utf-8").splitlines() if told.exists() else []
    told.unlink(missing_ok=True)
    code = process.exitcode if process.exitcode is not None else 1
    process.close()
    return Run(code, points, " / ".join(log.read_text("utf-8").splitlines()[-3:]))


def _scenario(root: Path, die_at: int, ahead: float, told: Path, log: Path) -> None:
    sys.stderr = log.open("w", encoding="utf-8", buffering=1)
    points = Points(die_at)
    points.listen()
    run(root, points, ahead)
    told.write_text("\n".join(points.names), encoding="utf-8")


# --------------------------------------------------------------------------------------------------- the scenarios


def reviews(home: Path, fake: FakeLabelStudio) -> Matrix:
    """Predictions have arrived; all else is to be done."""
    root = make_workspace(home / "reviews" / "workspace", fake.url, fake.token)
    source = write_predictions(root / ".hitl", "a", ITEMS, bad_rows=["no json"])
    Scenario(fake.url, (str(source),), fake.reviewer_tokens).save(root)
    return Matrix("reviews", root, fake, home / "copies", commits=False)


def commits(home: Path, fake: FakeLabelStudio) -> Matrix:
    """One version is published; more is decided, and to be committed."""
    folder = home / "commits"
    folder.mkdir(parents=True)
    root = make_workspace(folder / "workspace", fake.url, fake.token, remote=folder / "remote")
    for prefix, committed in (("a", True), ("b", False)):
        source = write_predictions(root / ".hitl", prefix, ITEMS)
        Scenario(fake.url, (str(source),), fake.reviewer_tokens, commits=committed).save(root)
        run(root, Points())
    Scenario(fake.url, (), {}, commits=True).save(root)
    return Matrix("commits", root, fake, home / "copies", commits=True)


MAKERS: Final = {"reviews": reviews, "commits": commits}


# ----------------------------------------------------------------------------------------------------- the program


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(MAKERS))
    parser.add_argument("--sample", type=int, metavar="N", help="so many points of each scenario, drawn by the seed")
    parser.add_argument("--points", type=lambda text: [int(each) for each in text.split(",")], default=[], metavar="N,N")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    print(f"seed {asked.seed}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="hitl-crash-") as folder, FakeLabelStudio() as fake:
        for name in [asked.only] if asked.only else MAKERS:
            matrix = MAKERS[name](Path(folder), fake)
            matrix.count()
            numbers = asked.points or chosen(matrix, asked.seed, asked.sample)
            print(f"{name}: {len(matrix.points)} points, {len(numbers)} of them one after the other")
            failed += go_through(matrix, numbers, asked.seed)
    print(f"seed {asked.seed}: {failed} points where something is wrong" if failed else f"seed {asked.seed}: all is well")
    return 1 if failed else 0


def chosen(matrix: Matrix, seed: int, sample: int | None) -> list[int]:
    numbers = matrix.worth_dying_at()
    return numbers if sample is None else sorted(random.Random(seed).sample(numbers, min(sample, len(numbers))))


def go_through(matrix: Matrix, numbers: Sequence[int], seed: int) -> int:
    failed = 0
    for done, number in enumerate(numbers, 1):
        began = time.monotonic()
        wrong = matrix.killed_at(number, random.Random(f"{seed}/{matrix.name}/{number}"))
        failed += bool(wrong)
        told = "; ".join(wrong) or "well"
        print(
            f"{done}/{len(numbers)} #{number} {matrix.points[number - 1]}: {told} ({time.monotonic() - began:.1f} s)", flush=True
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
