"""How reliable reviewers are, from their answers to the same items, and how probable that makes what they say together.

Dawid & Skene (Applied Statistics 1979): each reviewer has a table "said l of what is k", the items' true classes are not known,
and both are found by turns. Three changes make it hold with few answers, where the original is worse than a vote:

- Each table begins as if the reviewer had given `PRIOR_ANSWERS` answers to each class, right as often as all reviewers are on
  the whole (a Dirichlet prior with a pooled mean, as in Kim & Ghahramani's Bayesian classifier combination, AISTATS 2012).
- An answer is weighed by what the reviewer said of *other* items: what an item itself adds to the table is left out (collapsed
  inference, as Asuncion et al., UAI 2009, have it for topic models). Nobody becomes reliable by agreeing with themselves.
- No class is taken to be more frequent than another: what goes to people is no random sample.

One rule, stated before any data are seen (`method_for`): a single answer stands for itself; up to `FEW_CLASSES` classes a
reviewer has a whole table, with more only an accuracy, as there are never enough answers to fill one. Who errs there takes one
class of some that look alike, and not any, and what the model said of the item is known beforehand: few answers to many classes
leave open what a model can tell (CROWDLAB; Goh, Tkachenko & Mueller, 2022).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp, log
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]
    Places: TypeAlias = NDArray[np.int64]

FEW_CLASSES = 5
ALIKE = 10
"""Of many classes an item looks like so many, as far as a model tells; who errs chooses among the others of them."""

PRIOR_ANSWERS = 4.0
"""The weight of what is known of all reviewers in what is thought of one."""

_UNHEARD = 0.01
"""So much of what a model says is spread over all classes: it may never have heard of the true one."""

_ROUNDS, _STILL = 100, 1e-4
_CELLS = 5_000_000
"""Items times classes that are looked at together, at most: 40 MB."""
_RIGHT_BEFORE, _OF_BEFORE = 2.0, 3.0
"""Before there is any answer, reviewers are taken to be right two times in three."""


class Method(StrEnum):
    """ANSWER: the only answer stands. TABLE: each reviewer has a table of confusions. ACCURACY: each has one number."""

    ANSWER = "answer"
    TABLE = "table"
    ACCURACY = "accuracy"


def method_for(classes: int, answers: int) -> Method:
    """How `answers` to an item of one of so many classes are weighed."""
    if answers <= 1:
        return Method.ANSWER
    return Method.TABLE if classes <= FEW_CLASSES else Method.ACCURACY


@dataclass(frozen=True, slots=True)
class Votes:
    """Answers as places: answer a says of item `item[a]` that it is of class `said[a]`, says reviewer `reviewer[a]`. Each
    reviewer answers an item once. `known` is each item's true class, or −1; None: none is known. `model[i, k]` is how probable a
    model makes class k of item i; None: none was asked. It counts where there are many classes."""

    item: Places
    reviewer: Places
    said: Places
    items: int
    reviewers: int
    classes: int
    known: Places | None = None
    model: Numbers | None = None


@dataclass(frozen=True, slots=True)
class Weighed:
    """`probability[i, k]` that item i is of class k; rows sum to 1. `tables[w, k, l]`: how often, of what is k, reviewer w is
    thought to have said l (the prior not counted); with many classes `tables[w, 0]` is [right, wrong]. `accuracy` is that of all
    reviewers together."""

    probability: Numbers
    tables: Numbers
    accuracy: float


def weigh(votes: Votes, prior_answers: float = PRIOR_ANSWERS) -> Weighed:
    """What the answers say together. Ties stay ties: whoever needs one class of several equal ones has to break them."""
    import numpy as np

    by_table = method_for(votes.classes, 2) is Method.TABLE
    model = _ByTable(votes, prior_answers) if by_table else _ByAccuracy(votes, prior_answers)
    belief, beforehand = _clamped(_shares(votes), votes.known), 0.0 if by_table else _beforehand(votes.model)
    for number in range(_ROUNDS):
        fresh = _clamped(_normal(model.evidence(belief) + beforehand), votes.known)
        moved = float(np.abs(fresh - belief).max(initial=0.0))
        belief = fresh
        if number and moved < _STILL:
            break
    return Weighed(_alone_stand(votes, belief), model.tables(belief), _accuracy(votes, belief))


def _beforehand(model: Numbers | None) -> Numbers | float:
    """What the model adds to the evidence, in logarithms."""
    import numpy as np

    return 0.0 if model is None else np.asarray(np.log((1 - _UNHEARD) * model + _UNHEARD / model.shape[1]))


def _shares(votes: Votes) -> Numbers:
    """The vote, as shares."""
    import numpy as np

    counts = np.zeros((votes.items, votes.classes))
    np.add.at(counts, (votes.item, votes.said), 1.0)
    return np.asarray(counts / np.maximum(1.0, counts.sum(axis=1, keepdims=True)))


def _clamped(belief: Numbers, known: Places | None) -> Numbers:
    """What is known is known."""
    import numpy as np

    if known is None:
        return belief
    given = np.flatnonzero(known >= 0)
    belief = belief.copy()
    belief[given] = 0.0
    belief[given, known[given]] = 1.0
    return belief


def _normal(evidence: Numbers) -> Numbers:
    import numpy as np

    weights = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _accuracy(votes: Votes, belief: Numbers) -> float:
    right = float(belief[votes.item, votes.said].sum())
    return (right + _RIGHT_BEFORE) / (len(votes.item) + _OF_BEFORE)


def _alone_stand(votes: Votes, belief: Numbers) -> Numbers:
    """A single answer is never overruled by what is thought of who gave it: its class is the most probable one."""
    import numpy as np

    answers = np.bincount(votes.item, minlength=votes.items)
    alone = np.flatnonzero(answers[votes.item] == 1)
    belief = belief.copy()
    for place in alone[belief[votes.item[alone], votes.said[alone]] < belief[votes.item[alone]].max(axis=1)]:
        row = belief[votes.item[place]]
        best = int(row.argmax())
        row[[votes.said[place], best]] = row[[best, votes.said[place]]]
    return belief


@dataclass(frozen=True, slots=True)
class _ByTable:
    votes: Votes
    prior: float

    def tables(self, belief: Numbers) -> Numbers:
        import numpy as np

        votes = self.votes
        tables = np.zeros((votes.reviewers, votes.classes, votes.classes))
        np.add.at(tables.transpose(0, 2, 1), (votes.reviewer, votes.said), belief[votes.item])
        return tables

    def evidence(self, belief: Numbers) -> Numbers:
        import numpy as np

        votes, tables = self.votes, self.tables(belief)
        before = self.prior * even_errors(votes.classes, _accuracy(votes, belief))
        own = belief[votes.item]
        said = tables[votes.reviewer, :, votes.said] - own + before[:, votes.said].T
        of = tables.sum(axis=2)[votes.reviewer] - own + self.prior
        found = np.zeros((votes.items, votes.classes))
        np.add.at(found, votes.item, np.log(said) - np.log(of))
        return found


@dataclass(frozen=True, slots=True)
class _ByAccuracy:
    votes: Votes
    prior: float

    def tables(self, belief: Numbers) -> Numbers:
        import numpy as np

        votes = self.votes
        right = np.bincount(votes.reviewer, belief[votes.item, votes.said], votes.reviewers)
        given = np.bincount(votes.reviewer, minlength=votes.reviewers)
        return np.stack([right, given - right], axis=1)[:, None, :]

    def evidence(self, belief: Numbers) -> Numbers:
        import numpy as np

        votes, counts, prior = self.votes, self.tables(belief)[:, 0], self.prior
        own = belief[votes.item, votes.said]
        accuracy = _accuracy(votes, belief)
        right = (counts[votes.reviewer, 0] - own + prior * accuracy) / (counts[votes.reviewer].sum(axis=1) - 1 + prior)
        found = np.zeros((votes.items, votes.classes))
        np.add.at(
            found,
            (votes.item, votes.said),
            np.log(right) - np.log((1 - right) / others(votes.classes, informed=votes.model is not None)),
        )
        return found


def others(classes: int, *, informed: bool) -> int:
    """Among how many classes somebody who errs is taken to choose: among those that look alike, where a model tells which do."""
    return (min(classes, ALIKE) if informed and classes > FEW_CLASSES else classes) - 1


def even_errors(classes: int, accuracy: float) -> Numbers:
    """The table of who is right so often and errs to each other class alike."""
    import numpy as np

    table = np.full((classes, classes), (1 - accuracy) / max(1, classes - 1))
    np.fill_diagonal(table, accuracy)
    return table


# -------------------------------------------------------------------------------------------------- one item at a time


@dataclass(frozen=True, slots=True)
class Said:
    """An answer in words: who said what of which item; `known` is the true answer where it is known."""

    item: str
    reviewer: str
    answer: str
    known: str | None = None


@dataclass(frozen=True, slots=True)
class Reliability:
    """What is thought of each reviewer, to weigh answers to further items. A reviewer of whom nothing is known is taken to be
    as the others are."""

    classes: tuple[str, ...]
    accuracy: float = _RIGHT_BEFORE / _OF_BEFORE
    tables: Mapping[str, Numbers] = field(default_factory=dict)

    def probabilities(self, answers: Sequence[tuple[str, str]], model: Mapping[str, float] | None = None) -> Mapping[str, float]:
        """Of each answer given, by (reviewer, answer), how probable it is that it is the true one. With many classes and
        several answers what a `model` says of the item counts, too."""
        if not answers:
            return {}
        places = {name: place for place, name in enumerate(self.classes)}
        said = list(dict.fromkeys(answer for _, answer in answers))
        evidence = dict.fromkeys(self.classes, 0.0) | dict.fromkeys(said, 0.0)
        informed = model is not None and method_for(len(self.classes), len(answers)) is Method.ACCURACY
        if model is not None and informed:
            spread = _UNHEARD / len(evidence)
            evidence = {true: log((1 - _UNHEARD) * model.get(true, 0.0) + spread) for true in evidence}
        for reviewer, answer in answers:
            table = self.tables.get(reviewer)
            for true in evidence:
                evidence[true] += log(self._rate(table, places, (true, answer), informed=informed))
        most = max(evidence.values())
        weights = {true: exp(each - most) for true, each in evidence.items()}
        return {answer: weights[answer] / sum(weights.values()) for answer in said}

    def _rate(self, table: Numbers | None, places: Mapping[str, int], case: tuple[str, str], *, informed: bool) -> float:
        """How often an answer is given of what is true: `case` is (true, answer)."""
        true, answer = case
        count = max(2, len(self.classes))
        many = others(count, informed=informed)
        before = self.accuracy if true == answer else (1 - self.accuracy) / many
        if table is None or true not in places or answer not in places:
            return before
        if count > FEW_CLASSES:
            right = (float(table[0, 0]) + PRIOR_ANSWERS * self.accuracy) / (float(table[0].sum()) + PRIOR_ANSWERS)
            return right if true == answer else (1 - right) / many
        row = table[places[true]]
        return (float(row[places[answer]]) + PRIOR_ANSWERS * before) / (float(row.sum()) + PRIOR_ANSWERS)


def learn(answers: Iterable[Said], classes: Sequence[str]) -> Reliability:
    """What past answers tell of those who gave them. Answers outside `classes` are left out, and the last items where there are
    too many for so many classes."""
    import numpy as np

    there = set(classes)
    told = [each for each in answers if each.answer in there]
    if not told:
        return Reliability(tuple(classes))
    places, count = _classes_in_use(told, classes)
    kept = list(dict.fromkeys(each.item for each in told))[: max(1, _CELLS // count)]
    items = {name: place for place, name in enumerate(kept)}
    told = [each for each in told if each.item in items]
    people = {name: place for place, name in enumerate(dict.fromkeys(each.reviewer for each in told))}
    known = np.full(len(items), -1, dtype=np.int64)
    for each in told:
        known[items[each.item]] = places.get(each.known or "", -1)
    weighed = weigh(
        Votes(
            item=np.array([items[each.item] for each in told]),
            reviewer=np.array([people[each.reviewer] for each in told]),
            said=np.array([places[each.answer] for each in told]),
            items=len(items),
            reviewers=len(people),
            classes=count,
            known=known,
        )
    )
    return Reliability(tuple(classes), weighed.accuracy, {name: weighed.tables[place] for name, place in people.items()})


def _classes_in_use(told: Sequence[Said], classes: Sequence[str]) -> tuple[Mapping[str, int], int]:
    """The place of each class, and how many there are. Of many classes only those that somebody names take room."""
    if len(classes) <= FEW_CLASSES:
        return {name: place for place, name in enumerate(classes)}, len(classes)
    there = set(classes)
    named = dict.fromkeys([*(each.answer for each in told), *(each.known for each in told if each.known in there)])
    places = {str(name): place for place, name in enumerate(named)}
    return places, max(len(places), FEW_CLASSES + 1)
