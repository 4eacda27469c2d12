"""Answers that reviewers' pages never send and Label Studio takes all the same."""

from __future__ import annotations

from contextlib import suppress

import pytest

from hitl_bridge.adapters.label_studio.client import LabelStudioClient, OutcomeUnclear
from hitl_bridge.adapters.label_studio.gateway import LabelStudio
from hitl_bridge.core.model import Project, PushKey
from hitl_bridge.core.task_types.controls import LABEL, RATIONALE
from tests.contracts.labeling_service import ANA, BEN, a_plan, a_task, states_of
from tests.live.conftest import LiveLabelStudio, LiveReviewers
from tests.live.test_label_studio_gateway import NoWaiting

pytestmark = pytest.mark.live


@pytest.fixture
def service(label_studio: LiveLabelStudio) -> LabelStudio:
    return label_studio.gateway()


@pytest.fixture
def project(service: LabelStudio) -> Project:
    return service.keep_project(a_plan(), None)


@pytest.mark.catalogue("A8")
def test_an_answer_that_label_studio_itself_cannot_show_is_found_and_the_others_are_read(
    label_studio: LiveLabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    service = LabelStudio(LabelStudioClient(label_studio.url, label_studio.token, NoWaiting()))
    created = service.create_tasks(project, [a_task(f"k{number}") for number in range(9)]).created
    for task in created:
        live_reviewers.answer(project, task.task_id, ANA, {LABEL: ("billing",), RATIONALE: ("fine",)})
    half_a_pair = b'{"result": [{"from_name": "rationale", "value": {"text": ["\\ud800"]}}], "lead_time": 1.0}'
    with suppress(OutcomeUnclear):  # it is stored, and the answer to it is a 500 already
        live_reviewers.client(BEN).post(f"/api/tasks/{created[4].task_id}/annotations/", half_a_pair)
    for states in (states_of(service, project), states_of(service, project, "2026-01-01T00:00:00.000000Z")):
        assert states.keys() == {task.push_key for task in created}
        assert [key for key, state in states.items() if state.unreadable] == ["k4"]
        assert states[PushKey("k4")].annotations == ()
        assert all(len(state.annotations) == 1 for key, state in states.items() if key != "k4")
    (alone,) = service.states_of(project, [created[4].task_id])
    assert (alone.push_key, bool(alone.unreadable)) == ("k4", True)
    manifest = {task.task_id: task for task in service.manifest(project)}
    assert len(manifest[created[4].task_id].versions) == 2  # what cannot be shown can be counted
    assert service.look(project).tasks == 9  # and nothing is left alone because of it


@pytest.mark.catalogue("A8")
def test_text_that_no_database_keeps_comes_back_written_out_and_as_a_problem(
    service: LabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    (task,) = service.create_tasks(project, [a_task("k")]).created
    live_reviewers.answer(project, task.task_id, ANA, {LABEL: ("billing",), RATIONALE: ("cut \0 here",)})
    (given,) = states_of(service, project)[PushKey("k")].annotations
    assert given.controls[RATIONALE] == ("cut \\u0000 here",)
    assert "no database keeps" in str(given.problem)
