"""Labels that are probably wrong. Nothing is removed: they go back to people, most doubtful first.

Two signs. A model that has not seen the example objects to its label (`opinions`). *Twins*: two inputs that are nearly the same
carry different labels, so that at least one is wrong.
Looking again beats leaving out: docs/trainers.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hitl_bridge.core.dataset.splits import input_key
from hitl_bridge.core.model import JSON
from hitl_bridge.core.task_types import TaskType
from hitl_bridge.core.task_types.controls import Form
from hitl_bridge.stages.opinions import Opinion
from hitl_bridge.stages.snapshot import Example

_AT_ONCE = 500
_MOST_COMPARED = 50_000
"""Above so many inputs only equal ones are compared: each with each would take hours."""

_TERMS = 1 << 18


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that is probably wrong (where an answer has parts, all of it, in words). `rather`, `support` and `margin` are a
    model's opinion of it; `rather` is None if only a twin speaks against it; `twin` is the item that is nearly the same."""

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


def doubtful(examples: Sequence[Example], kind: TaskType, opinions: Sequence[Opinion], alike: float) -> list[Doubt]:
    """The doubtful labels of `examples`, most doubtful first: those that both signs speak against, then by margin.

    Args:
        opinions: a model's, of each example.
        alike: cosine from which two inputs are twins, in (0, 1].
    """
    texts, labels = [str(each.input[kind.input_field]) for each in examples], [each.label for each in examples]
    # What is marked stands at places of a text, which mean nothing in another one, however alike.
    found = _equal(texts, labels) if kind.form is Form.MARKS else twins(texts, labels, alike)
    objected = {place for place, each in enumerate(opinions) if each.rather is not None}
    doubts = (_doubt(examples, opinions[place], place, found.get(place)) for place in {*objected, *found})
    return sorted(doubts, key=_order)


def _order(doubt: Doubt) -> tuple[bool, bool, float, str]:
    both = doubt.rather is not None and doubt.twin is not None
    return not both, doubt.rather is None, 1.0 if doubt.margin is None else doubt.margin, doubt.item_id


def _doubt(examples: Sequence[Example], opinion: Opinion, place: int, twin: int | None) -> Doubt:
    example = examples[place]
    return Doubt(
        item_id=example.item_id,
        source=example.source,
        version=example.version,
        label=example.label,
        rather=opinion.rather,
        support=opinion.support,
        margin=opinion.margin,
        twin=None if twin is None else examples[twin].item_id,
        twin_label=None if twin is None else examples[twin].label,
    )


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
