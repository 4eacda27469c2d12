"""Policies by their version."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from hitl_bridge.core.model import JSONObject


class Policies(Protocol):
    """What decided under each policy version that a receipt names. Append-only."""

    def keep(self, policy_version: str, content: JSONObject, at: datetime) -> None:
        """Writes the policy, with its event, where that version is not there yet; durable when this returns."""

    def content(self, policy_version: str) -> JSONObject | None:
        """None for a version that was not kept."""
