"""The loop: it stops when told to, outlives whatever is away, stands by for another one, and says nothing private."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hitl_bridge import daemon
from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.core.model import Project, ProjectId
from hitl_bridge.daemon import Shared
from hitl_bridge.daemon.loop import LOOK_AGAIN
from hitl_bridge.daemon.pauses import LONGEST, Pauses
from hitl_bridge.errors import AccessRefused
from hitl_bridge.ports import PushOutcome, TaskContent
from hitl_bridge.services.keeping.health import Vitals
from tests.services.bench import Bench, BreakableLabeling, clean_environment, row, with_git

EVERY = 0.05
TOKEN, TEXT, EMAIL = "s3cr3t-token", "the words of t-1", "ana@example.com"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as environment:
        for kind in ("AUTHOR", "COMMITTER"):
            environment.setenv(f"GIT_{kind}_NAME", "Ana")
            environment.setenv(f"GIT_{kind}_EMAIL", EMAIL)
        return with_git(tmp_path_factory.mktemp("template") / "workspace")


@pytest.fixture
def bench(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("HITL_LABEL_STUDIO_TOKEN", TOKEN)
    bench = Bench(shutil.copytree(template, tmp_path / "workspace"))
    bench.clock = SystemClock()  # type: ignore[assignment]
    bench.bridge = bench.opened()
    yield bench
    bench.bridge.close()


def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


class Running:
    """The daemon in a thread, with what it shares."""

    def __init__(self, bench: Bench, *, every: float = EVERY) -> None:
        self.shared = Shared(Vitals(SystemClock()))
        self.failed: list[BaseException] = []
        self._bench = bench
        self._every = every
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with self._bench.opened() as bridge:
                daemon.run(bridge, every=self._every, shared=self.shared)
        except BaseException as error:  # noqa: BLE001 (raised again where the test ends)
            self.failed.append(error)

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shared.stop.set()
        self.shared.nudges.wake()
        self._thread.join(timeout=60)
        assert not self._thread.is_alive()
        if kind is not None and self.failed:
            raise self.failed[0]

    def counted(self, what: str, result: str = "good") -> int:
        return self.shared.vitals.counts[what, result]


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def actions(text: str) -> list[str]:
    return [line["action"] for line in lines(text)]


def test_it_goes_on_when_the_labeling_service_is_away_and_comes_back(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.fail_next(times=2)
    with Running(bench) as running:
        until(bench.labeling.tasks)
        until(lambda: running.counted("cycle") and bench.opened().status().last_cycle)
    log = capsys.readouterr().err
    assert [each for each in actions(log) if each.startswith("daemon.outside")] == [
        "daemon.outside_away",
        "daemon.outside_away",
        "daemon.outside_back",
    ]
    assert (actions(log)[0], actions(log)[-1]) == ("daemon.started", "daemon.stopped")
    assert len(bench.labeling.tasks()) == 1
    for private in (TOKEN, TEXT, EMAIL):
        assert private not in log


@pytest.mark.catalogue("B1")
def test_an_answer_that_nobody_announces_becomes_a_decision_and_a_dataset_version_all_the_same(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    with Running(bench) as running:
        until(lambda: bench.labeling.tasks())
        until(lambda: running.counted("cycle") > 1)
        bench.answer("t-1")
        until(lambda: bench.opened().status().dataset_version)
    assert running.shared.nudges.accepted == 0
    assert bench.opened().trace("t-1")["versions"] == ["v0.1.0"]


def test_a_nudge_brings_the_answer_long_before_the_next_cycle(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    with Running(bench, every=300.0) as running:
        until(lambda: running.counted("cycle"))
        bench.answer("t-1")
        (project,) = bench.bridge.store.projects()
        running.shared.nudges.add(project.project_id)
        until(lambda: bench.bridge.status().decisions, seconds=10)
        assert running.counted("cycle") == 1


@pytest.mark.catalogue("B4")
def test_a_call_that_was_accepted_by_a_daemon_that_died_is_made_up_for_by_the_next_start(bench: Bench) -> None:
    bench.pushed(row("t-1"))
    bench.answer("t-1")
    dead = Shared(Vitals(SystemClock()))
    assert dead.nudges.add(bench.bridge.store.projects()[0].project_id)
    with Running(bench, every=300.0):
        until(lambda: bench.bridge.status().decisions)


def test_a_nudge_for_a_project_that_nobody_knows_is_ignored(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    with Running(bench, every=300.0) as running:
        until(lambda: running.counted("cycle"))
        before = bench.database()
        running.shared.nudges.add(ProjectId(4711))
        looks = 1 + len(LOOK_AGAIN)
        until(lambda: running.counted("nudge") == looks)
        time.sleep(2 * max(LOOK_AGAIN))
        assert running.counted("nudge") == looks, "nothing is looked into for ever"
        assert [line for line in bench.database() if "leases" not in line] == [line for line in before if "leases" not in line]


@pytest.mark.catalogue("B12")
def test_a_token_that_is_refused_is_an_alarm_at_once_and_not_the_end(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.fail_next(AccessRefused("The token was revoked.", remedy="Make a new token."), times=3)
    with Running(bench, every=0.3) as running:
        until(lambda: running.shared.vitals.access_refused, seconds=5)
        assert running.shared.vitals.outside["label_studio"].up is False
        until(bench.labeling.tasks)
        until(lambda: not running.shared.vitals.access_refused)
    told = [line for line in lines(capsys.readouterr().err) if line["action"] == "daemon.access_refused"]
    assert told[0]["level"] == "error"
    assert told[0]["remedy"]
    assert running.failed == []


@pytest.mark.catalogue("B12")
def test_the_token_file_is_read_again_before_each_try(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HITL_LABEL_STUDIO_TOKEN")
    file = bench.root / ".hitl" / "label-studio" / "token"
    file.parent.mkdir(parents=True)
    bridge = bench.opened()
    assert bridge.renew_token() is False
    file.touch(mode=0o600)
    file.write_text("a-new-one")
    assert (bridge.renew_token(), bridge.renew_token()) == (True, False)
    assert bridge.settings.token is not None
    assert bridge.settings.token.reveal() == "a-new-one"


def test_a_repository_in_which_nothing_can_be_committed_does_not_stop_the_reviews(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.ingest(row("t-1"))
    subprocess.run(["git", "switch", "--quiet", "--create", "elsewhere"], cwd=bench.root, check=True)
    with Running(bench) as running:
        until(lambda: running.counted("cycle"))
        bench.answer("t-1")
        until(lambda: bench.bridge.status().decisions)
        until(lambda: running.shared.vitals.commit_refused)
        assert running.counted("cycle") > 0
    assert "daemon.commit_refused" in actions(capsys.readouterr().err)
    assert running.failed == []


class LabelingWithABug(BreakableLabeling):
    def create_tasks(self, project: Project, tasks: list[TaskContent]) -> PushOutcome:  # type: ignore[override]
        raise ZeroDivisionError


def test_what_nobody_has_foreseen_ends_it(bench: Bench) -> None:
    bench.labeling = LabelingWithABug()
    bench.bridge = bench.opened()
    bench.ingest(row("t-1"))
    with Running(bench) as running:
        until(lambda: running.failed)
    assert isinstance(running.failed[0], ZeroDivisionError)


def test_pauses_grow_to_five_minutes_and_never_beyond() -> None:
    pauses = Pauses(30.0, lambda tries: 0.0)
    grown = [pauses.longer() for _ in range(30)]
    assert grown[:4] == [60.0, 120.0, 240.0, LONGEST]
    assert set(grown[4:]) == {LONGEST}
    assert (pauses.over(), pauses.longer()) == (30, 60.0)
    assert Pauses(30.0, lambda tries: 1.0).longer() == 30.0


# ------------------------------------------------------------------------------- as a process of its own

_PROGRAM = """
import sys, time
from pathlib import Path
from hitl_bridge import daemon, open_bridge
from hitl_bridge.adapters.memory import InMemoryLabeling

