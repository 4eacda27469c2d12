"""What the ancestor of all forked processes imports (tests/forks.py): the whole bridge, and what it loads only when needed."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil

import hitl_bridge

# What needs an extra, what only Alembic loads, and what is no part of the commands that the tests run by the dozen.
_LEFT_OUT = ("hitl_bridge.__main__", "hitl_bridge.adapters.sql.migrations", "hitl_bridge.demo", "hitl_bridge.stages")
_LOADED_WHEN_NEEDED = ("alembic.command", "duckdb", "pandas", "pyarrow.parquet", "rich.table", "sqlalchemy.dialects.sqlite")
_OF_THE_TESTS = ("tests.faults.one_cycle",)

_OURS = [found.name for found in pkgutil.walk_packages(hitl_bridge.__path__, "hitl_bridge.", onerror=lambda name: None)]
for _name in (*_LOADED_WHEN_NEEDED, *_OF_THE_TESTS, *(name for name in _OURS if not name.startswith(_LEFT_OUT))):
    with contextlib.suppress(Exception):  # whoever needs it will say so
        importlib.import_module(_name)
