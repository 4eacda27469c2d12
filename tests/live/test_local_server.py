"""The embedded Label Studio, for real: started, killed, doubled, and asked for accounts."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from hitl_bridge.adapters.label_studio.local_accounts import AccountRefused, access_token, browser, log_in
from hitl_bridge.adapters.label_studio.local_install import (
    InstallationFailed,
    carry_out,
    pinned,
    ready_installation,
)
from hitl_bridge.adapters.label_studio.local_process import PortInUse
from hitl_bridge.adapters.label_studio.local_server import (
    LocalServer,
    RunningServer,
    ServerDidNotStart,
    ServerNotRunning,
    ServerState,
)
from hitl_bridge.settings import cache_dir

pytestmark = pytest.mark.live

SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def who_is(url: str, token: str) -> str:
    """The e-mail that a personal access token stands for, by way of the bearer token that it is exchanged for."""
    headers = {"Authorization": f"Bearer {access_token(url, token)}"}
    return str(browser().get(f"{url}/api/current-user/whoami", headers=headers, timeout=SECONDS).json()["email"])


@pytest.fixture(scope="module")
def cache() -> Path:
    return cache_dir()


@pytest.fixture(scope="module")
def server(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """One workspace's server for the whole file. Tests that stop it start it again."""
    home = tmp_path_factory.mktemp("workspace") / "label-studio"
    local = LocalServer(home, cache=cache, port=free_port())
    yield local
    local.stop()


@pytest.fixture
def running(server: LocalServer) -> RunningServer:
    return server.start()


@pytest.fixture(scope="module")
def second(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Another workspace's: a start takes a quarter of a minute, and these tests need not have a new one each."""
    local = LocalServer(tmp_path_factory.mktemp("second") / "label-studio", cache=cache, port=free_port())
    yield local
    local.stop()


@pytest.fixture
def fresh(cache: Path, tmp_path: Path) -> Iterator[LocalServer]:
    """A workspace that has never had a server."""
    local = LocalServer(tmp_path / "label-studio", cache=cache, port=free_port())
    yield local
    local.stop()


def test_a_started_server_is_healthy_and_listens_on_the_loopback_only(server: LocalServer, running: RunningServer) -> None:
    status = server.status()
    listening = [each.laddr.ip for each in psutil.Process(running.pid).net_connections() if each.status == "LISTEN"]

    assert (status.state, status.healthy, status.pid) == (ServerState.RUNNING, True, running.pid)
    assert (status.url, status.version) == (running.url, "1.23.2")
    assert listening == ["127.0.0.1"]


def test_starting_a_running_server_says_so_and_leaves_it_alone(server: LocalServer, running: RunningServer) -> None:
    again = LocalServer(server.home, cache=server.cache, port=free_port()).start()

    assert again == RunningServer(running.url, running.pid, running.version, already_running=True)


def test_a_port_that_something_else_holds_is_named_with_the_way_out(fresh: LocalServer) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", fresh.port))
        other.listen()
        with pytest.raises(PortInUse, match=str(fresh.port)) as caught:
            fresh.start()

    assert caught.value.port == fresh.port
    assert "label_studio.url" in caught.value.remedy
    assert fresh.status().state is ServerState.STOPPED


def test_a_killed_server_is_stale_and_starts_again_with_its_accounts(server: LocalServer, running: RunningServer) -> None:
    token = server.service_account().token
    psutil.Process(running.pid).kill()
    psutil.Process(running.pid).wait(SECONDS)

    assert server.status().state is ServerState.STALE
    assert not server.start().already_running
    assert server.service_account().token == token
    assert who_is(running.url, token) == "bridge@localhost"


def test_accounts_of_a_server_that_is_not_running_say_how_to_start_it(fresh: LocalServer) -> None:
    with pytest.raises(ServerNotRunning) as caught:
        fresh.service_account()

    assert "hitl-bridge label-studio start" in caught.value.remedy


def test_a_reused_pid_is_neither_mistaken_for_the_server_nor_killed(fresh: LocalServer) -> None:
    sleeping = "import time; print('awake', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", sleeping], stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        stranger.stdout.readline()  # before that it may have no arguments yet, as a server that is just being started
        created = psutil.Process(stranger.pid).create_time()
        fresh.home.mkdir(parents=True)
        record = f'{{"pid": {stranger.pid}, "created": {created}, "port": {fresh.port}, "version": "1.23.2"}}'
        (fresh.home / "server.pid").write_text(record)

        assert fresh.status().state is ServerState.STALE
        assert not fresh.stop()
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_that_dies_while_starting_shows_its_last_words(fresh: LocalServer) -> None:
    (fresh.home / "data").mkdir(parents=True)
    (fresh.home / "data" / "label_studio.sqlite3").write_bytes(b"this is no database" * 100)

    with pytest.raises(ServerDidNotStart, match="file is not a database"):
        fresh.start()

    assert fresh.status().state is ServerState.STALE


