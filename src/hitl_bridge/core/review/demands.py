"""What a tier asks of an answer, checked when the answer comes back: the page asks for it too, but a browser can be got round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import Annotation, AnnotationState, Answer
from hitl_bridge.core.task_types.controls import LABEL_IS_MISSING


@dataclass(frozen=True, slots=True)
class Demands:
    """What each answer must come with: a `rationale`, every entry of the `checklist`, one of the tier's `reasons`."""

    rationale: bool = False
    checklist: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def lacking(answer: Answer, demands: Demands) -> tuple[str, ...]:
    """What `answer` lacks, in words for the reviewer; empty if it is whole.

    Whoever hands the item on (to an adjudicator, or back to the reviewers) judges nothing: only a rationale is due, and the one
    who gets the item needs it.
    """
    found = ["the reason in words"] if demands.rationale and not answer.rationale else []
    if answer.request is not None:
        return tuple(found)
    unticked = [entry for entry in demands.checklist if entry not in answer.checklist]
    found += [f"the tick at “{entry}”" for entry in unticked]
    if demands.reasons and not answer.reason_codes:
        found.append("what tells you" if not answer.rejects else "why no label fits")
    if LABEL_IS_MISSING in answer.reason_codes and answer.rejects and not answer.missing_label:
        found.append("the name of the missing label")
    return tuple(found)


def whole(annotations: Sequence[Annotation], demands: Demands) -> tuple[Annotation, ...]:
    """Those of `annotations` that are no answers, or lack nothing."""
    return tuple(each for each in annotations if each.answer is None or not lacking(each.answer, demands))


def note(annotations: Sequence[Annotation], demands: Demands) -> str:
    """For the reviewers who are asked again: what the answers given lacked; empty if that is not why."""
    given = [each.answer for each in annotations if each.state is AnnotationState.ANSWER and each.answer is not None]
    missed = dict.fromkeys(what for answer in given for what in lacking(answer, demands))
    return f"Asked again, because an answer came without {_listed(list(missed))}." if missed else ""


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
