"""The fake Label Studio keeps the contract that the real one keeps, and goes wrong when it is told to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest
import requests

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.label_studio.client import LabelStudioClient, OutcomeUnclear
from hitl_bridge.adapters.label_studio.gateway import LabelStudio
from hitl_bridge.core.model import Project, PushKey, TaskId
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.errors import AccessRefused, LabelingUnavailable
from tests.contracts.labeling_service import ANA, BEN, LabelingServiceContract, a_plan, a_task, states_of
from tests.faults.fake_label_studio import FakeLabelStudio, Request
from tests.live.conftest import LiveLabelStudio, LiveReviewers


class NoWaiting(SystemClock):
    def sleep(self, seconds: float) -> None:
        pass


def gateway(fake: FakeLabelStudio, **options: Any) -> LabelStudio:
    return LabelStudio(LabelStudioClient(fake.url, fake.token, NoWaiting()), **options)


def reviewers_of(fake: FakeLabelStudio) -> LiveReviewers:
    return LiveReviewers(LiveLabelStudio(cast(Any, None), fake.url, fake.token, fake.reviewer_tokens))


@pytest.fixture
def service(fake: FakeLabelStudio) -> LabelStudio:
    return gateway(fake)


@pytest.fixture
def reviewers(fake: FakeLabelStudio) -> LiveReviewers:
    return reviewers_of(fake)


@pytest.fixture
def project(service: LabelStudio) -> Project:
    return service.keep_project(a_plan(), None)


class TestFakeLabelStudio(LabelingServiceContract):
    """The same that the gateway keeps with a real Label Studio."""


def test_the_label_stream_serves_by_priority(service: LabelStudio, project: Project, reviewers: LiveReviewers) -> None:
    for name, rank in (("late", 0.9), ("urgent", 0.1)):
        task = a_task(name)
        service.create_tasks(project, [type(task)(task.push_key, task.fields, task.prefill, rank)])
    served: Any = reviewers.client(BEN).get(f"/api/projects/{project.project_id}/next/")
    assert served["data"]["bridge_key"] == "urgent"


@pytest.mark.parametrize("kind", ["refused", "stumbled", "throttled", "reset"])
def test_what_goes_wrong_before_acting_leaves_nothing(fake: FakeLabelStudio, project: Project, kind: str) -> None:
    service = gateway(fake)
    service.find_tasks(project, [PushKey("k")])  # it has its token
    fake.faults.order("", kind)  # the config is read first
    outcome = service.create_tasks(project, [a_task("k")])
    assert outcome.unknown == ("k",)
    assert fake.world.tasks_of(project.project_id) == []
    assert fake.faults.counts[kind] == 1


@pytest.mark.catalogue("A1")
@pytest.mark.parametrize("kind", ["lost_500", "lost_reset", "cut"])
def test_what_goes_wrong_after_acting_leaves_tasks_that_are_found_by_their_keys(
    fake: FakeLabelStudio, project: Project, kind: str
) -> None:
    service = gateway(fake)
    fake.faults.order("", kind)
    outcome = service.create_tasks(project, [a_task("k")])
    assert outcome.unknown == ("k",)
    assert [task.push_key for task in service.find_tasks(project, [PushKey("k")])] == ["k"]


def test_an_import_is_all_or_nothing_and_the_culprit_is_found_by_halving(fake: FakeLabelStudio, project: Project) -> None:
    fake.world.refused.add("poison")
    outcome = gateway(fake).create_tasks(project, [*(a_task(f"k{n}") for n in range(20)), a_task("bad", text="poison")])
    assert [refusal.push_key for refusal in outcome.refused] == ["bad"]
    assert "poison" not in outcome.refused[0].reason
    assert len(outcome.created) == 20


@pytest.mark.catalogue("B5")
def test_a_page_that_shifts_while_it_is_read_hides_nothing(
    fake: FakeLabelStudio, project: Project, reviewers: LiveReviewers
) -> None:
    """Between any two pages somebody edits an answer of the first page, and somebody answers another task."""
    service = gateway(fake, page_size=4, overlap=timedelta(0))
    tasks = [task.task_id for task in service.create_tasks(project, [a_task(f"k{n}") for n in range(24)]).created]
    given = [reviewers.answer(project, task_id, ANA, {LABEL: ("billing",)}) for task_id in tasks[:16]]
    waiting, edited = iter(tasks[16:]), iter(given)

    def somebody_works(request: Request) -> None:
        if request.path == "/api/tasks/":
            reviewers.revise(project, next(edited), ANA, {LABEL: ("cancel",)})
            task_id = next(waiting, None)
            if task_id is not None:
                reviewers.answer(project, TaskId(task_id), BEN, {LABEL: ("refund",)})

    fake.before = somebody_works
    seen = states_of(service, project)
    fake.before = None
    cursor = max(state.updated_at for state in seen.values())
    seen |= states_of(service, project, cursor)
    there = states_of(gateway(fake), project)
    assert {key: state.annotations for key, state in seen.items()} == {key: state.annotations for key, state in there.items()}


@pytest.mark.catalogue("B5")
def test_many_answers_in_one_second_of_a_coarse_clock_are_all_seen(
    fake: FakeLabelStudio, project: Project, reviewers: LiveReviewers
) -> None:
    fake.world.coarse = True
    service = gateway(fake, page_size=3, overlap=timedelta(0))
    tasks = service.create_tasks(project, [a_task(f"k{n}") for n in range(20)]).created
    cursor = None
    for task in tasks:
        reviewers.answer(project, task.task_id, ANA, {LABEL: ("billing",)})
        cursor = max([cursor or "", *(state.updated_at for state in service.changed_since(project, cursor))])
        assert task.push_key in states_of(service, project, cursor)
    assert len(states_of(service, project)) == 20


def test_a_restore_gives_the_same_ids_to_other_things(
    fake: FakeLabelStudio, service: LabelStudio, project: Project, reviewers: LiveReviewers
) -> None:
    first, second = service.create_tasks(project, [a_task("k1"), a_task("k2")]).created
    yesterday = fake.backup()
    lost = reviewers.answer(project, first.task_id, ANA, {LABEL: ("billing",)})
    fake.restore(yesterday)
    again = reviewers.answer(project, second.task_id, BEN, {LABEL: ("cancel",)})
    assert again == lost
    assert states_of(service, project).keys() == {"k2"}


def test_a_token_that_was_taken_back_is_refused_and_not_taken_for_no_data(
    fake: FakeLabelStudio, service: LabelStudio, project: Project
) -> None:
    fake.deaf.add(1)
    with pytest.raises(AccessRefused):
        list(service.changed_since(project, None))


def test_a_write_in_a_storm_is_never_sent_twice_by_itself(fake: FakeLabelStudio) -> None:
    fake.faults.rates = {"lost_500": 1.0}
    with pytest.raises(OutcomeUnclear):
        LabelStudioClient(fake.url, fake.token, NoWaiting()).post("/api/projects/", {"title": "once"})
    assert len(fake.world.contents.projects) == 1


def test_a_storm_that_does_not_end_is_told_as_an_outage(fake: FakeLabelStudio, project: Project) -> None:
    fake.faults.rates = {"refused": 0.5, "throttled": 0.5}
    before = sum(fake.faults.counts.values())
    with pytest.raises(LabelingUnavailable):
        gateway(fake).find_tasks(project, [PushKey("k")])
    assert sum(fake.faults.counts.values()) - before <= 4


def test_a_webhook_comes_once_and_what_becomes_of_it_is_nobody_s_business(
    fake: FakeLabelStudio, service: LabelStudio, project: Project, reviewers: LiveReviewers
) -> None:
    hook: dict[str, Any] = {"project": int(project.project_id), "url": "http://127.0.0.1:9/", "actions": ["ANNOTATION_CREATED"]}
    LabelStudioClient(fake.url, fake.token, NoWaiting()).post("/api/webhooks/", {**hook, "send_for_all_actions": False})
    (task,) = service.create_tasks(project, [a_task("k")]).created
    reviewers.answer(project, task.task_id, ANA, {LABEL: ("billing",)})
    assert fake.webhooks_sent == {"lost": 1}
    listed = requests.get(f"{fake.url}/api/webhooks/", timeout=5)
    assert listed.status_code == 401
