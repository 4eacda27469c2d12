"""Policies by their version."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import cast

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from hitl_bridge.adapters.sql.engine import reading
from hitl_bridge.adapters.sql.statements import insert_new_returning, record_events
from hitl_bridge.adapters.sql.tables import policies
from hitl_bridge.core.model import JSONObject
from hitl_bridge.ports import Event


class SqlPolicies:
    """Implements `ports.Policies`."""

    def __init__(self, engine: Engine, writing: Callable[[], AbstractContextManager[Connection]]) -> None:
        self._engine = engine
        self._writing = writing

    def keep(self, policy_version: str, content: JSONObject, at: datetime) -> None:
        if self.content(policy_version) is not None:
            return
        row = {"policy_version": policy_version, "content": content, "at": at}
        with self._writing() as connection:
            if insert_new_returning(connection, policies, [row], [policies.c.policy_version]):
                record_events(connection, [Event(at, "policy", detail={"policy_version": policy_version})])

    def content(self, policy_version: str) -> JSONObject | None:
        wanted = sa.select(policies.c.content).where(policies.c.policy_version == policy_version)
        with reading(self._engine) as connection:
            return cast("JSONObject | None", connection.execute(wanted).scalar_one_or_none())
