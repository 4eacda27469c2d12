"""Which process this is, whether another one is surely dead, and how those that this one started are ended."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

_FIELDS = 4


def this_process() -> str:
    """Host, its present run and process space, process id and start: `host/3f2a…/4711/1700000000.25`."""
    me = psutil.Process()
    return f"{socket.gethostname()}/{_space()}/{me.pid}/{me.create_time():.2f}"


def is_dead(name: str) -> bool:
    """Whether the process of that name is over. Of other machines and containers nothing is known: False."""
    parts = name.split("/")
    if len(parts) != _FIELDS or parts[:2] != [socket.gethostname(), _space()] or not parts[2].isdigit():
        return False
    try:
        process = psutil.Process(int(parts[2]))
        return f"{process.create_time():.2f}" != parts[3] or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _space() -> str:
    """Tells apart containers of one name, whose process ids mean different things, and the machine before it was restarted."""
    known = ""
    with suppress(OSError):  # not there on macOS, where there are no containers either
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        known = f"{boot[:8]}-{Path('/proc/self/ns/pid').readlink()}"
    return "".join(char for char in known if char.isalnum() or char == "-")


def end_children(seconds: float) -> int:
    """Asks every descendant to end, and kills what is still there after `seconds`. Returns how many there were."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        _quietly(child.terminate)
    _, stubborn = psutil.wait_procs(children, timeout=seconds)
    for child in stubborn:
        _quietly(child.kill)
    return len(children)


def _quietly(end: Callable[[], None]) -> None:
    """A process that is gone already is no trouble."""
    try:
        end()
    except psutil.NoSuchProcess:
        return
