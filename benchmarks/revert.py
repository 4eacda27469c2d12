"""A reviewer who was wrong 40 % of the time is taken back: does the candidate recover as if they had never been there?

    python benchmarks/revert.py [--data DIR] [--full]

Five reviewers decide on 1,500 Banking77 queries, 300 each; four err 5 % of the time, one 40 %. Three candidates are trained by
`dvc repro` and compared on 2,000 held-out queries: with everybody, after one `hitl-bridge revert --reviewer`, and in a second
workspace in which the fifth never answered. `--full` does it with 2,500 queries and three seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from queries import DataMissing, Queries, Query, read_queries
from report import Report, above, exactly
from scipy.stats import binomtest

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.memory import InMemoryLabeling
from hitl_bridge.bootstrap import Bridge, make_workspace, open_bridge
from hitl_bridge.core.model import TaskState
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.errors import BridgeError
from hitl_bridge.services.dataset.revert import RevertWish
from hitl_bridge.services.keeping.init import InitRequest
from hitl_bridge.stages.predict import predict

SOME, ALL = 1_500, 2_500
BASE = 500
WRONG, USUAL = 0.4, 0.05
REVIEWERS = tuple(f"reviewer-{number}@example.com" for number in range(5))
BAD = REVIEWERS[-1]
_NO_DATA = 2
_QUICKER = {"calibration_folds: 5": "calibration_folds: 2", "  folds: 5": "  folds: 0", "  points: 5": "  points: 0"}
"""How sure the model says it is, and reports on single labels, play no part here."""

_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Answers:
    """Who answers what, the same in every workspace of one seed."""

    by: Mapping[str, str]
    label: Mapping[str, str]

    @staticmethod
    def drawn(queries: Sequence[Query], labels: Sequence[str], seed: int) -> Answers:
        chance = random.Random(seed)
        by, said = {}, {}
        for number, query in enumerate(queries):
            person = REVIEWERS[number % len(REVIEWERS)]
            errs = chance.random() < (WRONG if person == BAD else USUAL)
            by[query.item_id] = person
            said[query.item_id] = chance.choice([each for each in labels if each != query.intent]) if errs else query.intent
        return Answers(by, said)


@dataclass
class Workspace:
    """A workspace with git, DVC and the packaged pipeline; the labeling service is in memory."""

    root: Path
    queries: Queries
    arriving: Sequence[Query]

    @contextmanager
    def opened(self) -> Iterator[tuple[Bridge, InMemoryLabeling]]:
        make_workspace(InitRequest(target=self.root, task="text-classification", labels=self.queries.labels))
        policy = {
            "task": "text-classification",
            "labels": self.queries.labels,
            "tiers": {"quick": {"reviewers": 1, "sla": "4h"}},
            "audit": {"rate": 0.0, "uniform": 0.0},
            "expertise": [{"name": "general", "reviewers": list(REVIEWERS)}],
        }
        (self.root / "hitl.yaml").write_text(json.dumps(policy), encoding="utf-8")
        params = (self.root / "params.yaml").read_text(encoding="utf-8")
        for slow, quick in _QUICKER.items():
            params = params.replace(slow, quick)
        (self.root / "params.yaml").write_text(params, encoding="utf-8")
        base = self.root / "data" / "base"
        base.mkdir(parents=True, exist_ok=True)
        for name, rows in (("train", self.queries.base[:BASE]), ("holdout", self.queries.holdout)):
            _write(base / f"{name}.jsonl", [_example(query) for query in rows])
        labeling = InMemoryLabeling()
        with open_bridge(self.root, labeling=labeling, clock=SystemClock()) as bridge:
            yield bridge, labeling

    def reviewed(self, bridge: Bridge, labeling: InMemoryLabeling, answers: Answers, people: Sequence[str]) -> int:
        """All of `people` answer what is theirs, and a version holds it; how many decisions."""
        arrivals = self.root / ".hitl" / "arrivals.jsonl"
        _write(arrivals, [_prediction(query) for query in self.arriving])
        bridge.ingest(str(arrivals))
        bridge.push()
        for task in bridge.store.tasks_in(TaskState.LIVE):
            if task.task_id is not None and answers.by[task.item_id] in people:
                labeling.answer(task.task_id, answers.by[task.item_id], {LABEL: (answers.label[task.item_id],)})
        bridge.pull()
        bridge.resolve()
        return bridge.commit().added

    def candidate(self, bridge: Bridge) -> Mapping[str, str]:
        """Trains, and gives the candidate's label of each held-out query."""
        bridge.retrain()
        asked, said = self.root / ".hitl" / "asked.jsonl", self.root / ".hitl" / "said.jsonl"
        _write(asked, [{"item_id": query.item_id, "input": {"text": query.text}} for query in self.queries.holdout])
        predict(self.root, asked, said, model="candidate")
        rows = [json.loads(line) for line in said.read_text(encoding="utf-8").splitlines()]
        return {row["item_id"]: row["prediction"]["label"] for row in rows}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Labels by held-out query of the three candidates, and what the revert itself did."""

    everybody: Mapping[str, str]
    reverted: Mapping[str, str]
    never: Mapping[str, str]
    removed: int
    held_before: int
    held_now: int
    revert_seconds: float


def one_seed(queries: Queries, arriving: Sequence[Query], seed: int, above_folder: Path) -> Outcome:
    answers = Answers.drawn(arriving, queries.labels, seed)
    told(f"seed {seed}: everybody answers, a candidate is trained …")
    place = Workspace(above_folder / f"all-{seed}", queries, arriving)
    with place.opened() as (bridge, labeling):
        place.reviewed(bridge, labeling, answers, REVIEWERS)
        everybody = place.candidate(bridge)
        told("revert, and training again …")
        began = time.monotonic()
        result = bridge.revert(RevertWish("the guideline was misread", "Benchmark", reviewer=BAD))
        seconds = time.monotonic() - began
        reverted = place.candidate(bridge)
        before, now = len(bridge.load_decisions("v0.1.0")), len(bridge.load_decisions(result.version))
    told("a workspace in which they never answered …")
    twin = Workspace(above_folder / f"never-{seed}", queries, arriving)
    with twin.opened() as (bridge, labeling):
        twin.reviewed(bridge, labeling, answers, REVIEWERS[:-1])
        never = twin.candidate(bridge)
    return Outcome(everybody, reverted, never, result.removed, before, now, seconds)


def tell(report: Report, queries: Queries, asked: int, outcomes: Sequence[Outcome]) -> None:
    truth = {query.item_id: query.intent for query in queries.holdout}
    add = report.add
    add("seeds", "seeds", len(outcomes))
    add("decisions", "decisions", outcomes[0].held_before)
    add(
        "taken_back",
        "of these taken back by one command",
        outcomes[0].removed,
        exactly(outcomes[0].removed, outcomes[0].held_before // 5),
    )
    add("revert_seconds", "seconds of that command ¹", round(max(each.revert_seconds for each in outcomes), 1))
    for name, says in (("everybody", "with everybody"), ("reverted", "after the revert"), ("never", "had they never been there")):
        shares = [_right(getattr(each, name), truth) for each in outcomes]
        add(f"accuracy_{name}", f"candidate's accuracy {says}", round(sum(shares) / len(shares), 4))
    worst = max(_worse(each.everybody, each.never, truth) for each in outcomes)
    add("harm_p", "what the reviewer spoilt: exact McNemar, one-sided, largest p", float(f"{worst:.2g}"))
    flips = sum(each.reverted[item_id] != each.never[item_id] for each in outcomes for item_id in truth)
    add("flips", "held-out queries that the reverted candidate labels otherwise than the one that never had them", flips)
    least = min(_either(each.reverted, each.never, truth) for each in outcomes)
    add("recovered_p", "… exact McNemar, smallest p", float(f"{least:.2g}"), above(least, _ALPHA))
    kept = min(each.held_before for each in outcomes)
    add("before", "decisions in the version before, read afterwards", kept, exactly(kept, asked))
    now = max(each.held_now for each in outcomes)
    add("now", "decisions in the new version", now, exactly(now, asked - asked // 5))


def _right(said: Mapping[str, str], truth: Mapping[str, str]) -> float:
    return sum(said[item_id] == label for item_id, label in truth.items()) / len(truth)


def _won(one: Mapping[str, str], other: Mapping[str, str], truth: Mapping[str, str]) -> int:
    return sum(one[item_id] == label != other[item_id] for item_id, label in truth.items())


def _worse(one: Mapping[str, str], other: Mapping[str, str], truth: Mapping[str, str]) -> float:
    """One-sided p of `one` being no worse than `other`."""
    wins, losses = _won(one, other, truth), _won(other, one, truth)
    return 1.0 if wins + losses == 0 else float(binomtest(wins, wins + losses, alternative="less").pvalue)


def _either(one: Mapping[str, str], other: Mapping[str, str], truth: Mapping[str, str]) -> float:
    wins, losses = _won(one, other, truth), _won(other, one, truth)
    return 1.0 if wins + losses == 0 else float(binomtest(wins, wins + losses).pvalue)


def _example(query: Query) -> Mapping[str, object]:
    return {"item_id": query.item_id, "input": {"text": query.text}, "output": {"label": query.intent}}


def _prediction(query: Query) -> Mapping[str, object]:
    said = {"prediction": {"label": query.intent}, "confidence": 0.5, "model_version": "before"}
    return {"item_id": query.item_id, "input": {"text": query.text}, **said}


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def told(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Taking a bad reviewer back, measured on Banking77.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/banking77"), help="folder with train.csv, test.csv, …")
    parser.add_argument("--full", action="store_true", help="2,500 queries, three seeds")
    given = parser.parse_args()
    try:
        queries = read_queries(given.data)
        with tempfile.TemporaryDirectory(prefix="hitl-revert-") as folder:
            arriving = list(queries.arriving)[: ALL if given.full else SOME]
            outcomes = [one_seed(queries, arriving, seed, Path(folder)) for seed in range(3 if given.full else 1)]
    except DataMissing as missing:
        print(f"No data: {missing}", file=sys.stderr)
        return _NO_DATA
    except BridgeError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return error.exit_code
    report = Report("revert")
    tell(report, queries, len(arriving), outcomes)
    print()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
