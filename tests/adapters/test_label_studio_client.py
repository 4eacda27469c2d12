"""The HTTP edge: what may be repeated is, what may not is not, and no answer is believed that can't be."""

from __future__ import annotations

import pytest
import requests
import responses
from responses.matchers import header_matcher

from hitl_bridge.adapters.label_studio.client import (
    GET_ATTEMPTS,
    LabelStudioClient,
    NotFound,
    OutcomeUnclear,
    RequestRejected,
    encoded,
)
from hitl_bridge.errors import AccessRefused, BridgeError, LabelingUnavailable, UsageError
from tests.adapters.label_studio_edge import (
    ACCESS,
    BEARER,
    HTML,
    NEXT_ACCESS,
    PAT,
    URL,
    StillClock,
    calls,
    client,
    clock,
    server,
)

__all__ = ["client", "clock", "server"]


class TestTokens:
    def test_a_personal_token_is_exchanged_once_and_never_sent_itself(
        self, server: responses.RequestsMock, client: LabelStudioClient
    ) -> None:
        server.get(f"{URL}/api/x", json={"ok": True}, match=[BEARER])
        assert client.get("/api/x") == {"ok": True}
        assert client.get("/api/x") == {"ok": True}
        assert calls(server, "/api/token/refresh/") == 1
        assert not any(PAT in str(call.request.headers) for call in server.calls)

    def test_it_is_renewed_before_it_runs_out(
        self, server: responses.RequestsMock, client: LabelStudioClient, clock: StillClock
    ) -> None:
        server.get(f"{URL}/api/x", json={})
        client.get("/api/x")
        clock.sleep(290)
        client.get("/api/x")
        assert calls(server, "/api/token/refresh/") == 2

    def test_a_401_renews_the_token_once(self, server: responses.RequestsMock, client: LabelStudioClient) -> None:
        server.get(f"{URL}/api/x", status=401, json={"detail": "old"}, match=[BEARER])
        client_got_new = header_matcher({"Authorization": f"Bearer {NEXT_ACCESS}"})
        server.get(f"{URL}/api/x", json={"ok": 1}, match=[client_got_new])
        server.post(f"{URL}/api/token/refresh/", json={"access": NEXT_ACCESS})
        assert client.get("/api/x") == {"ok": 1}

    @pytest.mark.catalogue("B12")
    def test_a_second_401_is_a_refusal(self, server: responses.RequestsMock, client: LabelStudioClient) -> None:
        server.get(f"{URL}/api/x", status=401, json={"detail": "no"})
        with pytest.raises(AccessRefused):
            client.get("/api/x")
        assert calls(server, "/api/x") == 2

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_a_token_that_is_not_accepted_is_a_refusal_that_does_not_show_it(self, clock: StillClock, status: int) -> None:
        with responses.RequestsMock() as server:
            server.post(f"{URL}/api/token/refresh/", status=status, json={"detail": f"Token {PAT} is invalid"})
            with pytest.raises(AccessRefused) as refused:
                LabelStudioClient(URL, PAT, clock).get("/api/x")
        assert PAT not in str(refused.value)
        assert "HITL_LABEL_STUDIO_TOKEN" in refused.value.remedy

    def test_a_write_without_a_token_is_no_doubt_about_the_write(self, clock: StillClock) -> None:
        with responses.RequestsMock() as server:
            server.post(f"{URL}/api/token/refresh/", body=requests.ConnectionError())
            with pytest.raises(LabelingUnavailable) as away:
                LabelStudioClient(URL, PAT, clock).post("/api/x", [])
        assert not isinstance(away.value, OutcomeUnclear)

    def test_a_legacy_token_is_sent_as_it_is(self, clock: StillClock) -> None:
        with responses.RequestsMock() as server:
            server.get(f"{URL}/api/x", json={}, match=[header_matcher({"Authorization": "Token " + "a1" * 20})])
            legacy = LabelStudioClient(URL, "a1" * 20 + "\n", clock)
            assert legacy.get("/api/x") == {}
            assert legacy.user_id() is None

    @pytest.mark.parametrize("token", ["", "  ", "two words", "geheim-ä"])
    def test_a_token_that_can_be_none_is_refused_at_once(self, clock: StillClock, token: str) -> None:
        with pytest.raises(AccessRefused):
            LabelStudioClient(URL, token, clock)

    def test_whose_token_it_is_stands_in_the_token(self, server: responses.RequestsMock, client: LabelStudioClient) -> None:
        assert client.user_id() == 7

    def test_no_cookie_is_kept(self, server: responses.RequestsMock, client: LabelStudioClient) -> None:
        server.get(f"{URL}/api/x", json={}, headers={"Set-Cookie": "sessionid=abc; Path=/"})
        client.get("/api/x")
        client.get("/api/x")
        assert "Cookie" not in server.calls[-1].request.headers


