"""A workspace whose answers are made of parts, with a first model in use, and the people who answer in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitl_bridge.bootstrap import open_bridge
from hitl_bridge.core.model import JSON, Project, ReviewTask, TaskState
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from tests.live.command_line import CommandLine, environment
from tests.live.conftest import LiveLabelStudio, LiveReviewers
from tests.stages.workspaces import Row, write_lines


@dataclass
class Workspace:
    shell: CommandLine
    studio: LiveLabelStudio
    people: LiveReviewers

    def tasks(self) -> dict[str, list[tuple[ReviewTask, Project]]]:
        """The open tasks of each item, by id."""
        with open_bridge(self.shell.root, labeling=self.studio.gateway()) as bridge:
            projects = {project.key: project for project in bridge.store.projects()}
            found: dict[str, list[tuple[ReviewTask, Project]]] = {}
            for task in bridge.store.tasks_in(TaskState.LIVE):
                found.setdefault(task.item_id, []).append((task, projects[task.project_key]))
        return found

    def shown(self, task: ReviewTask) -> dict[str, Any]:
        there: Any = self.studio.client().get(f"/api/tasks/{task.task_id}/")
        return dict(there)

    def answers(
        self, task: ReviewTask, project: Project, reviewer: str, labels: Sequence[JSON], **more: tuple[JSON, ...]
    ) -> None:
        assert task.task_id is not None
        controls: dict[str, tuple[JSON, ...]] = {LABEL: tuple(labels), RATIONALE: ("So it says.",), **more}
        self.people.answer(project, task.task_id, reviewer, controls)


def with_a_model(shell: CommandLine, policy: str, train: Sequence[Row], holdout: Sequence[Row]) -> None:
    """What `init` made, with this policy and base data, trains a first model, which is promoted."""
    root = shell.root
    (root / ".hitl" / "workspace.key").write_text("5eed" * 16, encoding="ascii")
    (root / "hitl.yaml").write_text(policy, encoding="utf-8")
    params = root / "params.yaml"
    params.write_text(params.read_text("utf-8").replace("min_first_items: 100", "min_first_items: 20"), "utf-8")
    write_lines(root / "data/base/train.jsonl", train)
    write_lines(root / "data/base/holdout.jsonl", holdout)
    shell.dvc("remote", "add", "--quiet", "--default", "storage", str(root.parent / "remote"))
    shell.dvc("add", "--quiet", "data/base/train.jsonl", "data/base/holdout.jsonl")
    shell.git("add", "--all")
    shell.git("commit", "--quiet", "--message", "Our policy and base data")
    assert shell.told("retrain")["verdict"] == "promote"
    token = shell.told("token", "new", "approver.dee")["token"]
    CommandLine(root, {**shell.variables, "HITL_APPROVER_TOKEN": token}).told("promote", "--reason", "The first one")


def arrived(shell: CommandLine, rows: Sequence[Row]) -> Path:
    """The model's predictions of these rows, taken in and pushed."""
    inputs, predictions = shell.root / ".hitl" / "in.jsonl", shell.root / ".hitl" / "out.jsonl"
    write_lines(inputs, [{key: row[key] for key in ("item_id", "input")} for row in rows])
    shell.told("predict", str(inputs), "--out", str(predictions))
    told = shell.told("ingest", str(predictions))
    assert (told["accepted"], told["problems"]) == (len(rows), [])
    assert shell.told("push")["created"] == len(rows)
    return predictions


def a_shell(home: Path, studio: LiveLabelStudio, task: str, labels: Sequence[str]) -> CommandLine:
    """In the root of a workspace that `init` has just made."""
    variables = environment(HITL_LABEL_STUDIO_TOKEN=studio.token)
    made = CommandLine(home, variables).told("init", str(home / "ws"), "--task", task, "--labels", ",".join(labels))
    assert f"label_configs/{task}.adjudication.xml" in made["created"]
    return CommandLine(home / "ws", variables)
