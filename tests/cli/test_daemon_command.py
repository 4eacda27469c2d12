"""The daemon as it is started by hand or by systemd, with its routes, and the tokens for them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Run
from tests.services.bench import clean_environment, row, write_rows

TOKEN, TEXT, EMAIL = "canary-token-8e1f", "canary words of an input", "ana@example.com"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def notified(listener: socket.socket) -> str:
    listener.settimeout(60)
    return listener.recv(100).decode()


def test_it_answers_while_label_studio_is_away_tells_systemd_and_says_nothing_private(
    run: Run, git_workspace: Path, tmp_path: Path
) -> None:
    """I7: neither the token of Label Studio, nor one of the routes, nor a text, nor an address is in what it says."""
    port, log = free_port(), tmp_path / "log"
    settings = git_workspace / "hitl.yaml"
    settings.write_text(settings.read_text() + f'daemon: {{every: 1s, listen: "127.0.0.1:{port}"}}\n')
    write_rows(git_workspace / "in.jsonl", [row("t-1", input={"text": TEXT})])
    assert run("ingest", "in.jsonl").code == 0
    token = run("token", "new", "prometheus", "--json").json["token"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, log.open("wb") as heard:
        systemd.bind(str(tmp_path / "notify"))
        variables = clean_environment() | {"HITL_LABEL_STUDIO_TOKEN": TOKEN, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [str(Path(sys.executable).parent / "hitl-bridge"), "daemon"]
        process = subprocess.Popen(command, cwd=git_workspace, env=variables, stderr=heard)
        try:
            assert notified(systemd) == "READY=1"
            assert notified(systemd) == "WATCHDOG=1"
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {token}"}) as client:
                assert client.get("/livez").json() == {"alive": True}
                until_away(client)
                assert client.get("/readyz").json() == {"ready": True, "role": "leader"}
                assert 'hitl_bridge_outside_up{system="label_studio"} 0.0' in client.get("/metrics").text
            asked = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
            assert time.monotonic() - asked < 10
        finally:
            process.kill()
            process.wait()
    said = log.read_text()
    actions = [json.loads(line)["action"] for line in said.splitlines()]
    assert (actions[0], actions[-1]) == ("web.listening", "daemon.stopped")
    assert "daemon.outside_away" in actions
    for private in (TOKEN, token, TEXT, EMAIL):
        assert private not in said


def until_away(client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while True:
        (away,) = (each for each in client.get("/health").json()["outside"] if each["name"] == "label_studio")
        if away["up"] is False and away["since"]:
            return
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_token_is_shown_once_and_can_be_taken_back(run: Run, git_workspace: Path) -> None:
    made = run("token", "new", "grafana")
    assert (made.code, "Bearer hitlb_" in made.out) == (0, True)
    assert run("token", "new", "grafana").code == 2
    assert [each["name"] for each in run("token", "list", "--json").json] == ["grafana"]
    assert "hitlb_" not in run("token", "list").out
    assert run("token", "revoke", "grafana").code == 0
    assert run("token", "revoke", "grafana").code == 2
    assert run("token", "list", "--json").json[0]["revoked_at"] is not None


@pytest.mark.parametrize(
    "section",
    [
        "daemon: {listen: '8731'}",
        "daemon: {listen: '127.0.0.1:0'}",
        "daemon: {listen: '::1:8731'}",
        "daemon: {webhook_url: 'https://bridge.example.com'}",
        "daemon: {every: 2h}",
        "daemon: {every: 0s}",
        "daemon: {every: 30}",
        "daemon: {often: 30s}",
    ],
)
def test_a_mistake_in_its_settings_is_told_with_its_line(run: Run, workspace: Path, section: str) -> None:
    settings = workspace / "hitl.yaml"
    settings.write_text(settings.read_text() + section + "\n")
    ran = run("status")
    assert (ran.code, "daemon" in ran.err, "line" in ran.err) == (2, True, True)