class Hanging(InMemoryLabeling):
    def create_tasks(self, project, tasks):
        import subprocess
        child = subprocess.Popen(["sleep", "1000"])
        Path(sys.argv[1], ".hitl", "child").write_text(str(child.pid))
        time.sleep(1000)

labeling = Hanging() if "hang" in sys.argv else InMemoryLabeling()
with open_bridge(sys.argv[1], labeling=labeling) as bridge:
    daemon.run(bridge, every=float(sys.argv[2]), grace=1.0)
"""


class Process:
    """A daemon in a process of its own, and its lines as they come."""

    def __init__(self, root: Path, *more: str, every: str = "600") -> None:
        command = [sys.executable, "-c", _PROGRAM, str(root), every, *more]
        self.process = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE, text=True)
        self.said: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(json.loads(line) if line.startswith("{") else {"action": line.rstrip()})

    def __enter__(self) -> Process:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def says(self, action: str, seconds: float = 60.0) -> None:
        until(lambda: action in self.actions(), seconds)

    def actions(self) -> list[str]:
        return [line["action"] for line in self.said]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_when_asked_to_also_in_the_middle_of_a_pause(bench: Bench, number: signal.Signals) -> None:
    with Process(bench.root) as daemon_process:
        daemon_process.says("daemon.cycle")
        daemon_process.process.send_signal(number)
        assert daemon_process.process.wait(timeout=10) == 0
        daemon_process.says("daemon.stopped")
    assert daemon_process.actions() == ["daemon.started", "daemon.cycle", "daemon.stopped"]


def test_it_ends_in_time_whatever_hangs_and_takes_its_children_with_it(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    child = bench.root / ".hitl" / "child"
    with Process(bench.root, "hang") as daemon_process:
        until(lambda: child.exists() and child.read_text())
        asked = time.monotonic()
        daemon_process.process.send_signal(signal.SIGTERM)
        assert daemon_process.process.wait(timeout=10) == 0
        assert time.monotonic() - asked < 5.0
        daemon_process.says("daemon.cut_off")
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)


@pytest.mark.catalogue("A10")
def test_a_second_daemon_stands_by_and_takes_over_at_once_when_the_first_stops_or_dies(bench: Bench) -> None:
    with Process(bench.root) as first:
        first.says("daemon.cycle")
        with Process(bench.root) as second:
            second.says("daemon.standby")
            assert "daemon.cycle" not in second.actions()
            first.process.send_signal(signal.SIGTERM)
            second.says("daemon.cycle", seconds=10)
            with Process(bench.root) as third:
                third.says("daemon.standby")
                second.process.kill()
                third.says("daemon.took_over", seconds=10)


@pytest.mark.catalogue("A10")
def test_a_daemon_that_stood_still_finds_that_another_one_leads_and_stands_by(bench: Bench) -> None:
    with Process(bench.root, every="1") as first:
        first.says("daemon.cycle")
        with Process(bench.root, every="1") as second:
            second.says("daemon.standby")
            first.process.send_signal(signal.SIGSTOP)
            second.says("daemon.took_over", seconds=60)
            second.says("daemon.cycle")
            first.process.send_signal(signal.SIGCONT)
            first.says("daemon.lease_lost", seconds=20)
            first.says("daemon.standby", seconds=20)


_STUCK = """
import time
from hitl_bridge.adapters.clock import SystemClock
from hitl_bridge.daemon.ending import ended_if_stuck
from hitl_bridge.daemon.log import logger
from hitl_bridge.services.keeping.health import Vitals
with ended_if_stuck(Vitals(SystemClock()), logger(), after=0.5):
    time.sleep(60)
"""


def test_a_loop_that_is_stuck_ends_its_process_and_shows_where_it_hung() -> None:
    done = subprocess.run([sys.executable, "-c", _STUCK], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 75
    assert "daemon.stuck" in done.stderr
    assert 'File "<string>", line 8' in done.stderr
