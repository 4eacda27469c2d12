"""What goes over the wire, as pure functions: projects and tasks out, tasks with annotations in, filters."""

from __future__ import annotations

import hashlib
import html
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar, cast

from hitl_bridge.adapters.label_studio.client import encoded
from hitl_bridge.adapters.label_studio.label_configs import (
    FIELDS,
    LabelConfig,
    fingerprint,
    region_id,
    region_values,
)
from hitl_bridge.adapters.label_studio.pages import candidate_choices
from hitl_bridge.core.model import JSON, AnnotationId, JSONObject, Project, ProjectKey, PushKey, TaskId
from hitl_bridge.core.task_types.controls import ANOTHER_LABEL, LABEL, OTHER_LABEL, asked_for
from hitl_bridge.errors import LabelingUnavailable
from hitl_bridge.ports import ManifestTask, ProjectPlan, Refusal, RemoteAnnotation, RemoteTask, RemoteTaskState, TaskContent

BRIDGE_KEY: Final = "bridge_key"
MODEL_VERSION: Final = "bridge"
"""One for all: the label stream shows only predictions of the project's own version, which is set once."""

MARK_PREFIX: Final = ProjectKey("", "").mark.partition(":")[0] + ":"
MOST_TASK_BYTES: Final = 20_000_000
MOST_REGIONS: Final = 2_500
"""In an answer. Label Studio's library checks them in quadratic time, minutes for ten thousand; any account can send as many."""

_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"

# `include` prunes nested objects to the same names, so those are named too.
TASK_ROW: Final = "id,created_at,data,total_annotations,cancelled_annotations"
STATE_ROW: Final = (
    "id,created_at,updated_at,data,annotations,result,completed_by,was_cancelled,lead_time,parent_prediction,updated_by"
)
PREDICTION_ROW: Final = "predictions,score,model_version"
LIGHT_ROW: Final = "id,created_at,updated_at,data"
LIGHTEST_ROW: Final = "id,created_at,updated_at"
MANIFEST_ROW: Final = "id,created_at,updated_at,annotations"

GONE_REMEDY: Final = (
    "Restore it from a backup of Label Studio, or run `hitl-bridge push --replace-gone`, which asks its open items again in a "
    "new project."
)
_COLORS: Final = ("#4C5FA9", "#2F8F83", "#B0793A", "#8C5AA0", "#5A7D3C", "#A0525F")

T = TypeVar("T")


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


# ----------------------------------------------------------------------------------------------- tasks in


@dataclass(frozen=True, slots=True)
class Reader:
    """What is needed to read annotations: the label config they were given under, who is who, and who we are."""

    config: LabelConfig
    name_of: Callable[[int], str]
    our_id: int | None


def task_state(row: JSON, reader: Callable[[], Reader]) -> RemoteTaskState | None:
    """A row of the task list; None if the task is not the bridge's. `reader` is only called if there is an annotation."""
    key = bridge_key(row)
    if key is None:
        return None
    annotations = rows_of(row, "annotations")
    read = reader() if annotations else None
    return RemoteTaskState(
        push_key=key,
        task_id=TaskId(field(row, "id", int)),
        created_at=moment(row, "created_at"),
        updated_at=moment(row, "updated_at"),
        annotations=tuple(annotation(one, read, field(row, "data", dict)) for one in annotations if read is not None),
    )


def annotation(row: JSON, reader: Reader, data: JSON = None) -> RemoteAnnotation:
    """One annotation of a task with this `data`; of a skip, whatever the page held is no answer."""
    odd = not is_storable(rows_of(row, "result"))
    result = storable(rows_of(row, "result")) if odd else rows_of(row, "result")
    skipped = field(row, "was_cancelled", bool)
    controls = {} if skipped else controls_of(result)
    return RemoteAnnotation(
        annotation_id=AnnotationId(field(row, "id", int)),
        created_at=moment(row, "created_at"),
        updated_at=moment(row, "updated_at"),
        completed_by=who(row, "completed_by", reader),
        updated_by=who(row, "updated_by", reader),
        was_cancelled=skipped,
        controls=controls,
        result=result,
        lead_time=lead_time(row),
        problem=authorship_problem(row, result, reader)
        or (None if skipped else content_problem(result, controls, reader, odd))
        or ("it marks what is beyond the text" if not skipped and reader.config.marks_beyond(result, data) else None),
    )


_ODD: Final = re.compile("[\x00\ud800-\udfff]")
_ODD_TEXT: Final = "it holds characters that no database keeps (NUL, or half of a surrogate pair), shown here as \\uXXXX"


def is_storable(value: JSON) -> bool:
    """Whether every text in it can be kept by SQLite and PostgreSQL alike."""
    if isinstance(value, str):
        return _ODD.search(value) is None
    if isinstance(value, Mapping):
        return all(is_storable(key) and is_storable(inner) for key, inner in value.items())
    return all(map(is_storable, value)) if isinstance(value, Sequence) else True


def storable(value: T) -> T:
    """The same with each such character written out, so that what came is kept and can be seen."""
    return cast(T, _storable(value))


def _storable(value: object) -> object:
    if isinstance(value, str):
        return _ODD.sub(lambda found: f"\\u{ord(found.group()):04x}", value)
    if isinstance(value, Mapping):
        return {_storable(key): _storable(inner) for key, inner in value.items()}
    return tuple(map(_storable, value)) if isinstance(value, Sequence) else value


