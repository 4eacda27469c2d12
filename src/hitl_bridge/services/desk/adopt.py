"""An existing Label Studio project is taken over: its annotations become decisions, and where they come from stays known.

The project itself is left as it is, and is never asked again: what is adopted are the answers that it holds now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from hitl_bridge.core import draws
from hitl_bridge.core.lifecycle import OPEN
from hitl_bridge.core.model import (
    JSON,
    Annotation,
    AnnotationState,
    Answer,
    BatchId,
    Item,
    ItemId,
    ItemState,
    JSONObject,
    Prediction,
    Problem,
    Project,
    ProjectId,
    ProjectKey,
    Purpose,
    PushKey,
    ReviewTask,
    Route,
    Split,
    Triage,
)
from hitl_bridge.core.policy import ReviewPolicy
from hitl_bridge.core.review.consensus import ConsensusRule
from hitl_bridge.core.review.settle import Given, Settled, SettlePolicy, settle
from hitl_bridge.core.sync import RemoteTask
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.errors import UsageError
from hitl_bridge.ports import (
    Archive,
    ArchivedAnswer,
    ArchivedProject,
    ArchivedTask,
    Batch,
    Clock,
    Event,
    Settlement,
    StateStore,
)

ADOPTED = "adopted"
"""The pool of adopted projects, and the event that tells of one."""

AT_ONCE = 500
LONGEST_ID = 200

_FIRST = 1
"""Revision and round of what is adopted."""


@dataclass(frozen=True, slots=True)
class AdoptPorts:
    store: StateStore
    archive: Archive
    clock: Clock
    key: bytes


@dataclass(frozen=True, slots=True)
class AdoptWish:
    """Which project, and which of its controls holds the answer. `id_field` is the field of `task.data` that holds your own item
    id (None: `ls-PROJECT-TASK`). `by` takes it over."""

    project_id: int
    control: str
    id_field: str | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class AdoptResult:
    """`decisions` by people that are taken over now; `already_there` items were there before and are left alone. `disputed` are
    tasks whose answers contradict each other: none of them is. `problems`, by task number, says which tasks can't be taken over
    at all, and of which some answers can't."""

    project: str
    decisions: int = 0
    already_there: int = 0
    disputed: int = 0
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Adopted:
    """A task as the bridge would have it."""

    item: Item
    task: ReviewTask
    remote: RemoteTask
    annotations: tuple[Annotation, ...]


@dataclass(slots=True)
class _Sofar:
    known: dict[ItemId, Item]
    decisions: int = 0
    already_there: int = 0
    disputed: int = 0
    problems: list[Problem] = field(default_factory=list)


def adopt(ports: AdoptPorts, policy: ReviewPolicy, wish: AdoptWish, *, dry_run: bool = False) -> AdoptResult:
    """Takes over what was decided in a project. A second run takes over what has come since.

    Raises:
        UsageError: there is no such control, or it shows nothing.
        RefusedForSafety: the project is the bridge's own.
    """
    project = ports.archive.project(ProjectId(wish.project_id), wish.control, policy.kind.form)
    if not project.shows:
        raise UsageError(f"Control {wish.control!r} is about no field of the task.", remedy="Name a control with a toName.")
    sofar = _Sofar({item.item_id: item for item in ports.store.items_in(*ItemState)})
    found = _read(ports, policy, wish, project, sofar)
    for some in iter(lambda: list(islice(found, AT_ONCE)), []):
        if not dry_run:
            _record(ports, policy, project, wish, some)
        sofar.decisions += len(some)
    return AdoptResult(project.title, sofar.decisions, sofar.already_there, sofar.disputed, tuple(sofar.problems))