class TestReading:
    @pytest.mark.catalogue("A3")
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_a_get_is_repeated_a_few_times_and_then_given_up(
        self, server: responses.RequestsMock, client: LabelStudioClient, clock: StillClock, status: int
    ) -> None:
        server.get(f"{URL}/api/x", status=status, body=HTML, content_type="text/html")
        with pytest.raises(LabelingUnavailable) as away:
            client.get("/api/x")
        assert calls(server, "/api/x") == GET_ATTEMPTS
        assert len(clock.slept) == GET_ATTEMPTS - 1
        assert len(str(away.value)) < 300

    def test_a_get_gets_over_a_broken_connection(self, server: responses.RequestsMock, client: LabelStudioClient) -> None:
        server.get(f"{URL}/api/x", body=requests.ConnectionError("reset"))
        server.get(f"{URL}/api/x", body=requests.ReadTimeout("slow"))
        server.get(f"{URL}/api/x", json=[1])
        assert client.get("/api/x") == [1]
        assert client.requests_made == 4

    @pytest.mark.catalogue("A3")
    def test_retry_after_is_honoured(self, server: responses.RequestsMock, client: LabelStudioClient, clock: StillClock) -> None:
        server.get(f"{URL}/api/x", status=429, headers={"Retry-After": "12"})
        server.get(f"{URL}/api/x", json={})
        client.get("/api/x")
        assert clock.slept == [12.0]

    def test_a_server_that_wants_to_be_left_alone_for_long_is(
        self, server: responses.RequestsMock, client: LabelStudioClient, clock: StillClock
    ) -> None:
        server.get(f"{URL}/api/x", status=503, headers={"Retry-After": "3600"})
        with pytest.raises(LabelingUnavailable):
            client.get("/api/x")
        assert clock.slept == []

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (HTML, "text/html"),
            ("{}", "text/plain"),
            ("{not json", "application/json"),
            ('{"score": NaN}', "application/json"),
            ("[" * 200_000, "application/json"),
            ("", "application/json"),
        ],
    )
    def test_a_200_that_is_not_json_is_not_believed(
        self, server: responses.RequestsMock, client: LabelStudioClient, body: str, content_type: str
    ) -> None:
        server.get(f"{URL}/api/x", body=body, content_type=content_type)
        with pytest.raises(LabelingUnavailable):
            client.get("/api/x")

    @pytest.mark.catalogue("A9")
    def test_an_absurdly_large_answer_is_not_read(self, server: responses.RequestsMock, clock: StillClock) -> None:
        server.get(f"{URL}/api/x", json=["x" * 5000])
        server.post(f"{URL}/api/x", json=["x" * 5000])
        careful = LabelStudioClient(URL, PAT, clock, most_bytes=4000)
        with pytest.raises(LabelingUnavailable, match="larger than 4000"):
            careful.get("/api/x")
        with pytest.raises(OutcomeUnclear):
            careful.post("/api/x", {})


