"""`hitl-bridge`, and `python -m hitl_bridge`."""

from __future__ import annotations

from hitl_bridge.cli import main

if __name__ == "__main__":
    main()
