"""The labeling service in memory keeps the contract, and makes trouble when told to."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hitl_bridge.adapters.memory import InMemoryLabeling
from hitl_bridge.core.model import AnnotationId, Project, PushKey, TaskId
from hitl_bridge.core.task_types import Controls
from hitl_bridge.errors import AccessRefused, LabelingUnavailable
from tests.contracts.labeling_service import LabelingServiceContract, a_plan, a_task


@dataclass(frozen=True, slots=True)
class ReviewersInMemory:
    labeling: InMemoryLabeling

    def answer(
        self, project: Project, task_id: TaskId, reviewer: str, controls: Controls, *, lead_time: float | None = 8.0
    ) -> AnnotationId:
        return self.labeling.answer(task_id, reviewer, controls, lead_time=lead_time)

    def skip(self, task_id: TaskId, reviewer: str) -> AnnotationId:
        return self.labeling.skip(task_id, reviewer)

    def revise(self, project: Project, annotation_id: AnnotationId, reviewer: str, controls: Controls) -> None:
        self.labeling.revise(annotation_id, reviewer, controls)

    def delete_annotation(self, annotation_id: AnnotationId) -> None:
        self.labeling.delete_annotation(annotation_id)

    def annotate_in_bulk(self, project: Project, reviewer: str) -> None:
        self.labeling.annotate_in_bulk(project, reviewer)

    def delete_task(self, task_id: TaskId) -> None:
        self.labeling.delete_task(task_id)

    def describe(self, project: Project, description: str) -> None:
        self.labeling.describe(project.project_id, description)

    def delete_project(self, project: Project) -> None:
        self.labeling.delete_project(project.key)

    def relabel(self, project: Project, label_config: str) -> None:
        self.labeling.relabel(project.project_id, label_config)

    def begin_draft(self, project: Project, task_id: TaskId, reviewer: str) -> None:
        self.labeling.begin_draft(task_id)


@pytest.fixture
def service() -> InMemoryLabeling:
    return InMemoryLabeling()


class TestInMemoryLabeling(LabelingServiceContract):
    @pytest.fixture
    def reviewers(self, service: InMemoryLabeling) -> ReviewersInMemory:
        return ReviewersInMemory(service)


def test_a_failure_that_was_ordered_comes_once_and_does_nothing(service: InMemoryLabeling) -> None:
    project = service.keep_project(a_plan(), None)
    service.fail_next()
    service.fail_next(AccessRefused("revoked"))
    with pytest.raises(LabelingUnavailable):
        service.create_tasks(project, [a_task("k")])
    with pytest.raises(AccessRefused):
        service.create_tasks(project, [a_task("k")])
    assert service.tasks() == []
    assert len(service.create_tasks(project, [a_task("k")]).created) == 1


def test_a_lost_reply_leaves_tasks_that_are_found_again(service: InMemoryLabeling) -> None:
    project = service.keep_project(a_plan(), None)
    service.lose_next_reply()
    outcome = service.create_tasks(project, [a_task("k1"), a_task("k2")])
    assert outcome.unknown == ("k1", "k2")
    assert not outcome.created
    assert {task.push_key for task in service.find_tasks(project, outcome.unknown)} == {"k1", "k2"}


def test_a_key_that_it_was_told_to_refuse_is_refused(service: InMemoryLabeling) -> None:
    project = service.keep_project(a_plan(), None)
    service.refused[PushKey("k1")] = "the server does not like it"
    outcome = service.create_tasks(project, [a_task("k1"), a_task("k2")])
    assert [refusal.reason for refusal in outcome.refused] == ["the server does not like it"]
    assert [task.push_key for task in outcome.created] == ["k2"]


def test_the_page_shows_what_the_reviewer_sees(service: InMemoryLabeling) -> None:
    project = service.keep_project(a_plan(), None)
    (task,) = service.create_tasks(project, [a_task("k")]).created
    shown = service.page(task.task_id)["data"]
    assert isinstance(shown, dict)
    assert shown["text"] == "the text of k"
    assert shown["answers"] == ()
