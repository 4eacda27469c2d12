"""Which of the waiting items people see when they can't see them all: the most doubtful, spread over what there is, and a few
by chance.

The doubtful ones are picked by margin with one a cluster: of the items with the smallest margins, several times as many as are
wanted, k-means makes as many clusters as are wanted, and each gives the item nearest to its centre: the most typical one, as in
Hacohen et al. 2022, arXiv 2202.02794 (the most doubtful one of each needed more labels, see docs/benchmarks.md). A small part
is drawn from all that wait, whatever the doubt, each item with the same known probability: where reviewers err on what is
doubtful, doubt alone can lose to chance, and only what was drawn can measure.

scikit-learn is imported where it is used; nothing here costs anything where there is no budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from math import floor, sqrt
from typing import TYPE_CHECKING, Any, TypeAlias

from hitl_bridge.core import draws
from hitl_bridge.core.model import Item, Purpose

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Places: TypeAlias = "NDArray[np.intp]"

CANDIDATES, WEIGHED_CANDIDATES = 5, 10
"""Candidates for each item that is wanted: where all pull alike, and where each weighs as much as it is doubted."""

DIMENSIONS = 100
"""Of the texts' vectors in which clusters are sought."""

CLUSTERED_AT_ONCE = 500
"""Items wanted of one clustering: its cost grows with the square of their number, so that more are picked in parts."""

BUNDLE = 20
"""A budget is handed out in parts of one twentieth at least: clusters of one item spread nothing, and each hand-out reads all
that wait."""

WORDS_WEIGH = 0.5
"""How much the words count beside the scores, where both tell what is alike: vectors of words are that long."""

LEAST_WEIGHT = 1e-3
"""Of an item that the model does not doubt at all: k-means needs some weight to place a centre by."""

_TERMS = 1 << 18


class SpreadOver(StrEnum):
    """What tells whether two texts are alike: their words, the scores that the model gave them, or both, which is best for
    models that read vectors. Items without a text are compared by their scores."""

    WORDS = "words"
    SCORES = "scores"
    BOTH = "both"

    @property
    def weighs_doubt(self) -> bool:
        """Whether k-means weighs candidates by their doubt (Zhdanov 2019, arXiv 1901.05954), and so can take more of them."""
        return self is SpreadOver.BOTH


