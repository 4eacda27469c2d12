"""How well each reviewer answers each scenario, learned from their own record.

An empirical Bayes estimate: the spread of skills among all reviewers and scenarios is itself estimated from all the records,
without a shape assumed beforehand (Kiefer & Wolfowitz 1956, by EM on a grid; Laird 1978), and each record is read in its light.
A few lucky answers make nobody an expert, and many make a difference. What the bridge does not know of somebody it takes from
their record elsewhere and from everybody's.

Only answers that can be held against something else count: gold items, and items whose settled answer did not rest on this
answer alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = "NDArray[np.float64]"

UNKNOWN = 0.8
"""The skill of everybody where nobody has a record."""

OF_ALL = 10.0
"""How many scenarios of a person's own weigh as much as what is known of everybody."""

_GRID = 99
_ROUNDS = 200

Cell: TypeAlias = "tuple[str, str | None]"
"""A person and a scenario."""


@dataclass(frozen=True, slots=True)
class Record:
    """Answers of one person in one scenario: `right` ones `of` those that could be checked."""

    right: float
    of: float


@dataclass(frozen=True, slots=True)
class Skill:
    """The chance of a right answer, and how unsure we are of it (a standard deviation); `checked` answers stand behind it."""

    mean: float
    doubt: float
    checked: float = 0.0

    @property
    def promise(self) -> float:
        """How good it may well be: the upper confidence bound of the bandits (Auer et al. 2002).

        A known item goes where that is highest: gold in what somebody is surely bad at changes no assignment. The same number
        of gold items then finds the right people far more often (docs/benchmarks.md).
        """
        return self.mean + self.doubt


@dataclass(frozen=True, slots=True)
class Skills:
    """What is known of everybody."""

    known: Mapping[Cell, Skill]
    people: Mapping[str, Skill]
    anybody: Skill = Skill(UNKNOWN, 0.0)

    def of(self, person: str, scenario: str | None) -> Skill:
        """In that scenario; by their record elsewhere, or by everybody's, where there is none."""
        return self.known.get((person, scenario)) or self.people.get(person, self.anybody)

    def chance(self, person: str, scenario: str | None) -> float:
        return self.of(person, scenario).mean


def learn(records: Mapping[Cell, Record]) -> Skills:
    """The skills behind `records`."""
    import numpy as np

    cells = [cell for cell, record in records.items() if record.of > 0]
    if not cells:
        return Skills({}, {})
    right = np.array([records[cell].right for cell in cells])
    of = np.array([records[cell].of for cell in cells])
    grid = np.arange(1, _GRID + 1) / (_GRID + 1)
    likelihood = _likelihood(right, of, grid)
    everybody = _spread(likelihood)
    own = _posterior(likelihood, everybody)
    priors = {person: _prior(own, cells, person, everybody) for person in {person for person, _ in cells}}
    final = _posterior(likelihood, np.array([priors[person] for person, _ in cells]))
    known = {cell: _skill(row, grid, count) for cell, row, count in zip(cells, final, of.tolist(), strict=True)}
    people = {person: _skill(prior, grid, 0.0) for person, prior in priors.items()}
    return Skills(known, people, _skill(everybody, grid, 0.0))


def _likelihood(right: Array, of: Array, grid: Array) -> Array:
    """Of each record (rows) for each skill (columns), scaled so that the largest of a row is 1."""
    import numpy as np

    logs = right[:, None] * np.log(grid) + (of - right)[:, None] * np.log1p(-grid)
    scaled: Array = np.exp(logs - logs.max(axis=1, keepdims=True))
    return scaled


def _spread(likelihood: Array) -> Array:
    """The spread of skills under which the records are likeliest; begun from an even one, so that few records move it little."""
    import numpy as np

    weights: Array = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(_ROUNDS):
        weights = _posterior(likelihood, weights).mean(axis=0)
    return weights


def _posterior(likelihood: Array, prior: Array) -> Array:
    found = likelihood * prior
    scaled: Array = found / found.sum(axis=1, keepdims=True)
    return scaled


def _prior(own: Array, cells: Sequence[Cell], person: str, everybody: Array) -> Array:
    """What is expected of a person in a scenario: as of everybody, and as they are elsewhere."""
    theirs = own[[place for place, cell in enumerate(cells) if cell[0] == person]]
    mixed: Array = (OF_ALL * everybody + theirs.sum(axis=0)) / (OF_ALL + len(theirs))
    return mixed


def _skill(weights: Array, grid: Array, checked: float) -> Skill:
    mean = float(weights @ grid)
    return Skill(mean, max(0.0, float(weights @ grid**2) - mean**2) ** 0.5, checked)
