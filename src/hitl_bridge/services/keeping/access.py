"""Who may ask the daemon: tokens that are shown once, kept only as SHA-256, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from hitl_bridge.errors import OutsideUnavailable, UnknownName, UsageError
from hitl_bridge.ports import AccessToken, AccessTokens, Clock

PREFIX = "hitlb_"
"""Lets a scanner for secrets recognise one that got into a file."""

FRESH_SECONDS = 2.0
"""So long a token that was revoked may still work."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BYTES = 32


@dataclass(frozen=True, slots=True)
class NewToken:
    """A `token` that nobody can look up again."""

    name: str
    token: str


def make_token(tokens: AccessTokens, clock: Clock, name: str, *, by: str) -> NewToken:
    """Raises UsageError for a name that can't be used, or was used before (also by a token that is revoked)."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a token.", remedy="Use up to 63 letters, digits and . _ - : like prometheus.")
    token = PREFIX + secrets.token_urlsafe(_BYTES)
    if not tokens.add(name, digest_of(token), clock.now(), by):
        raise UsageError(f"There is, or was, a token named {name!r}.", remedy="Take another name; `token list` shows all.")
    return NewToken(name, token)


def revoke_token(tokens: AccessTokens, clock: Clock, name: str, *, by: str) -> None:
    """Raises UnknownName if there is no such token in force."""
    if not tokens.revoke(name, clock.now(), by):
        raise UnknownName("token in force", name, remedy="`hitl-bridge token list` shows them.")


def digest_of(token: str) -> str:
    """A token has 256 bits of chance: nothing slower than SHA-256 is needed to keep it from being guessed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Doorkeeper:
    """Says whether a token is in force. Keeps what it read for a moment, and while the store is away what it read last."""

    def __init__(self, tokens: AccessTokens, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._known: Sequence[AccessToken] = ()
        self._read_at = float("-inf")

    def knows(self, token: str) -> str | None:
        """The name of the token, or None. Looks at every token, so that the time taken tells nothing."""
        given = digest_of(token)
        found = None
        for each in self._in_force():
            if hmac.compare_digest(each.sha256, given) and each.revoked_at is None:
                found = each.name
        return found

    def is_fresh(self) -> bool:
        """Whether what was read a moment ago is still believed."""
        return 0 <= self._clock.now().timestamp() - self._read_at < FRESH_SECONDS

    def _in_force(self) -> Sequence[AccessToken]:
        if not self.is_fresh():
            now = self._clock.now().timestamp()
            try:
                self._known = self._tokens.all()
            except OutsideUnavailable:
                return self._known  # `/health` and `/metrics` have to tell that it is away
            self._read_at = now
        return self._known