@dataclass(frozen=True, slots=True)
class ReviewBudget:
    """Of the items that came by their risk at most `max_reviews` go to people in any stretch of time as long as `window`; a
    share of `random_arm` of them is drawn by chance."""

    max_reviews: int
    window: timedelta
    random_arm: float = 0.1
    spread_over: SpreadOver = SpreadOver.WORDS

    @property
    def bundle(self) -> int:
        return max(1, self.max_reviews // BUNDLE)


class Arm(StrEnum):
    """How an item came to be picked: among the most doubtful, by chance, or because there was room for all."""

    DOUBT = "doubt"
    CHANCE = "chance"
    ALL = "all"


def came_by_risk(item: Item) -> bool:
    """Whether the item may wait. What was drawn, what a rule sent and what people have begun to judge never does."""
    return item.triage.purpose is Purpose.REVIEW and item.triage.rule is None and item.round == 1


def doubt(scores: Mapping[str, float], confidence: float, *, exclusive: bool = True) -> float:
    """The margin of the scores; without two of them the smallest that the confidence allows. Where an answer is made of several
    parts, whose scores don't exclude each other, the confidence that all of it is right."""
    if not exclusive:
        return confidence
    best = sorted(scores.values(), reverse=True)[:2]
    return best[0] - best[1] if len(best) == 2 else max(0.0, 2 * confidence - 1)


def chance(key: bytes, model_version: str, subject: tuple[str, int], occasion: str) -> float:
    """The draw of an item's revision in one selection, in [0, 1). `occasion` names the selection: an item that was left out
    once has a new chance the next time, or whatever waits long would be what was never lucky."""
    return draws.draw(key, "exploration", model_version, f"{subject[0]}\x1f{subject[1]}\x1f{occasion}")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The items among which is chosen, by their places 0 … n−1.

    Args:
        margins: shape (n,), best score − second best; NaN where there is none, which counts as the greatest doubt.
        draws: shape (n,), one of `chance` for each; also decides between equal margins.
        features: rows of a matrix (dense or sparse) for some places: what is alike lies close together.
        weighs_doubt: `SpreadOver.weighs_doubt` of what the features tell.
    """

    margins: Sequence[float]
    draws: Sequence[float]
    features: Callable[[Sequence[int]], Any]
    weighs_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Places that were picked, most doubtful first, and with what probability each of those that wait could be drawn by
    chance."""

    by_doubt: tuple[int, ...] = ()
    by_chance: tuple[int, ...] = ()
    probability: float = 0.0


def select(waiting: Waiting, count: int, *, random_arm: float, rounding: float) -> Selection:
    """`count` of the waiting items. The same arguments give the same answer.

    Args:
        count: how many there is room for, fewer than wait.
        random_arm: share of them that is drawn, in [0, 1].
        rounding: a draw in [0, 1) that decides about the broken part of `random_arm × count`, so that a budget handed out item by
            item has a random arm, too.
    """
    import numpy as np

    margins, drawn = np.asarray(waiting.margins, dtype=float), np.asarray(waiting.draws, dtype=float)
    if count <= 0 or not len(margins):
        return Selection()
    lucky = min(count, floor(random_arm * count + rounding))
    by_chance = np.argsort(drawn, kind="stable")[:lucky]
    others = np.setdiff1d(np.arange(len(margins)), by_chance)
    known = np.nan_to_num(margins, nan=-1.0)
    ranked = others[np.lexsort((drawn[others], known[others]))]
    by_doubt = _most_doubtful(waiting, ranked, known, count - lucky)
    return Selection(tuple(by_doubt.tolist()), tuple(by_chance.tolist()), min(1.0, random_arm * count / len(margins)))


def _most_doubtful(waiting: Waiting, ranked: Places, margins: NDArray[np.float64], count: int) -> Places:
    """`count` of the places, which are in the order of doubt: one a cluster of the first few times as many."""
    import numpy as np

    candidates = ranked[: (WEIGHED_CANDIDATES if waiting.weighs_doubt else CANDIDATES) * count]
    if len(candidates) <= count:
        return candidates
    parts = -(-count // CLUSTERED_AT_ONCE)
    chosen = np.zeros(len(candidates), dtype=bool)
    for part in range(parts):
        places = np.arange(part, len(candidates), parts)
        some = candidates[places]
        weights = np.clip(1 - margins[some], LEAST_WEIGHT, 1) if waiting.weighs_doubt else None
        chosen[places[spread(waiting.features(some.tolist()), len(range(part, count, parts)), weights)]] = True
    picked: Places = candidates[chosen]
    return picked


def spread(features: Any, count: int, weights: NDArray[np.float64] | None = None) -> Places:
    """One row for each of `count` clusters, the one nearest to its centre. What clusters lack, because rows are alike, comes from
    the first rows that are left.

    Args:
        features: shape (n, dimensions), the most doubtful row first.
        weights: shape (n,), how much each row pulls its centre, above 0; all the same by default.
    """
    import numpy as np

    if features.shape[0] <= count:
        return np.arange(features.shape[0])
    clusters, distances = _clusters(features, count, weights)
    order = np.lexsort((distances, clusters))
    _, first = np.unique(clusters[order], return_index=True)
    chosen = order[first]
    rest = np.setdiff1d(np.arange(len(clusters)), chosen)
    picked: Places = np.sort(np.concatenate([chosen, rest[: count - len(chosen)]]))
    return picked


def _clusters(features: Any, count: int, weights: NDArray[np.float64] | None) -> tuple[Places, NDArray[np.float64]]:
    """The cluster of each row, and how far it lies from the centre. One thread: sums in another order give other clusters."""
    import warnings

    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than clusters: `spread` fills up
        fitted = KMeans(n_clusters=count, n_init=1, max_iter=30, random_state=0).fit(features, sample_weight=weights)
        apart = np.asarray(features - fitted.cluster_centers_[fitted.labels_])
    return fitted.labels_.astype(np.intp), (apart * apart).sum(axis=1)


def features_of(over: SpreadOver, texts: Sequence[str] | None, scores: Sequence[Mapping[str, float]]) -> NDArray[np.float32]:
    """Shape (n, dimensions): what is alike lies close together.

    Args:
        texts: one an item; None where items have none, which leaves the scores.
        scores: by label, one an item.
    """
    import numpy as np

    if texts is None or over is SpreadOver.SCORES:
        return score_features(scores)
    words = text_features(texts)
    if over is SpreadOver.WORDS:
        return words
    return np.hstack([np.float32(WORDS_WEIGH) * words, score_features(scores)])


def text_features(texts: Sequence[str]) -> NDArray[np.float32]:
    """Shape (n, ≤ 100): hashed TF-IDF of words and pairs of words (no vocabulary is kept), in the directions in which these texts
    differ most, rows of length 1."""
    import numpy as np
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    pairs = {"ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
    words = HashingVectorizer(**pairs, n_features=_TERMS, alternate_sign=False, norm=None, dtype=np.float32)
    weighed = TfidfTransformer(sublinear_tf=True).fit_transform(words.transform(texts))
    used = weighed[:, np.flatnonzero(np.bincount(weighed.indices, minlength=_TERMS))]
    fewest = min(used.shape)
    if fewest <= 2:
        return np.asarray(used.todense(), dtype=np.float32)
    with threadpool_limits(limits=1), np.errstate(invalid="ignore"):  # of texts that are all the same, a share of no variance
        reduced = TruncatedSVD(min(DIMENSIONS, fewest - 1), n_iter=2, random_state=0).fit_transform(used)
    rows: NDArray[np.float32] = normalize(reduced).astype(np.float32)
    return rows


def score_features(scores: Sequence[Mapping[str, float]]) -> NDArray[np.float32]:
    """Shape (n, labels): the roots of the scores as vectors of length 1; what the model takes for alike is close. Distances of
    roots are Hellinger's, in which small scores still tell two items apart."""
    import numpy as np

    labels = {label: at for at, label in enumerate(sorted({label for row in scores for label in row}))}
    matrix = np.zeros((len(scores), max(1, len(labels))), dtype=np.float32)
    for place, row in enumerate(scores):
        for label, score in row.items():
            matrix[place, labels[label]] = sqrt(max(0.0, score))
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    rows: NDArray[np.float32] = matrix / np.where(lengths > 0, lengths, 1)
    return rows
