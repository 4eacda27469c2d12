"""What tests look at after a pull."""

from __future__ import annotations

from hitl_bridge.core.model import Annotation, ItemId, Project, TaskId, TaskState
from tests.services.bench import Bench


def project_of(bench: Bench, tier: str = "quick") -> Project:
    return next(project for project in bench.bridge.store.projects() if project.key.tier == tier)


def task_ids(bench: Bench) -> dict[str, TaskId]:
    return {str(task.item_id): task.task_id for task in bench.tasks(TaskState.LIVE) if task.task_id is not None}


def standing(bench: Bench, item_id: str) -> list[Annotation]:
    keys = [task.push_key for task in bench.tasks() if task.item_id == ItemId(item_id)]
    return bench.bridge.store.standing_annotations(keys)


def events(bench: Bench, item_id: str) -> str:
    return str(bench.bridge.trace(item_id)["events"])
