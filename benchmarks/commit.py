"""What a commit of 1,000 decisions costs, beside the bare commands, and whether it grows with what is already there.

    python benchmarks/commit.py [--full] [--by-dvc] [--pairs N] [--keep DIR | --again DIR]

`hitl-bridge commit` and the bare `dvc add`, `dvc push` and `git commit` of the same files take turns, on copies of the same
dataset, as whole commands; the figures are medians of ratios: what the machine does meanwhile hits both. To a remote that is a
folder the bridge writes itself; with `--by-dvc` it is configured so that DVC has to, as it has to where the remote is in a cloud.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from grown_dataset import FOLDERS, GrownDataset
from report import Report, at_most, exactly
from workplace import open_folder

NEW = 1_000
SMALL = 10_000
LARGE, LARGE_FULL = 100_000, 1_000_000
_MOST = 1.5
_FLAT = 1.25


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a command, or of several one after another: seconds by the clock, and seconds of all their processes."""

    wall: float
    processor: float


@dataclass
class Dataset:
    """One dataset twice: in a workspace of the bridge's, and beside it for the bare commands. `versions`: when it was made."""

    size: int
    ours: GrownDataset
    bare: GrownDataset
    versions: int
    commits: list[Cost] = field(default_factory=list)
    bares: list[Cost] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=dict)

    def take_turns(self, *, measured: bool) -> None:
        """A commit of ours, then the same files by the bare commands."""
        self.ours.decide(NEW)
        said: list[str] = []
        committed = _cost(lambda: said.append(self.ours.run("hitl-bridge", "commit", "--json")))
        version = json.loads(said[0])
        if not version["version"] or version["added"] < NEW:
            raise RuntimeError(f"The bridge committed something else: {version}")
        files = [f"{folder}/{version['version']}.parquet" for folder in FOLDERS]
        for path in files:
            shutil.copyfile(self.ours.root / path, self.bare.root / path)
        steps = {
            "dvc add": lambda: self.bare.run("dvc", "add", "--quiet", *FOLDERS),
            "dvc push": lambda: self.bare.run("dvc", "push", "--quiet"),
            "git commit": lambda: self.bare.run("git", "commit", "--quiet", "--all", f"--message={version['version']}"),
        }
        costs = {name: _cost(step) for name, step in steps.items()}
        if measured:
            self.commits.append(committed)
            self.bares.append(Cost(sum(c.wall for c in costs.values()), sum(c.processor for c in costs.values())))
            for name, cost in costs.items():
                self.steps.setdefault(name, []).append(cost.wall)


def _cost(act: Callable[[], object]) -> Cost:
    before, began = _of_children(), time.perf_counter()
    act()
    return Cost(time.perf_counter() - began, _of_children() - before)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _made(folder: Path, size: int, *, by_dvc: bool) -> Dataset:
    began = time.perf_counter()
    ours, bare = (GrownDataset(folder / str(size) / name) for name in ("workspace", "bare"))
    if bare.is_there:
        ours.decisions = NEW * (len(_versions(ours)) - 1)  # the first version holds one
        return Dataset(size, ours, bare, len(_versions(ours)))
    ours.make(size)
    if by_dvc:
        ours.run("dvc", "remote", "modify", "store", "slow_link_warning", "false")
        ours.run("git", "commit", "--quiet", "--all", "--message=A remote that only DVC writes to")
    made = Dataset(size, ours, ours.bare_copy(bare.root), len(_versions(ours)))
    print(f"  {size:,} decisions in versions of 1,000: made in {time.perf_counter() - began:.0f} s", flush=True)
    return made


def _versions(dataset: GrownDataset) -> list[str]:
    with dataset.opened() as bridge:
        return bridge.dataset.versions()


def _ratio(over: Sequence[Cost], under: Sequence[Cost], which: Callable[[Cost], float]) -> float:
    return statistics.median(which(a) / which(b) for a, b in zip(over, under, strict=True))


def _wall(cost: Cost) -> float:
    return cost.wall


def _processor(cost: Cost) -> float:
    return cost.processor


def _tell(report: Report, datasets: Sequence[Dataset]) -> None:
    for each in datasets:
        at, name = f"with {each.size:,} there", f"at_{each.size}"
        report.add(f"commit_s_{name}", f"`hitl-bridge commit` {at}, s", statistics.median(map(_wall, each.commits)))
        report.add(f"bare_s_{name}", f"the bare commands {at}, s", statistics.median(map(_wall, each.bares)))
        steps = {step: statistics.median(seconds) for step, seconds in each.steps.items()}
        report.add(f"bare_steps_s_{name}", f"of these {at}, s", steps)
        ratio = _ratio(each.commits, each.bares, _wall)
        report.add(f"ratio_{name}", f"commit over bare {at}, median of pairs", ratio, at_most(ratio, _MOST))
        spent = {
            "commit": statistics.median(map(_processor, each.commits)),
            "bare": statistics.median(map(_processor, each.bares)),
        }
        report.add(f"processor_s_{name}", f"processor seconds {at}", spent)
        processor = _ratio(each.commits, each.bares, _processor)
        report.add(f"processor_ratio_{name}", f"the same in processor seconds {at}", processor)
    small, large = datasets
    grown = _ratio(large.commits, small.commits, _wall)
    said = f"commit with {large.size:,} over commit with {small.size:,}, median of pairs"
    report.add("growth", said, grown, at_most(grown, _FLAT))
    report.add("processor_growth", "the same in processor seconds", _ratio(large.commits, small.commits, _processor))
    report.add("bare_growth", "the same of the bare commands", _ratio(large.bares, small.bares, _wall))


def _check_all_there(report: Report, each: Dataset, turns: int) -> None:
    with each.ours.opened() as bridge:
        waiting = len(bridge.store.uncommitted())
    versions, wanted = len(_versions(each.ours)), each.versions + turns
    report.add(f"waiting_at_{each.size}", f"decisions in no version, of {each.size:,}", waiting, exactly(waiting, 0))
    report.add(f"versions_at_{each.size}", f"versions, of {each.size:,}", versions, exactly(versions, wanted))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1,000,000 decisions instead of 100,000 (about 6 GB of disk)")
    parser.add_argument("--by-dvc", action="store_true", help="a remote that only DVC itself can write to")
    parser.add_argument("--pairs", type=int, default=5, metavar="N", help="measured turns (after one that is not)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the workspaces there and leave them")
    parser.add_argument("--again", type=Path, metavar="DIR", help="use those that --keep left there")
    chosen = parser.parse_args(arguments)
    report = Report("commit")
    with nullcontext(chosen.again) if chosen.again else open_folder(chosen.keep) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        datasets = [_made(folder, size, by_dvc=chosen.by_dvc) for size in (SMALL, LARGE_FULL if chosen.full else LARGE)]
        for turn in range(chosen.pairs + 1):
            for each in datasets:
                each.take_turns(measured=turn > 0)
            print(f"  turn {turn} of {chosen.pairs} done", flush=True)
        _tell(report, datasets)
        for each in datasets:
            _check_all_there(report, each, chosen.pairs + 1)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
