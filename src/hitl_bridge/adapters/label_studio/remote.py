"""Tasks with their annotations as Label Studio lists them, read as pure functions: whose they are, what they say, what is odd."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, cast

from hitl_bridge.adapters.label_studio.label_configs import LabelConfig, region_id, region_values
from hitl_bridge.adapters.label_studio.payloads import BRIDGE_KEY
from hitl_bridge.adapters.label_studio.replies import field, moment, rows_of
from hitl_bridge.core.model import JSON, AnnotationId, PushKey, TaskId
from hitl_bridge.core.task_types.controls import asked_for
from hitl_bridge.ports import ManifestTask, RemoteAnnotation, RemoteTask, RemoteTaskState

MOST_REGIONS: Final = 2_500
"""In an answer. Label Studio's library checks them in quadratic time, minutes for ten thousand; any account can send as many."""

# `include` prunes nested objects to the same names, so those are named too.
TASK_ROW: Final = "id,created_at,data,total_annotations,cancelled_annotations"
STATE_ROW: Final = (
    "id,created_at,updated_at,data,annotations,result,completed_by,was_cancelled,lead_time,parent_prediction,updated_by"
)
PREDICTION_ROW: Final = "predictions,score,model_version"
LIGHT_ROW: Final = "id,created_at,updated_at,data"
LIGHTEST_ROW: Final = "id,created_at,updated_at"
MANIFEST_ROW: Final = "id,created_at,updated_at,annotations"

T = TypeVar("T")


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
