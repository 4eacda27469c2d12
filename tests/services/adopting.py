"""A Label Studio project that the bridge did not make, as its adapter reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hitl_bridge.core.model import JSON, AnnotationId, ProjectId, TaskId
from hitl_bridge.core.task_types.controls import Form
from hitl_bridge.ports import ArchivedAnswer, ArchivedProject, ArchivedTask
from hitl_bridge.services.desk.adopt import AdoptPorts, AdoptResult, AdoptWish, adopt
from tests.services.bench import STRANGER, Bench

AT = "2025-03-01T09:00:00.000000Z"
WISH = AdoptWish(42, "sentiment", by="Dee")


@dataclass
class Shelf:
    """Implements `ports.Archive`."""

    there: list[ArchivedTask] = field(default_factory=list)

    def project(self, project_id: ProjectId, control: str, form: Form) -> ArchivedProject:
        assert (project_id, control) == (42, "sentiment")
        url = "http://127.0.0.1:9/projects/42/"
        return ArchivedProject(project_id, "Old tickets", url, "<View/>", "ab" * 32, control, form, "body")

    def tasks(self, project: ArchivedProject) -> Iterator[ArchivedTask]:
        yield from self.there


def said(number: int, *chosen: JSON, reviewer: str = STRANGER, **changes: object) -> ArchivedAnswer:
    answer = ArchivedAnswer(AnnotationId(number), AT, AT, reviewer, chosen, "as the rules say", ({"value": "kept"},), 9.0)
    return replace(answer, **changes)  # type: ignore[arg-type]


def a_task(number: int, *answers: ArchivedAnswer, **changes: object) -> ArchivedTask:
    task = ArchivedTask(TaskId(number), AT, {"body": f"words of {number}", "ticket": f"T-{number}"}, answers)
    return replace(task, **changes)  # type: ignore[arg-type]


def adopted(bench: Bench, shelf: Shelf, wish: AdoptWish = WISH, *, dry_run: bool = False) -> AdoptResult:
    bridge = bench.bridge
    ports = AdoptPorts(bridge.store, shelf, bench.clock, bridge.settings.workspace_key)
    return adopt(ports, bridge.policy, wish, dry_run=dry_run)
