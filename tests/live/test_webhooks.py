"""Webhooks of a real Label Studio: made, delivered, put right again; and how long an answer takes to become a decision."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge import daemon
from hitl_bridge.adapters.label_studio.webhooks import LabelStudioWebhooks
from hitl_bridge.bootstrap import Bridge, open_bridge
from hitl_bridge.core.model import Project, TaskState
from hitl_bridge.core.task_types.controls import LABEL
from hitl_bridge.daemon import Shared
from hitl_bridge.errors import WebhookRefused
from hitl_bridge.ports import RemoteWebhook
from hitl_bridge.services.keeping.health import Vitals
from hitl_bridge.services.sync.webhooks import SECRET_HEADER, secret_of
from hitl_bridge.web import create_app, serving, sources_of
from tests.live.conftest import LiveLabelStudio, LiveReviewers, free_port
from tests.services.bench import ANA, POLICY, row, with_git, write_rows

pytestmark = pytest.mark.live


@dataclass
class Live:
    bridge: Bridge
    studio: LiveLabelStudio
    people: LiveReviewers
    listen: str

    @property
    def project(self) -> Project:
        return self.bridge.store.projects()[0]

    def hooks(self) -> list[dict[str, Any]]:
        listed: Any = self.studio.client().get("/api/webhooks/", {"project": int(self.project.project_id)})
        return list(listed)

    def pushed(self, *names: str) -> None:
        rows = [row(name) for name in names]
        self.bridge.ingest(str(write_rows(self.bridge.paths.state / f"{names[0]}.jsonl", rows)))
        self.bridge.push()


@pytest.fixture(scope="module")
def live(
    label_studio: LiveLabelStudio, live_reviewers: LiveReviewers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    with pytest.MonkeyPatch.context() as environment:
        for kind in ("AUTHOR", "COMMITTER"):
            environment.setenv(f"GIT_{kind}_NAME", "Ana")
            environment.setenv(f"GIT_{kind}_EMAIL", ANA)
        environment.setenv("HITL_LABEL_STUDIO_TOKEN", label_studio.token)
        listen = f"127.0.0.1:{free_port()}"
        yield from opened(tmp_path_factory.mktemp("webhooks") / "workspace", label_studio, live_reviewers, listen)


def opened(root: Path, studio: LiveLabelStudio, people: LiveReviewers, listen: str) -> Iterator[Live]:
    section = f'daemon: {{every: 1h, commit_every: 1h, listen: "{listen}", webhook_url: "http://{listen}"}}\n'
    with_git(root, POLICY.replace("http://127.0.0.1:9", studio.url) + section)
    with open_bridge(root) as bridge:
        live = Live(bridge, studio, people, listen)
        live.pushed("first")
        yield live


def until(holds: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def test_each_project_gets_one_webhook_without_contents_and_a_second_look_costs_one_request(live: Live) -> None:
    kept = live.bridge.keep_webhooks()
    assert (kept.made, kept.mended, kept.removed, kept.refused) == (1, 0, 0, None)
    (hook,) = live.hooks()
    secret = secret_of(live.bridge.settings.workspace_key, live.project.project_id)
    assert hook["headers"] == {SECRET_HEADER: secret}
    assert (hook["send_payload"], hook["send_for_all_actions"], hook["is_active"]) == (False, False, True)
    client = live.bridge._client
    before = client.requests_made
    assert live.bridge.keep_webhooks() == type(kept)()
    assert client.requests_made - before == 1


@pytest.mark.parametrize(
    "change",
    [
        {"is_active": False},
        {"url": "http://127.0.0.1:1/elsewhere"},
        {"headers": {"X-Other": "1"}},
        {"headers": {SECRET_HEADER: "stolen"}},
        {"send_payload": True},
        {"actions": ["ANNOTATION_CREATED"]},
        {"send_for_all_actions": True},
    ],
    ids=str,
)
def test_a_webhook_that_somebody_changed_is_put_right(live: Live, change: dict[str, Any]) -> None:
    live.bridge.keep_webhooks()
    (hook,) = live.hooks()
    live.people.client(ANA).patch(f"/api/webhooks/{hook['id']}/", change)
    kept = live.bridge.keep_webhooks()
    assert (kept.made, kept.mended, kept.removed) == (0, 1, 0)
    assert [{**each, "updated_at": ""} for each in live.hooks()] == [{**hook, "updated_at": ""}]


def test_one_that_is_missing_is_made_again_and_doubles_are_removed(live: Live) -> None:
    live.bridge.keep_webhooks()
    (hook,) = live.hooks()
    live.people.client(ANA).delete(f"/api/webhooks/{hook['id']}/")
    assert live.bridge.keep_webhooks().made == 1
    (hook,) = live.hooks()
    again = {name: value for name, value in hook.items() if name not in ("id", "organization", "created_at", "updated_at")}
    foreign = {**again, "url": "http://127.0.0.1:1/somebody/elses", "headers": {}}
    for each in (again, again, foreign):
        live.people.client(ANA).post("/api/webhooks/", each)
    assert live.bridge.keep_webhooks().removed == 2
    left = live.hooks()
    assert sorted(each["url"] == foreign["url"] for each in left) == [False, True]
    live.people.client(ANA).delete(f"/api/webhooks/{next(each['id'] for each in left if each['url'] == foreign['url'])}/")
    events = live.bridge.store.insights().last_event("webhook.doubles_removed")
    assert events is not None


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("http://10.1.2.3:8731", "USER_ADDITIONAL_BANNED_SUBNETS"),
        ("http://192.168.1.5:8731", "USER_ADDITIONAL_BANNED_SUBNETS"),
        ("http://bridge:8731", "dot in it"),
        ("http://no-such-host.invalid:8731", "dot in it"),
    ],
)
def test_an_address_that_label_studio_will_not_call_is_told_with_what_to_do(live: Live, url: str, remedy: str) -> None:
    webhooks = LabelStudioWebhooks(live.studio.client())
    wanted = RemoteWebhook(0, live.project.project_id, url, {SECRET_HEADER: "x"}, as_due=True)
    with pytest.raises(WebhookRefused) as refused:
        webhooks.create(wanted)
    assert remedy in refused.value.remedy


@pytest.mark.catalogue("B4")
def test_an_answer_becomes_a_decision_within_two_seconds(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """Answered → the decision can be read from the store, over webhooks alone: the next cycle is an hour away."""
    live.pushed(*(f"quick-{number}" for number in range(12)))
    shared, times = Shared(Vitals(live.bridge.clock)), []
    with live.bridge.twin() as leader, live.bridge.twin() as asked:
        app = create_app(sources_of(asked, shared.vitals, shared.nudges, lambda kind: None))
        loop = threading.Thread(target=daemon.run, args=(leader,), kwargs={"every": 3600.0, "shared": shared})
        with serving(app, live.listen):
            loop.start()
            try:
                until(lambda: shared.vitals.last_good_cycle, 60)
                open_tasks = [task for task in live.bridge.store.tasks_in(TaskState.LIVE) if task.item_id.startswith("quick")]
                for task in open_tasks:
                    assert task.task_id is not None
                    live.people.answer(live.project, task.task_id, ANA, {LABEL: ("refund",)})
                    answered = time.perf_counter()
                    item_id = task.item_id
                    until(lambda: live.bridge.trace(item_id)["decisions"], 10)  # noqa: B023
                    times.append(time.perf_counter() - answered)
            finally:
                shared.stop.set()
                shared.nudges.wake()
                loop.join(60)
    log = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    nudges = [line for line in log if line["action"] == "daemon.nudge"]
    assert len(nudges) >= len(times) > 10
    times.sort()
    print("answered → decided, seconds:", [round(each, 2) for each in times], nudges[:6])
    assert times[int(len(times) * 0.95)] <= 2.0
    assert shared.vitals.counts["cycle", "good"] == 1
