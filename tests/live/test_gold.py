"""Known items on a real Label Studio: a newcomer learns by them, then meets them unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.bootstrap import Bridge, open_bridge
from hitl_bridge.core.model import ItemState, ReviewTask, TaskState
from hitl_bridge.core.task_types.controls import LABEL
from tests.live.conftest import REVIEWERS, LiveLabelStudio, LiveReviewers
from tests.services.bench import row, without_git, write_rows

pytestmark = pytest.mark.live

ANA = REVIEWERS[0]
POLICY = """\
task: text-classification
labels: [refund, cancel]
label_studio: {{url: "{url}"}}
tiers:
  quick: {{reviewers: 1, sla: 4h}}
audit: {{rate: 0, uniform: 0}}
expertise:
  - {{name: newcomers, reviewers: [{ana}]}}
gold: {{share: 0.5, onboarding: 2, passing: 0.5}}
"""


def test_a_newcomer_learns_with_feedback_then_counts_and_meets_known_items_unseen(
    label_studio: LiveLabelStudio, live_reviewers: LiveReviewers, tmp_path: Path
) -> None:
    root = without_git(tmp_path / "ws", POLICY.format(url=label_studio.url, ana=ANA))
    bank = [row(f"g-{number}") | {"label": "cancel", "why": "They want to leave."} for number in range(12)]
    with open_bridge(root, labeling=label_studio.gateway()) as bridge:
        bridge.add_gold(write_rows(tmp_path / "gold.jsonl", bank), by="Ana")
        bridge.push()
        assert [project.title for project in bridge.store.projects()] == [
            f"newcomers · {ANA.partition('@')[0]} · quick · due in 4 h"
        ]
        assert _answer(bridge, live_reviewers, ["refund", "cancel"]) == 2
        assert bridge.reviewers_report().learning == ()
        bridge.push()
        told = [data["why"] for data in _pages(bridge, label_studio) if data["why"].startswith("You answered")]
        assert [each.partition(" They want")[0] for each in told] == ["You answered “refund”; right is “cancel”."]
        bridge.ingest(str(write_rows(tmp_path / "in.jsonl", [row(f"t-{number}") for number in range(12)])))
        bridge.push()
        queue = [data for data in _pages(bridge, label_studio) if not data["why"].startswith("You answered")]
        assert len(queue) > 12 + 1
        assert len({json.dumps({**data, "bridge_key": "", "text": ""}, sort_keys=True) for data in queue}) == 1
        _answer(bridge, live_reviewers, ["cancel"])
        assert len(bridge.store.uncommitted()) == 12
        (line,) = bridge.reviewers_report().reviewers
        assert line.gold == line.right == len(queue) - 12


def _open_tasks(bridge: Bridge) -> list[ReviewTask]:
    rounds = {item.item_id: item.round for item in bridge.store.items_in(ItemState.PUSHED, ItemState.ANSWERED)}
    return [task for task in bridge.store.tasks_in(TaskState.LIVE) if rounds.get(task.item_id) == task.round]


def _pages(bridge: Bridge, label_studio: LiveLabelStudio) -> list[dict[str, Any]]:
    """`task.data`, which every account can read."""
    client = label_studio.client()
    found: list[Any] = [client.get(f"/api/tasks/{task.task_id}/") for task in _open_tasks(bridge)]
    return [dict(each["data"]) for each in found]


def _answer(bridge: Bridge, reviewers: LiveReviewers, labels: list[str]) -> int:
    """Ana answers all that waits, with these labels in turn; then it is brought back and settled."""
    projects, tasks = {project.key: project for project in bridge.store.projects()}, _open_tasks(bridge)
    for number, task in enumerate(tasks):
        assert task.task_id is not None
        reviewers.answer(projects[task.project_key], task.task_id, ANA, {LABEL: (labels[number % len(labels)],)})
    bridge.pull()
    bridge.resolve()
    return len(tasks)
