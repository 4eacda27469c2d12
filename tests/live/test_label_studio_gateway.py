"""The labeling service on a real Label Studio: the contract, and what only the real one can do to us."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.label_studio.client import LabelStudioClient, new_session
from hitl_bridge.adapters.label_studio.gateway import LabelStudio
from hitl_bridge.adapters.label_studio.label_configs import LabelConfig
from hitl_bridge.adapters.label_studio.listing import TaskLists
from hitl_bridge.core.model import JSON, Project, ProjectId, ProjectKey, PushKey, TaskId
from hitl_bridge.core.sync import task_among
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.errors import AccessRefused, LabelingUnavailable, RemoteGone
from hitl_bridge.ports import ProjectPlan, TaskContent
from tests.contracts.labeling_service import ANA, BEN, LABELS, LabelingServiceContract, a_plan, a_task, states_of
from tests.live.conftest import LiveLabelStudio, LiveReviewers

pytestmark = pytest.mark.live

Sabotage = Callable[[requests.PreparedRequest, requests.Response], requests.Response]


class SabotagedTransport(HTTPAdapter):
    """Sends every request, and spoils the answers to imports on the way back. Counts what it sent."""

    def __init__(self, sabotage: Sabotage) -> None:
        super().__init__()
        self.sabotage = sabotage
        self.imports = 0

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        answer = super().send(request, *args, **kwargs)
        if "/import" not in str(request.url):
            return answer
        self.imports += 1
        return self.sabotage(request, answer)


class StumblingTransport(HTTPAdapter):
    """Sends every request, and turns the answers with lists of tasks into a 500."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        answer = super().send(request, *args, **kwargs)
        if "/api/tasks/" in str(request.url):
            answer.status_code = 500
        return answer


class NoWaiting(SystemClock):
    def sleep(self, seconds: float) -> None:
        pass


def lost(request: requests.PreparedRequest, answer: requests.Response) -> requests.Response:
    raise requests.ReadTimeout(request=request)