def test_a_server_that_is_not_healthy_in_time_is_stopped(fresh: LocalServer) -> None:
    with pytest.raises(ServerDidNotStart, match="within 0 seconds"):
        fresh.start(timeout=0.0)

    assert fresh.status().state is ServerState.STALE


def test_two_starts_at_once_give_one_server(second: LocalServer) -> None:
    second.stop()
    with ThreadPoolExecutor(max_workers=2) as threads:
        one, same = threads.map(lambda _: second.start(), range(2))

    assert one.pid == same.pid
    assert {one.already_running, same.already_running} == {True, False}


def test_two_workspaces_side_by_side_share_neither_accounts_nor_keys(
    server: LocalServer, running: RunningServer, second: LocalServer
) -> None:
    other = second.start()
    ours, theirs = server.service_account(), second.service_account()
    session = log_in(other.url, "bridge@localhost", "not the password")

    assert other.url != running.url
    assert who_is(other.url, theirs.token) == "bridge@localhost"
    assert access_token(other.url, ours.token) is None
    assert access_token(running.url, theirs.token) is None
    assert session is None


def test_browser_sessions_of_two_ports_do_not_share_a_cookie(server: LocalServer, running: RunningServer) -> None:
    account = server.reviewer_account("ana@example.com")
    session = log_in(running.url, account.email, account.password)

    assert session is not None
    assert f"sessionid_{server.port}" in session.cookies


def test_the_bridge_has_one_token_until_it_is_lost_or_revoked(server: LocalServer, running: RunningServer) -> None:
    first = server.service_account()
    assert server.service_account() == first

    (server.home / "token").unlink()
    second = server.service_account()

    assert second.token != first.token
    assert access_token(running.url, first.token) is None
    assert who_is(running.url, second.token) == "bridge@localhost"


def test_a_lost_signing_key_costs_the_tokens_but_not_the_accounts(second: LocalServer) -> None:
    second.start()
    before = second.service_account()
    reviewer = second.reviewer_account("ana@example.com")
    second.stop()
    (second.home / "data" / ".env").unlink()

    again = second.start()

    after = second.service_account()
    assert after.token != before.token
    assert who_is(again.url, after.token) == "bridge@localhost"
    assert second.reviewer_account("ana@example.com") == reviewer


def test_a_reviewer_can_log_in_and_is_made_only_once(server: LocalServer, running: RunningServer) -> None:
    account = server.reviewer_account("Ben@Example.com")

    assert server.reviewer_account("ben@example.com") == account
    assert log_in(running.url, account.email, account.password) is not None


def test_a_reviewer_may_bring_a_password_of_their_own(server: LocalServer, running: RunningServer) -> None:
    account = server.reviewer_account("cy@example.com", "a password of their own")

    assert account.password == "a password of their own"
    assert log_in(running.url, "cy@example.com", "a password of their own") is not None
    assert server.reviewer_account("cy@example.com") == account


def test_a_reviewers_token_answers_in_the_reviewers_name(server: LocalServer, running: RunningServer) -> None:
    token = server.reviewer_token("ana@example.com")

    assert who_is(running.url, token) == "ana@example.com"
    assert server.reviewer_token("ana@example.com") == token


