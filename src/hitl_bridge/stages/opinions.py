"""What a model that has not seen an example says of the answer that it has.

*Confident learning* (Northcutt et al. 2021, *Confident learning: estimating uncertainty in dataset labels*, JAIR 70; cleanlab's
`prune_by_noise_rate`): the model says something else, and says so more surely than it usually does. What is asked about depends
on how an answer is given: its one label; of several labels each by itself, yes or no (one against the rest, as in cleanlab's
`multilabel_classification`); of what is marked in a text each token (Wang and Mueller 2022, *Detecting label errors in token
classification data*, arXiv 2210.03920), and an answer is as doubtful as the worst of its tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.task_types.entities import spans_of
from hitl_bridge.stages.snapshot import Example, labels_of
from hitl_bridge.stages.trainers import Scores, TokenScores
from hitl_bridge.stages.trainers.tokens import Tokens, labels_in_tags, tags_of

_NOTHING = -1
_LEAST = 1e-9

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Opinion:
    """`support` is the probability which the model gives to what stands, and `margin` by how much that is above the best other
    answer's, both of the most doubtful part; None where it can't say. `rather` is what it would say, None if it does not
    object."""

    support: float | None = None
    margin: float | None = None
    rather: str | None = None


def on_one_label(examples: Sequence[Example], labels: Sequence[str], scores: Scores) -> list[Opinion]:
    """Opinions on the one label of each example; `scores` of shape (n, labels), rows of NaN where the model can't say."""
    found = _asked(np.array([labels.index(each.label) for each in examples], dtype=np.int64), scores)
    return [found.opinion(place, None if best == _NOTHING else labels[best]) for place, best in enumerate(found.rather.tolist())]


def on_several_labels(examples: Sequence[Example], labels: Sequence[str], scores: Scores, kind: TaskType) -> list[Opinion]:
    """Opinions on all labels of each example together; NaN in `scores` of shape (n, labels) where the model can't say."""
    has = np.array([[label in labels_of(each, kind) for label in labels] for each in examples], dtype=np.int64)
    asked = [_asked(has[:, place], np.column_stack([1 - scores[:, place], scores[:, place]])) for place in range(len(labels))]
    margins = np.column_stack([each.margin for each in asked])
    objects = np.column_stack([each.rather != _NOTHING for each in asked])
    found = []
    for row, example in enumerate(examples):
        worst = _worst(margins[row], objects[row])
        other = kind.parts(example.output) ^ {labels[place] for place in np.flatnonzero(objects[row])}
        found.append(asked[worst].opinion(row, kind.text(kind.whole(other)) if objects[row].any() else None))
    return found


def on_marks(examples: Sequence[Example], labels: Sequence[str], said: Sequence[TokenScores], kind: TaskType) -> list[Opinion]:
    """Opinions on what is marked in each text; NaN in the scores of a label that the model can't say anything of."""
    texts = [Tokens.of(str(each.input[kind.input_field])) for each in examples]
    pairs = zip(texts, examples, strict=True)
    codes = [labels_in_tags(tags_of(text, spans_of(each.output), labels)) for text, each in pairs]
    asked = _asked(np.concatenate(codes), np.concatenate([each.scores for each in said]))
    ends = np.cumsum([len(each) for each in codes])
    found = []
    for example, end, own, answer in zip(examples, ends, codes, said, strict=True):
        here = np.arange(end - len(own), end)
        objects = asked.rather[here] != _NOTHING
        rather = None if kind.same(answer.output, example.output) or not objects.any() else kind.text(answer.output)
        found.append(asked.opinion(here[_worst(asked.margin[here], objects)], rather) if len(own) else Opinion())
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """Of n questions: `support` and `margin` of the answers that stand (NaN where the model can't say), and which answer it would
    `rather` give (-1: none)."""

    support: Scores
    margin: Scores
    rather: Codes

    def opinion(self, place: int, rather: str | None) -> Opinion:
        if np.isnan(self.support[place]):
            return Opinion()
        return Opinion(round(float(self.support[place]), 6), round(float(self.margin[place]), 6), rather)


def _asked(given: Codes, scores: Scores) -> _Asked:
    """Questions that were answered with `given`, out of the columns of `scores`."""
    rows = np.arange(len(given))
    support = scores[rows, given].copy()
    others = np.where(np.isnan(scores), 0.0, scores)
    others[rows, given] = -1.0
    rather = np.full(len(given), _NOTHING, dtype=np.int64)
    judged = np.flatnonzero(~np.isnan(support) & (np.nansum(scores, axis=1) > 0))
    present, codes = np.unique(given[judged], return_inverse=True)
    if len(present) > 1:
        rather[judged] = _rather(codes, scores[judged][:, present], present)
    return _Asked(support, support - others.max(axis=1), rather)


def _rather(codes: Codes, scores: Scores, present: Codes) -> Codes:
    from cleanlab.filter import find_label_issues

    known = np.clip(np.nan_to_num(scores), _LEAST, None)
    known /= known.sum(axis=1, keepdims=True)
    flagged = find_label_issues(codes, known, filter_by="prune_by_noise_rate", min_examples_per_class=0, n_jobs=1)
    best = known.argmax(axis=1)
    return np.where(flagged & (best != codes), present[best], _NOTHING)


def _worst(margins: Scores, objects: npt.NDArray[np.bool_]) -> int:
    """The place of the least margin; where there are objections, of the worst of them."""
    known = np.where(np.isnan(margins), np.inf, margins)
    return int(np.where(objects, known, np.inf if objects.any() else known).argmin())
