"""Whether the answers of a round agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hitl_bridge.core.model import Agreement, Annotation, AnnotationState, Answer, Consensus, JSONObject
from hitl_bridge.core.people import Deciders
from hitl_bridge.core.review.reliability import Reliability

Same = Callable[[JSONObject | None, JSONObject | None], bool]


class ConsensusRule(StrEnum):
    """SINGLE: one answer is enough. MAJORITY: more than half say the same. UNANIMOUS: all do. WEIGHTED: one answer is probable
    enough, by what is known of those who gave it and of those who gave another."""

    SINGLE = "single"
    MAJORITY = "majority"
    UNANIMOUS = "unanimous"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True)
class Weighing:
    """What answers are weighed by: what is known of the reviewers, what an output is called there, and from which probability on
    an answer is settled. `model` is what the model makes of the item, by name; None: it has no say."""

    reliability: Reliability
    named: Callable[[JSONObject | None], str]
    at_least: float = 0.9
    model: Mapping[str, float] | None = None


def deciding_answers(annotations: Sequence[Annotation], eligible: Collection[str]) -> tuple[Annotation, ...]:
    """The answers that count: the latest of each reviewer, of those who are `eligible` (nobody named = everybody).

    Skips, deletions and quarantined revisions don't count; neither does a second annotation by the same person.
    """
    latest: dict[str, Annotation] = {}
    for annotation in sorted(annotations, key=lambda each: (each.updated_at, each.annotation_id)):
        if annotation.state is AnnotationState.ANSWER and _may_decide(annotation, eligible):
            latest[annotation.reviewer] = annotation
    return tuple(sorted(latest.values(), key=lambda each: (each.created_at, each.annotation_id)))


def is_everybody(eligible: Collection[str]) -> bool:
    """Whether nobody is named, which means everybody; `Deciders` that are empty mean nobody."""
    return not isinstance(eligible, Deciders) and not eligible


def _may_decide(annotation: Annotation, eligible: Collection[str]) -> bool:
    if isinstance(eligible, Deciders):
        return eligible.might(annotation.reviewer, annotation.updated_at)
    return is_everybody(eligible) or annotation.reviewer in eligible


def judge(
    answers: Sequence[Annotation], rule: ConsensusRule, needed: int, same: Same, weighing: Weighing | None = None
) -> Consensus:
    """How `answers` (of distinct reviewers) stand, when `needed` of them are due.

    With `weighing` the probability of the winning answer is told, whatever the rule; WEIGHTED can't do without, and takes the
    answer of the majority where nothing is known.

    More answers than due are all heard: Label Studio's overlap is advisory, and an answer given should not be lost.
    """
    if len(answers) < needed or not answers:
        return Consensus(Agreement.INCOMPLETE, None, (), 0.0, f"{len(answers)} of {needed} answers are there")
    groups = _groups(answers, same)
    beliefs = None if weighing is None else _beliefs(groups, weighing)
    if rule is ConsensusRule.WEIGHTED and weighing is not None and beliefs is not None:
        place = max(range(len(groups)), key=lambda each: (beliefs[each], len(groups[each])))
        wins = beliefs[place] >= weighing.at_least
    else:
        place = max(range(len(groups)), key=lambda each: len(groups[each]))
        wins = len(groups) == 1 if rule is ConsensusRule.UNANIMOUS else 2 * len(groups[place]) > len(answers)
    winning, probability = groups[place], None if beliefs is None else beliefs[place]
    share = len(winning) / len(answers)
    if not wins:
        said = f"{len(groups)} different answers" if len(groups) > 1 else "the answer is not probable enough"
        return Consensus(Agreement.DISPUTED, None, tuple(answers), share, said, probability)
    said = f"{len(winning)} of {len(answers)} agree"
    return Consensus(Agreement.AGREED, merged(winning), tuple(winning), share, said, probability)


def _beliefs(groups: Sequence[Sequence[Annotation]], weighing: Weighing) -> list[float]:
    """How probable the answer of each group is."""
    names = [weighing.named(_output(group[0])) for group in groups]
    votes = [(annotation.reviewer, name) for group, name in zip(groups, names, strict=True) for annotation in group]
    found = weighing.reliability.probabilities(votes, weighing.model)
    return [found[name] for name in names]


def _groups(answers: Sequence[Annotation], same: Same) -> list[list[Annotation]]:
    groups: list[list[Annotation]] = []
    for annotation in answers:
        for group in groups:
            if same(_output(group[0]), _output(annotation)):
                group.append(annotation)
                break
        else:
            groups.append([annotation])
    return groups


def _output(annotation: Annotation) -> JSONObject | None:
    return annotation.answer.output if annotation.answer else None


def merged(group: Sequence[Annotation]) -> Answer:
    """One answer for a group that agrees: every distinct rationale, the ticks that all made, the least confidence."""
    answers = [annotation.answer for annotation in group if annotation.answer is not None]
    rationales = dict.fromkeys(answer.rationale.strip() for answer in answers if answer.rationale.strip())
    ticked = [item for item in answers[0].checklist if all(item in answer.checklist for answer in answers)]
    confidences = [answer.confidence for answer in answers if answer.confidence is not None]
    codes = dict.fromkeys(code for answer in answers for code in answer.reason_codes)
    missing = dict.fromkeys(answer.missing_label for answer in answers if answer.missing_label)
    return Answer(
        output=answers[0].output,
        rationale="\n".join(rationales),
        checklist=tuple(ticked),
        confidence=min(confidences, default=None),
        reason_codes=tuple(codes),
        missing_label=", ".join(missing),
    )
