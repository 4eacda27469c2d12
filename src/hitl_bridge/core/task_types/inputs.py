"""What every task type asks of an item's input."""

from __future__ import annotations

from hitl_bridge.core.model import JSONObject


def missing_input(value: JSONObject, field: str) -> str | None:
    """What is wrong where `field`, which reviewers are shown, holds no text; None if it does."""
    shown = value.get(field)
    if not isinstance(shown, str) or not shown.strip():
        return f"input.{field} must be a text that is not empty"
    return None
