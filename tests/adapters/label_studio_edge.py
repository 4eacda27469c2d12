"""A Label Studio at the edge of HTTP, and a client of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import responses
from responses.matchers import header_matcher

from hitl_bridge.adapters.label_studio.client import LabelStudioClient

URL = "http://labels.example.com"
START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
HTML = "<!doctype html><title>Label Studio</title>" + "x" * 170_000


def a_jwt(kind: str, **claims: object) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'HS256'})}.{part({'token_type': kind, **claims})}.c2lnbmF0dXJl"


PAT = a_jwt("refresh", user_id="7")
ACCESS = a_jwt("access", user_id="7", iat=1000, exp=1300)
NEXT_ACCESS = a_jwt("access", user_id="7", iat=1300, exp=1600)
BEARER = header_matcher({"Authorization": f"Bearer {ACCESS}"})


@dataclass(slots=True)
class StillClock:
    """A clock that moves only when somebody sleeps."""

    at: datetime = START
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as playing:
        playing.post(f"{URL}/api/token/refresh/", json={"access": ACCESS})
        yield playing


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def client(clock: StillClock) -> LabelStudioClient:
    return LabelStudioClient(URL, PAT, clock)


def calls(server: responses.RequestsMock, path: str) -> int:
    return sum(1 for call in server.calls if str(call.request.url).split("?")[0] == URL + path)
