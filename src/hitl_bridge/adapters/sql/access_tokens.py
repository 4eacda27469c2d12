"""Who may ask the daemon's routes: names and the SHA-256 of their tokens. The tokens themselves are nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Engine

from hitl_bridge.adapters.sql.engine import reading, writing
from hitl_bridge.adapters.sql.statements import insert_new_returning, record_events
from hitl_bridge.adapters.sql.tables import access_tokens
from hitl_bridge.ports import AccessToken, Event


class SqlAccessTokens:
    """Implements `ports.AccessTokens`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, name: str, sha256: str, at: datetime, by: str) -> bool:
        row = {"name": name, "sha256": sha256, "created_at": at, "revoked_at": None}
        with writing(self._engine) as connection:
            added = bool(insert_new_returning(connection, access_tokens, [row], [access_tokens.c.name]))
            if added:
                record_events(connection, [Event(at, "access_token.made", detail={"name": name}, actor=by)])
        return added

    def all(self) -> Sequence[AccessToken]:
        with reading(self._engine) as connection:
            rows = connection.execute(sa.select(access_tokens).order_by(access_tokens.c.created_at)).mappings()
            return [AccessToken(row["name"], row["sha256"], row["created_at"], row["revoked_at"]) for row in rows]

    def revoke(self, name: str, at: datetime, by: str) -> bool:
        in_force = (access_tokens.c.name == name) & access_tokens.c.revoked_at.is_(None)
        with writing(self._engine) as connection:
            revoked = bool(connection.execute(sa.update(access_tokens).where(in_force).values(revoked_at=at)).rowcount)
            if revoked:
                record_events(connection, [Event(at, "access_token.revoked", detail={"name": name}, actor=by)])
        return revoked
