"""A proxy that stands between the bridge and a Label Studio and spoils what passes, drawn from a seed.

The draw of a request depends on the seed and on the number of the request alone, so that a run that found something meets the
same faults in the same order again, as far as its callers ask in the same order.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from tests.faults.serving import Handler, Server, Serving

EVERYTHING: Final[Mapping[str, float]] = {
    "delay": 0.05,
    "reset": 0.02,
    "lost": 0.02,
    "cut": 0.03,
    "throttled": 0.02,
    "unavailable": 0.03,
    "duplicated": 0.02,
    "late": 0.01,
}
"""A bad network, all in all: every fifth request meets something.

`reset`: the connection ends, nothing was passed on. `lost`: it was passed on, and the connection ends. `cut`: the reply ends
after so many bytes. `throttled`, `unavailable`: 429 with Retry-After and 503, nothing was passed on. `duplicated`: passed on
twice. `late`: the connection ends, and the request arrives `late_seconds` after, behind those that were sent after it.
"""

_HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "accept-encoding"}
_REFUSALS: Final = {"throttled": (429, "Too Many Requests"), "unavailable": (503, "Service Unavailable")}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclass
class FaultProxy(Serving):
    """A running proxy for `upstream`; `url` is what the bridge is told. `on = False` lets everything pass untouched."""

    upstream: str
    seed: int = 0
    rates: Mapping[str, float] = field(default_factory=lambda: dict(EVERYTHING))
    on: bool = True
    delay_seconds: float = 1.0
    late_seconds: float = 3.0
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._number = 0
        self._under_way = 0
        self._lock = threading.Condition()
        super().__init__(_Server(self))
        self._late: list[threading.Thread] = []

    def __exit__(self, *_: object) -> None:
        self.settle()
        super().__exit__()

    def settle(self) -> None:
        """Waits until what was held back has arrived, and what was passed on is answered, also to those who were killed."""
        for thread in list(self._late):
            thread.join()
        with self._lock:
            self._lock.wait_for(lambda: not self._under_way)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """A request that is being passed on, however long the upstream takes."""
        with self._lock:
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1
                self._lock.notify_all()

    def draw(self) -> tuple[str, random.Random]:
        """The fault for the next request (or an empty text), and the chance that shapes it."""
        with self._lock:
            self._number += 1
            chance = random.Random(f"{self.seed}/{self._number}")
            kind = self._drawn(chance.random()) if self.on else ""
            self.counts[kind or "untouched"] += 1
        return kind, chance

    def _drawn(self, place: float) -> str:
        for kind, rate in self.rates.items():
            if place < rate:
                return kind
            place -= rate
        return ""

    def pass_on(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        """One request to the upstream, on a connection of its own."""
        address = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=300)
        try:
            kept = {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(method, path, body=body or None, headers=kept)
            got = connection.getresponse()
            told = [(name, value) for name, value in got.getheaders() if name.lower() not in _HOP_BY_HOP]
            return _Answer(got.status, told, got.read())
        finally:
            connection.close()

    def pass_on_later(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        def after_a_while() -> None:
            time.sleep(self.late_seconds)
            try:
                self.pass_on(method, path, headers, body)
            except OSError:
                self.counts["late and in vain"] += 1

        thread = threading.Thread(target=after_a_while, daemon=True)
        self._late.append(thread)
        thread.start()


class _Server(Server):
    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(_Handler)


class _Handler(Handler):
    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        sent = (self.command, self.path, dict(self.headers.items()), body)
        server = self.server
        assert isinstance(server, _Server)
        with server.proxy.under_way():
            self._relayed(server.proxy, sent)

    def _relayed(self, proxy: FaultProxy, sent: tuple[str, str, dict[str, str], bytes]) -> None:
        kind, chance = proxy.draw()
        if kind in _REFUSALS:
            status, words = _REFUSALS[kind]
            self._tell(_Answer(status, [("Retry-After", "1"), ("Content-Type", "text/html")], words.encode()))
            return
        if kind == "late":
            proxy.pass_on_later(*sent)
        if kind in ("reset", "late"):
            self.reset()
            return
        if kind == "delay":
            time.sleep(chance.random() * proxy.delay_seconds)
        self._carry(proxy, sent, kind, chance)

    def _carry(self, proxy: FaultProxy, sent: tuple[str, str, dict[str, str], bytes], kind: str, chance: random.Random) -> None:
        try:
            answer = proxy.pass_on(*sent)
            if kind == "duplicated":
                answer = proxy.pass_on(*sent)
        except (OSError, http.client.HTTPException):
            self.reset()  # the upstream is away: so is this
            return
        if kind == "lost":
            self.reset()
            return
        self._tell(answer, cut_at=chance.randrange(len(answer.body) + 1) if kind == "cut" else None)

    def _tell(self, answer: _Answer, *, cut_at: int | None = None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body[:cut_at])
        self.wfile.flush()
        if cut_at is not None and cut_at < len(answer.body):
            self.reset()

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _relay