REAL_ERRORS = [
    (400, {"id": "0f6c", "status_code": 400, "detail": "Validation error", "validation_errors": {"title": ["Too long."]}}),
    (401, {"detail": "Invalid token."}),
    (403, {"id": "0f6c", "status_code": 403, "detail": "You do not have permission to perform this action."}),
    (404, {"id": "0f6c", "status_code": 404, "detail": "Not found."}),
    (409, {"id": "0f6c", "status_code": 409, "detail": "The annotation is there already."}),
    (500, {"id": "0f6c", "status_code": 500, "detail": "database is locked", "exc_info": "Traceback: CANARY"}),
]
"""Error bodies of Label Studio 1.23.2: JSON with an `id` of their own, which is no project's and no task's."""


@pytest.mark.catalogue("A4")
class TestErrorBodies:
    @pytest.mark.parametrize(("status", "body"), REAL_ERRORS)
    @pytest.mark.parametrize("method", ["get", "post", "patch", "delete"])
    def test_the_id_of_an_error_is_never_taken_for_an_answer(
        self, server: responses.RequestsMock, client: LabelStudioClient, method: str, status: int, body: dict[str, object]
    ) -> None:
        getattr(server, method)(f"{URL}/api/projects/", status=status, json=body)
        call = getattr(client, method)
        with pytest.raises(BridgeError) as told:
            call("/api/projects/") if method in ("get", "delete") else call("/api/projects/", {})
        assert "CANARY" not in str(told.value)

    @pytest.mark.parametrize("status", [200, 201, 400, 404, 500])
    def test_a_page_where_json_is_due_is_never_believed_whatever_its_status(
        self, server: responses.RequestsMock, client: LabelStudioClient, status: int
    ) -> None:
        server.post(f"{URL}/api/projects/", status=status, body=HTML, content_type="text/html")
        with pytest.raises(BridgeError) as told:
            client.post("/api/projects/", {})
        assert len(str(told.value)) < 300

    @pytest.mark.parametrize("method", ["post", "patch", "delete"])
    def test_a_write_that_is_redirected_to_another_host_takes_neither_token_nor_text_there(
        self, server: responses.RequestsMock, client: LabelStudioClient, method: str
    ) -> None:
        getattr(server, method)(f"{URL}/api/x", status=307, headers={"Location": "https://canary.example.org/"})
        canary = getattr(server, method)("https://canary.example.org/", json={})
        with pytest.raises(OutcomeUnclear):
            client.delete("/api/x") if method == "delete" else getattr(client, method)("/api/x", {"text": "private"})
        assert canary.call_count == 0

    @pytest.mark.catalogue("A1")
    def test_an_answer_that_is_cut_anywhere_is_never_believed(self, clock: StillClock) -> None:
        whole = b'{"task_count": 2, "prediction_count": 2, "task_ids": [17, 18]}'
        for length in range(len(whole)):
            with responses.RequestsMock(assert_all_requests_are_fired=False) as server:
                server.post(f"{URL}/api/token/refresh/", json={"access": ACCESS})
                server.post(f"{URL}/api/x", status=201, body=whole[:length], content_type="application/json")
                with pytest.raises(OutcomeUnclear):
                    LabelStudioClient(URL, PAT, clock).post("/api/x", [])


