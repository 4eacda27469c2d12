"""A Label Studio of the workspace's own, on this machine, to try the bridge with.

It is a plain process: started detached, found again by its pid file, listening on the loopback only. Everything
it owns is in one folder:

    data/            Label Studio's own: database, media, .env with the key that signs its tokens
    settings/        the two Django settings in which it differs from a stock one
    server.pid       which process it is, with the time that process was created (a pid alone may be reused)
    server.log       what it says; server.log.1 from the start before
    admin.json       e-mail and password of the bridge's account        token   its personal access token
    reviewers.json   the reviewers that were made here
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import psutil
import requests

from hitl_bridge.adapters.label_studio.local_accounts import (
    LocalAccounts,
    ReviewerAccount,
    ServiceAccount,
    admin_credentials,
    read_private,
    write_private,
)
from hitl_bridge.adapters.label_studio.local_install import (
    LINES_SHOWN,
    Installation,
    Progress,
    locked,
    ready_installation,
    server_variables,
    silent,
)
from hitl_bridge.adapters.label_studio.local_process import (
    HOST,
    PidRecord,
    address,
    end_process,
    is_healthy,
    is_ours,
    launch,
    require_free,
)
from hitl_bridge.errors import LabelingUnavailable

START_SECONDS = 240.0
LOOK_EVERY_SECONDS = 0.25

# The networks that Label Studio sends no webhook to, without the loopback: the bridge that it is to call is on this machine.
BANNED_NETWORKS = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24"),
    *("192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4"),
    *("233.252.0.0/24", "240.0.0.0/4", "255.255.255.255/32", "::/128", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"),
    *("64:ff9b:1::/48", "100::/64", "2001:0000::/32", "2001:20::/28", "2001:db8::/32", "2002::/16", "fc00::/7", "fe80::/10"),
    "ff00::/8",
)

SETTINGS = {
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "LABEL_STUDIO_TASK_LOCK_TTL": "1800",
    "fflag_feat_utc_210_prediction_validation_15082025": "true",
    "USE_DEFAULT_BANNED_SUBNETS": "false",
    "USER_ADDITIONAL_BANNED_SUBNETS": ",".join(BANNED_NETWORKS),
}

SETTINGS_MODULE = "hitl_label_studio_settings"
DJANGO_SETTINGS = """\
# Written at every start: changes made here are lost.
from core.settings.base import *  # first, because the next module looks settings up while they are being loaded
from label_studio.core.settings.label_studio import *

