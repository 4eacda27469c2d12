"""What is sent to Label Studio, as pure functions: projects, and tasks with their predictions."""

from __future__ import annotations

import hashlib
import html
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hitl_bridge.adapters.label_studio.client import encoded
from hitl_bridge.adapters.label_studio.label_configs import (
    FIELDS,
    LabelConfig,
    fingerprint,
)
from hitl_bridge.adapters.label_studio.pages import candidate_choices
from hitl_bridge.adapters.label_studio.replies import rows_of
from hitl_bridge.core.model import JSON, JSONObject, Project, ProjectKey, PushKey, TaskId
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL, LABEL, OTHER_LABEL
from hitl_bridge.ports import ProjectPlan, Refusal, TaskContent

BRIDGE_KEY: Final = "bridge_key"
MODEL_VERSION: Final = "bridge"
"""One for all: the label stream shows only predictions of the project's own version, which is set once."""

MARK_PREFIX: Final = ProjectKey("", "").mark.partition(":")[0] + ":"
MOST_TASK_BYTES: Final = 20_000_000
GONE_REMEDY: Final = (
    "Restore it from a backup of Label Studio, or run `hitl-bridge push --replace-gone`, which asks its open items again in a "
    "new project."
)
_COLORS: Final = ("#4C5FA9", "#2F8F83", "#B0793A", "#8C5AA0", "#5A7D3C", "#A0525F")


# ------------------------------------------------------------------------------------------- projects out


def project_json(plan: ProjectPlan, mark: str) -> JSONObject:
    """A project as Label Studio should have it. `mark` becomes the line by which the project is found."""
    return {
        "title": title(plan),
        "description": f"Kept by HITL Bridge, which finds the project by this line:\n{mark}",
        "label_config": plan.label_config,
        "expert_instruction": instruction_html(plan.instructions),
        "show_instruction": bool(plan.instructions.strip()),
        "sampling": "Uncertainty sampling",
        "maximum_annotations": plan.overlap,
        "show_collab_predictions": True,
        "enable_empty_annotation": plan.allow_empty,
        "reveal_preannotations_interactively": False,
        "color": color(plan.key.tier),
    }


def description_lines(project: JSON) -> list[str]:
    text = project.get("description") if isinstance(project, Mapping) else None
    return text.splitlines() if isinstance(text, str) else []


def is_another(has: JSONObject, known: Project, mark: str) -> bool:
    """Whether the number of `known` belongs to a different project now, as in a Label Studio that was set up anew.

    The mark tells. Where people have edited it away, the project is still ours if it has our title or our label config.
    """
    lines = description_lines(has)
    if mark in lines:
        return False
    if any(line.startswith(MARK_PREFIX) for line in lines):
        return True
    return has.get("title") != known.title and fingerprint(str(has.get("label_config"))) != known.label_config_sha256


def title(plan: ProjectPlan) -> str:
    """Label Studio takes 3 to 50 characters."""
    cut = plan.title.strip()
    return cut if 3 <= len(cut) <= 50 else f"{cut[:49]}…" if cut[50:] else cut.ljust(3, "·")


def color(tier: str) -> str:
    """The same for a tier everywhere, so that reviewers learn it."""
    return _COLORS[hashlib.sha256(tier.encode("utf-8")).digest()[0] % len(_COLORS)]


# ---------------------------------------------------------------------------------------------- tasks out


@dataclass(frozen=True, slots=True)
class Prepared:
    """A task ready to be sent, encoded once."""

    push_key: PushKey
    encoded: bytes


def prepare(content: TaskContent, config: LabelConfig) -> Prepared | Refusal:
    """The task as it will be sent, or why Label Studio would not take it (or would take it and show nonsense)."""
    try:
        task = task_json(content, config)
        body = encoded(task)
    except KeyError as unknown:
        return Refusal(content.push_key, f"the label config has no control {unknown} to fill in")
    except (ValueError, TypeError, RecursionError):
        return Refusal(content.push_key, "it holds text or numbers that can't be written as JSON")
    problem = task_problem(task, content, config)
    if problem is None and len(body) > MOST_TASK_BYTES:
        problem = f"it is larger than {MOST_TASK_BYTES} bytes"
    return Prepared(content.push_key, body) if problem is None else Refusal(content.push_key, problem)


def task_json(content: TaskContent, config: LabelConfig) -> JSONObject:
    """A task with its one prediction. A blind task has an empty one with a score, or it would be served last."""
    filled = placed_prefill(content, config).items()
    result = [region for control, values in filled if values for region in config.regions(control, values)]
    candidates = candidate_choices(content.candidates)
    data = {**FIELDS, **content.fields, "candidates": candidates, BRIDGE_KEY: content.push_key}
    prediction: JSON = {"result": result, "score": content.priority, "model_version": MODEL_VERSION}
    return {"data": data, "predictions": [prediction]}


def placed_prefill(content: TaskContent, config: LabelConfig) -> Mapping[str, Sequence[JSON]]:
    """A predicted label that is not among the offered candidates goes where it can be shown: into the search."""
    label = content.prefill.get(LABEL, ())
    if not label or not config.dynamic(LABEL) or set(map(str, label)) <= set(content.candidates):
        return content.prefill
    return {**content.prefill, LABEL: (ANOTHER_LABEL,), OTHER_LABEL: label}


def task_problem(task: JSONObject, content: TaskContent, config: LabelConfig) -> str | None:
    if not math.isfinite(content.priority) or not 0 <= content.priority <= 1:
        return "its priority is not a number between 0 and 1"
    data = task["data"]
    assert isinstance(data, Mapping)  # noqa: S101  (made above)
    missing = sorted(config.variables() - data.keys())
    if missing:
        return f"the label config shows {', '.join('$' + name for name in missing)}, which the task does not have"
    prefilled = rows_of(rows_of(task, "predictions")[0], "result")
    wrong = config.prediction_problems(encoded(prefilled), prefilled)
    return "; ".join(wrong) or None


def batches(prepared: Iterable[Prepared], most_tasks: int, most_bytes: int) -> Iterator[tuple[Prepared, ...]]:
    """Cuts by count and by bytes. A task larger than `most_bytes` goes alone."""
    batch: list[Prepared] = []
    size = 0
    for task in prepared:
        if batch and (len(batch) >= most_tasks or size + len(task.encoded) > most_bytes):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(task)
        size += len(task.encoded)
    if batch:
        yield tuple(batch)


def joined(batch: Sequence[Prepared]) -> bytes:
    """The body of an import."""
    return b"[" + b",".join(task.encoded for task in batch) + b"]"


def instruction_html(text: str) -> str:
    """The tier's criteria for Label Studio's instruction window, which renders HTML: plain text, escaped."""
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    return "".join("<p>" + html.escape(part).replace("\n", "<br>") + "</p>" for part in paragraphs)


def imported_ids(reply: JSON, sent: int) -> tuple[TaskId, ...] | None:
    """The ids of the created tasks in the order sent; None unless every count is what it must be."""
    if not isinstance(reply, Mapping):
        return None
    ids = reply.get("task_ids")
    if reply.get("task_count") != sent or reply.get("prediction_count") != sent:
        return None
    if not isinstance(ids, Sequence) or isinstance(ids, str) or len(set(map(str, ids))) != sent:
        return None
    whole = [TaskId(number) for number in ids if isinstance(number, int) and not isinstance(number, bool)]
    return tuple(whole) if len(whole) == sent else None
