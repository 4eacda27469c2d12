"""What can't be believed is listed, and a person says whether it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hitl_bridge.core.model import JSON, Answer, Project, TaskId
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.sync import read_answer
from hitl_bridge.core.task_types import Controls
from hitl_bridge.errors import UnknownName, UsageError
from hitl_bridge.ports import Clock, Quarantine, QuarantinedRevision, Ruling, UnreadableTask

ReadControls = Callable[[Sequence[JSON]], Controls]
"""An answer as the labeling service sent it → its controls."""

Link = Callable[[Project, TaskId], str]
"""Where a person sees a task."""

_LIST = "hitl-bridge quarantine list tells what there is."
_UNREADABLE = "Label Studio can't show it"


@dataclass(frozen=True, slots=True)
class Doubtful:
    """One line of the list. `id` is what `accept` and `drop` take, and None for a whole task that Label Studio can't show:
    that is read again by each pull. `says` is the answer in words, None if it can't be read."""

    id: int | None
    item_id: str | None
    project: str
    link: str
    reviewer: str
    reason: str
    says: str | None
    rationale: str
    given_at: str


@dataclass(frozen=True, slots=True)
class Ruled:
    """What was ruled: `counts` says whether the answer counts from now on, as `says`."""

    id: int
    item_id: str | None
    reviewer: str
    counts: bool
    says: str | None
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class QuarantinePorts:
    quarantine: Quarantine
    policy: ReviewPolicy
    read_controls: ReadControls
    link: Link
    clock: Clock


def listed(ports: QuarantinePorts) -> list[Doubtful]:
    """Every revision that can't be believed and on which nobody has ruled, then the tasks that can't be read."""
    revisions = [_line(ports, each) for each in ports.quarantine.quarantined()]
    return revisions + [_task_line(ports, each) for each in ports.quarantine.unreadable()]


def accept(ports: QuarantinePorts, number: int, *, by: str, reason: str) -> Ruled:
    """Makes it count, as given by its author in its round. Raises UsageError if it can't be read, UnknownName."""
    found = _found(ports, number)
    try:
        answer = _answer(ports, found)
    except ValueError as unfit:
        raise UsageError(
            f"Annotation {number} can't count: {unfit}.",
            remedy="Have it corrected in Label Studio (the next pull reads it again), or take it off the list: "
            f'hitl-bridge quarantine drop {number} --reason "…"',
        ) from None
    return _rule(ports, found, answer, by, reason)


def drop(ports: QuarantinePorts, number: int, *, by: str, reason: str) -> Ruled:
    """Takes it off the list: it will never count. It is kept all the same. Raises UnknownName."""
    return _rule(ports, _found(ports, number), None, by, reason)


def _rule(ports: QuarantinePorts, found: QuarantinedRevision, answer: Answer | None, by: str, reason: str) -> Ruled:
    if not reason.strip():
        raise UsageError("A ruling needs a reason, for those who come after.", remedy='Give one with --reason "…".')
    ports.quarantine.rule(Ruling(found.number, answer, by, reason.strip(), ports.clock.now()))
    return Ruled(
        id=found.number,
        item_id=found.item_id,
        reviewer=found.annotation.reviewer,
        counts=answer is not None,
        says=None if answer is None else ports.policy.kind.text(answer.output),
        by=by,
        reason=reason.strip(),
    )


def _found(ports: QuarantinePorts, number: int) -> QuarantinedRevision:
    there: Mapping[int, QuarantinedRevision] = {each.number: each for each in ports.quarantine.quarantined()}
    if number not in there:
        raise UnknownName("quarantined annotation", str(number), remedy=_LIST)
    return there[number]


def _answer(ports: QuarantinePorts, found: QuarantinedRevision) -> Answer:
    return read_answer(ports.read_controls(found.annotation.result), ports.policy.kind, ports.policy.labels)


def _line(ports: QuarantinePorts, found: QuarantinedRevision) -> Doubtful:
    annotation = found.annotation
    try:
        answer = _answer(ports, found)
    except ValueError:
        answer = None
    return Doubtful(
        id=found.number,
        item_id=found.item_id,
        project=found.project.title if found.project else f"project {annotation.project_id}",
        link=ports.link(found.project, annotation.task_id) if found.project else "",
        reviewer=annotation.reviewer,
        reason=annotation.reason,
        says=None if answer is None else ports.policy.kind.text(answer.output),
        rationale="" if answer is None else answer.rationale,
        given_at=annotation.updated_at,
    )


def _task_line(ports: QuarantinePorts, task: UnreadableTask) -> Doubtful:
    return Doubtful(
        id=None,
        item_id=task.item_id,
        project=task.project.title if task.project else f"project {task.project_id}",
        link=ports.link(task.project, task.task_id) if task.project else "",
        reviewer="",
        reason=f"{_UNREADABLE}: {task.reason}",
        says=None,
        rationale="",
        given_at=task.since.isoformat(),
    )
