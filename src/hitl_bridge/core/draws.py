"""Keyed draws: chance that can be drawn again, and that can't be dodged by choosing ids.

A draw is the first 52 bits of HMAC-SHA256(workspace key, purpose ‖ 0x1f ‖ model version ‖ 0x1f ‖ subject), as a number
in [0, 1). Independent purposes give independent draws. Holdout membership is drawn over a group key without the model
version, so that it is the same for every model.

The two draws that every prediction gets, uniform and audit, are cut from one digest (form 2; decisions/0013): the item's
AES-CMAC, encrypted under a key of the model version, both keys derived from the workspace's; 52 bits of each half. Receipts
say in `draw_form` how they were drawn. Form 1, of receipts without it, is `draw` with those purposes.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

_SEPARATOR = b"\x1f"

FORM = 2
"""How the uniform and the audit draw are made today."""


def draw(key: bytes, purpose: str, model_version: str, subject: str) -> float:
    """The draw for `subject`, uniform in [0, 1)."""
    return int(digest(key, purpose, model_version, subject)[:13], 16) / float(1 << 52)


def uniform_and_audit(key: bytes, model_version: str, subject: str, form: int = FORM) -> tuple[float, float]:
    """The uniform and the audit draw of one prediction, as that form made them.

    Raises:
        ValueError: there is no such form.
    """
    if form == 1:
        return draw(key, "uniform", model_version, subject), draw(key, "audit", model_version, subject)
    if form != FORM:
        raise ValueError(f"draws of form {form} are not known here: they were made by a newer version")
    import pyarrow as pa

    uniform, audit = all_draws(key, model_version, pa.array([subject], pa.string()))
    return float(uniform[0]), float(audit[0])


def all_draws(key: bytes, model_version: str, subjects: pa.Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The uniform and the audit draws of all subjects that one model version predicted, in [0, 1)."""
    from hitl_bridge.core import macs

    items = macs.macs(macs.mac_key(key, "item"), subjects)
    return macs.unit_pairs(macs.encrypted(macs.mac_key(key, "draws", model_version), items))


def digest(key: bytes, *parts: str) -> str:
    """HMAC-SHA256 over the parts, as 64 hex digits."""
    message = _SEPARATOR.join(part.encode("utf-8") for part in parts)
    return hmac.digest(key, message, "sha256").hex()


def pseudonym(key: bytes, person: str) -> str:
    """A reviewer's name in datasets and logs: the same person is the same name, and only the key's owner knows who."""
    return "r_" + digest(key, "reviewer", person.strip().lower())[:12]