def cut_in_half(request: requests.PreparedRequest, answer: requests.Response) -> requests.Response:
    content = answer.content
    answer._content = content[: len(content) // 2]
    return answer


def turned_into_a_502(request: requests.PreparedRequest, answer: requests.Response) -> requests.Response:
    answer.status_code = 502
    return answer


@pytest.fixture
def service(label_studio: LiveLabelStudio) -> LabelStudio:
    return label_studio.gateway()


class TestLabelStudio(LabelingServiceContract):
    @pytest.fixture
    def reviewers(self, live_reviewers: LiveReviewers) -> LiveReviewers:
        return live_reviewers


@pytest.fixture
def project(service: LabelStudio) -> Project:
    return service.keep_project(a_plan(), None)


def remote(service: LabelStudio, project: Project) -> dict[str, Any]:
    read: Any = service._client.get(f"/api/projects/{project.project_id}/")
    assert isinstance(read, dict)
    return read


def test_a_project_that_is_as_it_should_be_is_only_looked_at(service: LabelStudio) -> None:
    plan = a_plan()
    known = service.keep_project(plan, None)
    before = service.requests_made
    service.keep_project(plan, None)
    assert service.requests_made - before == 2
    service.keep_project(plan, known)
    assert service.requests_made - before == 3


def test_a_project_is_brought_back_to_what_it_should_be(service: LabelStudio, live_reviewers: LiveReviewers) -> None:
    plan = a_plan(overlap=2)
    project = service.keep_project(plan, None)
    service.create_tasks(project, [a_task("k")])
    spoiled: dict[str, JSON] = {
        "title": "Mine now",
        "description": "A better description",
        "maximum_annotations": 1,
        "sampling": "Sequential sampling",
        "model_version": "",
    }
    live_reviewers.client(ANA).patch(f"/api/projects/{project.project_id}/", spoiled)
    assert service.keep_project(plan, project).project_id == project.project_id
    there = remote(service, project)
    assert plan.key.mark in there["description"]
    assert (there["title"], there["maximum_annotations"], there["sampling"], there["model_version"]) == (
        plan.title,
        2,
        "Uncertainty sampling",
        "bridge",
    )
    assert there["expert_instruction"] == "<p>Choose what they &lt;want&gt;.</p>"


def test_the_number_of_a_known_project_may_be_somebody_else_s_and_then_nothing_in_it_is_changed(
    service: LabelStudio, live_reviewers: LiveReviewers
) -> None:
    """As in a Label Studio that was set up anew: the numbers begin with 1 again."""
    made: Any = live_reviewers.client(ANA).post("/api/projects/", {"title": "Mine, since yesterday"})
    plan = a_plan()
    known = Project(plan.key, ProjectId(made["id"]), plan.title, "", LabelConfig(plan.label_config).sha256)
    with pytest.raises(RemoteGone, match="somebody else") as refused:
        service.keep_project(plan, known)
    assert "label_studio.url" in refused.value.remedy
    there = remote(service, known)
    assert (there["title"], there["label_config"]) == (made["title"], made["label_config"])


def test_a_project_whose_list_label_studio_cannot_show_is_named(label_studio: LiveLabelStudio, project: Project) -> None:
    session = new_session()
    session.mount("http://", StumblingTransport())
    service = LabelStudio(LabelStudioClient(label_studio.url, label_studio.token, NoWaiting(), session=session))
    with pytest.raises(LabelingUnavailable) as stumbled:
        list(service.changed_since(project, None))
    assert project.title in stumbled.value.remedy
    assert project.url in stumbled.value.remedy


def test_two_workspaces_with_pools_of_one_name_keep_apart(label_studio: LiveLabelStudio) -> None:
    plan = a_plan()
    one = label_studio.gateway(namespace="one").keep_project(plan, None)
    other = label_studio.gateway(namespace="other").keep_project(plan, None)
    assert one.project_id != other.project_id


@pytest.mark.parametrize("title", ["Q", "Quick · " + "payments " * 9])
def test_any_title_is_made_to_fit(service: LabelStudio, title: str) -> None:
    project = service.keep_project(a_plan(title=title), None)
    assert 3 <= len(project.title) <= 50
    assert remote(service, project)["title"] == project.title


@pytest.mark.catalogue("A1")
@pytest.mark.parametrize("sabotage", [lost, cut_in_half, turned_into_a_502])
def test_an_import_whose_answer_is_spoiled_is_unclear_and_found_again_and_not_doubled(
    label_studio: LiveLabelStudio, project: Project, sabotage: Sabotage
) -> None:
    transport, session = SabotagedTransport(sabotage), new_session()
    session.mount("http://", transport)
    service = LabelStudio(label_studio.client(session=session))
    keys = tuple(PushKey(f"k{number}") for number in range(450))
    outcome = service.create_tasks(project, [a_task(key) for key in keys])
    assert (outcome.created, set(outcome.unknown), transport.imports) == ((), set(keys), 1)
    assert outcome.reason
    assert {task.push_key for task in service.find_tasks(project, keys)} == set(keys[:200])


@pytest.mark.catalogue("A5")
def test_one_task_that_only_the_server_refuses_leaves_the_others_in(
    label_studio: LiveLabelStudio, service: LabelStudio, live_reviewers: LiveReviewers
) -> None:
    """The label config changed behind our back: the labels that we still believe in are refused by the server alone."""
    plan = a_plan()
    project = service.keep_project(plan, None)
    narrowed = plan.label_config.replace('<Choice value="cancel" hotkey="3" />', "")
    assert narrowed != plan.label_config
    live_reviewers.client(ANA).patch(f"/api/projects/{project.project_id}/", {"label_config": narrowed})
    tasks = [a_task(f"k{number}", label="cancel" if number == 37 else "refund") for number in range(500)]
    outcome = service.create_tasks(project, tasks)
    assert len(outcome.created) == 499
    assert [refusal.push_key for refusal in outcome.refused] == ["k37"]
    assert "label" in outcome.refused[0].reason
    assert not outcome.unknown
    assert len(service.find_tasks(project, [task.push_key for task in tasks])) == 499


def test_a_key_that_is_there_twice_is_the_answered_one(
    service: LabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    (first,) = service.create_tasks(project, [a_task("k")]).created
    (second,) = service.create_tasks(project, [a_task("k")]).created
    assert task_among(service.find_tasks(project, [PushKey("k")])).task_id == first.task_id
    live_reviewers.skip(second.task_id, ANA)
    assert task_among(service.find_tasks(project, [PushKey("k")])).task_id == second.task_id


def test_the_label_stream_serves_by_priority_with_the_answer_filled_in(
    service: LabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    tasks = [a_task("late"), a_task("urgent blind", label=None), a_task("urgent")]
    ranked = [TaskContent(t.push_key, t.fields, t.prefill, rank) for t, rank in zip(tasks, (0.9, 0.2, 0.1), strict=True)]
    service.create_tasks(project, ranked)
    served = []
    for _ in tasks:
        task: Any = live_reviewers.client(BEN).get(f"/api/projects/{project.project_id}/next/")
        served.append((task["data"]["bridge_key"], [bool(prediction["result"]) for prediction in task["predictions"]]))
        live_reviewers.answer(project, TaskId(task["id"]), BEN, {LABEL: ("refund",)})
    assert served == [("urgent", [True]), ("urgent blind", [False]), ("late", [True])]


@pytest.mark.catalogue("B5")
def test_many_changes_in_one_instant_are_all_seen(
    label_studio: LiveLabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    service = label_studio.gateway(page_size=4)
    outcome = service.create_tasks(project, [a_task(f"k{number}") for number in range(23)])
    for task in outcome.created[:3]:
        live_reviewers.answer(project, task.task_id, ANA, {LABEL: ("billing",)})
    cursor = max(state.updated_at for state in service.changed_since(project, None))
    live_reviewers.annotate_in_bulk(project, BEN)  # one timestamp for all
    changed = states_of(service, project, cursor)
    assert len(changed) == 23
    assert len({state.updated_at for state in changed.values()}) == 1
    assert len(states_of(service, project)) == 23


def test_tasks_that_nobody_touched_cost_a_poll_nothing(
    service: LabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    outcome = service.create_tasks(project, [a_task(f"k{number}") for number in range(300)])
    live_reviewers.answer(project, outcome.created[0].task_id, ANA, {LABEL: ("billing",)})
    (state,) = service.changed_since(project, None)
    before = service.requests_made
    assert [again.push_key for again in service.changed_since(project, state.updated_at)] == ["k0"]
    assert service.requests_made - before == 1


@pytest.mark.catalogue("B5")
def test_the_time_before_the_cursor_is_read_again(
    label_studio: LiveLabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    service = label_studio.gateway()
    first, second = service.create_tasks(project, [a_task("k1"), a_task("k2")]).created
    live_reviewers.answer(project, first.task_id, ANA, {LABEL: ("billing",)})
    live_reviewers.answer(project, second.task_id, ANA, {LABEL: ("billing",)})
    cursor = states_of(service, project)[PushKey("k2")].updated_at
    assert states_of(service, project, cursor).keys() == {"k1", "k2"}
    assert states_of(label_studio.gateway(overlap=timedelta(0)), project, cursor).keys() == {"k2"}


@pytest.mark.catalogue("B8")
def test_annotations_and_tasks_that_a_bulk_action_deletes_are_missed(
    service: LabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    created = service.create_tasks(project, [a_task("k1"), a_task("k2")]).created
    for task in created:
        live_reviewers.answer(project, task.task_id, ANA, {LABEL: ("billing",)})
    cursor = max(state.updated_at for state in service.changed_since(project, None))
    live_reviewers.bulk(project, BEN, "delete_tasks_annotations")
    states = states_of(service, project, cursor)
    assert {key: state.annotations for key, state in states.items()} == {"k1": (), "k2": ()}
    live_reviewers.bulk(project, BEN, "delete_tasks")
    assert service.look(project).tasks == 0
    assert list(service.manifest(project)) == []


@pytest.mark.catalogue("B13")
def test_many_bridges_that_import_at_once_make_each_task_once(label_studio: LiveLabelStudio, project: Project) -> None:
    services = [label_studio.gateway() for _ in range(6)]
    batches = [[a_task(f"{place}/{number}") for number in range(2)] for place in range(6)]
    with ThreadPoolExecutor(max_workers=6) as pool:
        outcomes = list(pool.map(lambda pair: pair[0].create_tasks(project, pair[1]), zip(services, batches, strict=True)))
    keys = [task.push_key for batch in batches for task in batch]
    there = services[0].find_tasks(project, keys)
    assert len(there) == len({task.push_key for task in there})
    assert {task.push_key for outcome in outcomes for task in outcome.created} <= {task.push_key for task in there}
    assert not any(outcome.refused for outcome in outcomes)


@pytest.mark.catalogue("B5")
def test_the_manifest_loses_no_task_that_is_there_although_others_are_deleted_between_its_pages(
    service: LabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    created = service.create_tasks(project, [a_task(f"k{number}") for number in range(12)]).created
    lists = TaskLists(service._client, timedelta(0), page_size=4, manifest_page=4)
    listed = []
    for place, task in enumerate(lists.manifest(project)):
        listed.append(task.task_id)
        if place in (3, 7):  # a page is through: those before it go
            live_reviewers.delete_task(created[place].task_id)
            live_reviewers.delete_task(created[place - 1].task_id)
    assert listed == [task.task_id for task in created]


@pytest.mark.catalogue("B5")
def test_tasks_that_change_between_the_pages_are_all_seen_at_least_once(
    label_studio: LiveLabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    service = label_studio.gateway(page_size=3)
    created = service.create_tasks(project, [a_task(f"k{number}") for number in range(9)]).created
    for task in created:
        live_reviewers.answer(project, task.task_id, ANA, {LABEL: ("billing",)})
    seen = []
    for place, state in enumerate(service.changed_since(project, None)):
        seen.append(state.push_key)
        if place == 1:
            live_reviewers.skip(created[0].task_id, BEN)  # moves to the end of the list
            live_reviewers.skip(created[5].task_id, BEN)
            live_reviewers.delete_task(created[3].task_id)
    assert set(seen) >= {task.push_key for task in created} - {"k3"}
    assert seen.count(PushKey("k0")) == 2  # as it was, and as it is


@pytest.mark.catalogue("B11")
def test_a_label_config_that_changed_is_read_anew_before_an_answer_is_doubted(
    label_studio: LiveLabelStudio, live_reviewers: LiveReviewers
) -> None:
    puller, pusher, plan = label_studio.gateway(), label_studio.gateway(), a_plan()
    project = pusher.keep_project(plan, None)
    (task,) = pusher.create_tasks(project, [a_task("k")]).created
    live_reviewers.answer(project, task.task_id, ANA, {LABEL: ("billing",)})
    assert states_of(puller, project)[PushKey("k")].annotations[0].problem is None
    widened = a_plan(labels=(*LABELS, "technical"))
    pusher.keep_project(ProjectPlan(plan.key, plan.title, widened.label_config, plan.instructions, plan.overlap), project)
    live_reviewers.answer(project, task.task_id, BEN, {LABEL: ("technical",)})
    assert [one.problem for one in states_of(puller, project)[PushKey("k")].annotations] == [None, None]


@pytest.mark.catalogue("B7")
def test_what_the_bridge_s_own_account_answers_is_nobody_s_answer(
    label_studio: LiveLabelStudio, service: LabelStudio, project: Project
) -> None:
    (task,) = service.create_tasks(project, [a_task("k")]).created
    label_studio.client().post(f"/api/tasks/{task.task_id}/annotations/", {"result": [], "lead_time": 1.0})
    (given,) = states_of(service, project)[PushKey("k")].annotations
    assert "own account" in str(given.problem)


def test_tasks_of_others_in_the_project_are_left_alone(
    service: LabelStudio, project: Project, live_reviewers: LiveReviewers
) -> None:
    foreign = [{"data": {"text": "mine", "why": "", "model_says": "", "criteria": ""}}]
    query: dict[str, str | int] = {"return_task_ids": "true"}
    made: Any = live_reviewers.client(ANA).post(f"/api/projects/{project.project_id}/import", foreign, query)
    live_reviewers.answer(project, TaskId(made["task_ids"][0]), ANA, {LABEL: ("billing",)})
    assert states_of(service, project) == {}


@pytest.mark.catalogue("B12")
def test_a_server_that_is_not_there_and_a_token_that_is_not_good_are_told_apart(label_studio: LiveLabelStudio) -> None:
    away = LabelStudio(LabelStudioClient("http://127.0.0.1:9", label_studio.token, NoWaiting()))
    nobody = Project(ProjectKey("p", "t"), ProjectId(1), "", "", "")
    with pytest.raises(LabelingUnavailable):
        away.find_tasks(nobody, [PushKey("k")])
    forged = label_studio.token[:-6] + "abcdef"
    for token in (forged, "a1" * 20):
        refused = LabelStudio(LabelStudioClient(label_studio.url, token, NoWaiting()))
        with pytest.raises(AccessRefused):
            list(refused.changed_since(nobody, None))


def test_ping_names_version_and_account_and_has_nothing_to_warn_of(service: LabelStudio) -> None:
    status = service.ping()
    assert re.fullmatch(r"\d+\.\d+\.\d+", status.version)
    assert status.user not in (ANA, BEN)
    assert status.warnings == ()
