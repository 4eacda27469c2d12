"""What was decided before: on items like this one, and on this one before somebody challenged it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hitl_bridge.core.model import JSON, Decision, ItemId, JSONObject, Outcome
from hitl_bridge.core.task_types import TaskType

SHOWN = 3
"""Decided items on a page: more are not read."""

NOTHING_LIKE_IT = "Nothing like this item has been decided yet."
NOT_HERE = "Not shown here: please answer from scratch."

_EXCERPT = 200
"""Characters of another item's text on a page."""


@dataclass(frozen=True, slots=True)
class PriorDecision:
    """The decision that holds for another item, `input` as that came in. `similarity` is a cosine in [0, 1]."""

    item_id: ItemId
    revision: int
    input: JSONObject
    decision: Decision
    similarity: float = 1.0


@dataclass(frozen=True, slots=True)
class Beside:
    """What a page shows beside the item: decided items that are like it, the most alike first, and, where somebody challenges
    the decision on it, that decision."""

    prior: Sequence[PriorDecision] = ()
    challenged: Decision | None = None


Asked = Mapping[tuple[ItemId, int], Beside]
"""By item and revision."""


def prior_rows(beside: Beside, kind: TaskType, *, blind: bool) -> list[JSON]:
    """One row a decided item, for the table on a page; who decided it is not told."""
    if blind:
        return [{"Similar item": NOT_HERE}]
    rows: list[JSON] = [_row(each, kind) for each in beside.prior]
    return rows or [{"Similar item": NOTHING_LIKE_IT}]


def _row(prior: PriorDecision, kind: TaskType) -> JSON:
    return {
        "Similar item": excerpt(prior, kind),
        "Decided": settled_as(prior.decision, kind, prior.input),
        "Why": prior.decision.rationale or "–",
        "Alike": f"{round(100 * prior.similarity)} %",
    }


def excerpt(prior: PriorDecision, kind: TaskType) -> str:
    """The beginning of its text; of a picture, its id."""
    shown = prior.input.get(kind.input_field)
    if kind.input_field != "text" or not isinstance(shown, str):
        return prior.item_id
    text = " ".join(shown.split())
    return text if len(text) <= _EXCERPT else f"{text[: _EXCERPT - 1].rstrip()}…"


def settled_as(decision: Decision, kind: TaskType, shown: JSONObject) -> str:
    """`refund (a word names it)` · `None of these: it can't be judged`."""
    output = None if decision.outcome is Outcome.REJECTED else decision.output
    said, codes = kind.told(output, shown), ", ".join(decision.reason_codes)
    if not codes:
        return said
    return f"{said}: {codes}" if output is None else f"{said} ({codes})"


@dataclass(frozen=True, slots=True)
class MissingLabel:
    """A label that reviewers say should exist: how often, by how many people, on which items (the newest first), and how it was
    written (`names`, the most frequent first)."""

    name: str
    times: int
    reviewers: int
    items: tuple[ItemId, ...]
    names: tuple[str, ...] = field(default=())
