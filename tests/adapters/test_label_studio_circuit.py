"""A Label Studio that is away is left alone for a while, and asked again after pauses."""

from __future__ import annotations

from datetime import timedelta

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from hitl_bridge.adapters.label_studio.circuit import CLOSED, FIRST_PAUSE, MOST_FAILURES
from hitl_bridge.adapters.label_studio.circuit import LONGEST_PAUSE as LONGEST_CIRCUIT_PAUSE
from hitl_bridge.adapters.label_studio.client import (
    GET_ATTEMPTS,
    LONGEST_PAUSE,
    CircuitOpen,
    LabelStudioClient,
    OutcomeUnclear,
    pause_before_retry,
    seconds_told,
)
from hitl_bridge.errors import LabelingUnavailable
from tests.adapters.label_studio_edge import (
    START,
    URL,
    StillClock,
    calls,
    client,
    clock,
    server,
)

__all__ = ["client", "clock", "server"]


@pytest.mark.catalogue("A3")
class TestCircuit:
    def failing(self, server: responses.RequestsMock, client: LabelStudioClient) -> None:
        """Fails until the circuit opens."""
        server.post(f"{URL}/api/down", status=503)
        for _ in range(MOST_FAILURES):
            with pytest.raises(OutcomeUnclear):
                client.post("/api/down", {})

    def test_after_repeated_failure_nothing_is_sent_for_a_while(
        self, server: responses.RequestsMock, client: LabelStudioClient, clock: StillClock
    ) -> None:
        server.get(f"{URL}/api/x", json={})
        self.failing(server, client)
        before = client.requests_made
        for call in (client.get, client.delete):
            with pytest.raises(CircuitOpen) as refused:
                call("/api/x")
            assert not isinstance(refused.value, OutcomeUnclear)  # it was not sent: there is nothing unclear about it
        assert (client.requests_made, clock.slept) == (before, [])
        clock.sleep(FIRST_PAUSE)
        assert client.get("/api/x") == {}
        assert client.get("/api/x") == {}

    def test_one_failure_after_the_pause_opens_it_again_for_longer(
        self, server: responses.RequestsMock, client: LabelStudioClient, clock: StillClock
    ) -> None:
        self.failing(server, client)
        clock.sleep(FIRST_PAUSE)
        with pytest.raises(OutcomeUnclear):
            client.post("/api/down", {})
        clock.sleep(FIRST_PAUSE - 0.1)
        with pytest.raises(CircuitOpen):
            client.post("/api/down", {})

    def test_a_storm_is_met_with_few_requests(
        self, server: responses.RequestsMock, client: LabelStudioClient, clock: StillClock
    ) -> None:
        server.get(f"{URL}/api/down", status=503)
        for _ in range(60):  # half an hour of cycles
            with pytest.raises(LabelingUnavailable):
                client.get("/api/down")
            clock.sleep(30)
        assert client.requests_made < 30

    def test_one_row_that_the_server_stumbles_over_is_no_failure_of_the_server(
        self, server: responses.RequestsMock, client: LabelStudioClient
    ) -> None:
        server.get(f"{URL}/api/tasks/", status=500)
        server.get(f"{URL}/api/x", json={})
        for _ in range(3 * MOST_FAILURES):
            with pytest.raises(LabelingUnavailable):
                client.get("/api/tasks/", one_row=True)
        assert calls(server, "/api/tasks/") == 3 * MOST_FAILURES
        assert client.get("/api/x") == {}

    @given(outcomes=st.lists(st.tuples(st.booleans(), st.floats(0, 600), st.floats(0, 0.999), st.floats(-60, 4000)), max_size=60))
    def test_it_never_stays_open_for_longer_than_its_longest_pause(
        self, outcomes: list[tuple[bool, float, float, float]]
    ) -> None:
        circuit, now = CLOSED, START
        for is_good, told, chance, later in outcomes:
            if not circuit.seconds_left(now):
                circuit = circuit.succeeded() if is_good else circuit.failed(now, chance, told)
                left = circuit.seconds_left(now)
                assert left <= LONGEST_CIRCUIT_PAUSE
                assert not (is_good and left)
                assert not left or left >= min(told, LONGEST_CIRCUIT_PAUSE) - 1e-3
            now += timedelta(seconds=later)
        assert circuit.seconds_left(now + timedelta(seconds=LONGEST_CIRCUIT_PAUSE + 4000)) == 0

    def test_the_pause_doubles_up_to_its_longest(self) -> None:
        circuit, pauses = CLOSED, []
        for _ in range(MOST_FAILURES + 9):
            circuit = circuit.failed(START, chance=0.999)
            pauses.append(round(circuit.seconds_left(START)))
        assert pauses[: MOST_FAILURES - 1] == [0] * (MOST_FAILURES - 1)
        assert pauses[MOST_FAILURES - 1 :] == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300]

    def test_a_success_in_between_forgets_the_failures(self, server: responses.RequestsMock, client: LabelStudioClient) -> None:
        server.post(f"{URL}/api/down", status=502)
        server.post(f"{URL}/api/x", json={})
        for _ in range(3):
            for _ in range(MOST_FAILURES - 1):
                with pytest.raises(OutcomeUnclear):
                    client.post("/api/down", {})
            assert client.post("/api/x", {}) == {}


class TestPauses:
    @given(attempt=st.integers(1, GET_ATTEMPTS - 1), chance=st.floats(0, 1, exclude_max=True), told=st.integers(0, 30))
    def test_a_pause_is_never_shorter_than_told_nor_longer_than_the_cap(self, attempt: int, chance: float, told: int) -> None:
        pause = pause_before_retry(attempt, str(told), chance, START)
        assert pause is not None
        assert told <= pause <= LONGEST_PAUSE

    def test_retry_after_may_be_a_date(self) -> None:
        assert seconds_told("Sun, 22 Nov 2026 10:00:20 GMT", START) == 20.0
        assert seconds_told("Sun, 22 Nov 2026 09:00:00 GMT", START) == 0.0
        assert seconds_told("soon", START) == 0.0

    def test_after_the_last_attempt_it_gives_up(self) -> None:
        assert pause_before_retry(GET_ATTEMPTS, "", 0.5, START) is None
