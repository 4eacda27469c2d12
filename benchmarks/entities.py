"""Named entities: what the scikit-learn trainer finds, how well it knows what it gets wrong, and several answers span by span.

    python benchmarks/entities.py [--data DIR] [--full]

Real tweets and posts with entities (WNUT-17, Derczynski et al. 2017). The trainer learns from the training texts and is measured
on the test texts, which are of other sources and whose entities are new. The reviewers are made up: five people answer every one
of the development texts, each missing 30 to 60 % of the entities, inventing few, with other boundaries or another label now and
then; what they say together, by the bridge's own `judge_parts`, is held against the truth. How reliable each is, is learnt
from their other answers alone. At last one in ten of the training texts gets an entity wrong, and confident learning looks for
them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from report import Aim, Report, above, at_least
from sklearn.metrics import roc_auc_score

from hitl_bridge.core.model import (
    Annotation,
    AnnotationId,
    AnnotationState,
    Answer,
    ItemId,
    JSONObject,
    ProjectId,
    Purpose,
    PushKey,
    TaskId,
)
from hitl_bridge.core.review.by_parts import NO, YES, judge_parts
from hitl_bridge.core.review.consensus import ConsensusRule, Weighing
from hitl_bridge.core.review.part_votes import votes_by_parts
from hitl_bridge.core.review.records import GivenAnswer, told_apart
from hitl_bridge.core.review.reliability import learn
from hitl_bridge.core.task_types import task_type
from hitl_bridge.core.task_types.entities import Span, output_of, spans_of
from hitl_bridge.stages.doubtful_labels import doubtful
from hitl_bridge.stages.learner import Learner, tokens_out_of_fold
from hitl_bridge.stages.opinions import on_marks
from hitl_bridge.stages.snapshot import Example
from hitl_bridge.stages.trainers import AnsweringModel, Labelled, Setup, Unlabelled, trainer

KIND = task_type("entities")
FILES = {"train": "wnut17train.conll", "development": "emerging.dev.conll", "test": "emerging.test.annotated"}
BASELINE_F1 = 0.092
"""A regression over tokens alone, learnt from all training texts, on the test texts (METHODS 12)."""

BASELINE_AUROC = 0.7
DOUBTS_FIRST = 0.4
"""Four times what picking at random finds."""

FOLDS = 5
REVIEWERS, DRAWS, MORE_DRAWS = 5, 3, 10
PART = 1_000
"""So many of the training texts by default: the figures with all of them take `--full`."""

_NO_DATA = 2

Text = tuple[str, JSONObject]


def read(path: Path) -> list[Text]:
    """Tokens put together with blanks, and their entities."""
    found: list[Text] = []
    text, spans = "", list[Span]()
    for line in [*path.read_text("utf-8").splitlines(), ""]:
        word, _, tag = line.strip().partition("\t")
        if not word:
            found += [(text, output_of(spans))] if text else []
            text, spans = "", []
            continue
        start = len(text) + 1 if text else 0
        text = f"{text} {word}" if text else word
        if tag.startswith("B-"):
            spans.append(Span(start, len(text), tag[2:].partition(",")[0]))
        elif tag.startswith("I-") and spans:
            spans[-1] = spans[-1]._replace(end=len(text))
    return found


@dataclass
class Counted:
    """Entities that are there, that were named, and both."""

    there: int = 0
    named: int = 0
    hits: int = 0

    def add(self, true: JSONObject, said: JSONObject | None) -> None:
        one, other = KIND.parts(true), KIND.parts(said)
        self.there, self.named, self.hits = self.there + len(one), self.named + len(other), self.hits + len(one & other)

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.there + self.named) if self.there + self.named else 0.0

    def shares(self) -> dict[str, float]:
        return {"precision": round(self.hits / max(1, self.named), 3), "recall": round(self.hits / max(1, self.there), 3)}


# ------------------------------------------------------------------------------------------------------- the trainer


def measure_trainer(report: Report, texts: dict[str, list[Text]], labels: tuple[str, ...], *, full: bool) -> None:
    train = texts["train"] if full else texts["train"][:PART]
    rows = [Labelled(str(number), {"text": text}, "", output) for number, (text, output) in enumerate(train)]
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(Path(folder), labels)
        fitted = trainer("sklearn-entities").train(rows, setup, Path(folder))
        model = trainer("sklearn-entities").load(Path(folder), setup, fitted)
    assert isinstance(model, AnsweringModel)
    report.add("trained_on", "texts that the trainer learnt from", len(rows))
    for name in ("development", "test"):
        held = texts[name]
        answers = model.answers([Unlabelled(str(number), {"text": text}) for number, (text, _) in enumerate(held)])
        counted = Counted()
        for (_, true), said in zip(held, answers, strict=True):
            counted.add(true, said.output)
        right = np.array([KIND.same(true, said.output) for (_, true), said in zip(held, answers, strict=True)])
        sure = np.array([said.confidence for said in answers])
        aimed = name == "test" and full
        report.add(f"{name}_f1", f"{name} texts: F1 over entities", round(counted.f1, 3),
                   at_least(round(counted.f1, 3), BASELINE_F1) if aimed else None)  # fmt: skip
        report.add(f"{name}_shares", "· precision and recall", counted.shares())
        report.add(f"{name}_right", "· texts right as a whole; mean confidence", f"{right.mean():.3f}; {sure.mean():.3f}")
        auroc = float(roc_auc_score(right, sure))
        report.add(f"{name}_auroc", "· AUROC of the confidence for “right as a whole”", round(auroc, 3),
                   at_least(round(auroc, 3), BASELINE_AUROC) if aimed else None)  # fmt: skip


# ------------------------------------------------------------------------------------------------------- doubtful entities


def measure_doubts(report: Report, texts: Sequence[Text], labels: tuple[str, ...]) -> None:
    """One in ten texts loses an entity, has one under another label, or gets one that is not there."""
    chance = np.random.default_rng(17)
    planted = set(chance.permutation(len(texts))[: len(texts) // 10].tolist())
    outputs = [_put_wrong(text, true, labels, chance) if n in planted else true for n, (text, true) in enumerate(texts)]
    examples = [
        Example(str(number), {"text": text}, KIND.text(output), None, False, None, "base", output=output)
        for number, ((text, _), output) in enumerate(zip(texts, outputs, strict=True))
    ]
    setup = Setup(Path(), labels, options={"calibration_folds": 1}, kind=KIND)
    said = tokens_out_of_fold(Learner(trainer("sklearn-entities"), setup, KIND), examples, FOLDS)
    listed = [int(each.item_id) in planted for each in doubtful(examples, KIND, on_marks(examples, labels, said, KIND), 1.0)]
    first = round(float(np.mean(listed[: len(planted)])), 3)
    report.add("doubts_listed", f"texts listed as doubtful, of {len(texts)} with {len(planted)} put wrong", len(listed))
    report.add("doubts_recall", "· of those put wrong are listed", round(sum(listed) / len(planted), 3))
    report.add("doubts_precision", "· of those listed were put wrong", round(float(np.mean(listed)), 3))
    report.add("doubts_first", "· of as many as were put wrong, the first of the list were", first, at_least(first, DOUBTS_FIRST))


def _put_wrong(text: str, true: JSONObject, labels: Sequence[str], chance: np.random.Generator) -> JSONObject:
    spans = spans_of(true)
    way = str(chance.choice(["lost", "renamed", "invented"])) if spans else "invented"
    if way == "invented":
        return Person("", 0.0, 0.0, 0.0, 1.0).marks(text, true, labels, chance)
    at = int(chance.integers(len(spans)))
    other = str(chance.choice([label for label in labels if label != spans[at].label]))
    return output_of([*spans[:at], *([] if way == "lost" else [spans[at]._replace(label=other)]), *spans[at + 1 :]])


# ------------------------------------------------------------------------------------------------------- the consensus


@dataclass(frozen=True)
class Person:
    """Of the entities `misses` are not marked, `shifts` are marked a word too long, `errs` get another label; of the texts
    `invents` get an entity that is not there."""

    name: str
    misses: float
    shifts: float = 0.05
    errs: float = 0.05
    invents: float = 0.05

    def marks(self, text: str, true: JSONObject, labels: Sequence[str], chance: np.random.Generator) -> JSONObject:
        spans = []
        for span in spans_of(true):
            if chance.random() < self.misses:
                continue
            end = text.find(" ", span.end + 1) if chance.random() < self.shifts else span.end
            label = str(chance.choice(labels)) if chance.random() < self.errs else span.label
            spans.append(Span(span.start, end if end > 0 else len(text), label))
        if chance.random() < self.invents:
            words = text.split(" ")
            at = int(chance.integers(len(words)))
            start = len(" ".join(words[:at])) + (at > 0)
            spans.append(Span(start, start + len(words[at]), str(chance.choice(labels))))
        return output_of(spans)


def measure_consensus(report: Report, held: Sequence[Text], labels: tuple[str, ...], draws: int) -> None:
    found: dict[str, list[float]] = {}
    for draw in range(draws):
        chance = np.random.default_rng(17 + draw)
        people = [Person(f"r{number}", misses) for number, misses in enumerate(np.linspace(0.3, 0.6, REVIEWERS))]
        said = [{person.name: person.marks(text, true, labels, chance) for person in people} for text, true in held]
        for name, score in _consensus_scores(held, said, labels).items():
            found.setdefault(name, []).append(score)
    means = {name: float(np.mean(each)) for name, each in found.items()}
    report.add("one_person", "one person (the mean of five): F1 over entities", round(means["one person"], 3))
    report.add("majority", "majority of five", round(means["majority"], 3))
    gain = round(means["weighted"] - means["majority"], 3)
    report.add("weighted", "weighted, reliabilities learnt from these answers alone", round(means["weighted"], 3),
               Aim("above the majority", gain > 0))  # fmt: skip
    report.add("gain", "· more than the majority", gain, above(gain, 0.05))


def _consensus_scores(held: Sequence[Text], said: Sequence[dict[str, JSONObject]], labels: tuple[str, ...]) -> dict[str, float]:
    answers = [_given(str(number), name, output) for number, by in enumerate(said) for name, output in by.items()]
    reliability = learn(told_apart(votes_by_parts(answers, KIND, labels)), (YES, NO))
    weighing = Weighing(reliability, KIND.text, at_least=0.0)
    rules = {"majority": (ConsensusRule.MAJORITY, None), "weighted": (ConsensusRule.WEIGHTED, weighing)}
    counted = {name: Counted() for name in ("one person", *rules)}
    for (_, true), by in zip(held, said, strict=True):
        for output in by.values():
            counted["one person"].add(true, output)
        annotations = [_annotation(number, name, output) for number, (name, output) in enumerate(by.items())]
        for name, (rule, weighed) in rules.items():
            found = judge_parts(annotations, rule, 1, KIND, weighed)
            counted[name].add(true, None if found.answer is None else found.answer.output)
    return {name: each.f1 for name, each in counted.items()}


def _given(item: str, name: str, output: JSONObject) -> GivenAnswer:
    return GivenAnswer(ItemId(item), 1, name, output, output, "p", "t", None, Purpose.REVIEW, "m", 1, None, False, None)


def _annotation(number: int, name: str, output: JSONObject) -> Annotation:
    at = datetime(2026, 11, 22, tzinfo=UTC).isoformat()
    blank = Annotation(ProjectId(1), TaskId(1), AnnotationId(number), PushKey("k"), at, at, name, name, AnnotationState.ANSWER)
    return replace(blank, answer=Answer(output))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/wnut17"), help="WNUT-17 (see docs/benchmarks.md)")
    parser.add_argument("--full", action="store_true", help="learn from all training texts; ten draws instead of three")
    given = parser.parse_args(arguments)
    missing = [name for name in FILES.values() if not (given.data / name).is_file()]
    if missing:
        print(f"There is no {missing[0]} in {given.data}; name the folder with --data.", file=sys.stderr)
        return _NO_DATA
    texts = {name: read(given.data / file) for name, file in FILES.items()}
    labels = tuple(sorted({span.label for _, output in texts["train"] for span in spans_of(output)}))
    report = Report("entities")
    measure_consensus(report, texts["development"], labels, MORE_DRAWS if given.full else DRAWS)
    measure_trainer(report, texts, labels, full=given.full)
    measure_doubts(report, texts["train"] if given.full else texts["train"][:PART], labels)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
