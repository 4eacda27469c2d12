"""The loop: it stops when told to, outlives a labeling service that is away, and says nothing that should stay private."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hitl_bridge import daemon
from hitl_bridge.errors import AccessRefused, BridgeError
from tests.services.bench import Bench, clean_environment, row, with_git

EVERY = 0.05


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for kind in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{kind}_NAME", "Ana")
        monkeypatch.setenv(f"GIT_{kind}_EMAIL", "ana@example.com")
    monkeypatch.setenv("HITL_LABEL_STUDIO_TOKEN", "s3cr3t-token")
    return Bench(with_git(tmp_path / "workspace"))


def until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(bench: Bench, stop: threading.Event) -> threading.Thread:
    thread = threading.Thread(target=daemon.run, args=(bench.bridge,), kwargs={"every": EVERY, "stop": stop})
    thread.start()
    return thread


def test_it_goes_on_when_the_labeling_service_is_away_and_comes_back(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.fail_next(times=2)
    stop = threading.Event()
    thread = running(bench, stop)
    try:
        until(bench.labeling.tasks)
        until(lambda: bench.opened().status().last_cycle)
    finally:
        stop.set()
        thread.join(timeout=60)
    assert not thread.is_alive()
    log = capsys.readouterr().err
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events[:5] == ["daemon.started", "daemon.outside_away", "daemon.outside_away", "daemon.outside_back", "daemon.cycle"]
    assert events[-1] == "daemon.stopped"
    assert len(bench.labeling.tasks()) == 1
    for private in ("s3cr3t-token", "the words of t-1", "ana@example.com"):
        assert private not in log


def test_what_a_person_must_decide_ends_it(bench: Bench) -> None:
    bench.ingest(row("t-1"))
    bench.labeling.fail_next(AccessRefused("The token was revoked."))
    with pytest.raises(BridgeError, match="revoked"):
        daemon.run(bench.bridge, every=EVERY, stop=threading.Event())


_PROGRAM = """
import sys
from hitl_bridge import daemon, open_bridge
from hitl_bridge.adapters.memory import InMemoryLabeling
with open_bridge(sys.argv[1], labeling=InMemoryLabeling()) as bridge:
    daemon.run(bridge, every=600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_when_asked_to_also_in_the_middle_of_a_pause(bench: Bench, number: signal.Signals) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(bench.root)]
    with subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = [process.stderr.readline(), process.stderr.readline()]
            process.send_signal(number)
            said += process.stderr.readlines()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert [json.loads(line)["event"] for line in said] == ["daemon.started", "daemon.cycle", "daemon.stopped"]
