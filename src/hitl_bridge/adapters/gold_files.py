"""Files of known answers: JSON lines or CSV with the columns `item_id` and `label`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from hitl_bridge.errors import UsageError


def read_gold(path: Path) -> list[dict[str, object]]:
    """The rows of the file.

    Raises:
        UsageError: it can't be read, or is neither JSON lines nor CSV.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"{path.name} can't be read: {reason}.", remedy="Name a file of JSON lines or CSV.") from None
    if path.suffix.lower() == ".csv":
        return [dict(row) for row in csv.DictReader(text.splitlines())]
    return [_row(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _row(number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        raise UsageError(f"Line {number} is no JSON object.", remedy='Write lines like {"item_id": "t-1", "label": "refund"}.')
    return row