class TestRefusals:
    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_a_redirect_is_not_followed_and_takes_no_token_along(
        self, server: responses.RequestsMock, client: LabelStudioClient, status: int
    ) -> None:
        server.get(f"{URL}/api/x", status=status, headers={"Location": "http://canary.example.org/"})
        canary = server.get("http://canary.example.org/", json={})
        with pytest.raises(LabelingUnavailable):
            client.get("/api/x")
        assert canary.call_count == 0

    def test_403_is_a_refusal(self, server: responses.RequestsMock, client: LabelStudioClient) -> None:
        server.patch(f"{URL}/api/x", status=403, json={"detail": "You do not have permission."})
        with pytest.raises(AccessRefused, match="permission"):
            client.patch("/api/x", {})

    @pytest.mark.parametrize(("body", "kind"), [(HTML, "text/html"), ('{"id": "f0", "status_code": 404}', "application/json")])
    def test_404_is_not_found_whatever_it_looks_like(
        self, server: responses.RequestsMock, client: LabelStudioClient, body: str, kind: str
    ) -> None:
        server.post(f"{URL}/api/x", status=404, body=body, content_type=kind)
        with pytest.raises(NotFound):
            client.post("/api/x", {})

    def test_a_400_says_why_without_the_task_that_the_server_quotes(
        self, server: responses.RequestsMock, client: LabelStudioClient
    ) -> None:
        message = "Error at item 0: \"text\" key is expected in task data :: {'data': {'nottext': 'CANARY'}}"
        body = {"id": "f00", "status_code": 400, "validation_errors": {"non_field_errors": [{}, message]}}
        server.post(f"{URL}/api/x", status=400, json=body)
        with pytest.raises(RequestRejected) as rejected:
            client.post("/api/x", [{"data": {"nottext": "CANARY"}}])
        assert rejected.value.reason == 'Error at item 0: "text" key is expected in task data'
        assert "CANARY" not in str(rejected.value)

    @pytest.mark.parametrize("url", ["labels.example.com", "ftp://x", "http://u:p@x", "http://", "http://x/?a=b"])
    def test_an_address_that_is_none_is_refused(self, clock: StillClock, url: str) -> None:
        with pytest.raises(UsageError):
            LabelStudioClient(url, PAT, clock)


class TestWriting:
    @pytest.mark.catalogue("A1")
    @pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 504])
    def test_a_post_is_sent_once_and_its_outcome_is_unclear(
        self, server: responses.RequestsMock, client: LabelStudioClient, status: int
    ) -> None:
        server.post(f"{URL}/api/x", status=status, json={"detail": "?"})
        with pytest.raises(OutcomeUnclear):
            client.post("/api/x", {})
        assert calls(server, "/api/x") == 1

    @pytest.mark.catalogue("A1")
    @pytest.mark.parametrize(
        "failure", [requests.ReadTimeout(), requests.ConnectionError(), requests.exceptions.ChunkedEncodingError()]
    )
    def test_a_post_whose_answer_is_lost_is_unclear(
        self, server: responses.RequestsMock, client: LabelStudioClient, failure: Exception
    ) -> None:
        server.post(f"{URL}/api/x", body=failure)
        with pytest.raises(OutcomeUnclear):
            client.post("/api/x", {})
        assert calls(server, "/api/x") == 1

    @pytest.mark.catalogue("A1")
    def test_a_201_that_is_cut_in_half_is_unclear(self, server: responses.RequestsMock, client: LabelStudioClient) -> None:
        server.post(f"{URL}/api/x", status=201, body='{"task_count": 2, "task_ids": [1', content_type="application/json")
        with pytest.raises(OutcomeUnclear):
            client.post("/api/x", {})

    def test_a_body_that_is_encoded_already_is_sent_as_it_is(
        self, server: responses.RequestsMock, client: LabelStudioClient
    ) -> None:
        server.post(f"{URL}/api/x", status=201, json={})
        client.post("/api/x", b'[{"a":1}]', {"return_task_ids": "true"})
        assert server.calls[-1].request.body == b'[{"a":1}]'
        assert "return_task_ids=true" in str(server.calls[-1].request.url)

    @pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
    def test_a_number_that_is_none_is_not_sent(self, number: float) -> None:
        with pytest.raises(ValueError):
            encoded({"score": number})


def test_no_error_of_any_kind_shows_the_token(clock: StillClock) -> None:
    shown: list[str] = []
    for status in (301, 400, 401, 403, 404, 409, 418, 500):
        with responses.RequestsMock() as server:
            server.post(f"{URL}/api/token/refresh/", json={"access": ACCESS})
            server.post(f"{URL}/api/x", status=status, body=f"<p>{ACCESS}</p>", content_type="text/html")
            with pytest.raises(BridgeError) as error:
                LabelStudioClient(URL, PAT, clock).post("/api/x", {})
        shown.append(f"{error.value!r} {error.value.remedy}")
    assert not any(PAT in text or ACCESS in text for text in shown)
