"""Keyed draws: chance that can be drawn again, and that can't be dodged by choosing ids.

A draw is the first 52 bits of HMAC-SHA256(workspace key, purpose ‖ 0x1f ‖ model version ‖ 0x1f ‖ subject), as a number
in [0, 1). Independent purposes give independent draws. Holdout membership is drawn over a group key without the model
version, so that it is the same for every model.
"""

from __future__ import annotations

import hmac

_SEPARATOR = b"\x1f"


def draw(key: bytes, purpose: str, model_version: str, subject: str) -> float:
    """The draw for `subject`, uniform in [0, 1)."""
    return int(digest(key, purpose, model_version, subject)[:13], 16) / float(1 << 52)


def digest(key: bytes, *parts: str) -> str:
    """HMAC-SHA256 over the parts, as 64 hex digits."""
    message = _SEPARATOR.join(part.encode("utf-8") for part in parts)
    return hmac.digest(key, message, "sha256").hex()


def pseudonym(key: bytes, person: str) -> str:
    """A reviewer's name in datasets and logs: the same person is the same name, and only the key's owner knows who."""
    return "r_" + digest(key, "reviewer", person.strip().lower())[:12]
