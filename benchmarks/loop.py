"""The whole loop on Banking77, on a real Label Studio: does the work of reviewers make a measurably better model?

    python benchmarks/loop.py [--data DIR] [--full] [--keep DIR]

A champion is trained on 1,000 labelled queries and scores 3,080 others. The doubtful ones go to reviewers who err 5 % of
the time; their decisions become a dataset version, `dvc repro` a candidate, and 2,000 held-out queries the judge. Each
command runs twice in a row: the second time must change nothing in git, in the store or in Label Studio.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
from lives import kind_of, missing_parts
from queries import DataMissing, Queries, read_queries
from report import Report, above, at_least, at_most, exactly
from workplace import ERROR_RATE, Thresholds, Workplace, adjudicator_of, open_folder, reviewers_of, standing, tasks_shown

from hitl_bridge.bootstrap import Bridge, open_bridge
from hitl_bridge.core.gating.paired import agresti_min_bounds, exact_mcnemar
from hitl_bridge.core.model import Annotation, Item, ItemState, Purpose, TaskState
from hitl_bridge.core.task_types.controls import LABEL, OTHER_LABEL
from hitl_bridge.errors import BridgeError
from hitl_bridge.services.keeping.access import make_token
from hitl_bridge.services.model.retrain import RetrainResult
from hitl_bridge.services.sync.pull import PullResult
from hitl_bridge.services.sync.push import PushResult
from hitl_bridge.services.sync.resolve import ResolveResult
from hitl_bridge.stages.predict import predict

SOME = Thresholds(auto=0.50, quick=0.70, audit=0.02, uniform=0.01)
"""Only the most doubtful fifth: enough to show the loop in minutes."""

ALL_UNCERTAIN = Thresholds(auto=0.10, quick=0.50, audit=0.05, uniform=0.02)

TRACES_OF_A_KIND = 25
_SIGNER = "approver.dee"
_NO_DATA = 2

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Round:
    """Answers given, what pulling and resolving made of them, and the requests of a pull that found nothing new."""

    given: int
    pulled: PullResult
    requests_again: int
    settled: ResolveResult


@dataclass
class Loop:
    """One run. `seconds` are those of each first run; `unchanged` says of each second run whether it changed nothing."""

    place: Workplace
    bridge: Bridge
    report: Report
    seconds: dict[str, float] = field(default_factory=dict)
    again: dict[str, float] = field(default_factory=dict)
    unchanged: dict[str, bool] = field(default_factory=dict)

    def run(self) -> None:
        self._train("repro (champion)")
        self._promote("promote (champion)")
        self._ingest()
        self._push()
        self._review()
        self._commit()
        retrained = self._train("repro (candidate)")
        self._compare(retrained)
        self._trace(str(retrained.candidate))
        if retrained.verdict == "promote":
            self._promote("promote (candidate)")
        self._cycle_again()
        self._tell_seconds()

    # ------------------------------------------------------------------------------------------- the steps

    def _train(self, name: str) -> RetrainResult:
        return self._twice(name, self.bridge.retrain, lambda second: not second.ran and second.git_commit is None)

    def _promote(self, name: str) -> None:
        token = self._approver_token
        self._twice(name, lambda: self.bridge.promote(reason=name, token=token), lambda second: second.git_commit is None)

    @cached_property
    def _approver_token(self) -> str:
        """One program is everybody here; elsewhere the token is in the approver's hands."""
        return make_token(self.bridge.access_tokens, self.bridge.clock, _SIGNER, by="benchmark").token

    def _ingest(self) -> None:
        folder = self.place.root / ".hitl"
        arrivals, predictions = folder / "arrivals.jsonl", folder / "predictions.jsonl"
        self.place.write_arrivals(arrivals)
        self._timed("predict", lambda: predict(self.place.root, arrivals, predictions))
        taken = self._twice("ingest", lambda: self.bridge.ingest(str(predictions)), lambda second: second.accepted == 0)
        add = self.report.add
        add("items", "items scored and taken in", taken.accepted, exactly(taken.accepted, len(self.queries.arriving)))
        add("tiers", "risk tiers", dict(taken.tiers))
        add("purposes", "sent to people as", dict(Counter(item.triage.purpose.value for item in self._items())))

    def _push(self) -> None:
        pushed = self._twice("push", self.bridge.push, _pushed_nothing)
        with_tasks = {key.pool for key, count in self.bridge.store.task_counts().items() if count}
        add = self.report.add
        add("tasks", "tasks pushed", pushed.created, exactly(pushed.created, len(self._items())))
        add("tasks_by_project", "by project", {title.split(" · due")[0]: count for title, count in pushed.projects.items()})
        add("pools", "fields of expertise with tasks", len(with_tasks), at_least(len(with_tasks), 3))
        add("push_tasks_a_second", "tasks pushed a second ¹", round(pushed.created / self.seconds["push"], 1))
        self._check_pages()
        right = [self.queries.field_of(self._truth[item.item_id]) == item.route.pool for item in self._items()]
        add("in_the_right_field", "tasks in the field of their true intent", _share(right))

    def _check_pages(self) -> None:
        """What Label Studio itself shows: the prediction on each ordinary task, and on blind ones none."""
        items = {task.push_key: self._items_by_id[task.item_id] for task in self.bridge.store.tasks_in(TaskState.LIVE)}
        shown = {str(task["data"]["bridge_key"]): _prefilled(task) for task in self._tasks_shown()}
        blind = [shown.get(key) for key, item in items.items() if item.triage.purpose is not Purpose.REVIEW]
        ordinary = [
            shown.get(key) == item.prediction.output[LABEL]
            for key, item in items.items()
            if item.triage.purpose is Purpose.REVIEW
        ]
        self.report.add(
            "preannotated", "ordinary tasks that show the model's label", _share(ordinary), exactly(_share(ordinary), 1.0)
        )
        leaking = sum(label is not None for label in blind)
        self.report.add("blind_with_label", f"of {len(blind)} blind tasks, those that show one", leaking, exactly(leaking, 0))

    def _review(self) -> None:
        """Reviewers answer, then adjudicators; each time their answers come back and are settled."""
        first = self._round("", adjudicate=False)
        self._twice("push (adjudications)", self.bridge.push, _pushed_nothing)
        last = self._round(" (adjudications)", adjudicate=True)
        add = self.report.add
        given, decisions = first.given + last.given, first.settled.decisions + last.settled.decisions
        revisions = first.pulled.revisions + last.pulled.revisions
        add("answers", "answers given by people", given)
        add("answers_by_search", "of these on tasks that are not blind, found by the search over all labels", self._searched())
        add("answers_pulled", "answers brought back", revisions, exactly(revisions, given))
        add("pull_requests", "requests of the two pulls", first.pulled.requests + last.pulled.requests)
        asked_again = last.requests_again / len(self.bridge.store.projects())
        add("pull_requests_again", "requests a project of a pull with nothing new", asked_again, at_most(asked_again, 2))
        add("decisions", "decisions", decisions, exactly(decisions, len(self._items())))
        add("disputed", "disputed, to an adjudicator", first.settled.disputed)
        add("escalated", "audits that disagreed, to an adjudicator", first.settled.escalated)

    def _round(self, name: str, *, adjudicate: bool) -> Round:
        requests: list[int] = []

        def pull() -> PullResult:
            result = self.bridge.pull()
            requests.append(result.requests)
            return result

        given = self._timed(f"people answer{name}", partial(self.place.answer, self.bridge, adjudicate=adjudicate))
        pulled = self._twice(f"pull{name}", pull, lambda second: second.revisions + second.tombstones == 0)
        settled = self._twice(f"resolve{name}", self.bridge.resolve, lambda second: second == ResolveResult())
        return Round(given, pulled, requests[-1], settled)

    def _commit(self) -> None:
        committed = self._twice("commit", self.bridge.commit, lambda second: second.version is None)
        self.report.add("dataset_version", "dataset version", committed.tag)
        added = committed.added
        self.report.add("added", "decisions in it", added, exactly(added, len(self._items())))
        self._compare_with_truth()

    # ----------------------------------------------------------------------------------------- the figures

    def _compare_with_truth(self) -> None:
        held = self.bridge.load_decisions()
        right = [_label(decision) == self._truth[item_id] for item_id, decision in zip(held.item_id, held.decision, strict=True)]
        model = [_label(said) == self._truth[item_id] for item_id, said in zip(held.item_id, held.prediction, strict=True)]
        raw = [answered == self._truth[item_id] for item_id, answered in self._first_answers()]
        add = self.report.add
        add("model_on_these", "right on these items: the model", _share(model))
        add("answers_right", f"… single answers (reviewers err {ERROR_RATE:.0%})", _share(raw))
        add("decisions_right", "… decisions", _share(right), at_least(_share(right), _share(raw)))
        by_tier = {
            name: _share([ok for ok, tier in zip(right, held.tier, strict=True) if tier == name]) for name in set(held.tier)
        }
        add("decisions_right_by_tier", "… decisions by tier of triage", dict(sorted(by_tier.items())))

    def _first_answers(self) -> Iterable[tuple[str, object]]:
        """Item and label of every answer of the first round."""
        for annotation, item_id, number in self._annotations():
            if number == 1 and annotation.answer is not None:
                yield item_id, (annotation.answer.output or {}).get(LABEL)

    def _compare(self, retrained: RetrainResult) -> None:
        paired = pq.read_table(self.place.root / "reports" / "paired.parquet").to_pylist()
        base = [row for row in paired if row["source"] == "base"]
        wins = sum(row["candidate_right"] and not row["champion_right"] for row in base)
        losses = sum(row["champion_right"] and not row["candidate_right"] for row in base)
        lower, upper = agresti_min_bounds(wins, losses, len(base), 0.05)
        add = self.report.add
        add("holdout", "held-out queries", len(base))
        add("champion_accuracy", "champion's accuracy on them", _share([row["champion_right"] for row in base]))
        add("candidate_accuracy", "candidate's accuracy on them", _share([row["candidate_right"] for row in base]))
        add("gain_at_least", f"gain, lower 95 % bound ({wins} won, {losses} lost)", round(lower, 4), above(lower, 0.0))
        add("gain_at_most", "gain, upper 95 % bound", round(upper, 4))
        add("gain_p", "exact McNemar, one-sided p", f"{exact_mcnemar(wins, losses):.1g}")
        edge = [row for row in base if row["edge"]]
        add("edge_cases", "edge cases among them (rare intents)", len(edge))
        add("champion_on_edge", "champion's accuracy on edge cases", _share([row["champion_right"] for row in edge]))
        add("candidate_on_edge", "candidate's accuracy on edge cases", _share([row["candidate_right"] for row in edge]))
        add(
            "verdict",
            "the gate's verdict (it also counts the uniform stream)",
            retrained.verdict,
            exactly(retrained.verdict, "promote"),
        )
        add("reasons", "its reasons", list(retrained.reasons))
        leaks = self._leaks()
        add("leaks", "held-out items, groups or texts in the training data", leaks, exactly(leaks, 0))

    def _leaks(self) -> int:
        """By what was really trained and measured on, not by the gate's word: ids and texts on both sides."""
        folder = self.place.root / "data" / "snapshot"
        sides = [pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("train", "holdout")]
        ids, texts = ([{str(row[name]).casefold() for row in side} for side in sides] for name in ("item_id", "input"))
        return len(ids[0] & ids[1]) + len(texts[0] & texts[1])

    def _trace(self, candidate: str) -> None:
        """A sample of each kind of life, drawn with a fixed seed."""
        people = {email for pool in self.queries.fields for email in (*reviewers_of(pool), adjudicator_of(pool))}
        whole: Counter[str] = Counter()
        looked: Counter[str] = Counter()
        lacking: list[str] = []
        began = time.monotonic()
        for item_id in self._sample():
            life = self.bridge.trace(item_id)
            missing = missing_parts(life, people, candidate)
            looked[kind_of(life)] += 1
            whole[kind_of(life)] += not missing
            lacking += [f"{item_id}: {what}" for what in missing]
        seconds = (time.monotonic() - began) / max(1, looked.total())
        for line in lacking[:10]:
            print(f"  trace lacks: {line}", flush=True)
        kinds = sum(looked[kind] > 0 for kind in ("auto-approved", "decided", "adjudicated"))
        add = self.report.add
        add("trace_kinds", "kinds of lives traced", kinds, exactly(kinds, 3))
        add("traces", "traced", dict(looked))
        add("traces_whole", "… with every part of their life", dict(whole), exactly(dict(whole), dict(looked)))
        add("trace_seconds", "seconds a trace ¹", round(seconds, 3))

    def _sample(self) -> list[str]:
        chance = random.Random(7)
        seen = {item.item_id: item.round for item in self._fresh_items()}
        unseen = [query.item_id for query in self.queries.arriving if query.item_id not in seen]
        kinds: Sequence[list[str]] = (
            unseen,
            [item_id for item_id, number in seen.items() if number == 1],
            [item_id for item_id, number in seen.items() if number > 1],
        )
        return [item_id for kind in kinds for item_id in chance.sample(sorted(kind), min(TRACES_OF_A_KIND, len(kind)))]

    def _cycle_again(self) -> None:
        """One more cycle, when all is done."""
        before = standing(self.bridge, self._client)
        cycle = self._timed("one more cycle (sync)", self.bridge.sync)
        self.unchanged["sync"] = not cycle.did_something and standing(self.bridge, self._client) == before

    def _tell_seconds(self) -> None:
        add = self.report.add
        changed = [name for name, same in self.unchanged.items() if not same]
        add("second_runs", "commands run a second time", len(self.unchanged))
        add("second_runs_that_changed_something", "… of these, those that changed something", changed, exactly(changed, []))
        add("seconds", "seconds of each first run ¹", {name: round(took, 2) for name, took in self.seconds.items()})
        add("seconds_again", "seconds of each second run ¹", {name: round(took, 2) for name, took in self.again.items()})
        add("seconds_in_all", "seconds in all, checks included ¹", round(time.monotonic() - _BEGAN))

    # ------------------------------------------------------------------------------------------- how to ask

    def _twice(self, name: str, command: Callable[[], Result], did_nothing: Callable[[Result], bool]) -> Result:
        """Runs a command, and runs it again: the second time has to say that it did nothing, and to have done nothing."""
        first = self._timed(name, command)
        before = standing(self.bridge, self._client)
        began = time.monotonic()
        second = command()
        self.again[name] = time.monotonic() - began
        self.unchanged[name] = did_nothing(second) and standing(self.bridge, self._client) == before
        return first

    def _timed(self, name: str, command: Callable[[], Result]) -> Result:
        print(f"{name} …", flush=True)
        began = time.monotonic()
        result = command()
        self.seconds[name] = time.monotonic() - began
        return result

    @property
    def queries(self) -> Queries:
        return self.place.queries

    @cached_property
    def _client(self) -> Any:
        return self.place.client(reviewers_of(next(iter(self.queries.fields)))[0])

    @cached_property
    def _truth(self) -> Mapping[str, str]:
        return {query.item_id: query.intent for query in self.queries.arriving}

    def _fresh_items(self) -> Sequence[Item]:
        return self.bridge.store.items_in(*ItemState)

    def _items(self) -> Sequence[Item]:
        """The items that people are to see, as they were taken in."""
        return list(self._items_by_id.values())

    @cached_property
    def _items_by_id(self) -> Mapping[str, Item]:
        return {item.item_id: item for item in self._fresh_items()}

    def _tasks_shown(self) -> Iterable[Any]:
        for project in self.bridge.store.projects():
            yield from tasks_shown(self._client, project.project_id)

    def _annotations(self) -> list[tuple[Annotation, str, int]]:
        """Every answer that the bridge holds, with its item and round."""
        tasks = {task.push_key: task for task in self.bridge.store.tasks_in(*TaskState)}
        answers = self.bridge.store.annotations_of(list(tasks))
        return [(each, tasks[each.push_key].item_id, tasks[each.push_key].round) for each in answers]

    def _searched(self) -> float:
        """Share of the answers on tasks with suggestions whose label was not among them. Blind tasks have none."""
        return _share(
            any(isinstance(region, Mapping) and region.get("from_name") == OTHER_LABEL for region in annotation.result)
            for annotation, item_id, _ in self._annotations()
            if self._items_by_id[item_id].triage.purpose is Purpose.REVIEW
        )


