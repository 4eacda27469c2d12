"""The wire of the fake Label Studio: HTTP, spoiled where a fault says so, and tokens in the form of a JWT."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tests.faults.serving import Handler, Server


@dataclass
class Faults:
    """What goes wrong, and how often: probabilities by kind, drawn from a seed for each request of the bridge.

    Before acting: `refused` (503), `stumbled` (500), `throttled` (429 with Retry-After), `reset`.
    After acting: `lost_500`, `lost_reset`, `cut` (half of the body), `slow` (`slow_seconds` later).
    """

    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=dict)
    on: bool = True
    retry_after: str = "1"
    slow_seconds: float = 0.3
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._ordered: list[str] = []

    def order(self, *kinds: str) -> None:
        """The next requests of the bridge meet exactly these, one each; an empty text is none."""
        self._ordered += kinds

    def draw(self) -> str:
        if not self.on:
            return ""
        kind = self._ordered.pop(0) if self._ordered else self._drawn()
        self.counts[kind or "none"] += 1
        return kind

    def _drawn(self) -> str:
        place = self._chance.random()
        for kind, rate in self.rates.items():
            if place < rate:
                return kind
            place -= rate
        return ""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[str, bytes]:
        if isinstance(self.body, str):
            return "text/html; charset=utf-8", self.body.encode()
        return "application/json", b"" if self.status == 204 else json.dumps(self.body).encode()


Answering: TypeAlias = Callable[[str, str, Mapping[str, str], bytes], tuple[str, Reply]]
"""Method, target, headers and body in; the fault to commit on the way back (or an empty text) and the reply out."""


class FakeServer(Server):
    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        super().__init__(_Handler)


class _Handler(Handler):
    def _answer(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server = self.server
        assert isinstance(server, FakeServer)
        fault, reply = server.answer(self.command, self.path, dict(self.headers.items()), content)
        if fault in ("reset", "lost_reset"):
            self.reset()
            return
        kind, body = reply.encoded()
        self.send_response(reply.status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), *reply.headers.items()):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)
        self.wfile.flush()
        if fault == "cut":
            self.reset()

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _answer


# --------------------------------------------------------------------------------------------------------- tokens


def new_token(user: int, kind: str, seconds: int) -> str:
    """A token in the form of a JWT. Its signature is the fake's own affair."""
    now = int(time.time())
    said = {"token_type": kind, "user_id": str(user), "iat": now, "exp": now + seconds, "jti": random.random()}
    head, body = (_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, said))
    return f"{head}.{body}.{_base64(hashlib.sha256(body.encode()).digest())}"


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def life_left(token: str) -> float:
    body = token.split(".")[1]
    told = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return float(told["exp"]) - time.time()
