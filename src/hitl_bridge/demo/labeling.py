"""The Label Studio of the demo: the embedded one, or the user's own with accounts made through its invite link."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from hitl_bridge.adapters.label_studio.local_accounts import LocalAccounts, write_private
from hitl_bridge.adapters.label_studio.local_process import HOST, PortInUse, require_free
from hitl_bridge.adapters.label_studio.local_server import LocalServer
from hitl_bridge.errors import UsageError
from hitl_bridge.settings import cache_dir, load_settings, token_file

_FIRST_PORT = 8080
_PORTS = 50


class DemoLabeling(Protocol):
    """Where the demo's reviewers work."""

    url: str
    is_ours: bool
    """Whether the demo started it, and it can be stopped with the workspace's own command."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def reviewer_token(self, email: str) -> str: ...
    def reviewer_password(self, email: str) -> str: ...
    def login(self) -> str:
        """Who may look around, and where the password is."""


def open_labeling(root: Path, url: str | None, say: Callable[[str], None]) -> DemoLabeling:
    """The embedded server on the first free port, or the user's own at `url`."""
    return OwnLabeling(root, url) if url else EmbeddedLabeling(root, free_port(), say)


def free_port() -> int:
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        with suppress(PortInUse):
            require_free(port)
            return port
    raise UsageError(f"Ports {_FIRST_PORT} to {_FIRST_PORT + _PORTS} are all in use.", remedy="Stop something and try again.")


class EmbeddedLabeling:
    is_ours = True

    def __init__(self, root: Path, port: int, say: Callable[[str], None]) -> None:
        self._home = root / ".hitl" / "label-studio"
        self._server = LocalServer(self._home, cache=cache_dir(), port=port, progress=say)
        self.url = f"http://{HOST}:{port}"

    def start(self) -> None:
        self._server.start()
        self._server.service_account()

    def stop(self) -> None:
        self._server.stop()

    def reviewer_token(self, email: str) -> str:
        return self._server.reviewer_token(email)

    def reviewer_password(self, email: str) -> str:
        return self._server.reviewer_account(email).password

    def login(self) -> str:
        return f"the account in {self._home / 'admin.json'}"


class OwnLabeling:
    """A Label Studio that is there already. Its token comes from HITL_LABEL_STUDIO_TOKEN."""

    is_ours = False

    def __init__(self, root: Path, url: str) -> None:
        self._root = root
        self.url = url.rstrip("/")

    def start(self) -> None:
        token = load_settings(self._root).token
        if token is None:
            raise UsageError("There is no token for your Label Studio.", remedy="Set HITL_LABEL_STUDIO_TOKEN.")
        home = token_file(self._root).parent
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(token_file(self._root), token.reveal() + "\n")
        self._accounts = LocalAccounts(home, self.url)

    def stop(self) -> None:
        """It was not started by the demo, so it is not stopped by it."""

    def reviewer_token(self, email: str) -> str:
        return self._accounts.reviewer_token(email)

    def reviewer_password(self, email: str) -> str:
        return self._accounts.reviewer(email).password

    def login(self) -> str:
        return "your own account"
