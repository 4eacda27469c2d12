"""What reviewers say of each part of an answer, yes or no: how reliable that makes them, and how far they agree.

Where an answer is made of labels, every label is asked about on every page, so each is a vote whether it is named or not. Where
it is made of entities, there is no end of what nobody marks: the votes are on what at least one person marked, and agreement is
the F1 between every two persons, to which chance-corrected agreement tends as what nobody marks grows (Hripcsak & Rothschild,
*Agreement, the F-measure, and reliability in information retrieval*, JAMIA 2005).

Whoever rejects an item says nothing of its parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations

from hitl_bridge.core.review.by_parts import NO, YES
from hitl_bridge.core.review.records import AgreementLine, GivenAnswer, agreement
from hitl_bridge.core.review.reliability import Said
from hitl_bridge.core.task_types import TaskType


def votes_by_parts(answers: Iterable[GivenAnswer], kind: TaskType, labels: Sequence[str]) -> list[Said]:
    """Each person's yes or no to each part, known where the item's true answer is.

    Args:
        answers: the newest first; of two by one person to one item the first counts.
        labels: the workspace's.
    """
    asked, votes = kind.universe(labels) or (), []
    for item, given in _by_item(answers).items():
        known = next((each for each in given if each.is_gold and each.known is not None), None)
        true = None if known is None else kind.parts(known.known)
        said = {each.reviewer: kind.parts(each.said) for each in given}
        for part in sorted(frozenset(asked).union(true or (), *said.values())):
            truth = None if true is None else _vote(part in true)
            votes += [Said(f"{item}|{part}", person, _vote(part in named), truth) for person, named in said.items()]
    return votes


def _vote(named: bool) -> str:
    return YES if named else NO


def _by_item(answers: Iterable[GivenAnswer]) -> dict[str, list[GivenAnswer]]:
    """The answers that judge, one a person and item."""
    found: dict[str, dict[str, GivenAnswer]] = defaultdict(dict)
    for each in answers:
        if each.said is not None:
            found[f"{each.item_id}#{each.revision}"].setdefault(each.reviewer, each)
    return {item: list(by_person.values()) for item, by_person in found.items()}


def agreement_by_parts(name: str, answers: Sequence[GivenAnswer], kind: TaskType, labels: Sequence[str]) -> AgreementLine:
    """How far all of these agree: Krippendorff's alpha over all labels, or the F1 between persons where parts have no end."""
    shared = [given for given in _by_item(answers).values() if len(given) > 1]
    if kind.universe(labels) is None:
        return AgreementLine(name, len(shared), _f1(shared, kind))
    votes = votes_by_parts([each for given in shared for each in given], kind, labels)
    return AgreementLine(name, len(shared), agreement(name, votes).alpha)


def pairs_by_parts(answers: Sequence[GivenAnswer], kind: TaskType, labels: Sequence[str]) -> tuple[AgreementLine, ...]:
    """Of every two persons with common items, those with the most first; `share` is that of items on which all they say is the
    same."""
    shared = [{each.reviewer: each for each in given} for given in _by_item(answers).values() if len(given) > 1]
    people = sorted({person for given in shared for person in given})
    lines = []
    for one, other in combinations(people, 2):
        common = [given for given in shared if one in given and other in given]
        if common:
            both = [given[person] for given in common for person in (one, other)]
            line = agreement_by_parts(f"{one} · {other}", both, kind, labels)
            same = sum(kind.same(given[one].said, given[other].said) for given in common)
            lines.append(AgreementLine(line.name, line.items, line.alpha, same / len(common)))
    return tuple(sorted(lines, key=lambda line: (-line.items, line.name)))


def _f1(shared: Sequence[Sequence[GivenAnswer]], kind: TaskType) -> float | None:
    """Over all pairs of answers to one item; None where nobody named anything."""
    said = [[kind.parts(each.said) for each in given] for given in shared]
    pairs = [pair for parts in said for pair in combinations(parts, 2)]
    named = sum(len(one) + len(other) for one, other in pairs)
    return 2 * sum(len(one & other) for one, other in pairs) / named if named else None