def _read(
    ports: AdoptPorts, policy: ReviewPolicy, wish: AdoptWish, project: ArchivedProject, sofar: _Sofar
) -> Iterator[_Adopted]:
    now = ports.clock.now()
    for task in ports.archive.tasks(project):
        try:
            found = _adopted(policy, wish, project, task, now, ports.key)
        except ValueError as unfit:
            sofar.problems.append(Problem(int(task.task_id), str(unfit), project.title))
            continue
        there = sofar.known.get(found.item.item_id)
        if there is not None and not _is_unfinished(there):
            sofar.already_there += 1
        elif _settled(found, policy, now).decision is None:
            sofar.disputed += 1
        else:
            sofar.known[found.item.item_id] = found.item
            sofar.problems.extend(_left_out(found, project))
            yield found


def _left_out(found: _Adopted, project: ArchivedProject) -> Iterator[Problem]:
    """A task that is taken over by some of its answers."""
    reasons = dict.fromkeys(each.reason for each in found.annotations if each.state is AnnotationState.QUARANTINED)
    if reasons:
        yield Problem(int(found.remote.task_id), f"taken over without one of its answers: {'; '.join(reasons)}", project.title)


def _is_unfinished(item: Item) -> bool:
    """Whether an earlier run died between taking the item in and deciding it."""
    return item.batch_id.startswith(f"{ADOPTED}-") and item.state in OPEN


def _adopted(
    policy: ReviewPolicy, wish: AdoptWish, project: ArchivedProject, task: ArchivedTask, now: datetime, key: bytes
) -> _Adopted:
    """Raises ValueError, with the reason, for a task that can't be taken over."""
    item_id, push = _item_id(wish, task), PushKey(draws.digest(key, ADOPTED, str(project.project_id), str(task.task_id))[:32])
    shown: JSONObject = {policy.kind.input_field: task.data.get(project.shows)}
    problem = policy.kind.input_problem(shown)
    if problem is not None:
        raise ValueError(problem)
    item = Item(
        item_id,
        _FIRST,
        ItemState.QUEUED,
        _FIRST,
        _prediction(policy, project, task, item_id, shown),
        _triage(policy, project, wish),
        _route(policy, now),
        BatchId(f"{ADOPTED}-{project.project_id}-{task.task_id}"),
        now,
    )
    place = _project_key(project)
    answers = tuple(_annotation(project, task, push, one, _answer(policy, one, shown)) for one in task.answers)
    if not any(each.state is AnnotationState.ANSWER for each in answers):
        raise ValueError("; ".join(dict.fromkeys(each.reason for each in answers)))
    review = ReviewTask(push, item_id, _FIRST, _FIRST, 0, place)
    return _Adopted(item, review, RemoteTask(push, task.task_id, task.created_at), answers)


def _item_id(wish: AdoptWish, task: ArchivedTask) -> ItemId:
    if wish.id_field is None:
        return ItemId(f"ls-{wish.project_id}-{task.task_id}")
    given = task.data.get(wish.id_field)
    if not isinstance(given, str | int) or isinstance(given, bool) or not str(given).strip() or len(str(given)) > LONGEST_ID:
        raise ValueError(f"data.{wish.id_field} holds no item id")
    return ItemId(str(given))


def _prediction(
    policy: ReviewPolicy, project: ArchivedProject, task: ArchivedTask, item_id: ItemId, shown: JSONObject
) -> Prediction:
    """What a model had filled in; with no output where none had: then the people's answer accepts nothing and corrects nothing
    that a model said."""
    origin = f"label-studio project {project.project_id}"
    said = None if task.predicted is None else _read_as(policy, task.predicted, shown)
    output = said.output if isinstance(said, Answer) else None
    if output is None:
        return Prediction(item_id, shown, {}, 0.0, origin)
    score = task.score if task.score is not None and 0 <= task.score <= 1 else 0.0
    return Prediction(item_id, shown, output, score, task.model_version or origin)


def _triage(policy: ReviewPolicy, project: ArchivedProject, wish: AdoptWish) -> Triage:
    """Never drawn at random with a known probability: it trains, and measures nothing."""
    reason = f"adopted from Label Studio project {project.project_id}, control {wish.control}"
    version = policy.plan.policy_version
    return Triage(policy.plan.first_review_tier, 1.0, reason, Purpose.REVIEW, Split.TRAIN, version, 0.0, 0.0)


