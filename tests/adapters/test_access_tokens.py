"""Tokens of those who may ask the daemon, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hitl_bridge.adapters.sql.access_tokens import SqlAccessTokens
from hitl_bridge.adapters.sql.store import SqlStore

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
LATER = AT + timedelta(hours=1)


class TestTokens:
    def test_a_name_is_given_once_and_stays_known_when_it_is_revoked(self, store: SqlStore) -> None:
        tokens = SqlAccessTokens(store.engine)
        assert tokens.add("prometheus", "a" * 64, AT, "Ana") is True
        assert tokens.add("prometheus", "b" * 64, LATER, "Ana") is False
        assert tokens.revoke("grafana", LATER, "Ana") is False
        assert [tokens.revoke("prometheus", LATER, "Ben") for _ in range(2)] == [True, False]
        assert tokens.add("prometheus", "c" * 64, LATER, "Ana") is False
        (known,) = tokens.all()
        assert (known.name, known.sha256, known.created_at, known.revoked_at) == ("prometheus", "a" * 64, AT, LATER)

    def test_the_audit_log_says_who_did_it_and_not_the_digest(self, store: SqlStore) -> None:
        tokens = SqlAccessTokens(store.engine)
        tokens.add("prometheus", "a" * 64, AT, "Ana")
        tokens.revoke("prometheus", LATER, "Ben")
        made, revoked = (store.insights().last_event(f"access_token.{what}") for what in ("made", "revoked"))
        assert made is not None
        assert revoked is not None
        assert (made.actor, revoked.actor, dict(revoked.detail)) == ("Ana", "Ben", {"name": "prometheus"})
        assert store.verify_audit({}).problems == ()
