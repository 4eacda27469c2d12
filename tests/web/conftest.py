"""The routes of a daemon, answered by the real server on a port of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from hitl_bridge.services.keeping.access import make_token
from hitl_bridge.services.keeping.health import Vitals
from hitl_bridge.services.sync.webhooks import PATH, SECRET_HEADER, Nudges, secret_of
from hitl_bridge.web import create_app, serving, sources_of
from tests.services.bench import Bench, without_git


@dataclass
class Served:
    """What can be asked, and what it is asked of."""

    bench: Bench
    url: str
    token: str
    vitals: Vitals
    nudges: Nudges
    failures: list[str] = field(default_factory=list)

    def get(self, path: str, token: str | None = "") -> httpx.Response:
        """With the right token unless another one is given; None sends none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token or self.token}"}
        return httpx.get(self.url + path, headers=headers, timeout=10)

    def secret(self, project_id: int) -> str:
        return secret_of(self.bench.bridge.settings.workspace_key, project_id)

    def call(
        self, project_id: int | str, secret: str | None, body: bytes = b'{"action": "ANNOTATION_CREATED"}'
    ) -> httpx.Response:
        headers = {} if secret is None else {SECRET_HEADER: secret}
        return httpx.post(f"{self.url}{PATH}{project_id}", headers=headers, content=body, timeout=10)


@pytest.fixture(autouse=True)
def no_settings_of_the_bridge_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("HITL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    bench = Bench(without_git(tmp_path / "workspace"))
    vitals, nudges = Vitals(bench.clock), Nudges()
    vitals.lease_held = True
    made = make_token(bench.bridge.access_tokens, bench.clock, "prometheus", by="Ana")
    failures: list[str] = []
    with bench.opened() as asked:
        app = create_app(sources_of(asked, vitals, nudges, failures.append))
        with serving(app, "127.0.0.1:0") as port:
            yield Served(bench, f"http://127.0.0.1:{port}", made.token, vitals, nudges, failures)
    bench.bridge.close()
