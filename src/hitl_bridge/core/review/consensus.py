"""Whether the answers of a round agree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum

from hitl_bridge.core.model import Agreement, Annotation, AnnotationState, Answer, Consensus, JSONObject

Same = Callable[[JSONObject | None, JSONObject | None], bool]


class ConsensusRule(StrEnum):
    """SINGLE: one answer is enough. MAJORITY: more than half say the same. UNANIMOUS: all do."""

    SINGLE = "single"
    MAJORITY = "majority"
    UNANIMOUS = "unanimous"


def deciding_answers(annotations: Sequence[Annotation], eligible: Collection[str]) -> tuple[Annotation, ...]:
    """The answers that count: the latest of each reviewer, of those who are `eligible` (nobody named = everybody).

    Skips, deletions and quarantined revisions don't count; neither does a second annotation by the same person.
    """
    latest: dict[str, Annotation] = {}
    for annotation in sorted(annotations, key=lambda each: (each.updated_at, each.annotation_id)):
        if annotation.state is AnnotationState.ANSWER and (not eligible or annotation.reviewer in eligible):
            latest[annotation.reviewer] = annotation
    return tuple(sorted(latest.values(), key=lambda each: (each.created_at, each.annotation_id)))


def judge(answers: Sequence[Annotation], rule: ConsensusRule, needed: int, same: Same) -> Consensus:
    """How `answers` (of distinct reviewers) stand, when `needed` of them are due.

    More answers than due are all heard: Label Studio's overlap is advisory, and an answer given should not be lost.
    """
    if len(answers) < needed or not answers:
        return Consensus(Agreement.INCOMPLETE, None, (), 0.0, f"{len(answers)} of {needed} answers are there")
    groups = _groups(answers, same)
    largest = max(groups, key=len)
    share = len(largest) / len(answers)
    wins = share == 1.0 if rule is ConsensusRule.UNANIMOUS else share > 0.5
    if not wins:
        return Consensus(Agreement.DISPUTED, None, tuple(answers), share, f"{len(groups)} different answers")
    return Consensus(Agreement.AGREED, _merged(largest), tuple(largest), share, f"{len(largest)} of {len(answers)} agree")


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


def _merged(group: Sequence[Annotation]) -> Answer:
    """One answer for a group that agrees: every distinct rationale, the ticks that all made, the least confidence."""
    answers = [annotation.answer for annotation in group if annotation.answer is not None]
    rationales = dict.fromkeys(answer.rationale.strip() for answer in answers if answer.rationale.strip())
    ticked = [item for item in answers[0].checklist if all(item in answer.checklist for answer in answers)]
    confidences = [answer.confidence for answer in answers if answer.confidence is not None]
    return Answer(
        output=answers[0].output,
        rationale="\n".join(rationales),
        checklist=tuple(ticked),
        confidence=min(confidences, default=None),
    )
