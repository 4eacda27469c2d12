"""New stores for the tests, brought up to date once a process: migrations take 150 ms, a copy of what they made takes one.

That a new database becomes an up-to-date one is tested where it matters (tests/adapters/test_store_durability.py and
test_store_migrations.py, and every workspace of tests/live); elsewhere it is not worth the minutes.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from hitl_bridge.adapters.sql.store import open_store


def put_new_store(path: Path) -> None:
    """An empty, up-to-date SQLite store at `path`, as a first `open_store` would leave it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(_up_to_date())


@functools.cache
def _up_to_date() -> bytes:
    with tempfile.TemporaryDirectory(prefix="hitl-store-") as folder:
        open_store("sqlite:///bridge.db", Path(folder)).close()
        (file,) = Path(folder).iterdir()
        return file.read_bytes()
