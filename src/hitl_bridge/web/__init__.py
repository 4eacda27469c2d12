"""What can be asked of a running daemon over HTTP, and how Label Studio calls it.

app        the routes               guard    who may ask, and what every answer carries
metrics    Prometheus' form         server   the listening socket, in a thread of its own

The daemon knows nothing of this layer: whoever starts both (the command line) hands it what the daemon shares.
"""

from __future__ import annotations

from hitl_bridge.web.app import Sources, create_app, sources_of
from hitl_bridge.web.server import serving

__all__ = ["Sources", "create_app", "serving", "sources_of"]
