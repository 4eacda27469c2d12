"""What errors cost, where they don't all cost the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ORDINARY = 1.0
"""The cost of an error for which nothing else was said: the unit of a budget with costs."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What it costs to approve a wrong prediction without a look, in ordinary errors.

    `by_true` says it by the true label, `by_pair` by (predicted, true) label, which goes first.
    """

    by_true: Mapping[str, float] = field(default_factory=dict)
    by_pair: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @property
    def highest(self) -> float:
        return max([ORDINARY, *self.by_true.values(), *self.by_pair.values()])

    def of(self, predicted: str, true: str) -> float:
        """The cost of saying `predicted` of an item that is `true`; 0 where that is right."""
        if predicted == true:
            return 0.0
        return self.by_pair.get((predicted, true), self.by_true.get(true, ORDINARY))


def costs_of(section: Mapping[str, float | Mapping[str, float]]) -> Costs:
    """From the settings: by true label a number, or numbers by predicted label."""
    by_pair = {
        (predicted, true): cost for true, said in section.items() if isinstance(said, Mapping) for predicted, cost in said.items()
    }
    return Costs({true: said for true, said in section.items() if not isinstance(said, Mapping)}, by_pair)