# Cookies don't tell ports apart: two workspaces in one browser would log each other out.
SESSION_COOKIE_NAME = "sessionid_{port}"
# Otherwise every request is logged, twice, and with it the token of the invite link.
LOGGING["loggers"]["django.server"] = {{"handlers": ["console"], "level": "WARNING", "propagate": False}}
"""


class ServerDidNotStart(LabelingUnavailable):
    """The process ended, or was not healthy in time."""

    def __init__(self, what: str, log: Path) -> None:
        self.log = log
        self.last_lines = tuple(read_private(log).splitlines()[-LINES_SHOWN:])
        said = "\n".join(f"  {line}" for line in self.last_lines)
        super().__init__(f"The local Label Studio {what}.\n{said}", remedy=f"Its whole log is {log}.")


class ServerNotRunning(LabelingUnavailable):
    """An account was asked for while there is no server to ask."""

    def __init__(self, home: Path) -> None:
        self.home = home
        super().__init__(f"The local Label Studio of {home} is not running.", remedy="Start it: hitl-bridge label-studio start")


class ServerDoesNotAnswer(LabelingUnavailable):
    """The process is there, but a request to it failed or took too long."""

    def __init__(self, url: str, why: str) -> None:
        self.url = url
        super().__init__(
            f"The local Label Studio at {url} does not answer: {why}",
            remedy="Try again; if it stays so, stop it and start it again.",
        )


class ServerState(StrEnum):
    """`stale` is a pid file whose process is gone: killed, or lost with the machine. Starting again is enough."""

    RUNNING = "running"
    STOPPED = "stopped"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known of the server without starting anything. `url` is where it is, or where it would be."""

    state: ServerState
    url: str
    pid: int | None
    version: str | None
    healthy: bool


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers. `already_running`: it was there before, perhaps on another port than asked for."""

    url: str
    pid: int
    version: str
    already_running: bool


class LocalServer:
    """The Label Studio whose data is in `home`, installed (once for all workspaces) in `cache`.

    `variables` are more of Label Studio's own settings, as for another database. `progress` hears what takes long: the
    installation and the first database.
    """

    def __init__(
        self,
        home: Path,
        *,
        cache: Path,
        port: int = 8080,
        variables: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> None:
        self.home = home.absolute()
        self.cache = cache.absolute()
        self.port = port
        self.variables = dict(variables or {})
        self.progress = progress

    def start(self, *, timeout: float = START_SECONDS) -> RunningServer:
        """Start the server, or find it running; return when it is healthy. `timeout` (seconds) is for the start
        itself, not for installing what is missing."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.home / "start.lock", self.progress, "another process is starting it: waiting"):
            running = self._running()
            if running is not None:
                return self._when_healthy(running, timeout, already_running=True)
            require_free(self.port)
            installation = ready_installation(self.cache, self.progress)
            prepare_data(self._data, installation.template)
            self.progress("starting Label Studio (5 to 20 seconds)")
            return self._when_healthy(self._launch(installation), timeout, already_running=False)

    def stop(self) -> bool:
        """End the server, politely first. False where there was none to end."""
        record = self._running()
        if record is not None:
            end_process(record.pid)
        (self.home / "server.pid").unlink(missing_ok=True)
        return record is not None

    def status(self) -> ServerStatus:
        record = self._record()
        if record is None:
            return ServerStatus(ServerState.STOPPED, address(self.port), None, None, healthy=False)
        url = address(record.port)
        if self._running() is None:
            return ServerStatus(ServerState.STALE, url, record.pid, record.version, healthy=False)
        return ServerStatus(ServerState.RUNNING, url, record.pid, record.version, is_healthy(url))

    def service_account(self) -> ServiceAccount:
        """The bridge's own account with a token that works now; the same one as long as it does."""
        with self._accounts() as accounts:
            return accounts.service()

    def reviewer_account(self, email: str, password: str | None = None) -> ReviewerAccount:
        """An account that can log in and review: the existing one, or one made through the invite link.

        Without a password, one is drawn. An account that was made elsewhere needs the password that it has.
        """
        with self._accounts() as accounts:
            return accounts.reviewer(email, password)

    def reviewer_token(self, email: str) -> str:
        """A personal access token of the reviewer's own (and the account, where it is missing)."""
        with self._accounts() as accounts:
            return accounts.reviewer_token(email)

    @property
    def _data(self) -> Path:
        return self.home / "data"

    @property
    def _log(self) -> Path:
        return self.home / "server.log"

    @contextmanager
    def _accounts(self) -> Iterator[LocalAccounts]:
        record = self._running()
        if record is None:
            raise ServerNotRunning(self.home)
        url = address(record.port)
        with locked(self.home / "accounts.lock", self.progress, "another process is making an account: waiting"):
            try:
                yield LocalAccounts(self.home, url)
            except requests.RequestException as error:
                raise ServerDoesNotAnswer(url, str(error)) from error

    def _record(self) -> PidRecord | None:
        stored = read_private(self.home / "server.pid")
        return PidRecord(**json.loads(stored)) if stored else None

    def _running(self) -> PidRecord | None:
        record = self._record()
        return record if record is not None and is_ours(record, self._data) else None

    def _launch(self, installation: Installation) -> PidRecord:
        email, password = admin_credentials(self.home)
        variables = server_variables(self._data) | SETTINGS | django_settings(self.home / "settings", self.port)
        variables |= {"LABEL_STUDIO_USERNAME": email, "LABEL_STUDIO_PASSWORD": password} | self.variables
        process = launch(start_command(installation, self._data, self.port), variables, self._log)
        record = PidRecord(process.pid, psutil.Process(process.pid).create_time(), self.port, installation.version)
        write_private(self.home / "server.pid", json.dumps(asdict(record)) + "\n")
        return record

    def _when_healthy(self, record: PidRecord, timeout: float, *, already_running: bool) -> RunningServer:
        deadline = time.monotonic() + timeout
        while not is_healthy(address(record.port)):
            if not is_ours(record, self._data):
                raise ServerDidNotStart("ended while it was starting", self._log)
            if time.monotonic() > deadline:
                end_process(record.pid)
                raise ServerDidNotStart(f"was not healthy within {timeout:.0f} seconds and was stopped", self._log)
            time.sleep(LOOK_EVERY_SECONDS)
        return RunningServer(address(record.port), record.pid, record.version, already_running)


def prepare_data(data: Path, template: Path) -> None:
    """Give a new workspace its signing key and an empty database; leave those of an old one alone."""
    data.mkdir(exist_ok=True, mode=0o700)
    if not (data / ".env").exists():
        # Label Studio would draw a key itself, but one in fifty begins with a "$", which it then reads back as
        # empty: it draws another at every start, and every token is dead after each.
        write_private(data / ".env", f"SECRET_KEY={secrets.token_urlsafe(48)}\n")
    if not (data / "label_studio.sqlite3").exists():
        with tempfile.TemporaryDirectory(dir=data, prefix=".copy-") as copying:
            copy = Path(shutil.copyfile(template, Path(copying) / template.name))
            copy.chmod(0o600)
            copy.replace(data / "label_studio.sqlite3")


def django_settings(folder: Path, port: int) -> dict[str, str]:
    """Write the settings that no environment variable reaches; the variables that make Label Studio read them."""
    folder.mkdir(exist_ok=True, mode=0o700)
    (folder / f"{SETTINGS_MODULE}.py").write_text(DJANGO_SETTINGS.format(port=port), encoding="utf-8")
    return {"DJANGO_SETTINGS_MODULE": SETTINGS_MODULE, "PYTHONPATH": str(folder)}


def start_command(installation: Installation, data: Path, port: int) -> list[str]:
    """`--debug` only makes Label Studio fail on a port that was taken meanwhile, instead of choosing another."""
    where = ["--internal-host", HOST, "--port", str(port), "--data-dir", str(data)]
    return [str(installation.command), "start", "--no-browser", "--debug", *where]
