"""The process of the embedded Label Studio: it outlives whoever started it, and is known again by its pid and its age."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from hitl_bridge.adapters.label_studio.local_accounts import browser
from hitl_bridge.errors import UsageError

HOST = "127.0.0.1"
HEALTH_SECONDS = 5.0
CLOCK_SLACK_SECONDS = 60.0  # a process' creation time shifts when the machine's clock is set
STOP_SECONDS = 15.0


class PortInUse(UsageError):
    """Something that is not our server listens on the port."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(
            f"Port {port} of this machine is in use by another program.",
            remedy="Stop the program that holds it, or name another port in hitl.yaml: label_studio.url "
            f"(for example {port + 1}).",
        )


class PortNotAllowed(UsageError):
    """The system does not let us listen on the port."""

    def __init__(self, port: int, why: str) -> None:
        self.port = port
        self.why = why
        super().__init__(
            f"Label Studio can't listen on port {port}: {why}.",
            remedy="Name a port above 1023 in hitl.yaml: label_studio.url.",
        )


@dataclass(frozen=True, slots=True)
class PidRecord:
    """What `server.pid` holds. `created` is the process' creation time, in seconds since 1970."""

    pid: int
    created: float
    port: int
    version: str


def address(port: int) -> str:
    return f"http://{HOST}:{port}"


def require_free(port: int) -> None:
    """Label Studio would quietly go to the next port that is free, and nobody would find it there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(port) from error
            raise PortNotAllowed(port, error.strerror or str(error)) from error


def launch(command: list[str], variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives us: its own session, no terminal, its words in a log that only we can read."""
    if log.exists():
        log.replace(log.with_name("server.log.1"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            command,
            env=variables,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    process.returncode = 0  # it is meant to go on without us: Popen need not warn about that
    return process


def is_ours(record: PidRecord, data: Path) -> bool:
    """Whether the recorded process still lives and is the server of this folder, not a later one with its pid."""
    try:
        process = psutil.Process(record.pid)
        with process.oneshot():
            alive = process.status() != psutil.STATUS_ZOMBIE
            same_age = abs(process.create_time() - record.created) < CLOCK_SLACK_SECONDS
            arguments = process.cmdline()
            # A process that is just being started has no arguments yet.
            return alive and same_age and (not arguments or str(data) in arguments)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def is_healthy(url: str) -> bool:
    try:
        answer = browser().get(f"{url}/health", timeout=HEALTH_SECONDS)
    except requests.RequestException:
        return False
    return answer.status_code == 200 and '"UP"' in answer.text


def end_process(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
    except psutil.NoSuchProcess:
        return