def _pushed_nothing(again: PushResult) -> bool:
    return again.created + again.rejected + again.pending == 0


def _prefilled(task: Any) -> str | None:
    """The label that a task shows before anybody has answered."""
    for prediction in task.get("predictions") or []:
        for region in prediction["result"]:
            if region["from_name"] == LABEL:
                return str(region["value"]["choices"][0])
    return None


def _label(output: str | None) -> str | None:
    return None if output is None else str(json.loads(output)[LABEL])


def _share(right: Iterable[bool]) -> float:
    each = list(right)
    return round(sum(each) / len(each), 4) if each else 0.0


_BEGAN = time.monotonic()


def run(queries: Queries, thresholds: Thresholds, keep: Path | None) -> int:
    report = Report("loop")
    with open_folder(keep) as root:
        place = Workplace(root, queries, thresholds)
        try:
            print("workspace, Label Studio, accounts …", flush=True)
            place.make()
            place.open_label_studio()
            with open_bridge(root) as bridge:
                Loop(place, bridge, report).run()
        finally:
            place.labeling.stop()
    print()
    return report.finish()


def main() -> int:
    parser = argparse.ArgumentParser(description="The whole loop on Banking77, measured.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/banking77"), help="folder with train.csv, test.csv, …")
    parser.add_argument("--full", action="store_true", help="send all uncertain items to people, not only the most doubtful")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the workspace here and leave it")
    given = parser.parse_args()
    try:
        return run(read_queries(given.data), ALL_UNCERTAIN if given.full else SOME, given.keep)
    except DataMissing as missing:
        print(f"No data: {missing}", file=sys.stderr)
        return _NO_DATA
    except BridgeError as error:
        print(f"{error.message}\n{error.remedy}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
