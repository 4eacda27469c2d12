"""A month's tasks put straight into Label Studio's database: sending them would take its API half an hour.

Each row is what an import would have made of the same page. They are spread over the month before, so that a poll, which
reads the last minutes again, finds the project as it would be then.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from hitl_bridge.adapters.label_studio import payloads, replies
from hitl_bridge.adapters.label_studio.label_configs import LabelConfig
from hitl_bridge.adapters.label_studio.local_server import LocalServer
from hitl_bridge.bootstrap import Bridge
from hitl_bridge.core.model import Item, ItemState, Project, ReviewTask, TaskId
from hitl_bridge.core.page import page
from hitl_bridge.core.policy import criteria
from hitl_bridge.core.sync import plan_tasks
from hitl_bridge.ports import RemoteTask

_MONTH = timedelta(days=30)
_AT_ONCE = 1_000


def fill_label_studio(server: LocalServer, bridge: Bridge) -> int:
    """Every queued item becomes a task of its project, which must be there; returns how many. Restarts the server."""
    queued = bridge.store.items_in(ItemState.QUEUED)
    known = bridge.store.projects()
    planned = plan_tasks(bridge.settings.workspace_key, queued, bridge.store.task_counts(), [project.key for project in known])
    server.stop()
    with closing(sqlite3.connect(server.home / "data" / "label_studio.sqlite3")) as database:
        for project in known:
            of_project = [(item, task) for item, task in planned if task.project_key == project.key]
            for start in range(0, len(of_project), _AT_ONCE):
                some = of_project[start : start + _AT_ONCE]
                bridge.store.intend([task for _, task in some])
                bridge.store.mark_unknown([task.push_key for _, task in some], bridge.clock.now())
                made = list(_insert(database, bridge, project, some))
                bridge.store.confirm(project.project_id, made, bridge.clock.now())
            database.commit()
            print(f"  {project.title}: {len(of_project):,} tasks", flush=True)
    server.start(timeout=300)
    return len(planned)


def _insert(
    database: sqlite3.Connection, bridge: Bridge, project: Project, planned: Sequence[tuple[Item, ReviewTask]]
) -> Iterator[RemoteTask]:
    config = LabelConfig(bridge.label_config(project.key.tier))
    last = database.execute("SELECT MAX(id) FROM task").fetchone()[0]
    counted = database.execute("SELECT MAX(inner_id) FROM task WHERE project_id = ?", [project.project_id]).fetchone()[0]
    for number, (item, task) in enumerate(planned, start=1):
        tier = bridge.policy.tier(project.key.tier)
        whole: Any = payloads.task_json(
            page(task.push_key, item, (), bridge.policy.kind, criteria(tier, bridge.policy.kind)), config
        )
        at = datetime.now(UTC) - _MONTH * (0.01 + 0.99 * (1 - counted / 10_000)) + timedelta(microseconds=last + number)
        row = _task(whole, project, last + number, counted + number, at)
        _write(database, "task", row)
        _write(database, "prediction", _prediction(whole["predictions"][0], row))
        yield RemoteTask(task.push_key, TaskId(last + number), replies.filter_time(at.isoformat()))


def _task(whole: Mapping[str, Any], project: Project, task_id: int, inner_id: int, at: datetime) -> dict[str, Any]:
    return {
        "id": task_id,
        "data": json.dumps(whole["data"]),
        "created_at": _django(at),
        "updated_at": _django(at),
        "is_labeled": False,
        "project_id": project.project_id,
        "overlap": 1,
        "inner_id": inner_id,
        "total_annotations": 0,
        "cancelled_annotations": 0,
        "total_predictions": 1,
        "comment_count": 0,
        "unresolved_comment_count": 0,
        "allow_skip": True,
    }


def _prediction(sent: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "result": json.dumps(sent["result"]),
        "score": sent["score"],
        "model_version": sent["model_version"],
        "created_at": task["created_at"],
        "updated_at": task["updated_at"],
        "task_id": task["id"],
        "mislabeling": 0.0,
        "project_id": task["project_id"],
    }


def _django(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")


def _write(database: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    names, places = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", list(row.values()))  # noqa: S608 (names of ours)