def controls_of(result: Sequence[JSON]) -> dict[str, tuple[JSON, ...]]:
    """The answer by control name."""
    found: defaultdict[str, list[JSON]] = defaultdict(list)
    for region in result:
        if isinstance(region, Mapping) and isinstance(region.get("from_name"), str):
            found[str(region["from_name"])] += region_values(region)
    return {name: tuple(values) for name, values in found.items()}


def authorship_problem(row: JSON, result: Sequence[JSON], reader: Reader) -> str | None:
    """Why this annotation is nobody's review."""
    assert isinstance(row, Mapping)  # noqa: S101  (a row that is no object was refused above)
    if row.get("completed_by") is None:
        return "the account that gave it was deleted"
    if reader.our_id is not None and reader.our_id in (row.get("completed_by"), row.get("updated_by")):
        return "it was given or changed by the bridge's own account"
    if row.get("lead_time") is None and (row.get("parent_prediction") is not None or is_untouched(result)):
        return "it was made from the prediction in bulk, without anybody looking"
    return None


def is_untouched(result: Sequence[JSON]) -> bool:
    """Whether every region carries the bridge's own id, as in a prediction that was copied."""
    regions = [region for region in result if isinstance(region, Mapping)]
    return bool(regions) and all(str(region.get("id")).startswith(region_id(str(region.get("from_name")))) for region in regions)


def content_problem(
    result: Sequence[JSON], controls: Mapping[str, Sequence[JSON]], reader: Reader, odd: bool = False
) -> str | None:
    if len(result) > MOST_REGIONS:
        return f"it holds more than {MOST_REGIONS:,} marks"
    problems = [_ODD_TEXT] if odd else []
    problems += reader.config.problems(result)
    # Where something is missing that comes beside the answer, the item is asked again; see `core.review.demands`.
    missing = [name for name in reader.config.missing(controls) if not asked_for(name)]
    problems += [f"{name!r} is required and was not filled in" for name in missing]
    return "; ".join(problems) or None


def who(row: JSON, key: str, reader: Reader) -> str:
    user = row.get(key) if isinstance(row, Mapping) else None
    return reader.name_of(user) if isinstance(user, int) else ""


def lead_time(row: JSON) -> float | None:
    seconds = row.get("lead_time") if isinstance(row, Mapping) else None
    return float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else None


def remote_tasks(rows: Sequence[JSON]) -> list[RemoteTask]:
    """The tasks of ours, each with the number of its annotations as the task's counters have it."""
    return [
        RemoteTask(key, TaskId(field(row, "id", int)), moment(row, "created_at"), answers_counted(row))
        for row in rows
        if (key := bridge_key(row)) is not None
    ]


def answers_counted(row: JSON) -> int:
    counters = (row.get(name) if isinstance(row, Mapping) else None for name in ("total_annotations", "cancelled_annotations"))
    return sum(number for number in counters if isinstance(number, int))


def unreadable_state(row: JSON, reason: str) -> RemoteTaskState | None:
    """A task whose annotations can't be shown, from a row without them; None if the row shows that it is not the bridge's."""
    if isinstance(row, Mapping) and "data" in row and bridge_key(row) is None:
        return None
    return RemoteTaskState(
        push_key=bridge_key(row) or PushKey(""),
        task_id=TaskId(field(row, "id", int)),
        created_at=moment(row, "created_at"),
        updated_at=moment(row, "updated_at"),
        unreadable=reason,
    )


def manifest_task(row: JSON) -> ManifestTask:
    versions = (
        (AnnotationId(field(one, "id", int)), moment(one, "created_at"), moment(one, "updated_at"))
        for one in rows_of(row, "annotations")
    )
    task_id = TaskId(field(row, "id", int))
    return ManifestTask(task_id, moment(row, "created_at"), frozenset(versions), moment(row, "updated_at"))


def bridge_key(row: JSON) -> PushKey | None:
    data = row.get("data") if isinstance(row, Mapping) else None
    key = data.get(BRIDGE_KEY) if isinstance(data, Mapping) else None
    return PushKey(key) if isinstance(key, str) and key else None


def field(row: JSON, key: str, kind: type[T]) -> T:
    """`row[key]`, believed only if it is of that kind. Raises LabelingUnavailable."""
    value: object = row.get(key) if isinstance(row, Mapping) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise LabelingUnavailable(f"Label Studio's answer has no usable {key!r}; nothing of it was believed.")
    return value


def rows_of(reply: JSON, key: str) -> tuple[JSON, ...]:
    """The list under `key`. Raises LabelingUnavailable."""
    found = field(reply, key, list)
    return tuple(found)


# -------------------------------------------------------------------------------------------------- times


def moment(row: JSON, key: str) -> str:
    """A time of a row, always with its microseconds: Label Studio drops them when they are zero, and then texts of times
    no longer sort as the times do."""
    return filter_time(field(row, key, str))


def filter_time(timestamp: str, earlier: timedelta = timedelta(0)) -> str:
    """A timestamp of Label Studio's in the one form its filters take (any other is a 500), `earlier` subtracted."""
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        raise LabelingUnavailable("Label Studio gave a time that can't be read.") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return (at.astimezone(UTC) - earlier).strftime(_TIME)
