"""The fault proxy does what it is told, by its seed, and through it the bridge's gateway neither loses nor doubles a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import pytest
import requests

from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.adapters.label_studio.client import LabelStudioClient
from hitl_bridge.adapters.label_studio.gateway import LabelStudio
from hitl_bridge.core.model import Project, PushKey
from hitl_bridge.errors import LabelingUnavailable
from hitl_bridge.ports import TaskContent
from tests.contracts.labeling_service import a_plan, a_task
from tests.faults.fake_label_studio import FakeLabelStudio
from tests.faults.proxy import EVERYTHING, FaultProxy
from tests.faults.test_fake_label_studio import NoWaiting


def asked(proxy: FaultProxy) -> str:
    try:
        answer = requests.get(f"{proxy.url}/api/version", timeout=5, headers={"Authorization": "Bearer a.b.c"})
    except requests.RequestException as failure:
        return type(failure).__name__
    return str(answer.status_code)


def only(fake: FakeLabelStudio, kind: str) -> FaultProxy:
    return FaultProxy(fake.url, rates={kind: 1.0}, delay_seconds=0.01, late_seconds=0.2)


def test_the_same_seed_spoils_the_same_requests(fake: FakeLabelStudio) -> None:
    drawn = []
    for seed in (1, 1, 2):
        proxy = FaultProxy(fake.url, seed=seed)
        drawn.append([proxy.draw()[0] for _ in range(400)])
        proxy._server.server_close()
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) == {"", *EVERYTHING}


@pytest.mark.parametrize(
    ("kind", "told", "arrived"),
    [
        ("throttled", "429", 0),
        ("unavailable", "503", 0),
        ("reset", "ConnectionError", 0),
        ("lost", "ConnectionError", 1),
        ("duplicated", "201", 2),
        ("delay", "201", 1),
        ("late", "ConnectionError", 1),
    ],
)
def test_each_fault_does_what_it_is_named_for(fake: FakeLabelStudio, kind: str, told: str, arrived: int) -> None:
    access = requests.post(f"{fake.url}/api/token/refresh/", json={"refresh": fake.token}, timeout=5).json()["access"]
    with only(fake, kind) as proxy:
        heard = _posted(proxy, access)
        at_once = len(fake.world.contents.projects)
        proxy.settle()
    assert (heard, len(fake.world.contents.projects)) == (told, arrived)
    assert at_once == (0 if kind == "late" else arrived)


def _posted(proxy: FaultProxy, access: str) -> str:
    headers = {"Authorization": f"Bearer {access}"}
    try:
        return str(requests.post(f"{proxy.url}/api/projects/", json={"title": "x"}, headers=headers, timeout=5).status_code)
    except requests.RequestException as failure:
        return type(failure).__name__


def test_switched_off_it_is_not_there(fake: FakeLabelStudio) -> None:
    with only(fake, "reset") as proxy:
        assert asked(proxy) == "ConnectionError"
        proxy.on = False
        assert asked(proxy) == "401"
    assert proxy.counts == {"reset": 1, "untouched": 1}


@pytest.mark.catalogue("A1")
@pytest.mark.catalogue("A3")
@pytest.mark.parametrize("seed", range(2))
def test_pushing_through_a_storm_ends_with_each_task_once_as_long_as_what_is_unclear_is_looked_up(
    fake: FakeLabelStudio, seed: int
) -> None:
    """The rule that the service keeps, here by hand: look up what is unclear, send what is missing."""
    rates = {"reset": 0.1, "lost": 0.1, "cut": 0.15, "throttled": 0.1, "unavailable": 0.1}
    wanted = [a_task(f"k{number}") for number in range(60)]
    plan = a_plan()
    project = LabelStudio(LabelStudioClient(fake.url, fake.token, SystemClock())).keep_project(plan, None)
    with FaultProxy(fake.url, seed=seed, rates=rates) as proxy:
        service = LabelStudio(LabelStudioClient(proxy.url, fake.token, NoWaiting()))
        there: set[PushKey] = set()
        while len(there) < len(wanted):
            missing = [task for task in wanted if task.push_key not in there]
            with suppress(LabelingUnavailable):
                service.create_tasks(project, missing[:7])
            there = _looked_up(service, project, wanted)
    keys = Counter(task["data"]["bridge_key"] for task in fake.world.contents.tasks.values())
    assert keys == {task.push_key: 1 for task in wanted}
    assert sum(count for kind, count in proxy.counts.items() if kind != "untouched") > 5


def _looked_up(service: LabelStudio, project: Project, wanted: Sequence[TaskContent]) -> set[PushKey]:
    """Asked until there is an answer: nothing may be sent before."""
    while True:
        with suppress(LabelingUnavailable):
            return {task.push_key for task in service.find_tasks(project, [task.push_key for task in wanted])}
