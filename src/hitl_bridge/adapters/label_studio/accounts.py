"""Label Studio's accounts: who has one, and the invitation behind which others get theirs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import requests

from hitl_bridge.adapters.label_studio import replies
from hitl_bridge.adapters.label_studio.client import LabelStudioClient
from hitl_bridge.adapters.label_studio.local_accounts import sign_up
from hitl_bridge.errors import LabelingUnavailable
from hitl_bridge.ports import Account, NewAccount


class LabelStudioAccounts:
    """Implements `ports.Accounts`.

    `POST /api/users/` makes accounts that can never log in, so an account is made as a person would: with the sign-up form
    behind the invite link.
    """

    def __init__(self, client: LabelStudioClient) -> None:
        self._client = client

    def listed(self) -> list[Account]:
        listed = self._client.get("/api/users/")
        rows = listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ()
        return [Account(replies.field(row, "id", int), replies.field(row, "email", str).lower()) for row in rows]

    def invitation(self) -> str:
        """Label Studio names its own idea of its address, or none: ours is put before the path."""
        reply = self._client.get("/api/invite")
        url = reply.get("invite_url") if isinstance(reply, Mapping) else None
        parts = urlsplit(url if isinstance(url, str) else "")
        if not parts.query:
            raise LabelingUnavailable("Label Studio gave no invite link.", remedy="Make one in it: Organization → Invite people.")
        return f"{self._client.url}{parts.path}?{parts.query}"

    def make(self, email: str) -> NewAccount:
        token = urlsplit(self.invitation()).query.partition("token=")[2]
        password = secrets.token_urlsafe(12)
        try:
            sign_up(self._client.url, token, email, password)
        except requests.RequestException as failure:
            raise LabelingUnavailable(
                f"Label Studio did not answer the sign-up form ({type(failure).__name__}).",
                remedy="Run the command again; an account that was made meanwhile is found.",
            ) from None
        return NewAccount(email, password)
