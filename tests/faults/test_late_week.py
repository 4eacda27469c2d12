"""A week of a slow pool, with the daemon as a process of its own that is stopped once and killed twice: each step once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge.bootstrap import Bridge
from hitl_bridge.settings import load_settings
from tests.faults.fake_label_studio import FakeLabelStudio
from tests.faults.people import Crowd
from tests.faults.processes import _environment
from tests.faults.receiver import Receiver
from tests.faults.set_daemon import SetClock, set_clock
from tests.faults.workspaces import make_workspace
from tests.services.bench import AUTO, COMPREHENSIVE, row, write_rows

POLICY = """\
task: text-classification
labels: [refund, billing, cancel]
label_studio: {{url: "{url}"}}
working_hours: {{zone: Europe/Berlin, week: {{mon-fri: "09:00-17:00"}}, holidays: DE-BE}}
notices: {{every: 15m, lead: [boss], pools: {{general: [chat], second: [chat-of-the-second]}}}}
tiers:
  auto: {{max_risk: 0.1}}
  quick:
    max_risk: 0.4
    sla: 4h
    ladder: [{{before: 1h, tell: pool}}, {{tell: pool}}, {{after: 2h, give_to: second}}, {{after: 8h, tell: lead}}]
  comprehensive: {{reviewers: 2, sla: 8h, consensus: unanimous, escalate_after: 16h}}
audit: {{rate: 1.0, uniform: 0.0, sla: 12h}}
adjudication: {{sla: 8h}}
expertise:
  - {{name: second, when: "false", reviewers: [ben@example.com, cy@example.com]}}
  - {{name: general, reviewers: [ana@example.com, ben@example.com], adjudicators: [dee@example.com]}}
