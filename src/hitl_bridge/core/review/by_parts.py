"""Consensus where an answer is made of parts: each part that anybody named is a question of its own, yes or no.

Whether the item is rejected is settled first. Then, by the tier's rule, over those who did not reject:

- unanimous: everybody names the same parts.
- majority: a part that more than half name is in, one that fewer name is out, a tie disputes the item.
- weighted: each part is as probable as those make it who named it and those who did not, by what is known of them; the item is
  settled if all of it together is probable enough. For parts that are rare this is the rule to take: people miss an entity far
  more often than they make one up, so that a majority leaves out much of what two of five saw (on tweets with five reviewers a
  majority has a token F1 of 0.50, Dawid and Skene's reliabilities 0.71).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Protocol

from hitl_bridge.core.model import Agreement, Annotation, Consensus, JSONObject
from hitl_bridge.core.review.consensus import ConsensusRule, Weighing, merged

YES, NO = "yes", "no"
"""What a person says of a part: named it, or did not. These are the classes that `reliability` learns."""


class Parts(Protocol):
    """How an output is taken apart and put together; a task type is one."""

    def parts(self, output: JSONObject | None) -> frozenset[str]: ...
    def whole(self, parts: Iterable[str]) -> JSONObject: ...
    def clashing(self, parts: Iterable[str]) -> Iterable[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class _Vote:
    """Who named a part and who did not, and how probable it is (None: nothing is known of those who say so)."""

    part: str
    named: int
    of: int
    probability: float | None

    @property
    def is_in(self) -> bool:
        return 2 * self.named > self.of

    @property
    def is_tied(self) -> bool:
        return 2 * self.named == self.of


def judge_parts(
    answers: Sequence[Annotation], rule: ConsensusRule, needed: int, parts: Parts, weighing: Weighing | None = None
) -> Consensus:
    """How `answers` (of distinct reviewers) stand, when `needed` of them are due.

    Of what is agreed upon, `share` is the mean over parts of the share that says so, `probability` that of all parts together, by
    what is known of those who answered (None where nobody named any part), `behind` those who said just that; all who did not
    reject, where the parts were settled by different people.
    """
    if len(answers) < needed or not answers:
        return Consensus(Agreement.INCOMPLETE, None, (), 0.0, f"{len(answers)} of {needed} answers are there")
    rejecting = [each for each in answers if each.answer is not None and each.answer.rejects]
    judging = [each for each in answers if each not in rejecting]
    if rejecting and ((rule is ConsensusRule.UNANIMOUS and judging) or 2 * len(rejecting) == len(answers)):
        share = max(len(rejecting), len(judging)) / len(answers)
        said = f"{len(rejecting)} of {len(answers)} reject the item"
        return Consensus(Agreement.DISPUTED, None, tuple(answers), share, said)
    if 2 * len(rejecting) > len(answers):
        said = f"{len(rejecting)} of {len(answers)} agree"
        return Consensus(Agreement.AGREED, merged(rejecting), tuple(rejecting), len(rejecting) / len(answers), said)
    return _judged(judging, rule, parts, weighing)


def _judged(answers: Sequence[Annotation], rule: ConsensusRule, parts: Parts, weighing: Weighing | None) -> Consensus:
    said = {each.reviewer: parts.parts(each.answer.output if each.answer else None) for each in answers}
    votes = [_vote(part, said, weighing) for part in sorted(frozenset().union(*said.values()))]
    probability = _together(votes) if weighing is not None and votes else None
    share = sum(max(each.named, each.of - each.named) / each.of for each in votes) / len(votes) if votes else 1.0
    kept, disputed = _RULES[rule](votes, weighing)
    if disputed is None and _clashes(kept, said.values(), parts):
        disputed = "parts that exclude each other are both likely"
    if disputed is not None:
        return Consensus(Agreement.DISPUTED, None, tuple(answers), share, disputed, probability)
    just_that = tuple(each for each in answers if said[each.reviewer] == kept)
    answer = replace(merged(just_that or answers), output=parts.whole(kept))
    told = f"{len(just_that)} of {len(answers)} agree" if just_that else f"agreed part by part by {len(answers)}"
    return Consensus(Agreement.AGREED, answer, just_that or tuple(answers), share, told, probability)


def _vote(part: str, said: Mapping[str, frozenset[str]], weighing: Weighing | None) -> _Vote:
    named = sum(part in each for each in said.values())
    return _Vote(part, named, len(said), None if weighing is None else _probability(part, said, weighing))


def _probability(part: str, said: Mapping[str, frozenset[str]], weighing: Weighing) -> float:
    """That the part belongs to the answer."""
    votes = [(reviewer, YES if part in each else NO) for reviewer, each in said.items()]
    return weighing.reliability.probabilities(votes).get(YES, 0.0)


def _together(votes: Sequence[_Vote]) -> float:
    """That each part is rightly in or out, as its probability has it."""
    return prod(max(each.probability or 0.0, 1 - (each.probability or 0.0)) for each in votes)


Kept = tuple[frozenset[str], str | None]
"""The parts that are in, and why the item is disputed (None: it is not)."""


def _majority(votes: Sequence[_Vote], weighing: Weighing | None) -> Kept:
    tied = sum(each.is_tied for each in votes)
    return frozenset(each.part for each in votes if each.is_in), f"{tied} of {len(votes)} parts are disputed" if tied else None


def _unanimous(votes: Sequence[_Vote], weighing: Weighing | None) -> Kept:
    disputed = sum(each.named < each.of for each in votes)
    said = f"{disputed} of {len(votes)} parts are disputed" if disputed else None
    return frozenset(each.part for each in votes if each.named == each.of), said


def _weighted(votes: Sequence[_Vote], weighing: Weighing | None) -> Kept:
    if weighing is None:
        return _majority(votes, weighing)
    kept = frozenset(each.part for each in votes if (each.probability or 0.0) > 0.5)
    enough = not votes or _together(votes) >= weighing.at_least
    return kept, None if enough else "the answer is not probable enough"


_RULES: Mapping[ConsensusRule, Callable[[Sequence[_Vote], Weighing | None], Kept]] = {
    ConsensusRule.SINGLE: _majority,
    ConsensusRule.MAJORITY: _majority,
    ConsensusRule.UNANIMOUS: _unanimous,
    ConsensusRule.WEIGHTED: _weighted,
}


def _clashes(kept: Collection[str], said: Iterable[Collection[str]], parts: Parts) -> bool:
    """Whether two parts are in that exclude each other, and that nobody named together."""
    together = [frozenset(each) for each in said]
    return any(not any({one, other} <= each for each in together) for one, other in parts.clashing(kept))
