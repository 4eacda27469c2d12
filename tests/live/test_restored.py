"""Label Studio restored from yesterday's backup: answers are gone, ids are given again, and nobody says a word."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hitl_bridge.bootstrap import Bridge, open_bridge
from hitl_bridge.core.model import AnnotationId, AnnotationState, ItemId, TaskId, TaskState
from hitl_bridge.core.task_types.controls import LABEL
from tests.live.conftest import LiveLabelStudio, LiveReviewers
from tests.services.bench import ANA, BEN, row, without_git, write_rows

pytestmark = pytest.mark.live


def copied(source: Path, target: Path) -> None:
    """With SQLite's own backup, which a running server notices no more of than of any writer."""
    with closing(sqlite3.connect(source, timeout=60)) as there, closing(sqlite3.connect(target, timeout=60)) as here:
        there.backup(here)


def pushed(bridge: Bridge, name: str, *item_ids: str) -> None:
    bridge.ingest(str(write_rows(bridge.settings.root / f"{name}.jsonl", [row(item_id) for item_id in item_ids])))
    bridge.push()


def task_id(bridge: Bridge, item_id: str) -> TaskId:
    found = next(task.task_id for task in bridge.store.tasks_in(TaskState.LIVE) if task.item_id == ItemId(item_id))
    assert found is not None
    return found


@pytest.mark.catalogue("B10")
def test_a_restored_label_studio_is_noticed_and_once_accepted_nothing_that_was_said_is_lost(
    label_studio: LiveLabelStudio, live_reviewers: LiveReviewers, tmp_path: Path
) -> None:
    database = label_studio.server.home / "data" / "label_studio.sqlite3"
    root = without_git(tmp_path / "workspace")
    with open_bridge(root, labeling=label_studio.gateway(namespace=tmp_path.name)) as bridge:
        pushed(bridge, "yesterday", "kept", "lost", "open")
        project = bridge.store.projects()[0]

        def answer(item_id: str, reviewer: str, label: str) -> AnnotationId:
            return live_reviewers.answer(project, task_id(bridge, item_id), reviewer, {LABEL: (label,)})

        kept = answer("kept", ANA, "cancel")
        bridge.pull()
        copied(database, tmp_path / "backup.sqlite3")
        lost = answer("lost", ANA, "cancel")
        pushed(bridge, "today", "new")
        bridge.pull()
        bridge.resolve()
        copied(tmp_path / "backup.sqlite3", database)
        assert answer("open", BEN, "refund") == lost  # the id is given again, on another task

        (trouble,) = bridge.pull().troubles
        assert (trouble.project, trouble.exit_code) == (project.title, 4)
        assert "--accept-restored" in trouble.remedy
        accepted = bridge.pull(accept_restored=True)
        assert (accepted.troubles, accepted.lost) == ((), 1)
        bridge.resolve()
        said = {each.item.item_id: each.decision.output for each in bridge.store.uncommitted()}
        assert said == {"kept": {"label": "cancel"}, "lost": {"label": "cancel"}, "open": {"label": "refund"}}
        assert bridge.push().created == 1  # what the backup lacks and nobody has decided is asked again
        live_reviewers.delete_annotation(kept)
        answer("lost", BEN, "billing")
        assert bridge.pull().tombstones == 1
        keys = [task.push_key for task in bridge.store.tasks_in(TaskState.LIVE) if task.item_id == "lost"]
        standing = bridge.store.standing_annotations(keys)
        assert [(each.reviewer, each.state) for each in standing] == [
            (ANA, AnnotationState.ANSWER),
            (BEN, AnnotationState.ANSWER),
        ]
        again = bridge.pull(sweep=True)
        assert (again.revisions, again.tombstones, again.lost, again.troubles) == (0, 0, 0, ())
