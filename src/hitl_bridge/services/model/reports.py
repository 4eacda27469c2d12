"""What the stages of the pipeline leave in the workspace, read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from hitl_bridge.core.model import JSON


def read_json(path: Path) -> Mapping[str, JSON]:
    """A JSON object of the workspace; empty where there is no such file yet."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def text(value: JSON) -> str | None:
    return value if isinstance(value, str) else None


def texts(value: JSON) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()
