"""HITL Bridge: between a prediction pipeline and the people who check it.

    from hitl_bridge import open_bridge

    with open_bridge("path/to/workspace") as bridge:
        bridge.ingest("predictions.jsonl")
        bridge.push()

Names load when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hitl_bridge.bootstrap import Bridge, load_decisions, open_bridge
    from hitl_bridge.core.model import Decision, Item, Prediction
    from hitl_bridge.errors import BridgeError

__all__ = ["Bridge", "BridgeError", "Decision", "Item", "Prediction", "load_decisions", "open_bridge"]

_HOMES = {
    "Bridge": "hitl_bridge.bootstrap",
    "open_bridge": "hitl_bridge.bootstrap",
    "BridgeError": "hitl_bridge.errors",
    "Decision": "hitl_bridge.core.model",
    "Item": "hitl_bridge.core.model",
    "Prediction": "hitl_bridge.core.model",
    "load_decisions": "hitl_bridge.bootstrap",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