def _route(policy: ReviewPolicy, now: datetime) -> Route:
    pool = list(policy.pools)[-1]
    return Route(pool, policy.plan.first_review_tier, 1, now, 1.0, blind=False, reason="adopted: nobody is asked")


def _project_key(project: ArchivedProject) -> ProjectKey:
    return ProjectKey(ADOPTED, f"project {project.project_id}")


def _annotation(
    project: ArchivedProject, task: ArchivedTask, push: PushKey, given: ArchivedAnswer, said: Answer | str
) -> Annotation:
    """`said` is the answer, or why it is none."""
    return Annotation(
        project_id=project.project_id,
        task_id=task.task_id,
        annotation_id=given.annotation_id,
        push_key=push,
        created_at=given.created_at,
        updated_at=given.updated_at,
        reviewer=given.reviewer,
        updated_by=given.reviewer,
        state=AnnotationState.ANSWER if isinstance(said, Answer) else AnnotationState.QUARANTINED,
        answer=said if isinstance(said, Answer) else None,
        result=given.result,
        lead_time=given.lead_time,
        reason=said if isinstance(said, str) else "",
    )


def _answer(policy: ReviewPolicy, given: ArchivedAnswer, shown: JSONObject) -> Answer | str:
    said = given.problem or _read_as(policy, given.chosen, shown)
    return said if isinstance(said, str) else replace(said, rationale=given.rationale)


def _read_as(policy: ReviewPolicy, chosen: Sequence[JSON], shown: JSONObject) -> Answer | str:
    """What these values of the control mean for the input `shown`, or why they mean nothing."""
    try:
        output = policy.kind.read({LABEL: tuple(chosen)}, policy.labels)
    except ValueError as unfit:
        return str(unfit)
    problem = None if output is None else policy.kind.pair_problem(shown, output)
    return problem or Answer(output)


def _settled(found: _Adopted, policy: ReviewPolicy, now: datetime) -> Settled:
    """By the majority, whoever they were: that they might decide then was not ours to say."""
    terms = SettlePolicy((), 1, ConsensusRule.MAJORITY, policy.adjudication_sla, parts=policy.parts)
    return settle(found.item, Given(found.annotations), None, terms, policy.kind.same, now)


def _record(
    ports: AdoptPorts, policy: ReviewPolicy, project: ArchivedProject, wish: AdoptWish, found: Sequence[_Adopted]
) -> None:
    """Each step does nothing where it was done before."""
    store, now = ports.store, ports.clock.now()
    batch = _batch(project, found, now)
    store.record_project(
        Project(_project_key(project), project.project_id, project.title, project.url, project.label_config_sha256)
    )
    store.record_batch(batch, None, [replace(each.item, batch_id=batch.batch_id) for each in found])
    store.intend([each.task for each in found])
    store.confirm(project.project_id, [each.remote for each in found], now)
    store.record_pull(project.project_id, [one for each in found for one in each.annotations], None, now)
    settled = [(each.item, _settled(each, policy, now)) for each in found]
    store.record_settlements(
        [
            Settlement(item.item_id, item.revision, result.state, result.decision, event=item.triage.reason)
            for item, result in settled
        ],
        now,
    )
    store.close_gone([each.task.push_key for each in found], ADOPTED, now)
    detail: dict[str, JSON] = {"project_id": int(project.project_id), "control": wish.control, "decisions": len(found)}
    store.record_events([Event(now, ADOPTED, detail=detail, actor=wish.by)])


def _batch(project: ArchivedProject, found: Sequence[_Adopted], now: datetime) -> Batch:
    content = "\n".join(f"{each.item.item_id} {each.task.push_key}" for each in found)
    digest = hashlib.sha256(content.encode("utf-8")).hexdigest()
    batch_id = BatchId(f"{ADOPTED}-{project.project_id}-{digest[:16]}")
    tiers = {found[0].item.triage.tier: len(found)}
    return Batch(batch_id, f"Label Studio project {project.project_id}", digest, len(found), len(found), 0, 0, tiers, 0, now)
