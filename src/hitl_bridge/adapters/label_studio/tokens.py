"""Label Studio's two kinds of token, as something that signs requests.

A personal access token is a JWT that never travels with ordinary calls: it is exchanged for an access token that lives
300 seconds. The legacy token is sent as it is. Sending one in the other's place is the commonest cause of a 401.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import requests
from requests.auth import AuthBase

from hitl_bridge.errors import AccessRefused

RENEW_AHEAD: Final = timedelta(seconds=45)
DEFAULT_LIFE: Final = timedelta(seconds=300)

Exchange = Callable[[str], str]
"""Turns a personal access token into a fresh access token; raises AccessRefused or LabelingUnavailable."""


@dataclass(frozen=True, slots=True)
class AccessToken:
    text: str
    good_until: datetime


class Signer(AuthBase):
    """Puts the right `Authorization` header on every request. Renewing ahead of time spares a 401 in mid-import."""

    def __init__(self, token: str, now: Callable[[], datetime], exchange: Exchange) -> None:
        self._token = token.strip()
        self._now = now
        self._exchange = exchange
        self._access: AccessToken | None = None
        if not self._token or not self._token.isascii() or any(mark.isspace() for mark in self._token):
            raise AccessRefused(
                "There is no usable token for Label Studio.",
                remedy="Put a personal access token (Account & Settings) into HITL_LABEL_STUDIO_TOKEN.",
            )

    def __repr__(self) -> str:
        return "Signer(token=…)"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header()
        return request

    @property
    def can_renew(self) -> bool:
        """Whether a 401 may just mean that the access token is too old."""
        return is_jwt(self._token)

    def ready(self) -> None:
        """Sees to it that the next request needs no exchange first."""
        if self.can_renew:
            self._current()

    def forget(self) -> None:
        """Drops the access token; the next request fetches another."""
        self._access = None

    def user_id(self) -> int | None:
        """Whose token it is, as far as the token itself says."""
        if not self.can_renew:
            return None
        found = claims(self._current().text).get("user_id")
        return int(found) if isinstance(found, int | str) and str(found).isdigit() else None

    def _header(self) -> str:
        return f"Bearer {self._current().text}" if self.can_renew else f"Token {self._token}"

    def _current(self) -> AccessToken:
        if self._access is None or self._now() >= self._access.good_until:
            text = self._exchange(self._token)
            self._access = AccessToken(text, self._now() + life(text) - RENEW_AHEAD)
        return self._access


def is_jwt(token: str) -> bool:
    return token.count(".") == 2


def claims(token: str) -> dict[str, object]:
    """What a JWT says of itself. Its signature is the server's business."""
    try:
        payload = token.split(".")[1]
        parsed = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def life(token: str) -> timedelta:
    """How long an access token lives, by the server's own two times, so that clocks need not agree."""
    told = claims(token)
    issued, expires = told.get("iat"), told.get("exp")
    if isinstance(issued, int) and isinstance(expires, int) and expires > issued:
        return timedelta(seconds=expires - issued)
    return DEFAULT_LIFE
