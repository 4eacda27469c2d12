"""A webhook is a hint that anybody could forge, repeat, reorder or lose: whatever comes, only what Label Studio says counts."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitl_bridge.core.model import AnnotationId, ProjectId
from hitl_bridge.services.sync.webhooks import MOST_AT_ONCE, PATH, SECRET_HEADER, Nudges
from tests.services.bench import ANA, BEN, Bench, row
from tests.web.conftest import Served


def test_it_wakes_the_loop_for_its_project(served: Served) -> None:
    assert served.call(7, served.secret(7)).status_code == 204
    assert served.nudges.wait(0)
    assert served.nudges.take() == {7}
    assert served.nudges.take() == frozenset()


@pytest.mark.catalogue("B3")
@pytest.mark.parametrize("project_id", ["7", "8", "0", "-1", "x", "7/../8", "9" * 30, "٧", "7%00"])
def test_a_forged_call_is_refused_without_a_word_why(served: Served, project_id: str) -> None:
    for secret in (None, "", "guessed", served.secret(9), "ü"):
        headers = {} if secret is None else {SECRET_HEADER.encode(): secret.encode()}
        answer = httpx.post(f"{served.url}{PATH}{project_id}", headers=headers, content=b"{}", timeout=10)
        assert (answer.status_code, answer.text) in ((401, '{"error":"unauthorized"}'),)
    assert served.nudges.take() == frozenset()


@pytest.mark.catalogue("B3")
def test_what_a_forged_body_says_changes_nothing(served: Served) -> None:
    """The secret can be read by every reviewer; what they could claim with it is not even read."""
    bench = served.bench
    bench.pushed(row("t-1"))
    bench.brought_back()
    before = bench.database()
    lie = b'{"action": "ANNOTATION_CREATED", "annotation": {"id": 1, "result": [{"value": {"choices": ["refund"]}}]}}'
    (project,) = bench.bridge.store.projects()
    for body in (lie, b"", b"[" * 10_000, b"\xff\x00", b'{"project": 99}'):
        assert served.call(project.project_id, served.secret(project.project_id), body).status_code == 204
    made = bench.labeling.requests_made
    bench.bridge.pull(only=served.nudges.take())
    bench.bridge.resolve()
    assert bench.labeling.requests_made - made <= 2
    assert without_leases(bench) == [line for line in before if "leases" not in line]


def without_leases(bench: Bench) -> list[str]:
    return [line for line in bench.database() if "leases" not in line]


@pytest.mark.catalogue("B3")
def test_a_secret_opens_nothing_but_the_webhook(served: Served) -> None:
    headers = {SECRET_HEADER: served.secret(7), "Authorization": f"Bearer {served.secret(7)}"}
    for path in ("/metrics", "/health", f"{PATH}7"):
        assert httpx.get(served.url + path, headers=headers).status_code == 401


def test_who_stands_by_turns_calls_away(served: Served) -> None:
    served.vitals.lease_held = False
    assert served.call(7, served.secret(7)).status_code == 503
    assert served.nudges.take() == frozenset()


@pytest.mark.catalogue("B4")
def test_500_calls_in_parallel_are_answered_at_once_and_cost_one_look(served: Served) -> None:
    """The annotator waits for the answer, inside their own request. Times are those of the answers as a client sees them, 25
    at a time on connections that are there: with 500 threads in one Python process it would be those that are measured."""
    secret, times, codes = served.secret(7), list[float](), list[int]()
    lock = threading.Lock()

    def caller(count: int) -> None:
        with httpx.Client(headers={SECRET_HEADER: secret}, timeout=10) as client:
            for _ in range(count):
                began = time.perf_counter()
                code = client.post(f"{served.url}{PATH}7", content=b'{"action": "ANNOTATION_CREATED"}').status_code
                with lock:
                    times.append(time.perf_counter() - began)
                    codes.append(code)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(caller, [125] * 4))
    assert (len(codes), set(codes)) == (500, {204})
    assert statistics.quantiles(times, n=100)[49] < 0.05
    assert served.nudges.take() == {7}


@pytest.mark.catalogue("B4")
def test_500_calls_at_the_same_moment_are_all_answered(served: Served) -> None:
    head = f"POST {PATH}7 HTTP/1.1\r\nHost: x\r\n{SECRET_HEADER}: {served.secret(7)}\r\n"
    request = (head + "Content-Length: 2\r\nConnection: close\r\n\r\n{}").encode()
    host, port = served.url.removeprefix("http://").split(":")
    callers = [socket.create_connection((host, int(port)), timeout=20) for _ in range(500)]
    for caller in callers:
        caller.sendall(request)
    first = [caller.recv(1024).split(b"\r\n")[0] for caller in callers]
    for caller in callers:
        caller.close()
    assert {line.split()[1] for line in first} <= {b"204", b"503"}
    assert served.nudges.take() == {7}


@pytest.mark.catalogue("B4")
def test_more_calls_than_anybody_needs_are_shed() -> None:
    nudges = Nudges()
    answered = [nudges.add(ProjectId(1)) for _ in range(int(MOST_AT_ONCE) + 100)]
    assert answered[: int(MOST_AT_ONCE)] == [True] * int(MOST_AT_ONCE)
    assert nudges.turned_away > 0


# --------------------------------------------------------------------------- duplicated and out of order


@pytest.mark.catalogue("B2")
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.integers(0, 5), min_size=5, max_size=5))
def test_calls_that_are_lost_come_twice_or_late_lead_to_the_same_decision(served: Served, calls: list[int]) -> None:
    """Five things happen; after each of them, between no call and five are heeded. No call says what it is about: to heed one
    is to pull, so that the order in which they come can make no difference."""
    bench = served.bench
    item = f"t-{bench.files}"
    bench.pushed(row(item))
    project = served.nudges
    first = [AnnotationId(0)]
    events: list[Callable[[], object]] = [
        lambda: first.append(bench.answer(item, ANA, "refund")),
        lambda: bench.revise(first[-1], ANA, "billing"),
        lambda: bench.revise(first[-1], ANA, "cancel"),
        lambda: bench.labeling.delete_annotation(first[-1]),
        lambda: bench.answer(item, BEN, "billing"),
    ]
    for event, times in zip(events, calls, strict=True):
        event()
        for _ in range(times):
            heed(bench, project)
    heed(bench, project)
    after = without_leases(bench)
    assert bench.decision(item).output == {"label": "billing"}
    assert bench.decision(item).reviewers == (BEN,)
    assert len(bench.labeling.tasks()) == bench.files
    for _ in range(3):
        heed(bench, project)
    assert without_leases(bench) == after


def heed(bench: Bench, nudges: Nudges) -> None:
    """What the loop does with a call."""
    (project,) = bench.bridge.store.projects()
    nudges.add(project.project_id)
    bench.bridge.pull(only=nudges.take())
    bench.bridge.resolve()