"""
MONDAY = datetime(2026, 11, 23, 8, 1, tzinfo=UTC)  # one minute past nine in Berlin
HOUR = timedelta(hours=1)


class Week:
    """A workspace, its daemon, and a clock that is turned."""

    def __init__(self, root: Path, log: Path) -> None:
        self.root, self.log = root, log
        self.at = MONDAY
        self._began = datetime.now(UTC)
        self._process: subprocess.Popen[bytes] | None = None
        self._set()

    def _set(self) -> None:
        set_clock(self.root, (self.at - self._began).total_seconds())

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.faults.set_daemon", str(self.root)]
        with self.log.open("ab") as heard:
            self._process = subprocess.Popen(command, cwd=self.root, env=_environment(), stderr=heard, stdout=heard)

    def end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            assert self._process.wait(60) == (0 if number is signal.SIGTERM else -signal.SIGKILL)
            self._process = None

    def turn(self, by: timedelta, *, wait: bool = True) -> None:
        """Sets the clock forward, and waits until a whole cycle has begun and ended since."""
        self.at += by
        self._set()
        if wait:
            self.settled()

    def settled(self) -> None:
        with self.bridge() as bridge:
            deadline, asked = time.monotonic() + 300, bridge.clock.now()
            whole = 0
            while whole < 2:
                assert self._process is not None
                assert self._process.poll() is None, self.log.read_text()[-2000:]
                assert time.monotonic() < deadline, self.log.read_text()[-2000:]
                time.sleep(0.05)
                last = bridge.store.insights().last_event("cycle")
                if last is not None and last.at > asked:
                    whole, asked = whole + 1, last.at

    @contextmanager
    def bridge(self) -> Iterator[Bridge]:
        with Bridge(load_settings(self.root), labeling=None, clock=SetClock(self.root)) as bridge:
            yield bridge

    def steps(self) -> Counter[tuple[str, str, str]]:
        """Every `escalated` event, by item, step and deadline."""
        found: Counter[tuple[str, str, str]] = Counter()
        with self.bridge() as bridge:
            for item in ITEMS:
                events: Any = bridge.trace(item)["events"]
                told = [event["detail"] for event in events if event["action"] == "escalated"]
                found.update((item, detail["step"], detail["due_at"]) for detail in told)
        return found


ITEMS = ("q-1", "q-2", "q-3", "c-1", "c-2", "a-1")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def week(fake: FakeLabelStudio, receiver: Receiver, tmp_path: Path) -> Iterator[Week]:
    root = make_workspace(tmp_path / "workspace", fake.url, fake.token)
    (root / "hitl.yaml").write_text(POLICY.format(url=fake.url))
    addresses = root / ".hitl" / "notices"
    addresses.touch(mode=0o600)
    addresses.write_text("\n".join(map(receiver.address, ("boss", "chat", "chat-of-the-second"))))
    sure = {"c": COMPREHENSIVE, "a": AUTO, "q": 0.7}
    file = write_rows(tmp_path / "in.jsonl", [row(item, sure[item[0]]) for item in ITEMS])
    with ExitStack() as stack:
        week = Week(root, tmp_path / "log")
        stack.callback(week.end, signal.SIGKILL)
        with week.bridge() as bridge:
            bridge.ingest(str(file))
        yield week


@pytest.mark.timeout(1800)  # a daemon is started four times: on a busy machine each takes a minute
def test_in_a_week_with_three_restarts_of_the_daemon_each_overdue_item_is_escalated_once_a_step(
    week: Week, receiver: Receiver, fake: FakeLabelStudio
) -> None:
    week.start()
    week.settled()
    week.turn(3.5 * HOUR)
    week.turn(1 * HOUR)
    _answer(fake, "q-3")  # late, and before it is handed on
    week.settled()
    week.end(signal.SIGTERM)
    week.start()
    week.turn(2 * HOUR)
    week.turn(2 * HOUR, wait=False)
    time.sleep(0.15)
    week.end(signal.SIGKILL)  # in the middle of whatever it does about it
    receiver.refuses = True
    week.start()
    week.settled()
    for _ in range(3):
        week.turn(8 * HOUR)
    receiver.refuses = False
    week.turn(16 * HOUR, wait=False)
    time.sleep(0.1)
    week.end(signal.SIGKILL)
    week.start()
    for _ in range(5):
        week.turn(24 * HOUR)
    week.end(signal.SIGTERM)

    found = week.steps()
    assert set(found.values()) == {1}
    assert sorted((item, step) for item, step, _ in found) == [
        *(("a-1", step) for step in ("at_risk", "lead", "overdue", "pool:second")),
        *(("c-1", step) for step in ("adjudicator", "lead", "overdue")),
        *(("c-2", step) for step in ("adjudicator", "lead", "overdue")),
        *(("q-1", step) for step in ("at_risk", "lead", "overdue", "pool:second")),
        *(("q-2", step) for step in ("at_risk", "lead", "overdue", "pool:second")),
        ("q-3", "at_risk"),
        ("q-3", "overdue"),
    ]
    told = receiver.counts()
    assert told == {
        ("chat", "due soon"): 4,
        ("chat", "overdue"): 6,
        ("chat", "gone to an adjudicator, as nobody finished in time"): 2,
        ("chat-of-the-second", "handed over by general, where nobody finished in time"): 3,
        ("boss", "still not finished"): 5,
    }
    twice = len(receiver.received) - len({each.number for each in receiver.received})
    assert twice <= 2, "a message is sent twice only where a kill met its sending"
    with week.bridge() as bridge:
        assert (bridge.notices_waiting(), bridge.store.verify_audit({}).problems) == (0, ())
    said = week.log.read_text()
    assert "daemon.notices_not_sent" in said
    assert "SECRET" not in said


def _answer(fake: FakeLabelStudio, item: str) -> None:
    crowd = Crowd(fake.url, fake.reviewer_tokens)
    for project, page in crowd.places():
        for task in crowd.anybody.tasks(project["id"]):
            if task["data"]["text"] == f"the words of {item}":
                assert crowd.anybody.answer(task, page, "refund")
