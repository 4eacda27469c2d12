"""A small workspace with the labeling service in memory, a clock that is turned by hand, and hands for its reviewers."""

from __future__ import annotations

import atexit
import functools
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hitl_bridge.adapters.memory import InMemoryLabeling
from hitl_bridge.bootstrap import Bridge, make_workspace, open_bridge
from hitl_bridge.core.model import AnnotationId, Decision, Item, ItemState, Project, ReviewTask, TaskId, TaskState
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from hitl_bridge.errors import LabelingUnavailable
from hitl_bridge.ports import PushOutcome, TaskContent
from hitl_bridge.services.intake.ingest import IngestResult
from hitl_bridge.services.keeping.init import InitRequest
from tests.stores import put_new_store

LABELS = ("refund", "billing", "cancel")
ANA, BEN, DEE, STRANGER = "ana@example.com", "ben@example.com", "dee@example.com", "mallory@example.com"
LABEL_CONFIGS = Path(__file__).parents[2] / "label_configs"

POLICY = """\
task: text-classification
labels: [refund, billing, cancel]
label_studio: {url: "http://127.0.0.1:9"}
attributes: {amount: float}
tiers:
  auto: {max_risk: 0.1}
  quick: {max_risk: 0.4, reviewers: 1, sla: 4h}
  comprehensive: {reviewers: 2, sla: 24h, consensus: unanimous}
audit: {rate: 1.0, uniform: 0.0, sla: 48h}
expertise:
  - {name: general, reviewers: [ana@example.com, ben@example.com], adjudicators: [dee@example.com]}
"""
"""Every auto-approved item is audited, nothing is drawn for the uniform stream: what a test sees is no matter of chance."""

AUTO, QUICK, COMPREHENSIVE = 0.95, 0.7, 0.5
"""Confidences that lead into each tier."""


class Watch:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, 10, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.turn(seconds)

    def turn(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


def row(item_id: str, sure: float = QUICK, **changes: Any) -> dict[str, Any]:
    """A prediction that says `refund`, as it comes in."""
    return {
        "item_id": item_id,
        "input": {"text": f"the words of {item_id}"},
        "prediction": {"label": "refund"},
        "confidence": sure,
        "model_version": "m1",
    } | changes


def write_rows(path: Path, rows: Sequence[Mapping[str, Any] | str]) -> Path:
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in rows), encoding="utf-8")
    return path


def without_git(root: Path, policy: str = POLICY) -> Path:
    """All that a workspace needs up to `commit`: much faster to make than one with git and DVC."""
    (root / ".hitl").mkdir(parents=True, mode=0o700)
    (root / "hitl.yaml").write_text(policy, encoding="utf-8")
    shutil.copytree(LABEL_CONFIGS, root / "label_configs")
    key = root / ".hitl" / "workspace.key"
    key.touch(mode=0o600)
    key.write_text("ab" * 32, encoding="utf-8")
    put_new_store(root / ".hitl" / "bridge.db")
    return root


def with_git(root: Path, policy: str = POLICY) -> Path:
    """A workspace as `init` makes it, with our policy and a key of its own."""
    shutil.copytree(_as_init_makes_it(), root)
    (root / ".hitl" / "workspace.key").write_text(secrets.token_hex(32), encoding="utf-8")
    put_new_store(root / ".hitl" / "bridge.db")
    (root / "hitl.yaml").write_text(policy, encoding="utf-8")
    git(root, "config", "user.name", "Ana")
    git(root, "config", "user.email", ANA)
    git(root, "commit", "--quiet", "--all", "--message=Our policy")
    return root


@functools.cache
def _as_init_makes_it() -> Path:
    """Made once a process: starting DVC takes a second."""
    home = Path(tempfile.mkdtemp(prefix="hitl-workspace-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    make_workspace(InitRequest(target=home / "workspace", task="text-classification", labels=LABELS))
    return home / "workspace"


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.rstrip()


def clean_environment() -> dict[str, str]:
    """This process's environment without settings of the bridge."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HITL_")}


class BreakableLabeling(InMemoryLabeling):
    """One whose connection can break while the answer is under way: the tasks are there, the caller gets an error."""

    breaks = False

    def create_tasks(self, project: Project, tasks: Sequence[TaskContent]) -> PushOutcome:
        outcome = super().create_tasks(project, tasks)
        if self.breaks:
            self.breaks = False
            raise LabelingUnavailable("The connection broke.")
        return outcome


@dataclass
class Bench:
    root: Path
    labeling: BreakableLabeling = field(default_factory=BreakableLabeling)
    clock: Watch = field(default_factory=Watch)
    files: int = 0

    def __post_init__(self) -> None:
        self.bridge: Bridge = self.opened()

    def opened(self) -> Bridge:
        """The workspace opened once more, as by another process."""
        return open_bridge(self.root, labeling=self.labeling, clock=self.clock)

    def ingest(self, *rows: Mapping[str, Any] | str) -> IngestResult:
        self.files += 1
        path = write_rows(self.root / ".hitl" / f"in-{self.files}.jsonl", rows)
        return self.bridge.ingest(str(path))

    def pushed(self, *rows: Mapping[str, Any]) -> None:
        self.ingest(*rows)
        self.bridge.push()

    def brought_back(self) -> None:
        self.bridge.pull()
        self.bridge.resolve()

    # ------------------------------------------------------------------------------------ what reviewers do

    def answer(self, item_id: str, reviewer: str = ANA, label: str = "refund", why: str = "") -> AnnotationId:
        controls = {LABEL: (label,)} | ({RATIONALE: (why,)} if why else {})
        return self.labeling.answer(self.task_id(item_id), reviewer, controls)

    def revise(self, annotation_id: AnnotationId, reviewer: str, label: str) -> None:
        self.labeling.revise(annotation_id, reviewer, {LABEL: (label,)})

    # ------------------------------------------------------------------------------------- what there is now

    def tasks(self, *states: TaskState) -> list[ReviewTask]:
        return self.bridge.store.tasks_in(*(states or TaskState))

    def task_id(self, item_id: str) -> TaskId:
        """Of the item's present round."""
        found = max((task for task in self.tasks() if task.item_id == item_id), key=lambda task: (task.revision, task.round))
        assert found.task_id is not None
        return found.task_id

    def item(self, item_id: str) -> Item:
        return next(item for item in self.bridge.store.items_in(*ItemState) if item.item_id == item_id)

    def state(self, item_id: str) -> str:
        return self.item(item_id).state.value

    def decision(self, item_id: str) -> Decision:
        """The one that waits to be committed."""
        return next(each.decision for each in self.bridge.store.uncommitted() if each.item.item_id == item_id)

    def decided(self) -> dict[str, str]:
        """Each item with a decision that waits to be committed, and its operation."""
        return {str(each.item.item_id): each.decision.op.value for each in self.bridge.store.uncommitted()}

    def database(self) -> list[str]:
        """All rows of the store, but the record that a cycle or a pull took place."""
        return database(self.root)


def database(root: Path) -> list[str]:
    with closing(sqlite3.connect(root / ".hitl" / "bridge.db")) as connection:
        lines = list(connection.iterdump())
    passing = ('INSERT INTO "cursors"', 'INSERT INTO "leases"')
    return [line for line in lines if "'cycle'" not in line and not line.startswith(passing)]
