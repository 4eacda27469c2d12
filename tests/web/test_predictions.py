"""`POST /v1/predictions`, asked as a pipeline asks it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hitl_bridge.errors import StoreUnavailable
from hitl_bridge.services.intake.online import Answered, Asked
from hitl_bridge.services.intake.online_desk import MOST_ROWS, Desk
from hitl_bridge.services.keeping.access import make_token
from hitl_bridge.services.keeping.health import Vitals
from hitl_bridge.services.sync.webhooks import Nudges
from hitl_bridge.web import create_app, serving, sources_of
from hitl_bridge.web.predictions import MOST_BODY, PATH
from tests.services.bench import Bench, row, without_git


@dataclass
class Pipeline:
    """Somebody with a token, and the bench that they reach."""

    bench: Bench
    client: httpx.Client
    failures: list[str]

    def post(self, value: Any = None, *, body: bytes | None = None, key: str | None = None, **headers: str) -> httpx.Response:
        content = json.dumps(value).encode() if body is None else body
        given = headers if key is None else {**headers, "Idempotency-Key": key}
        return self.client.post(PATH, content=content, headers=given)


@contextmanager
def served(bench: Bench, desk: Desk, failures: list[str]) -> Iterator[Pipeline]:
    made = make_token(bench.bridge.access_tokens, bench.clock, "pipeline", by="Ana")
    with bench.opened() as asked:
        app = create_app(sources_of(asked, Vitals(bench.clock), Nudges(), failures.append, desk))
        with serving(app, "127.0.0.1:0") as port:
            headers = {"Authorization": f"Bearer {made.token}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20) as client:
                yield Pipeline(bench, client, failures)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(without_git(tmp_path / "workspace"))
    yield bench
    bench.bridge.close()


@pytest.fixture
def pipeline(bench: Bench) -> Iterator[Pipeline]:
    failures: list[str] = []
    with bench.bridge.online_desk(failures.append) as desk, served(bench, desk, failures) as pipeline:
        yield pipeline


def receipts(bench: Bench, item_id: str) -> Any:
    return bench.bridge.trace(item_id)["receipts"]


def test_one_prediction_is_answered_with_its_tier_and_its_receipt(pipeline: Pipeline) -> None:
    answer = pipeline.post(row("t-1"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert {name: said[name] for name in ("item_id", "revision", "tier", "purpose", "again")} == {
        "item_id": "t-1",
        "revision": 1,
        "tier": "quick",
        "purpose": "review",
        "again": False,
    }
    assert [said["receipt"]] == receipts(pipeline.bench, "t-1")
    assert pipeline.post(row("t-1")).json() == said | {"again": True}


def test_a_list_is_answered_in_its_order(pipeline: Pipeline) -> None:
    answer = pipeline.post([row("t-1"), row("t-2", 0.95), row("t-1")])
    assert answer.status_code == 200
    assert [(each["item_id"], each["tier"], each["again"]) for each in answer.json()["results"]] == [
        ("t-1", "quick", False),
        ("t-2", "auto", False),
        ("t-1", "quick", True),
    ]


def test_bad_rows_are_listed_and_the_good_ones_taken(pipeline: Pipeline) -> None:
    answer = pipeline.post([row("t-1"), row("t-2", 7), "nonsense"])
    assert answer.status_code == 207
    said = answer.json()
    assert said["problems"] == [
        {"row": 2, "reason": "confidence: input should be less than or equal to 1"},
        {"row": 3, "reason": "not a JSON object"},
    ]
    assert [each and each["item_id"] for each in said["results"]] == ["t-1", None, None]


@pytest.mark.parametrize("value", [{}, "text", 7, None, row("t-1", 7), [row("t-1", 7)], row("t-1", prediction={"label": "?"})])
def test_a_request_of_nothing_but_problems_is_422(pipeline: Pipeline, value: Any) -> None:
    answer = pipeline.post(value)
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["row"] == 1


def test_what_contradicts_an_earlier_answer_is_409(pipeline: Pipeline) -> None:
    pipeline.post(row("t-1"))
    answer = pipeline.post(row("t-1", 0.71))
    assert answer.status_code == 409
    assert "differs from what the same model version said" in answer.json()["problems"][0]["reason"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000, b"1" * 5_000, b"[]", b'{"a": 1} x'],
)
def test_what_is_no_json_is_400_and_not_quoted(pipeline: Pipeline, body: bytes) -> None:
    answer = pipeline.post(body=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == "bad request"
    assert len(answer.text) < 200
    assert pipeline.failures == []


def test_too_much_is_413_whatever_it_says_of_its_length(pipeline: Pipeline) -> None:
    large = b" " * (MOST_BODY + 1)
    assert pipeline.post(body=large).status_code == 413
    assert pipeline.client.post(PATH, content=iter([large])).status_code == 413
    assert pipeline.post([{}] * (MOST_ROWS + 1)).status_code == 413
    assert pipeline.client.request("GET", "/livez", content=b"x" * 100_000).status_code == 413


def test_nobody_without_a_token_is_answered(pipeline: Pipeline) -> None:
    for value in ("", "Bearer wrong", "Basic eDp5"):
        answer = pipeline.post(row("t-1"), Authorization=value)
        assert (answer.status_code, answer.text) == (401, '{"error":"unauthorized"}')
    assert pipeline.bench.bridge.flush_online() == 0


def test_a_key_stands_for_one_request_however_it_is_written(pipeline: Pipeline) -> None:
    first = pipeline.post(row("t-1"), key="k-1")
    again = pipeline.post(body=json.dumps(dict(reversed(row("t-1").items())), indent=4).encode(), key="k-1")
    assert again.json() == first.json() | {"again": True}
    answer = pipeline.post(row("t-2"), key="k-1")
    assert (answer.status_code, answer.json()["reason"]) == (422, "the Idempotency-Key was used for another request")
    assert pipeline.post(row("t-2"), key="k-2").status_code == 200
    assert pipeline.post(row("t-2"), key="x" * 201).status_code == 400


def test_many_at_once_are_each_answered_and_share_their_writes(pipeline: Pipeline) -> None:
    def ask(n: int) -> str:
        said = pipeline.post(row(f"t-{n}", 0.5 + n / 1000)).json()
        return f"{said['item_id']} {said['receipt']['confidence']}"

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(200))) == [f"t-{n} {0.5 + n / 1000}" for n in range(200)]
    told = figures(pipeline)
    assert told["hitl_bridge_online_predictions_total", "accepted"] == 200
    assert told["hitl_bridge_online_groups_total", ""] < 200
    assert told["hitl_bridge_online_seconds_count", ""] == 200
    assert pipeline.bench.bridge.flush_online() == 200


def figures(pipeline: Pipeline) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(pipeline.client.get("/metrics").text)
    return {(each.name, each.labels.get("result", "")): each.value for family in families for each in family.samples}


def test_nothing_of_what_was_sent_is_in_the_metrics_or_the_errors(pipeline: Pipeline) -> None:
    secret = "4556-7375-8689-9855"
    asked = [row("t-1", input={"text": secret}), row("t-2", prediction={"label": secret}), row("t-3", input=secret)]
    problems = json.dumps(pipeline.post(asked).json()["problems"])
    assert "t-3" not in problems
    assert secret not in pipeline.client.get("/metrics").text
    told = pipeline.post(body=json.dumps(secret).encode()[:-1]).text
    assert secret not in told


# ----------------------------------------------------------------------- a desk that is slow, or whose store is away


def busy(answer: Callable[[Any], list[Answered]], **limits: int) -> Desk:
    return Desk(answer, lambda kind: None, **limits)


def test_when_too_many_wait_they_are_told_to_come_back(bench: Bench) -> None:
    """Nobody who was turned away was taken, and everybody who was not is answered."""
    go_on, held = threading.Event(), list[int]()

    def slow(requests: Sequence[Asked]) -> list[Answered]:
        if requests:
            held.append(len(requests))
            go_on.wait(20)
        return [Answered() for _ in requests]

    with busy(slow, most_rows=5) as desk, served(bench, desk, []) as pipeline, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(pipeline.post, row(f"t-{n}")) for n in range(20)]
        while desk.figures.turned_away + sum(held) + len(desk._waiting) < len(asked):
            time.sleep(0.01)
        go_on.set()
        codes = [each.result() for each in asked]
    turned_away = [each for each in codes if each.status_code == 503]
    assert 10 <= len(turned_away) <= 19  # five wait, and up to five are being answered
    assert {each.headers["retry-after"] for each in turned_away} == {"1"}
    assert desk.figures.turned_away == len(turned_away)


def test_a_store_that_is_away_is_503_and_what_nobody_foresaw_500(bench: Bench) -> None:
    def broken(requests: Sequence[Asked]) -> list[Answered]:
        if any(asked.rows == ["store"] for asked in requests):
            raise StoreUnavailable("The store sqlite:///… is not available: database is locked.")
        if any(asked.rows == ["bug"] for asked in requests):
            raise KeyError("a value that must not leave the house")
        return [Answered() for _ in requests]

    failures: list[str] = []
    with Desk(broken, failures.append) as desk, served(bench, desk, failures) as pipeline:
        away = pipeline.post("store")
        assert (away.status_code, away.headers["retry-after"]) == (503, "5")
        bug = pipeline.post("bug")
        assert (bug.status_code, bug.json()) == (500, {"error": "internal"})
    assert failures == ["StoreUnavailable", "KeyError", "KeyError"]
