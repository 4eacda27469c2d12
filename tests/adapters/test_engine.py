"""What the engines of one process share, and what they never do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Engine

from hitl_bridge.adapters.sql.engine import make_engine, reading

ASKED = sa.select(sa.literal("a value").label("asked by this test alone"))


def compiled_by(engine: Engine, statement: sa.Select[Any]) -> Any:
    with reading(engine) as connection:
        return connection.execute(statement).context.compiled


def test_a_statement_is_compiled_once_for_all_stores_of_a_process_and_once_more_for_another_kind_of_database(
    tmp_path: Path, postgres_url: str
) -> None:
    first, second = (make_engine(f"sqlite:///{name}.db", tmp_path) for name in ("first", "second"))
    other = make_engine(postgres_url, tmp_path)
    compiled = compiled_by(first, ASKED)
    assert compiled_by(second, ASKED) is compiled
    assert compiled_by(other, ASKED).dialect.name == "postgresql"
    for engine in (first, second, other):
        engine.dispose()