def test_a_password_that_is_too_weak_is_refused_with_label_studios_reason(server: LocalServer, running: RunningServer) -> None:
    with pytest.raises(AccountRefused, match="8–128 characters") as caught:
        server.reviewer_account("eve@example.com", "short")

    assert caught.value.email == "eve@example.com"


def test_an_account_made_elsewhere_needs_its_password(server: LocalServer, running: RunningServer) -> None:
    made = server.reviewer_account("fay@example.com")
    remembered = server.home / "reviewers.json"
    others = {email: record for email, record in json.loads(remembered.read_text()).items() if email != made.email}
    remembered.write_text(json.dumps(others))

    with pytest.raises(AccountRefused, match="already exists"):
        server.reviewer_account("fay@example.com")
    assert server.reviewer_account("fay@example.com", made.password) == made


def test_nobody_signs_up_without_the_invite_link(running: RunningServer) -> None:
    session = browser()
    page = f"{running.url}/user/signup/"
    session.get(page, timeout=SECONDS)
    form = {"email": "gus@example.com", "password": "long enough", "csrfmiddlewaretoken": session.cookies["csrftoken"]}

    assert session.post(page, data=form, headers={"Referer": page}, timeout=SECONDS).status_code == 403


def test_pages_are_served_and_report_to_nobody(server: LocalServer, running: RunningServer) -> None:
    account = server.reviewer_account("ana@example.com")
    session = log_in(running.url, account.email, account.password)
    assert session is not None
    page = session.get(f"{running.url}/projects/", timeout=SECONDS)

    assert page.status_code == 200
    assert "collect_analytics: false" in page.text
    assert "browser.sentry-cdn.com" not in page.text
    assert "googletagmanager" not in page.text
    assert session.get(f"{running.url}/static/images/favicon.ico", timeout=SECONDS).status_code == 200


def test_secrets_are_in_private_files_and_neither_in_the_log_nor_on_the_command_line(
    server: LocalServer, running: RunningServer
) -> None:
    account, reviewer = server.service_account(), server.reviewer_account("hal@example.com")
    said = (server.home / "server.log").read_text() + " ".join(psutil.Process(running.pid).cmdline())
    private = ["admin.json", "token", "reviewers.json", "server.pid", "server.log", "data/.env"]

    assert {name: stat.S_IMODE((server.home / name).stat().st_mode) for name in private} == dict.fromkeys(private, 0o600)
    assert stat.S_IMODE((server.home / "data").stat().st_mode) == 0o700
    assert account.token not in said
    assert reviewer.password not in said
    assert "token=" not in said
    assert account.token not in repr(account)
    assert reviewer.password not in repr(reviewer)


def test_a_stopped_server_is_gone_and_can_be_stopped_twice(server: LocalServer, running: RunningServer) -> None:
    assert server.stop()
    assert not psutil.pid_exists(running.pid)
    assert server.status().state is ServerState.STOPPED
    assert not server.stop()


def test_the_shared_template_has_no_account_and_no_key(cache: Path) -> None:
    installation = ready_installation(cache)
    with closing(sqlite3.connect(installation.template)) as database:
        tables = ["htx_user", "organization", "authtoken_token", "token_blacklist_outstandingtoken"]
        rows = [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608

    assert rows == [0, 0, 0, 0]
    assert [each.name for each in installation.template.parent.iterdir()] == [installation.template.name]


def test_a_failing_installation_step_is_told_with_its_last_lines() -> None:
    heard: list[str] = []
    program = "print('fetching'); print('no room left'); raise SystemExit(1)"

    with (
        Path(os.devnull).open() as lock,
        pytest.raises(InstallationFailed, match="no room left") as caught,
    ):
        carry_out("packages", [sys.executable, "-c", program], lock.fileno(), heard.append)

    assert caught.value.step == "packages"
    assert [line.strip() for line in heard] == ["fetching", "no room left"]


def test_pinned_requirements_keep_their_hashes() -> None:
    lock = "six==1.0 \\\n    --hash=sha256:aa\n    # via x\nwheel==2.0 \\\n    --hash=sha256:bb\nwheelhouse==3.0\n"

    assert pinned(lock, ("wheel",)) == "wheel==2.0 \\\n    --hash=sha256:bb\n"
