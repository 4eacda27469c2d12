"""What can be told of an output without knowing its task type, which receipts and the store's rows don't name."""

from __future__ import annotations

from hitl_bridge.core.model import JSONObject
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.core.task_types.entities import ENTITIES, spans_of
from hitl_bridge.core.task_types.multi_label import LABELS


def headline(output: JSONObject) -> str | None:
    """What the field `label` of rules holds: the label; where there can be several, each that occurs, in alphabetical order
    (`billing, refund`; empty where there is none). None for an output of another kind."""
    labels = labels_in(output)
    return None if labels is None else ", ".join(labels)


def labels_in(output: JSONObject) -> tuple[str, ...] | None:
    """The labels that occur in it, each once, in alphabetical order; None for an output of another kind."""
    label, several = output.get(LABEL), output.get(LABELS)
    if isinstance(label, str):
        return (label,)
    if ENTITIES in output:
        return tuple(sorted({span.label for span in spans_of(output)}))
    return tuple(sorted(set(map(str, several)))) if isinstance(several, list | tuple) else None


def is_one_label(output: JSONObject) -> bool:
    """Whether it is one of labels that exclude each other, so that their scores compete."""
    return isinstance(output.get(LABEL), str)
