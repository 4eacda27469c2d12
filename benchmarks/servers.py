"""The servers that a benchmark runs on: Label Studio on SQLite or on PostgreSQL, and a PostgreSQL for either."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hitl_bridge.adapters.label_studio.local_server import LocalServer
from hitl_bridge.demo.labeling import free_port
from hitl_bridge.settings import cache_dir

Database = Literal["sqlite", "postgresql"]

_MIGRATIONS = 900.0
"""Seconds that a Label Studio may take to make its tables on PostgreSQL; on SQLite a prepared database is copied."""

_PROGRAMS = Path("/usr/lib/postgresql")


class NoPostgres(Exception):
    """There is no PostgreSQL server with the extension pg_trgm on this machine."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL of its own on `port` of the loopback address; everybody may in as `bench`."""

    port: int

    def create(self, database: str) -> None:
        subprocess.run(["psql", "-qh", "127.0.0.1", "-p", str(self.port), "-U", "bench", "-c", f"CREATE DATABASE {database}",
                        "postgres"], check=True)  # fmt: skip

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://bench@127.0.0.1:{self.port}/{database}"


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Debian's PostgreSQL, with its usual durability. Raises NoPostgres."""
    found = sorted(_PROGRAMS.glob("*/bin/postgres"))
    if not found:
        raise NoPostgres("Install it with `apt-get install postgresql`.")
    home = Path(tempfile.mkdtemp(prefix="hitl-pg-"))
    owner: dict[str, Any] = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    if owner:
        shutil.chown(home, pwd.getpwnam("nobody").pw_name)
    programs, port = found[-1].parent, free_port()
    initdb = [str(programs / "initdb"), "-D", str(home / "data"), "-U", "bench", "--auth=trust", "--encoding=utf8"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=home, **owner)
    command = [str(programs / "postgres"), "-D", str(home / "data"), "-h", "127.0.0.1", "-p", str(port), "-k", str(home)]
    with (home / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=home, **owner) as process:
        try:
            _wait(port)
            yield Postgres(port)
        finally:
            process.terminate()
            process.wait(timeout=60)
            shutil.rmtree(home, ignore_errors=True)


def _wait(port: int) -> None:
    ready = ["psql", "-qh", "127.0.0.1", "-p", str(port), "-U", "bench", "-c", "SELECT 1", "postgres"]
    for _ in range(150):
        if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.2)
    raise NoPostgres("It did not start.")


@contextmanager
def label_studio(home: Path, database: Database, postgres: Postgres | None) -> Iterator[LocalServer]:
    """A running Label Studio whose data is in `home`, or in a database of `postgres`."""
    variables: dict[str, str] = {}
    if database == "postgresql":
        if postgres is None:
            raise NoPostgres("Label Studio on PostgreSQL needs one.")
        postgres.create("label_studio")
        variables = {"DJANGO_DB": "default", "POSTGRE_HOST": "127.0.0.1", "POSTGRE_PORT": str(postgres.port),
                     "POSTGRE_USER": "bench", "POSTGRE_PASSWORD": "", "POSTGRE_NAME": "label_studio"}  # fmt: skip
    server = LocalServer(home, cache=cache_dir(), port=free_port(), variables=variables, progress=lambda line: print(f"  {line}"))
    try:
        server.start(timeout=_MIGRATIONS)
        server.service_account()
        yield server
    finally:
        server.stop()
