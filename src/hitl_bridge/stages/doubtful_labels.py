"""Labels that are probably wrong. Nothing is removed: they go back to people, most doubtful first.

Two signs. *Confident learning* (Northcutt et al. 2021, *Confident learning: estimating uncertainty in dataset labels*, JAIR 70;
cleanlab's `prune_by_noise_rate`): a model that has not seen the example says another label, and says so more surely than it
usually does of that label. *Twins*: two inputs that are nearly the same carry different labels, so that at least one is wrong.
Looking again beats leaving out: docs/trainers.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hitl_bridge.core.dataset.splits import input_key
from hitl_bridge.core.model import JSON
from hitl_bridge.stages.snapshot import Example
from hitl_bridge.stages.trainers import Scores

_AT_ONCE = 500
_MOST_COMPARED = 50_000
"""Above so many inputs only equal ones are compared: each with each would take hours."""

_TERMS = 1 << 18


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that is probably wrong. `rather` is what a model that has not seen it says, None if only a twin speaks against
    it; `support` the probability which that model gives to the label that stands, and `margin` by how much that is above the best
    other label's; `twin` the item that is nearly the same."""

    item_id: str
    source: str
    version: str
    label: str
    rather: str | None
    support: float | None
    margin: float | None
    twin: str | None = None
    twin_label: str | None = None

    def row(self) -> dict[str, JSON]:
        return asdict(self)


def doubtful(examples: Sequence[Example], labels: Sequence[str], scores: Scores, field: str, alike: float) -> list[Doubt]:
    """The doubtful labels of `examples`, most doubtful first: those that both signs speak against, then by margin.

    Args:
        scores: out-of-fold, shape (n, labels); rows of NaN are not judged.
        field: the input field whose words are compared.
        alike: cosine from which two inputs are twins, in (0, 1].
    """
    by_model = dict(_by_model(examples, labels, scores))
    by_twin = twins([str(each.input[field]) for each in examples], [each.label for each in examples], alike)
    found = [_doubt(examples, labels, scores, place, by_model.get(place), by_twin.get(place)) for place in {*by_model, *by_twin}]
    return sorted(found, key=_order)


def _order(doubt: Doubt) -> tuple[bool, bool, float, str]:
    both = doubt.rather is not None and doubt.twin is not None
    return not both, doubt.rather is None, 1.0 if doubt.margin is None else doubt.margin, doubt.item_id


def _doubt(
    examples: Sequence[Example], labels: Sequence[str], scores: Scores, place: int, best: int | None, twin: int | None
) -> Doubt:
    example, given = examples[place], labels.index(examples[place].label)
    support = float(scores[place, given])
    margin = support - float(np.delete(scores[place], given).max())
    return Doubt(
        item_id=example.item_id,
        source=example.source,
        version=example.version,
        label=example.label,
        rather=None if best is None else labels[best],
        support=None if np.isnan(support) else round(support, 6),
        margin=None if np.isnan(support) else round(margin, 6),
        twin=None if twin is None else examples[twin].item_id,
        twin_label=None if twin is None else examples[twin].label,
    )


def _by_model(examples: Sequence[Example], labels: Sequence[str], scores: Scores) -> Iterator[tuple[int, int]]:
    """Places of doubtful labels, and the number of the label that the model would rather give."""
    from cleanlab.filter import find_label_issues

    judged = np.flatnonzero(np.isfinite(scores).all(axis=1) & (scores.sum(axis=1) > 0))
    given = np.array([labels.index(examples[place].label) for place in judged], dtype=np.int64)
    present, codes = np.unique(given, return_inverse=True)
    if len(present) < 2:
        return
    known = np.clip(scores[judged][:, present], 1e-9, None)
    known /= known.sum(axis=1, keepdims=True)
    flagged = find_label_issues(codes, known, filter_by="prune_by_noise_rate", min_examples_per_class=0, n_jobs=1)
    for row in np.flatnonzero(flagged):
        best = int(present[known[row].argmax()])
        if best != given[row]:
            yield int(judged[row]), best


def twins(texts: Sequence[str], labels: Sequence[str], alike: float) -> dict[int, int]:
    """For each text with a twin of another label, the place of the nearest one. Equal texts always are twins, whatever their case
    and white space; others if their pieces of words (3–5 letters) have a cosine of at least `alike`."""
    keys = [input_key(text) for text in texts]
    found = _equal(keys, labels)
    if len(texts) <= _MOST_COMPARED and alike < 1:
        for place, other in _near(keys, labels, alike):
            found.setdefault(place, other)
    return found


def _equal(keys: Sequence[str], labels: Sequence[str]) -> dict[int, int]:
    places: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    several = (group for group in places.values() if len({labels[place] for place in group}) > 1)
    return {place: next(other for other in group if labels[other] != labels[place]) for group in several for place in group}


def _near(keys: Sequence[str], labels: Sequence[str], alike: float) -> Iterator[tuple[int, int]]:
    pieces = _pieces(keys)
    for start in range(0, len(keys), _AT_ONCE):
        cosines = (pieces[start : start + _AT_ONCE] @ pieces.T).tocoo()
        close = cosines.data >= alike
        rows, others, values = cosines.row[close] + start, cosines.col[close], cosines.data[close]
        for place in np.lexsort((others, -values)):
            if labels[rows[place]] != labels[others[place]]:
                yield int(rows[place]), int(others[place])


def _pieces(keys: Sequence[str]) -> Any:
    """Hashed TF-IDF of pieces of words, rows of length 1: their products are cosines."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    hashed = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=_TERMS, alternate_sign=False, norm=None)
    return TfidfTransformer(sublinear_tf=True).fit_transform(hashed.transform(keys))
