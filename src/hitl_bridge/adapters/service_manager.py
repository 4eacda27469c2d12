"""Tells systemd how the daemon is doing (sd_notify): a line to the socket that it named, and nothing if it named none."""

from __future__ import annotations

import socket


class ServiceManager:
    """`address` is what NOTIFY_SOCKET holds: a path, or a name in the abstract namespace after an @."""

    def __init__(self, address: str | None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address

    def ready(self) -> None:
        self._say("READY=1")

    def alive(self) -> None:
        """For WatchdogSec: to be said more often than that."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def _say(self, line: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.sendto(line.encode("ascii"), self._address)
        except OSError:
            return  # a service manager that does not listen is no reason to stop working
