"""What a reviewer sees of an item, as values: why it is here, what the model says, what was answered before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import ADJUDICATION, JSON, Annotation, Answer, Item, PushKey, Request
from hitl_bridge.core.prior import Beside, prior_rows, settled_as
from hitl_bridge.core.task_types import TaskType

TOP = 5
"""Labels of the model's that are offered first where there are many."""

_MOST_OFFERED = 8
"""Each has a digit; 9 opens the search."""

_BLIND = "No suggestion is shown here: please answer from scratch."


@dataclass(frozen=True, slots=True)
class TaskContent:
    """All that a reviewer's page is made of. `fields` holds the input and the texts; `prefill` the predicted controls.

    `prefill` is empty on a blind task. `candidates` are the labels offered first where there are many: to an adjudicator what the
    reviewers said, then what the model thinks likeliest.
    """

    push_key: PushKey
    fields: Mapping[str, JSON]
    prefill: Mapping[str, Sequence[JSON]]
    priority: float
    candidates: tuple[str, ...] = ()


def page(
    push_key: PushKey,
    item: Item,
    earlier: Sequence[Annotation],
    kind: TaskType,
    criteria: str,
    beside: Beside | None = None,
) -> TaskContent:
    """The page of `item`. `earlier` are the answers of the rounds before; only an adjudicator sees them, and the decision that
    is challenged. `beside` is None where the page has no room for it."""
    adjudicated = item.route.tier == ADJUDICATION
    blind = item.route.blind
    prefilled = _filled_in(item, earlier, kind, adjudicated=adjudicated)
    fields: dict[str, JSON] = {
        kind.input_field: item.prediction.input[kind.input_field],
        "why": _why(item, adjudicated=adjudicated),
        "model_says": _BLIND if blind else _model_says(item, kind, filled_in=bool(prefilled) and not adjudicated),
        "criteria": criteria,
        "answers": [*_challenged(beside, item, kind), *_answers(earlier, item, kind)] if adjudicated else [],
        "prior": [] if beside is None else prior_rows(beside, kind, blind=blind),
    }
    return TaskContent(
        push_key, fields, prefilled, item.route.priority, () if blind else _candidates(item, earlier if adjudicated else (), kind)
    )


def _filled_in(item: Item, earlier: Sequence[Annotation], kind: TaskType, *, adjudicated: bool) -> Mapping[str, Sequence[JSON]]:
    """What the page begins with: the model's answer; for an adjudicator, where answers are made of parts, those that nobody
    disputes, so that only the rest is left to settle."""
    if adjudicated and kind.several:
        said = [each.answer.output for each in earlier if each.answer is not None and each.answer.output is not None]
        voices = [kind.parts(output) for output in (said if len(said) > 1 else [*said, item.prediction.output])]
        return kind.prefill(kind.whole(frozenset.intersection(*voices))) if said else {}
    return {} if item.route.blind or adjudicated else kind.prefill(item.prediction.output)


def _why(item: Item, *, adjudicated: bool) -> str:
    """Why the item is here (again), and what else is known of it: `… (scenario payments · amount 12000)`."""
    reason = item.route.reason if adjudicated else item.triage.reason
    reason = f"{item.route.note}\n{reason}" if item.route.note else reason
    facts = (("scenario", item.prediction.scenario), *sorted(item.prediction.attributes.items()))
    known = [f"{name} {value}" for name, value in facts if value is not None]
    return f"{reason.rstrip('.')} ({' · '.join(known)})" if known else reason


def _model_says(item: Item, kind: TaskType, *, filled_in: bool) -> str:
    """The line above it often tells how sure the model is; this one tells what the page begins with."""
    answer = f"{kind.told(item.prediction.output, item.prediction.input)}, {_percent(item.prediction.confidence)} sure"
    return f"Filled in below is the model's answer: {answer}" if filled_in else f"The model's answer: {answer}"


def _challenged(beside: Beside | None, item: Item, kind: TaskType) -> list[JSON]:
    """A row above the answers: what somebody challenges, and why it was decided so."""
    if beside is None or beside.challenged is None:
        return []
    decision = beside.challenged
    said = settled_as(decision, kind, item.prediction.input)
    return [{"Reviewer": "The challenged decision", "Answer": said, "Rationale": decision.rationale or "–"}]


def _answers(earlier: Sequence[Annotation], item: Item, kind: TaskType) -> list[JSON]:
    """One row an earlier answer, without names: who said it must not weigh."""
    return [
        {
            "Reviewer": f"Reviewer {chr(ord('A') + place % 26)}",
            "Answer": _said(annotation.answer, item, kind),
            "Rationale": annotation.answer.rationale or "–",
        }
        for place, annotation in enumerate(each for each in earlier if each.answer is not None)
        if annotation.answer is not None
    ]


def _said(answer: Answer, item: Item, kind: TaskType) -> str:
    """`None of these: a label is missing, “gift card”` · `refund (a word names it)` · `asks for an adjudicator`."""
    if answer.request is not None:
        return "asks for an adjudicator" if answer.request is Request.ESCALATE else "returned it to the reviewers"
    codes = ", ".join([*answer.reason_codes, *([f"“{answer.missing_label}”"] if answer.missing_label else [])])
    told = kind.told(answer.output, item.prediction.input)
    if not codes:
        return told
    return f"{told}: {codes}" if answer.rejects else f"{told} ({codes})"


def _candidates(item: Item, earlier: Sequence[Annotation], kind: TaskType) -> tuple[str, ...]:
    ranked = sorted(item.prediction.scores.items(), key=lambda pair: (-pair[1], pair[0]))
    said = [kind.label_of(part) for each in earlier if each.answer is not None for part in sorted(kind.parts(each.answer.output))]
    return tuple(dict.fromkeys([*said, *(label for label, _ in ranked[:TOP])]))[:_MOST_OFFERED]


def _percent(share: float) -> str:
    return f"{round(100 * share)} %"
