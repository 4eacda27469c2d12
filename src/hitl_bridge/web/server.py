"""The listening socket and the server behind it, in a thread of its own beside the daemon's loop."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from hitl_bridge.errors import UsageError

_BACKLOG = 1_024
_MOST_CONNECTIONS = 1_000
_LAST_ANSWERS = 1
"""Seconds that answers under way are given at the end."""


@contextmanager
def serving(app: ASGIApp, listen: str) -> Iterator[int]:
    """Answers at `listen` (`host:port`) inside; gives the port. Raises UsageError if nobody can listen there."""
    bound = _bound(listen)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_LAST_ANSWERS,
        lifespan="off",
        loop="asyncio",
        http="auto",
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="web", daemon=True)
    thread.start()
    try:
        yield int(bound.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(_LAST_ANSWERS + 2)
        bound.close()


def is_loopback(listen: str) -> bool:
    host = listen.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bound(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        raise UsageError(
            f"The daemon can't listen at {listen}: {error.strerror}.",
            remedy="Is another daemon running here? Stop it, or name another address in hitl.yaml: daemon.listen.",
        ) from error
    return bound
